"""Checks of what ops share: every error names op, argument, rule and value, and comes before anything is written."""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import FLOATS, Array, repeated
from ..ground.values import as_float, is_integer, is_tensor, one_a_sample, real_array, settled, shown
from ..probability import Prob

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..philox import Philox

WORD = 1 << 32
_LARGEST = {"uint8": 255, "int16": (1 << 15) - 1, "int32": (1 << 31) - 1, "int64": (1 << 63) - 1}
MAX_COUNT = 1 << 53  # integers above are not all float64


def largest(dtype: str) -> int:
    """The largest count a dtype of COUNTS holds."""
    return _LARGEST[dtype]


def max_count_of(op: str, max_count: Any, dtype: str) -> int:
    """The declared largest count; 255 for uint8 when none is given."""
    if max_count is None:
        if dtype != "uint8":
            raise ValueError(
                f"{op}: max_count: must be given for {dtype} counts (uint8 alone has a default, 255), got None"
            )
        return 255
    if not is_integer(max_count):
        raise TypeError(f"{op}: max_count: must be an integer, got {shown(max_count)}")
    chosen, limit = int(max_count), min(_LARGEST[dtype], MAX_COUNT)
    if not 1 <= chosen <= limit:
        raise ValueError(f"{op}: max_count: must be in 1..{limit} for {dtype} counts, got {shown(chosen)}")
    return chosen


def check_memory(what: str, size: int) -> None:
    """ValueError where `what` needs more bytes than this machine has, before they are asked for.

    A system may promise memory that is not there, and end the process that uses it.
    """
    try:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # a system that does not tell
        return
    if size > there:
        raise ValueError(f"{what}: must fit the {there} bytes of memory of this machine, got {size}")


def size_of(op: str, argument: str, array: Array, key: Philox | None = None) -> tuple[int, int]:
    """(samples, elements of a sample), which must fit the counter of the random numbers."""
    samples, elements = array.samples, array.elements
    if elements >= WORD:
        raise ValueError(f"{op}: {argument}: elements per sample must be below 2^32, got {elements}")
    if key is not None and key.first_sample + samples > WORD:
        raise ValueError(f"{op}: rng: first_sample + samples must be at most 2^32, got {key.first_sample} + {samples}")
    return samples, elements


def same_shape(op: str, name: str, array: Array, other_name: str, other: Array) -> None:
    if array.shape != other.shape:
        raise ValueError(f"{op}: {name}: shape must be that of {other_name}, {other.shape}, got {array.shape}")
    same_device(op, name, array, other_name, other)


def same_device(op: str, name: str, array: Array, other_name: str, other: Array) -> None:
    if array.device != other.device or (array.device == "cuda" and array.value.device != other.value.device):
        raise ValueError(f"{op}: {name}: must be on the device of {other_name}, {other.device}, got {array.device}")


def per_sample(
    op: str,
    argument: str,
    value: Any,
    samples: int,
    dtype: Any = np.float64,
    low: float = -np.inf,
    open_low: bool = False,
) -> NDArray[Any]:
    """A per-sample parameter as an array (samples,), finite after rounding to `dtype`, and at least `low`.

    value: as in arguments.real_array, of a shape of arguments.one_a_sample. The result is contiguous, or `repeated`; it
    may be shared between calls, which only read it.
    """
    if type(value) is float or type(value) is int:
        number = as_float(op, argument, value)
        # -0.0 is equal to 0.0, so it would find what is kept for that.
        make = _filled if number == 0.0 and math.copysign(1.0, number) < 0.0 else _same_for_all
        return make(op, argument, number, samples, dtype, low, open_low)
    array = one_a_sample(op, argument, real_array(op, argument, value), samples)
    return _filled(op, argument, array, samples, dtype, low, open_low)


def _filled(op: str, argument: str, value: Any, samples: int, dtype: Any, low: float, open_low: bool) -> NDArray[Any]:
    out = np.empty(np.shape(value), dtype)
    with np.errstate(over="ignore"):
        out[...] = value
    wrong = ~((out > low if open_low else out >= low) & np.isfinite(out))
    if wrong.any():
        bound = "" if low == -np.inf else f" and {'above' if open_low else 'at least'} {low:g}"
        raise ValueError(f"{op}: {argument}: must be finite{bound}, got {float(out[wrong][0])!r}")
    return out if out.shape else repeated(out, samples)


_same_for_all = functools.lru_cache(maxsize=256)(_filled)  # a center of 0 and a scale of 1 come with nearly every call


def names_of(op: str, argument: str, names: Any, known: Sequence[str]) -> frozenset[str]:
    if names is known:
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


def outputs_of(
    op: str,
    source: Array,
    dtypes: dict[str, str],
    wanted: Collection[str],
    out: Any,
    in_place: str,
    read: dict[str, Any],
) -> dict[str, Array | None]:
    """Output arrays by name: new ones, or those of `out`, a tuple of the op's result type with None where not wanted.

    `in_place` names the output that may lie exactly where `source` does; nothing else may overlap, nor any of `read`,
    the op's other arguments, of any type.
    """
    if out is None:
        return {name: source.empty_like(dtype) if name in wanted else None for name, dtype in dtypes.items()}
    given = {name: getattr(out, name, None) for name in dtypes}
    if all(value is None for value in given.values()):
        raise TypeError(f"{op}: out: must have one of {', '.join(dtypes)}, got {type(out).__name__}")
    arrays: dict[str, Array | None] = {}
    taken = [("the input", source), *memory_of(op, read)]
    for name, value in given.items():
        arrays[name] = None
        if value is not None:
            at = source if name == in_place else None
            arrays[name] = array = output_of(op, f"out.{name}", value, dtypes[name], source, taken, at)
            taken.append((f"out.{name}", array))
    return arrays


def memory_of(op: str, arguments: dict[str, Any]) -> list[tuple[str, Array]]:
    """The arrays among arguments, those of pairs too."""
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
    return output_of(op, "out", out, source.dtype, source, [(name, source), *memory_of(op, read)], source)


def output_of(
    op: str, label: str, value: Any, dtype: str, source: Array, taken: Sequence[tuple[str, Array]], at: Array | None
) -> Array:
    """A given output, like `source`, that overlaps none of `taken`; it may lie exactly where `at` does."""
    if is_tensor(value) and settled(op, label, value) is not value:
        raise ValueError(f"{op}: {label}: must have its values in memory, got one whose negation or zeros are put off")
    array = Array(value, op, label)
    if array.dtype != dtype:
        raise TypeError(f"{op}: {label}: dtype must be {dtype}, got {array.dtype}")
    if array.is_tensor != source.is_tensor:
        raise TypeError(f"{op}: {label}: must be of the library of the input, got {type(value).__name__}")
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
