"""What binomial and poisson share: broadcasting of element-wise arguments, of any kind, to one shape."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Array, adopt
from ..ground.values import as_float, common_shape, is_number, is_tensor
from .checks import check_tensor


def element_arguments(op: str, given: dict[str, tuple[Any, Sequence[str]]]) -> list[Array]:
    """Arguments {name: (value, dtypes)} as arrays of one library, broadcast (without copying) to one shape.

    Python numbers and NumPy scalars become 0-d arrays of the first dtype that holds their kind. TypeError where NumPy
    arrays and torch tensors meet, ValueError where shapes do not broadcast.
    """
    tensors = any(is_tensor(value) for value, _ in given.values())
    arrays = []
    for name, (value, dtypes) in given.items():
        if is_number(value) and not isinstance(value, np.generic):
            value = np.asarray(*number_of(op, name, value, dtypes))
        if tensors and isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0:
            value = sys.modules["torch"].from_numpy(adopt(value, op, name, dtypes).value)
        arrays.append(adopt(value, op, name, dtypes))
        if tensors:
            check_tensor(op, name, arrays[-1], value)
    shape = common_shape(op, {name: array.shape for name, array in zip(given, arrays, strict=True)})
    devices = {array.device for array in arrays}
    if len(devices) > 1:
        raise ValueError(f"{op}: {' and '.join(given)}: must be on one device, got {sorted(devices)}")
    return [array if array.shape == shape else array.like(_expand(array, shape)) for array in arrays]


def number_of(op: str, argument: str, value: Any, dtypes: Sequence[str]) -> tuple[Any, str]:
    """A Python number and its dtype: int64 where that is one of `dtypes` and holds it, else float64."""
    if isinstance(value, numbers.Integral) and "int64" in dtypes and -(1 << 63) <= int(value) < 1 << 63:
        return int(value), "int64"
    return as_float(op, argument, value), "float64"


def _expand(array: Array, shape: tuple[int, ...]) -> Any:
    return array.value.detach().expand(shape) if array.is_tensor else np.broadcast_to(array.value, shape)


def element_tensors(op: str, given: dict[str, tuple[Any, Sequence[str]]]) -> list[Any]:
    """Arguments as tensors of one device, expanded to one shape; Python numbers become tensors of their kind."""
    torch = sys.modules["torch"]
    device = next(value.device for value, _ in given.values() if isinstance(value, torch.Tensor))
    tensors: list[Any] = []
    for name, (value, dtypes) in given.items():
        if is_number(value) and not isinstance(value, np.generic):
            number, dtype = number_of(op, name, value, dtypes)
            value = torch.full((), number, dtype=getattr(torch, dtype), device=device)
        array = adopt(value, op, name, dtypes)
        check_tensor(op, name, array, value)
        if value.device != device:
            raise ValueError(f"{op}: {name}: must be on the device of the other argument, {device}, got {value.device}")
        tensors.append(array.value.detach())
    return broadcast_tensors(op, list(given), tensors)


def broadcast_tensors(op: str, names: Sequence[str], tensors: Sequence[Any]) -> list[Any]:
    """Arguments, of these names, expanded to one shape."""
    try:
        return list(sys.modules["torch"].broadcast_tensors(*tensors))
    except RuntimeError:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(f"{op}: {' and '.join(names)}: shapes must broadcast, got {shapes}") from None
