"""What a call says of its outputs: their names, their dtype, and arrays to write them to."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from ..arrays import FLOATS, Array
from ..ground.values import is_tensor, settled, shown
from ..probability import Prob
from .checks import same_library, same_shape
from .route import need_gradient


def names_of(op: str, argument: str, names: Any, known: Sequence[str]) -> frozenset[str]:
    if type(names) is tuple and names == known:
        return frozenset(known)
    if isinstance(names, str):
        names = (names,)
    if not isinstance(names, Collection) or hasattr(names, "__array__"):
        raise TypeError(f"{op}: {argument}: must be names, some of {', '.join(known)}, got {shown(names)}")
    chosen = list(names)
    if not chosen or not all(isinstance(name, str) and name in known for name in chosen):
        raise ValueError(f"{op}: {argument}: must be some of {', '.join(known)}, got {shown(chosen)}")
    return frozenset(chosen)


def float_dtype(op: str, argument: str, dtype: Any, of: Array) -> str:
    name = dtype if isinstance(dtype, str) else shown(dtype).removeprefix("torch.")
    if isinstance(dtype, np.dtype):
        name = str(dtype)  # the name hides a foreign byte order
    elif isinstance(dtype, type):  # float, np.float32; for None NumPy would say float64
        try:
            name = np.dtype(dtype).name
        except TypeError:
            name = ""
    if name not in FLOATS:
        raise TypeError(f"{op}: {argument}: must be one of {', '.join(FLOATS)}, got {shown(dtype)}")
    if name == "bfloat16" and not of.is_tensor:
        raise TypeError(f"{op}: {argument}: bfloat16 needs torch tensors, NumPy has no such type, got {shown(dtype)}")
    return name


def check_out(op: str, out: Any, like: Array) -> None:
    """TypeError for an `out` beside counts that are copied: what is drawn from the copy is copied, too."""
    if out is not None and like.came_as:
        raise TypeError(f"{op}: out: must be None for {like.came_as} counts, got {type(out).__name__}")


def check_no_gradient(op: str, label: str, value: Any) -> None:
    """ValueError for an output that torch would differentiate by: it would take what is written for its own value."""
    if need_gradient(value):
        raise ValueError(f"{op}: {label}: must not require a gradient, got a tensor that does")


def outputs_of(
    op: str, source: Array, dtypes: dict[str, str], out: Any, in_place: str, read: dict[str, Any]
) -> dict[str, Array | None]:
    """The output arrays of `out`, a tuple of the op's result type with None where one is not wanted, by name.

    `in_place` names the output that may lie exactly where `source` does; nothing else may overlap, nor any of `read`,
    the op's other arguments, of any type.
    """
    check_out(op, out, source)
    into = {name: getattr(out, name, None) for name in dtypes}
    if all(value is None for value in into.values()):
        raise TypeError(f"{op}: out: must have one of {', '.join(dtypes)}, got {type(out).__name__}")
    arrays: dict[str, Array | None] = {}
    taken = [("the input", source), *memory_of(op, read)]
    for name, value in into.items():
        arrays[name] = None
        if value is not None:
            at = source if name == in_place else None
            arrays[name] = array = output_of(op, f"out.{name}", value, dtypes[name], source, taken, at)
            taken.append((f"out.{name}", array))
    return arrays


def memory_of(op: str, arguments: dict[str, Any]) -> list[tuple[str, Array]]:
    """The arrays among arguments, and in pairs."""
    arrays: list[tuple[str, Array]] = []
    for name, value in arguments.items():
        if isinstance(value, Prob):
            arrays += memory_of(op, {f"{name}.p": value.p, f"{name}.q": value.q})
        elif hasattr(value, "__dlpack__"):
            arrays.append((name, Array(value, op, name)))
    return arrays


def out_of(op: str, out: Any, source: Array, name: str, read: dict[str, Any]) -> Array | None:
    """The one output of an op, if given, like `source`, its argument of that name: see outputs_of."""
    if out is None:
        return None
    check_out(op, out, source)
    return output_of(op, "out", out, source.dtype, source, [(name, source), *memory_of(op, read)], source)


def output_of(
    op: str, label: str, value: Any, dtype: str, source: Array, taken: Sequence[tuple[str, Array]], at: Array | None
) -> Array:
    """A given output, like `source`, that overlaps none of `taken`; it may lie exactly where `at` does."""
    check_no_gradient(op, label, value)
    if is_tensor(value) and settled(op, label, value) is not value:
        raise ValueError(f"{op}: {label}: must have its values in memory, got one whose negation or zeros are put off")
    array = Array(value, op, label)
    if array.dtype != dtype:
        raise TypeError(f"{op}: {label}: dtype must be {dtype}, got {array.dtype}")
    same_library(op, label, array, "the input", source)
    same_shape(op, label, array, "the input", source)
    strides = array.strides()
    if not array.is_tensor and not array.value.flags.aligned:
        raise ValueError(f"{op}: {label}: must be aligned to its elements, got address {array.address()}")
    if not array.is_tensor and any(step % array.value.itemsize for step in array.value.strides):
        raise ValueError(f"{op}: {label}: strides must be whole elements, got {array.value.strides} bytes")
    reach = 0  # of the dimensions with smaller strides: a step must go beyond it
    for step, size in sorted((abs(step), size) for step, size in zip(strides, array.shape, strict=True) if size > 1):
        if step <= reach:
            raise ValueError(f"{op}: {label}: elements must not overlap, got strides {strides}")
        reach += step * (size - 1)
    if not array.is_tensor and not array.value.flags.writeable:
        raise ValueError(f"{op}: {label}: must be writable, got a read-only array")
    low, high = array.extent()
    for other_name, other in taken:
        if other.device != array.device:
            continue
        start, end = other.extent()
        exact = other is at and array.address() == other.address()
        if low < end and start < high and not (exact and strides == other.strides()):
            raise ValueError(f"{op}: {label}: must not overlap {other_name}, got overlapping memory")
    return array
