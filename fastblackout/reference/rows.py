"""What twins share: samples as rows, bfloat16, which NumPy lacks, checks of values, and the dtypes of results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..arrays import exact_counts
from ..ground.values import place_of
from .portfloat import from_bfloat16, round_to_bfloat16

if TYPE_CHECKING:
    from .dtypes import F32, F64, I64, Array, Bools


def sample_rows(array: Array) -> Array:
    """(B, elements of a sample); an array without dimensions is one sample of one element."""
    batch = array.shape[0] if array.ndim else 1
    return array.reshape(batch, array.size // batch if batch else 0)


def widened(values: Array) -> Array:
    """NumPy has no bfloat16: its bit patterns come as uint16, and go on as float32."""
    return from_bfloat16(values) if values.dtype == np.uint16 else values


def rounded_as(values: F32, like: Array) -> Array:
    """In the dtype of `like`; for uint16 the bit patterns of bfloat16."""
    return round_to_bfloat16(values) if like.dtype == np.uint16 else values.astype(like.dtype)


def check_all(op: str, name: str, values: Array, right: Bools, rule: str) -> None:
    """ValueError for the first value that is not right."""
    if not right.all():
        raise ValueError(f"{op}: {name}: {rule}, got {float(values[~right][0]):.17g}{place_of(~right)}")


def whole_rows(op: str, argument: str, array: Array, most: int) -> I64:
    """sample_rows as int64. ValueError unless all are in 0..most."""
    rows = sample_rows(array)
    wrong = ~((rows >= 0) & (rows <= most))
    if wrong.any():
        got = f"{rows[wrong][0]}{place_of(wrong)}"
        raise ValueError(f"{op}: {argument}: must be whole numbers in 0..{most}, got {got}")
    return rows.astype(np.int64)


LARGEST = float(np.finfo(np.float64).max)
AT_LEAST_0 = "must be finite and at least 0"


def rounded(drawn: F64, like: Array) -> Array:
    """What was drawn in the shape and dtype of an argument; to 16 bits by way of float32."""
    drawn = drawn.reshape(like.shape)
    with np.errstate(over="ignore"):
        if like.dtype.itemsize > 2:
            return drawn.astype(like.dtype)
        single = drawn.astype(np.float32)
        return round_to_bfloat16(single) if like.dtype == np.uint16 else single.astype(np.float16)


def checked_counts(array: Array, op: str, argument: str, limit: int = 1 << 53) -> I64:
    """Counts as int64 (B, n). ValueError unless they are whole numbers that the dtype holds without gaps."""
    counts = sample_rows(array)  # as they are: 2^53 + 1 would round to an allowed float64
    most = min(exact_counts(array.dtype.name), limit)
    wrong = ~((counts >= 0) & (counts <= most) & (counts == np.floor(counts)))
    if wrong.any():
        place = place_of(wrong.reshape(array.shape))
        got = f"{counts[wrong][0]:.17g}" if counts.dtype.kind == "f" else counts[wrong][0]
        raise ValueError(f"{op}: {argument}: must be whole numbers in 0..{most}, got {got}{place}")
    return counts.astype(np.int64)


def checked_floats(array: Array, op: str, argument: str, rule: str, most: float, least: float = 0.0) -> F64:
    """Numbers as float64 (B, n). uint16 stands for bfloat16 bit patterns. ValueError unless least <= number <= most."""
    values = sample_rows(widened(array)).astype(np.float64)
    wrong = ~((values >= least) & (values <= most))
    if wrong.any():
        got = f"{values[wrong][0]:.17g}{place_of(wrong.reshape(array.shape))}"
        raise ValueError(f"{op}: {argument}: {rule}, got {got}")
    return values
