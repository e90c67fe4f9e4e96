"""Draws from rows of weights in NumPy: the twin of csrc/include/fastblackout/categorical.h, equal to it to the bit.

A row of weights w_0..w_{S-1}, float64, at least 0, gives integer thresholds

    cum_0 = w_0, cum_j = cum_{j-1} + w_j, factor = 2^48 / cum_{S-1},
    C(j) = min(floor(cum_j factor), 2^48) for j < L, 2^48 from L on, L the last state of positive weight,

and the state drawn is #{j : C(j) <= V}, V a 48-bit uniform. A state of weight 0 is never drawn: its threshold equals
the one before it.

Total variation from the law w_j / sum(w), derived: state j has probability (C(j) - C(j-1)) / 2^48. Flooring moves each
threshold by less than 1, which changes the law by at most S / 2 units of 2^-48; rounding of the product moves it by at
most 2^-5, and each of the S additions the total by a factor of at most 1 + 2^-53: together below S 2^-4 units. So

    TV <= 0.5625 S 2^-48: 5.2e-13 for S = 256, 8.2e-12 for S = 4096, 1.4e-10 for S = 65536.

V = v << 16 | low. v: word i % 4 of Philox(c0 = i / 4, stream), low: the last 16 bits of word 0 of Philox(c0 = i, refine
stream), i the element in C order; kernels fetch low only where C(j) >> 16 == v, which decides the same way.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..philox import Philox, draw_checked
from . import portfloat as pf
from .draw import TWO_48, samples
from .philox import Stream, philox4x32
from .rows import whole_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from .dtypes import F32, F64, I64, Array

MAX_STATES = 65536
GUIDE = 256
LARGEST_WEIGHT = 1.0001
SMALLEST_TOTAL = 2.0**-960
TOLERANCE = {"float64": 1e-9, "float32": 1e-4}  # how far the sum of a row may be from 1
_BLOCK = 1 << 22  # the number of weights handled at once


def thresholds(weights: F64, fallback: I64 | int = 0) -> I64:
    """C(j) of rows of weights (n, S) float64; (n, S) int64. A weight outside [0, 1.0001] counts as 0.

    A row whose total is below 2^-960 has nothing to draw: its thresholds give the state `fallback`, () or (n,).
    """
    weights = np.where((weights >= 0.0) & (weights <= LARGEST_WEIGHT), weights, 0.0)
    states = weights.shape[1]
    cum = np.cumsum(weights, axis=1)  # one state after the other
    total = cum[:, -1:]
    drawable = total >= SMALLEST_TOTAL
    factor = float(TWO_48) / np.where(drawable, total, 1.0)
    scaled = np.minimum(np.floor(cum * factor), float(TWO_48)).astype(np.int64)
    j = np.arange(states)
    last = states - 1 - np.argmax(weights[:, ::-1] > 0.0, axis=1)[:, None]
    drawn = np.where(j < last, scaled, TWO_48)
    return np.where(drawable, drawn, np.where(j < np.reshape(fallback, (-1, 1)), 0, TWO_48))


def uniforms(batch: int, size: int, key: Philox, stream: Stream, stream_refine: Stream) -> I64:
    """V of every element, (batch, size) int64 of 48 bits."""
    k0, k1 = key.key
    c1 = samples(key, batch)
    i = np.arange(size, dtype=np.int64)
    blocks = np.arange((size + 3) // 4, dtype=np.uint32)
    words = np.stack(philox4x32(blocks, c1, key.call, stream.word(), k0, k1))
    v = words[i % 4, :, i // 4].T.astype(np.int64)
    low = philox4x32(i, c1, key.call, stream_refine.word(), k0, k1)[0] & np.uint32(0xFFFF)
    return v << 16 | low.astype(np.int64)


def matrix_of(index: I64 | None, matrices: int, sample: int) -> int:
    """Which of `matrices` (K) a sample uses: index, or the only one, or its own."""
    if index is not None:
        return int(index[sample])
    return 0 if matrices == 1 else sample


def check_rows(op: str, argument: str, rows: Array) -> None:
    """ValueError unless every row (n, S) has entries of at least 0, a sum of 1, and something to draw."""
    tolerance = TOLERANCE[rows.dtype.name]
    values = rows.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        total = np.cumsum(values, axis=1)[:, -1]
        right = ((values >= 0.0) & (values <= LARGEST_WEIGHT)).all(axis=1) & (np.abs(total - 1.0) <= tolerance)
    if not right.all():
        raise ValueError(
            f"{op}: {argument}: rows must be at least 0 and sum to 1 within {tolerance:g}, got a row that sums to "
            f"{total[~right][0]:.17g} with least entry {values[~right][0].min():.17g}"
        )


def _check_entries(op: str, argument: str, values: F64) -> None:
    wrong = ~((values >= 0.0) & (values <= LARGEST_WEIGHT))
    if wrong.any():
        raise ValueError(f"{op}: {argument}: must be in [0, 1], got {values[wrong][0]:.17g}")


def _check_index(op: str, index: Array | None, count: int) -> None:
    if index is not None and not ((index >= 0) & (index < count)).all():
        wrong = index[~((index >= 0) & (index < count))]
        raise ValueError(f"{op}: index: must be in 0..{count - 1}, got {wrong[0]}")


def categorical(state: Array, probs: Array, index: I64 | None, key: Philox) -> Array:
    """A draw from row `state` of a sample's matrix, element by element.

    state: integers (B, ...) in 0..R-1. probs: float64 or float32 (K, R, S); index: int64 (B,) in 0..K-1, or None: the
    only matrix for all samples, else sample b uses matrix b. Returns state's shape and dtype.
    """
    op = "categorical"
    _check_index(op, index, len(probs))
    x = whole_rows(op, "state", state, probs.shape[1] - 1)

    def draw(key: Philox) -> I64:
        v = uniforms(x.shape[0], x.shape[1], key, Stream.CATEGORICAL, Stream.CATEGORICAL_REFINE)
        out = np.empty_like(x)
        for sample, row in enumerate(x):
            used, inverse = np.unique(row, return_inverse=True)
            rows = probs[matrix_of(index, len(probs), sample), used]
            check_rows(op, "probs", rows)
            for u, table in enumerate(thresholds(rows.astype(np.float64))):
                where = inverse == u
                out[sample, where] = np.searchsorted(table, v[sample, where], side="right")
        return out

    return draw_checked(key, draw).astype(state.dtype).reshape(state.shape)


def build_table(probs: Array) -> tuple[I64, NDArray[np.uint16]]:
    """(thresholds int64 (K, R, S), guide uint16 (K, R, 256)) of probs (K, R, S): guide[g] = #{j : C(j) <= g 2^40}."""
    flat = probs.reshape(-1, probs.shape[-1])
    check_rows("CategoricalTable", "probs", flat)
    table = thresholds(flat.astype(np.float64))
    starts = np.arange(GUIDE, dtype=np.int64) << 40
    guide = np.stack([np.searchsorted(row, starts, side="right") for row in table]).astype(np.uint16)
    return table.reshape(probs.shape), guide.reshape(*probs.shape[:-1], GUIDE)


def categorical_table(state: Array, thresholds: I64, guide: Any, index: I64 | None, key: Philox) -> Array:
    """`categorical` with the thresholds of build_table; the guide would only make the search short."""
    _check_index("categorical", index, len(thresholds))
    x = whole_rows("categorical", "state", state, thresholds.shape[1] - 1)
    v = uniforms(x.shape[0], x.shape[1], key, Stream.CATEGORICAL, Stream.CATEGORICAL_REFINE)
    out = np.empty_like(x)
    for sample, row in enumerate(x):
        matrix = thresholds[matrix_of(index, len(thresholds), sample)]
        for used in np.unique(row):
            where = row == used
            out[sample, where] = np.searchsorted(matrix[used], v[sample, where], side="right")
    return out.astype(state.dtype).reshape(state.shape)


def logit_weights(logits: F32) -> F64:
    """exp(l - max l) of rows (n, S), 0 where l - max l < -700; NaN and +inf have weight 0 and are no maximum."""
    usable = logits < np.inf
    largest = np.where(usable, logits, -np.inf).max(axis=1, keepdims=True).astype(np.float64)
    with np.errstate(invalid="ignore"):
        d = np.where(usable, logits, -np.inf).astype(np.float64) - largest
    inside = (d >= -700.0) & (d <= 0.0)
    return np.where(inside, pf.exp(np.where(inside, d, 0.0)), 0.0)


def _draw_blocks(v: I64, fallback: I64, states: int, weights: Callable[[slice], F64]) -> I64:
    """A draw for each of n elements whose rows of weights are made a block at a time."""
    out = np.empty(len(v), dtype=np.int64)
    step = max(_BLOCK // states, 1)
    for start in range(0, len(v), step):
        part = slice(start, start + step)
        out[part] = (thresholds(weights(part), fallback[part]) <= v[part, None]).sum(axis=1)
    return out


def _predicted(weights: Array, is_logits: bool, part: slice) -> F64:
    op, rows = "categorical_bridge", weights[part]
    if not is_logits:
        check_rows(op, "probs", rows)
        return rows.astype(np.float64)
    with np.errstate(over="ignore"):
        rows = pf.from_bfloat16(rows) if rows.dtype == np.uint16 else rows.astype(np.float32)
    wrong = ~(rows < np.inf) | (rows.max(axis=1, keepdims=True) == -np.inf)
    if wrong.any():
        raise ValueError(
            f"{op}: logits: must be below infinity, and one of each element finite in float32, got {rows[wrong][0]}"
        )
    return logit_weights(rows)


def _paths(before: F64, after: F64, x_0: I64, x_t: I64, part: slice) -> F64:
    product = before[x_0[part]] * after[:, x_t[part]].T
    closed = ~(np.cumsum(product, axis=1)[:, -1] >= SMALLEST_TOTAL)
    if closed.any():
        raise ValueError(
            f"categorical_bridge: x_0: must have a path to x_t, got x_0 = {x_0[part][closed][0]}, "
            f"x_t = {x_t[part][closed][0]}"
        )
    return product


def categorical_bridge(
    x_t: Array, x_0: Array | None, weights: Array | None, is_logits: bool,
    before: F64, after: F64, index: I64 | None, key: Philox,
) -> Array:  # fmt: skip
    """x_s with weights before[x_0, i] * after[i, x_t], x_0 given or drawn first from `weights` (B, ..., S).

    x_t, x_0: integers (B, ...) in 0..S-1. weights: logits (float32, float64, float16, or bfloat16 as uint16) or
    probabilities (float32, float64). before, after: (K, S, S) as in `categorical`. Returns x_t's shape and dtype.
    """
    op, states = "categorical_bridge", before.shape[-1]
    _check_index(op, index, len(before))
    target = whole_rows(op, "x_t", x_t, states - 1)
    batch, size = target.shape
    p_s = [before[matrix_of(index, len(before), sample)] for sample in range(batch)]
    p_ts = [after[matrix_of(index, len(after), sample)] for sample in range(batch)]
    for matrix, to in zip(p_ts, target, strict=True):
        _check_entries(op, "after", matrix[:, np.unique(to)])

    def predict(key: Philox) -> I64:
        assert weights is not None
        v = uniforms(batch, size, key, Stream.CATEGORICAL_X0, Stream.CATEGORICAL_X0_REFINE)
        rows, made = weights.reshape(batch, size, states), np.empty_like(target)
        for sample, to in enumerate(target):
            made[sample] = _draw_blocks(v[sample], to, states, partial(_predicted, rows[sample], is_logits))
        return made

    source = draw_checked(key, predict) if x_0 is None else whole_rows(op, "x_0", x_0, states - 1)

    def draw(key: Philox) -> I64:
        v = uniforms(batch, size, key, Stream.CATEGORICAL_BRIDGE, Stream.CATEGORICAL_BRIDGE_REFINE)
        out = np.empty_like(target)
        for sample, (start, to) in enumerate(zip(source, target, strict=True)):
            _check_entries(op, "before", p_s[sample][np.unique(start)])
            paths = partial(_paths, p_s[sample], p_ts[sample], start, to)
            out[sample] = _draw_blocks(v[sample], to, states, paths)
        return out

    return draw_checked(key, draw).astype(x_t.dtype).reshape(x_t.shape)
