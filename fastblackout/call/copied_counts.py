"""Counts in dtypes that no kernel knows: they are copied to one that is known, and results come back in theirs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Array, adopt, is_traced
from ..ground.values import place_of

COPIED = {"uint16": "int32", "uint32": "int64", "float32": "int32", "float64": "int64"}
WHOLE = ("uint16", "uint32")  # of these, the whole numbers


def adopt_counts(value: Any, op: str, argument: str, dtypes: Sequence[str]) -> Array:
    """`adopt` of counts, which may also come in a dtype of COPIED; ValueError for floats that are no whole numbers."""
    array = adopt(value, op, argument, accepted(dtypes))
    return array if array.dtype in dtypes else copied(array, op, argument)


def accepted(dtypes: Sequence[str]) -> Sequence[str]:
    """These dtypes, and those that are copied to one of them."""
    also = () if "int64" not in dtypes else WHOLE if "float32" in dtypes else tuple(COPIED)
    return *dtypes, *also


def copied(array: Array, op: str, argument: str) -> Array:
    copy = array.like(_copied(array, op, argument))
    copy.came_as = array.dtype
    return copy


def as_it_came(value: Any, like: Array) -> Any:
    """A result, or None, in the dtype that `like` came as; it may be an array of the caller's library already."""
    if value is None:
        return None
    if like.is_tensor or isinstance(value, np.ndarray):
        return _in_dtype(like, value, like.came_as)
    array = like.like(value)
    return array.like(_in_dtype(like, array.value, like.came_as)).give()


def _copied(array: Array, op: str, argument: str) -> Any:
    value = array.value.detach() if array.is_tensor else array.value
    copy = _in_dtype(array, value, COPIED[array.dtype])
    if not array.dtype.startswith("float"):
        return copy
    if array.is_tensor and (is_traced(value) or not value.is_cpu):
        return copy.masked_fill(copy != value, -1)  # which the kernels refuse or flag as they do any wrong count
    back = _in_dtype(array, copy, array.dtype)
    if not (sys.modules["torch"].equal(back, value) if array.is_tensor else np.array_equal(back, value)):
        wrong = back != value
        got = f"{float(value[wrong][0])!r}{place_of(wrong)}"
        raise ValueError(f"{op}: {argument}: must be whole numbers, got {got}")
    return copy


def _in_dtype(like: Array, value: Any, dtype: str) -> Any:
    if like.is_tensor:
        return value.to(getattr(sys.modules["torch"], dtype))
    with np.errstate(invalid="ignore"):  # NaN and infinities are told from the copy
        return value.astype(dtype)
