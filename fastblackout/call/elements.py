"""The kinds of arguments of element-wise ops, which broadcast to one shape, and ops that are made of draws of others.

The latter have no kernels of their own. Their arguments are checked under their own names, and each of their draws has
a key of its own: the caller's, its seed XOR a constant that is known by the op's stream and the number of the draw.
Philox blocks under different keys are independent as far as any test can tell, so the draws are independent of one
another, and of the draws of any op that is given the caller's key itself.

What stands beside counts element by element, such as a mask, is read here, too, for both libraries.
"""

from __future__ import annotations

import numbers
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..arrays import COUNTS, DTYPES, Array, adopt, is_traced, to_device
from ..backends import select
from ..ground.values import (
    aligned,
    as_float,
    check_real_tensor,
    common_shape,
    is_number,
    is_tensor,
    real_array,
    settled,
)
from ..philox import SEED_END, Philox
from ..probability import Prob
from ..reference.rows import checked_counts, checked_floats
from .arguments import (
    Argument,
    Call,
    Key,
    adopt_counts,
    as_it_came,
    check_sums,
    check_tensor,
    has_categories,
    same_device,
    same_library,
    through_torch,
)

Dtypes = tuple[str, ...]
Typed = dict[str, tuple[Any, Dtypes]]  # values with the dtypes that they may have, by argument
# Python's numbers become the first of these that holds their kind.
ELEMENT_COUNTS = (*COUNTS, "float32", "float64")  # whole numbers
ELEMENT_FLOATS = ("float64", "float32", "bfloat16", "float16")


class Elements(Argument):
    """Arguments of an element-wise op that broadcast to one shape: a tuple of as many values as there are names.

    prob: the name of one that may be a Prob, whose p and q then take part, as the torch schema's "Tensor p, Tensor? q".
    """

    def __init__(self, dtypes: dict[str, Dtypes], prob: str = "") -> None:
        self.dtypes, self.prob, self.arrays = dtypes, prob, tuple(dtypes.values())
        self.names = (*(name for name in dtypes if name != prob), "p", "q") if prob else tuple(dtypes)
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

    For ops that are made of others: torch knows none that takes them.
    """

    def canon(self, call: Call, value: Any) -> tuple[Array, Array]:
        """The counts (...), and the weights (..., K)."""
        (count_name, counts), (name, floats) = self.dtypes.items()
        count, probs = value
        weights = adopt(call.settle(name, probs), call.op, name, floats)
        has_categories(call.op, name, weights.shape)
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


FLOAT32_MAX = (2.0 - 2.0**-23) * 2.0**127


def seed_change(stream: int, number: int) -> int:
    """What the seed of draw `number` of an op differs by: 64 bits, others for every stream and number below 2^24.

    The output function of SplitMix64, which maps 64 bits to 64 bits one to one. Source: Steele, Lea, Flood, Fast
    splittable pseudorandom number generators (OOPSLA 2014). Python integers alone, as torch.compile traces it.
    """
    z = (stream << 24 | number) * 0x9E3779B97F4A7C15 % SEED_END
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % SEED_END
    z = (z ^ z >> 27) * 0x94D049BB133111EB % SEED_END
    return z ^ z >> 31


class Composed:
    """One call of such an op. arrays: its arguments, checked but for their values, in one shape.

    drawn_by: the op whose kernels run. arguments: as an op of one draw would declare them. values_are_here: whether
    their values may be looked at, on the host and untraced.
    """

    def __init__(self, op: str, drawn_by: str, backend: str, arguments: Elements, values: Sequence[Any]) -> None:
        tensors = arguments.tensors(values)
        through = any([through_torch(tensor, backend) for tensor in tensors])
        self.op, self.call = op, Call(op, backend, through, through and is_traced(tensors[0]))
        select.check_name(op, backend)
        self.arrays: Sequence[Array] = arguments.canon(self.call, values)
        first, self.call.first_name = self.arrays[0], arguments.names[0]
        self.values_are_here = first.device == "cpu" and not self.call.traced
        if not through:
            select.select_host(op, backend, drawn_by)
        elif not self.call.traced:
            select.select(op, backend, first.device, self.call.samples * self.call.elements, drawn_by)

    def check_counts(self, name: str, array: Array) -> None:
        """ValueError for counts out of range. Those on a device are looked at by the kernels."""
        if self.values_are_here and array.dtype != "uint8":
            checked_counts(array.numpy(), self.op, name)

    def check_floats(self, name: str, array: Array, rule: str, high: float, low: float = 0.0) -> None:
        """ValueError unless low <= number <= high. Numbers on a device are looked at by the kernels."""
        if self.values_are_here:
            checked_floats(array.numpy(), self.op, name, rule, high, low)

    def check_sums(self, name: str, values: Any) -> None:
        """ValueError unless the sums of `values` over the last axis are finite and above 0."""
        if self.values_are_here:
            check_sums(self.op, name, values)

    def keys(self, stream: int, rng: Any, generator: Any) -> DrawKeys:
        """The keys of its draws. To be asked for last, so that a call that is refused draws no seed."""
        key, call = Key(), self.call
        key.canon(call, (rng, generator))
        # A key of the host stays there: it is cheaper to change before it is on the device.
        call.through_torch = call.through_torch and (call.traced or is_tensor(rng))
        return DrawKeys(stream, key.resolve(call, (rng, generator)))

    def give(self, value: Any) -> Any:
        """A result in the library and the dtype of the first argument."""
        first = self.arrays[0]
        return first.like(as_it_came(value, first) if first.came_as else value).give(self.op)


class DrawKeys:
    """The keys of the draws of one call. key: a fb.Philox, or its tensor."""

    def __init__(self, stream: int, key: Any) -> None:
        self.stream, self.key = stream, key

    def of(self, number: int) -> Any:
        """The key of draw `number`, a fb.Philox or its tensor as the caller's is."""
        key, change = self.key, seed_change(self.stream, number)
        if isinstance(key, Philox):
            return Philox(key.seed ^ change, first_sample=key.first_sample, call=key.call)
        signed = change - SEED_END if change >> 63 else change
        return sys.modules["torch"].cat([key[:1] ^ signed, key[1:]])


def broadcastable(op: str, name: str, value: Any, counts: Any, of: str) -> Any:
    """A number, or an array, of the library of the counts, the argument `of`, that broadcasts to their shape as
    `aligned` reads it. It has no history."""
    if is_number(value):
        return value
    if is_tensor(value) and is_tensor(counts) and (is_traced(counts) or value.device == counts.device):
        check_real_tensor(op, name, value)
        value = (value if is_traced(counts) else settled(op, name, value)).detach()
    else:
        value = real_array(op, name, value)
        if is_tensor(counts):
            value = np.require(value, requirements=("C", "W"))
            value = to_device(sys.modules["torch"].from_numpy(value), counts.device)
    if Array(value, op, name).dtype not in DTYPES:  # int8, say
        value = as_type(value, "float64")
    return value.reshape(aligned(op, name, tuple(value.shape), of, tuple(counts.shape)))


def mask_of(op: str, mask: Any, x: Array, name: str) -> Any:
    """A mask as bools of the library, the device and the shape of x, the argument `name`."""
    array = Array(settled(op, "mask", mask) if is_tensor(mask) and not is_traced(mask) else mask, op, "mask")
    same_library(op, "mask", array, name, x)
    same_device(op, "mask", array, name, x)
    if array.dtype != "bool":
        raise TypeError(f"{op}: mask: must be bools, true where elements take part, got dtype {array.dtype}")
    pairs = zip(array.shape, x.shape, strict=False)
    differs = array.shape not in ((), x.shape)
    if differs and (len(array.shape) != len(x.shape) or any(size not in (1, whole) for size, whole in pairs)):
        rule = f"shape must be (), or have the dimensions of {name} and broadcast to {x.shape}"
        raise ValueError(f"{op}: mask: {rule}, got {array.shape}")
    return library_of(array.value).broadcast_to(array.value, x.shape)


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
        return value.astype(dtype, copy=False)


def library_of(value: Any) -> Any:
    """torch or numpy, whichever an array is of."""
    return sys.modules["torch"] if is_tensor(value) else np
