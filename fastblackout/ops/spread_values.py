"""What stands beside counts or logits element by element, of NumPy or torch: numbers of any shape, masks, choices."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import DTYPES, FLOATS, Array, is_traced, to_device
from ..call import checks
from ..call.copied_counts import COPIED, adopt_counts
from ..ground.values import aligned, check_real_tensor, is_number, is_tensor, real_array, settled

NO_BIRTHS = -200.0  # a logit whose softplus is 0 in float32
FLOAT32_MAX = (2.0 - 2.0**-23) * 2.0**127


def beside(op: str, name: str, value: Any, counts: Any, of: str) -> Any:
    """A number, or an array, of the library of the counts, the argument `of`, that broadcasts to their shape as
    `aligned` reads it."""
    if is_number(value):
        return value
    if is_tensor(value) and is_tensor(counts) and (is_traced(counts) or value.device == counts.device):
        check_real_tensor(op, name, value)
        value = value if is_traced(counts) else settled(op, name, value)
    else:
        value = real_array(op, name, value)
        if is_tensor(counts):
            value = np.require(value, requirements=("C", "W"))
            value = to_device(sys.modules["torch"].from_numpy(value), counts.device)
    if Array(value, op, name).dtype not in (*DTYPES, *COPIED):  # int8, say
        value = as_type(value, "float64")
    return value.reshape(aligned(op, name, tuple(value.shape), of, tuple(counts.shape)))


def mask_of(op: str, mask: Any, x: Array, name: str) -> Any:
    """A mask as bools of the library, the device and the shape of x, the argument `name`."""
    array = dense(op, "mask", mask)
    checks.same_library(op, "mask", array, name, x)
    checks.same_device(op, "mask", array, name, x)
    if array.dtype != "bool":
        raise TypeError(f"{op}: mask: must be bools, true where elements take part, got dtype {array.dtype}")
    if len(array.shape) in (0, len(x.shape)):
        try:
            return array.value.expand(x.shape) if array.is_tensor else np.broadcast_to(array.value, x.shape)
        except (RuntimeError, ValueError):
            pass
    rule = f"shape must be (), or have the dimensions of {name} and broadcast to {x.shape}"
    raise ValueError(f"{op}: mask: {rule}, got {array.shape}")


def dense(op: str, name: str, value: Any, dtypes: Sequence[str] = ()) -> Array:
    """An argument as an Array, of one of `dtypes` if any are named. A tensor must hold its values in memory, unless
    torch traces it."""
    value = settled(op, name, value) if is_tensor(value) and not is_traced(value) else value
    return adopt_counts(value, op, name, dtypes) if dtypes else Array(value, op, name)


def logits_inside(op: str, known: Any, logits: Any, like: tuple[str, Array]) -> Any:
    """Logits of no births where the mask, `known`, is false. like: the argument whose shape they have."""
    return _inside(op, known, ("logits", dense(op, "logits", logits, FLOATS)), NO_BIRTHS, like)


def births_inside(op: str, known: Any, births: Any, like: tuple[str, Array]) -> Any:
    """The births, but 0 where the mask is false."""
    return _inside(op, known, ("births", dense(op, "births", births, DTYPES)), 0.0, like)


def _inside(op: str, known: Any, given: tuple[str, Array], other: float, like: tuple[str, Array]) -> Any:
    name, array = given
    checks.same_shape(op, name, array, *like)
    if array.is_tensor != is_tensor(known):
        known = known.numpy() if is_tensor(known) else sys.modules["torch"].from_numpy(np.array(known))
    return where(known, array.value, other)


def where(mask: Any, value: Any, other: Any) -> Any:
    """value where the mask is true, else the other, an array or a number, in value's dtype."""
    if not is_tensor(value):
        return np.where(mask, value, np.asarray(other, value.dtype))
    return value.masked_fill(~mask, other) if not is_tensor(other) else other.where(~mask, value)


def as_type(value: Any, dtype: str) -> Any:
    """An array of either library in this dtype; what is too large for it becomes infinite."""
    if is_tensor(value):
        return value.to(getattr(sys.modules["torch"], dtype))
    with np.errstate(over="ignore"):
        return value.astype(dtype)
