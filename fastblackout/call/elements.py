"""The kinds of arguments of element-wise ops, which broadcast to one shape."""

from __future__ import annotations

import numbers
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import Array, adopt, to_device
from ..ground.values import as_float, common_shape, is_number, is_tensor
from ..probability import Prob
from . import checks
from .arguments import Argument, Call
from .checks import check_tensor
from .copied_counts import adopt_counts

Typed = dict[str, tuple[Any, Sequence[str]]]  # values with the dtypes that they may have, by argument


class Elements(Argument):
    """Arguments of an element-wise op that broadcast to one shape: a tuple of as many values as there are names.

    prob: the name of one that may be a Prob, whose p and q then take part, as the torch schema's "Tensor p, Tensor? q".
    """

    def __init__(self, dtypes: dict[str, Sequence[str]], prob: str = "") -> None:
        self.dtypes, self.prob = dtypes, prob
        plain = tuple(name for name in dtypes if name != prob)
        self.names = (*plain, "p", "q") if prob else plain
        self.parts = tuple(f"Tensor{'?' if name == 'q' else ''} {name}" for name in self.names)

    def tensors(self, value: Any) -> list[Any]:
        flat = [part for each in value for part in (each if isinstance(each, Prob) else (each,))]
        return [part for part in flat if is_tensor(part)]

    def canon(self, call: Call, value: Any) -> tuple[Any, ...]:
        arrays = element_arguments(call.op, self._settled(call, value))
        call.begin("arguments", arrays[0])
        return (*arrays, None)[: len(self.names)]

    def from_parts(self, *parts: Any) -> Any:
        if not self.prob:
            return parts
        *plain, p, q = parts
        return (*plain, p if q is None else Prob(p, q))

    def _settled(self, call: Call, value: Any) -> Typed:
        typed: Typed = {}
        for (name, dtypes), each in zip(self.dtypes.items(), value, strict=True):
            if name == self.prob and isinstance(each, Prob):
                for side, part in zip("pq", each, strict=True):
                    typed[f"{name}.{side}"] = call.settle(f"{name}.{side}", part), ("float64",)
            else:
                typed[name] = call.settle(name, each), dtypes
        return typed


class Categories(Elements):
    """Counts, and weights of categories along a last axis, whose other axes broadcast with the counts.

    For ops that are made of others (composed.py): torch knows none that takes them.
    """

    def canon(self, call: Call, value: Any) -> tuple[Array, Array]:
        """The counts (...), and the weights (..., K)."""
        (count_name, counts), (name, floats) = self.dtypes.items()
        count, probs = value
        weights = adopt(call.settle(name, probs), call.op, name, floats)
        checks.has_categories(call.op, name, weights.shape)
        typed = {count_name: (call.settle(count_name, count), counts), name: (weights.value[..., 0], floats)}
        array, column = element_arguments(call.op, typed)
        if weights.is_tensor:
            wide = weights.value.detach().expand(*column.shape, weights.shape[-1])
        else:
            wide = np.broadcast_to(weights.value, (*column.shape, weights.shape[-1]))
        call.begin("arguments", array)
        weights = weights.like(wide)
        weights.size(call.op, name)  # which may be too large
        return array, weights


def element_arguments(op: str, typed: Typed) -> list[Array]:
    """Arguments {name: (value, dtypes)} as arrays of one library and device, expanded (without copying) to one shape.

    Python numbers become 0-d arrays of the first dtype that holds their kind; beside torch tensors, whose history is
    left behind, NumPy's 0-d arrays become tensors, too. TypeError where larger ones meet tensors, ValueError where
    devices differ or shapes do not broadcast.
    """
    torch: Any = sys.modules.get("torch")
    devices = [value.device for value, _ in typed.values() if is_tensor(value)]
    device = devices[0] if devices else None  # torch 2.6 does not trace `next` with a default
    arrays = []
    for name, (value, dtypes) in typed.items():
        if is_number(value) and not isinstance(value, np.generic):
            number, dtype = number_of(op, name, value, dtypes)
            value = np.asarray(number, dtype) if device is None else filled((), number, getattr(torch, dtype), device)
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
        shape = common_shape(op, {name: array.shape for name, array in zip(typed, arrays, strict=True)})
        return [array.like(np.broadcast_to(array.value, shape)) for array in arrays]
    tensors = broadcast_tensors(op, list(typed), [array.value for array in arrays])
    return [array.like(tensor) for array, tensor in zip(arrays, tensors, strict=True)]


def filled(shape: tuple[int, ...], number: Any, dtype: Any, device: Any) -> Any:
    """torch.full, or a product where torch.compile traces: that compiles torch.full anew for every number."""
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling():
        return torch.ones(shape, dtype=dtype, device=device) * number
    return torch.full(shape, number, dtype=dtype, device=device)


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
