"""What binomial and poisson share: broadcasting of element-wise arguments, of any kind, to one shape."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Array, to_device
from ..ground.values import as_float, common_shape, is_number, is_tensor
from .checks import check_tensor
from .copied_counts import adopt_counts


def element_arguments(op: str, given: dict[str, tuple[Any, Sequence[str]]]) -> list[Array]:
    """Arguments {name: (value, dtypes)} as arrays of one library and device, expanded (without copying) to one shape.

    Python numbers become 0-d arrays of the first dtype that holds their kind; beside torch tensors, whose history is
    left behind, NumPy's 0-d arrays become tensors, too. TypeError where larger ones meet tensors, ValueError where
    devices differ or shapes do not broadcast.
    """
    torch: Any = sys.modules.get("torch")
    devices = [value.device for value, _ in given.values() if is_tensor(value)]
    device = devices[0] if devices else None  # torch 2.6 does not trace `next` with a default
    arrays = []
    for name, (value, dtypes) in given.items():
        if is_number(value) and not isinstance(value, np.generic):
            number, dtype = number_of(op, name, value, dtypes)
            if device is None:
                value = np.asarray(number, dtype)
            else:
                value = torch.full((), number, dtype=getattr(torch, dtype), device=device)
        elif device is not None and isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0:
            value = to_device(torch.from_numpy(adopt_counts(value, op, name, dtypes).value), device)
        arrays.append(array := adopt_counts(value, op, name, dtypes))
        if device is not None:
            check_tensor(op, name, array, value)
            if value.device != device:
                rule = f"must be on the device of the other argument, {device}"
                raise ValueError(f"{op}: {name}: {rule}, got {value.device}")
            array.value = array.value.detach()
    if all(array.shape == arrays[0].shape for array in arrays):
        return arrays
    if device is None:
        shape = common_shape(op, {name: array.shape for name, array in zip(given, arrays, strict=True)})
        return [array.like(np.broadcast_to(array.value, shape)) for array in arrays]
    tensors = broadcast_tensors(op, list(given), [array.value for array in arrays])
    return [array.like(tensor) for array, tensor in zip(arrays, tensors, strict=True)]


def number_of(op: str, argument: str, value: Any, dtypes: Sequence[str]) -> tuple[Any, str]:
    """A Python number and its dtype: int64 where that is one of `dtypes` and holds it, else float64."""
    if isinstance(value, numbers.Integral) and "int64" in dtypes and -(1 << 63) <= int(value) < 1 << 63:
        return int(value), "int64"
    return as_float(op, argument, value), "float64"


def broadcast_tensors(op: str, names: Sequence[str], tensors: Sequence[Any]) -> list[Any]:
    """Arguments, of these names, expanded to one shape."""
    try:
        return list(sys.modules["torch"].broadcast_tensors(*tensors))
    except RuntimeError:
        shapes = " and ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(f"{op}: {' and '.join(names)}: shapes must broadcast, got {shapes}") from None
