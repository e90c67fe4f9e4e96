"""What binomial and poisson share: broadcasting of element-wise arguments, of any kind, to one shape."""

from __future__ import annotations

import numbers
import sys
from typing import Any

import numpy as np

from .. import checks, dispatch
from ..arrays import Array, adopt, empty_tensor, store
from ..philox import Philox


def element_arguments(op: str, given: dict[str, tuple[Any, tuple[str, ...]]]) -> list[Array]:
    """Arguments {name: (value, dtypes)} as arrays of one library, broadcast (without copying) to one shape.

    Python numbers and NumPy scalars become 0-d arrays of the first dtype that holds their kind. TypeError where NumPy
    arrays and torch tensors meet, ValueError where shapes do not broadcast.
    """
    torch = sys.modules.get("torch")
    tensors = torch is not None and any(isinstance(value, torch.Tensor) for value, _ in given.values())
    arrays = []
    for name, (value, dtypes) in given.items():
        if isinstance(value, numbers.Real) and not isinstance(value, (bool, np.generic)):
            value = np.asarray(value, dtype=None if isinstance(value, numbers.Integral) else np.float64)
            if value.dtype.name not in dtypes and value.dtype.kind in "iu" and "float64" in dtypes:
                value = value.astype(np.float64)
        if tensors and isinstance(value, (np.ndarray, np.generic)) and value.ndim == 0:
            value = torch.from_numpy(np.asarray(value))  # type: ignore[union-attr]
        arrays.append(adopt(value, op, name, dtypes))
        if arrays[-1].is_tensor != tensors:
            raise TypeError(f"{op}: {name}: must be a torch tensor like the other argument, got {type(value).__name__}")
    shapes = [array.shape for array in arrays]
    try:
        shape = shapes[0] if len(set(shapes)) == 1 else np.broadcast_shapes(*shapes)
    except ValueError:
        names = " and ".join(given)
        raise ValueError(f"{op}: {names}: shapes must broadcast, got {' and '.join(map(str, shapes))}") from None
    devices = {array.device for array in arrays}
    if len(devices) > 1:
        raise ValueError(f"{op}: {' and '.join(given)}: must be on one device, got {sorted(devices)}")
    return [array if array.shape == shape else array.like(_expand(array, shape)) for array in arrays]


def _expand(array: Array, shape: tuple[int, ...]) -> Any:
    return array.value.detach().expand(shape) if array.is_tensor else np.broadcast_to(array.value, shape)


def dense_like(array: Array, dtype: str) -> Array:
    """An output of this shape in C order: `array` may be a broadcast view, whose memory order means nothing."""
    if array.is_tensor:
        return array.like(empty_tensor(array.value, dtype, dense=True))
    return array.like(np.empty(array.shape, dtype))


def prepare(op: str, first: Array, key: Philox, backend: str) -> tuple[str, tuple[int, int]]:
    """(backend, size) of an element-wise op."""
    chosen = dispatch.choose_host(op, backend)
    return chosen, checks.size_of(op, "arguments", first, key)


def rows(array: Array, size: tuple[int, int]) -> np.ndarray:
    """(samples, elements) for the reference."""
    return array.numpy().reshape(size)


def store_rows(result: np.ndarray, out: Array) -> None:
    store(result.reshape(out.shape).astype(out.dtype), out)
