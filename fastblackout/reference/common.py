"""What the reference ops share: rows, value checks, the model input and births from a network output."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..ground.values import place_of
from .binomial import binomial
from .draw import MAX_SHARED_COUNT, TWO_48, draw, samples
from .philox import Stream, philox4x32
from .portfloat import from_bfloat16, round_to_bfloat16, softplus

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, I64, Array

_WORD_END = 1 << 32
_FLOAT32_MAX = float(np.finfo(np.float32).max)


def rows(array: Array, key: Philox, op: str, argument: str) -> Array:
    """(B, N) view or copy of an array: dimension 0 is the sample, the rest C order; a 0-d array is one row."""
    batch = array.shape[0] if array.ndim else 1
    flat = array.reshape(batch, array.size // batch if batch else 0)
    if key.first_sample + batch > _WORD_END:
        raise ValueError(
            f"{op}: rng: first_sample + rows must be at most 2^32, got first_sample = {key.first_sample}, {batch} rows"
        )
    if flat.shape[1] >= _WORD_END:
        raise ValueError(f"{op}: {argument}: elements per sample must be below 2^32, got {flat.shape[1]}")
    return flat


def count_rows(array: Array, max_count: int, key: Philox, op: str, argument: str) -> I64:
    """Counts as (B, N) int64. ValueError unless they are whole numbers in 0..max_count."""
    flat = rows(array, key, op, argument)
    wrong = ~((flat >= 0) & (flat <= max_count) & (flat == np.floor(flat)))
    if wrong.any():
        rule = f"must be whole numbers in 0..{max_count}"
        raise ValueError(f"{op}: {argument}: {rule}, got {flat[wrong][0]}{place_of(wrong)}")
    return flat.astype(np.int64)


def check_prob(p: F64, q: F64, op: str, argument: str) -> None:
    """ValueError unless every p and q is in [0, 1]."""
    for values in (p, q):
        wrong = ~((values >= 0.0) & (values <= 1.0))
        if wrong.any():
            raise ValueError(f"{op}: {argument}: must be in [0, 1], got {float(values[wrong][0])!r}")


def binomial_rows(n: I64, p: F64, q: F64, key: Philox, streams: tuple[Stream, Stream, Stream]) -> I64:
    """Binomial(n, p) with one p a row: counts up to 255 by the shared-p draw, each larger one by the element draw."""
    large = n > MAX_SHARED_COUNT
    k = draw(np.where(large, 0, n), p, q, key, streams[0], streams[1])
    if not large.any():
        return k
    p, q = np.broadcast_to(p[:, None], n.shape), np.broadcast_to(q[:, None], n.shape)
    return np.where(large, binomial(np.where(large, n, 0), p, q, key, streams[2]), k)


def model_input(count: I64, center: F64, scale: F64, input_dtype: str) -> Array:
    """(float32(count) - center) * scale in float32, then rounded to input_dtype, nearest even.

    NumPy has no bfloat16: "bfloat16" gives its bit patterns as uint16.
    """
    centers, scales = center.astype(np.float32)[:, None], scale.astype(np.float32)[:, None]
    with np.errstate(over="ignore", invalid="ignore"):
        value = (count.astype(np.float32) - centers) * scales
        return round_to_bfloat16(value) if str(input_dtype) == "bfloat16" else value.astype(input_dtype)


def expected_births(logits: Array | None, births: Array | None, gain: F64, key: Philox, op: str) -> F64:
    """y = float32(gain) * softplus(logit), or births rounded to float32; (B, N), held in float64 without rounding.

    uint16 logits or births are bfloat16 bit patterns, as NumPy has no such type. ValueError for logits that are not
    finite, for births that are negative or not finite. A product that overflows is infinite: callers cap it.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        if births is not None:
            given = rows(births, key, op, "births")
            given = from_bfloat16(given) if given.dtype == np.uint16 else given
            # float64 first: the limit itself would round to infinity in float16, and let infinity pass
            wrong = ~((given >= 0) & (given.astype(np.float64) <= _FLOAT32_MAX))
            if wrong.any():
                raise ValueError(f"{op}: births: must be finite and at least 0, got {float(given[wrong][0]):.17g}")
            y = given.astype(np.float32)
        elif logits is not None:
            given = rows(logits, key, op, "logits")
            given = from_bfloat16(given) if given.dtype == np.uint16 else given
            logit = given.astype(np.float32)
            wrong = ~np.isfinite(logit)
            if wrong.any():
                raise ValueError(f"{op}: logits: must be finite in float32, got {float(given[wrong][0]):.17g}")
            y = gain.astype(np.float32)[:, None] * softplus(logit)
        else:
            raise TypeError(f"{op}: logits: must be given unless births is, got None")
    return y.astype(np.float64)


def round_births(y: F64, max_count: int, key: Philox, stochastic: bool) -> I64:
    """Integer births in 0..max_count from y >= 0, (B, N).

    stochastic: floor(y) + (V < floor(frac(y) 2^48)), V a 48-bit uniform, so the mean is y (to 2^-48).
    Else to the nearest: floor(y + 1/2), ties up.
    """
    y = np.minimum(y, float(max_count))
    if not stochastic:
        return np.minimum(np.floor(y + 0.5).astype(np.int64), max_count)
    whole = np.floor(y)
    threshold = np.floor((y - whole) * TWO_48).astype(np.uint64)
    k0, k1 = key.key
    c1 = samples(key, y.shape[0])
    i = np.arange(y.shape[1], dtype=np.int64)
    blocks = np.arange((y.shape[1] + 3) // 4, dtype=np.uint32)
    words = np.stack(philox4x32(blocks, c1, key.call, Stream.ROUNDING.word(), k0, k1))
    v = words[i % 4, :, i // 4].T.astype(np.uint64)
    # Kernels fetch the low 16 bits only when v == threshold >> 16; the comparison comes out the same.
    low = philox4x32(i, c1, key.call, Stream.ROUNDING_REFINE.word(), k0, k1)[0] & np.uint32(0xFFFF)
    return whole.astype(np.int64) + ((v << np.uint64(16) | low) < threshold)
