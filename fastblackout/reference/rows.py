"""What the reference ops share: samples as rows, bfloat16, which NumPy lacks, and the errors of wrong values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..ground.values import place_of
from .portfloat import from_bfloat16, round_to_bfloat16

if TYPE_CHECKING:
    from .dtypes import F32, I64, Array, Bools


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
