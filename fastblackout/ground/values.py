"""Names, numbers and tensors as users give them, by the same rules everywhere; errors name argument, rule and value."""

from __future__ import annotations

import numbers
import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SHOWN = 120
_FORMS = "a number or an array or list of real numbers"


def shown(value: Any) -> str:
    """repr in one line of bounded length."""
    try:
        text = repr(value)
    except Exception:  # an int of more than 4,300 digits has none, nor has a tensor under a transform of torch.func
        text = f"a value of type {type(value).__name__}"
    text = " ".join(text.split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def check_name(op: str, argument: str, value: Any, names: Sequence[str]) -> None:
    """ValueError unless value is one of the names. Values of any type come here: an array compares to no one bool."""
    if not isinstance(value, str) or value not in names:
        raise ValueError(f"{op}: {argument}: must be one of {', '.join(names)}, got {shown(value)}")


def check_mask(op: str, argument: str, value: Any) -> None:
    """TypeError for a masked array, of which only the values would be read."""
    if type(value) is not np.ndarray and isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{op}: {argument}: must not be masked, fill or compress it first, got a masked array")


def is_number(value: Any) -> bool:
    """Whether value is one real number: neither a bool nor a span of time, which NumPy counts among the integers."""
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.timedelta64))


def is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and is_number(value)


def check_integer(op: str, argument: str, value: Any, low: int, high: int) -> int:
    """value as a Python int in low..high; TypeError for anything but an int (and for bool), ValueError by range."""
    if not is_integer(value):
        raise TypeError(f"{op}: {argument}: must be an integer, got {shown(value)}")
    if not low <= value <= high:
        raise ValueError(f"{op}: {argument}: must be in {low}..{high}, got {shown(value)}")
    return int(value)


def is_array(value: Any) -> bool:
    """Whether value is a list or tuple, or an array of any library, and not a number of NumPy's."""
    if isinstance(value, (int, float, np.generic)):  # first: numbers may be symbols of torch.compile
        return False
    if isinstance(value, (list, tuple)) or is_tensor(value):  # a nested tensor refuses to be asked for its shape
        return True
    return hasattr(value, "shape") or hasattr(value, "__dlpack__")


def shape_of(value: Any) -> tuple[int, ...]:
    """The shape of an array of any library, or of a list or tuple, whose first rows tell; () of anything else."""
    if isinstance(value, (int, float)) or (is_tensor(value) and value.is_nested):
        return ()
    if isinstance(value, (list, tuple)):
        return (len(value), *(shape_of(value[0]) if value else ()))
    if not hasattr(value, "shape") and hasattr(value, "__dlpack__"):
        try:
            value = from_dlpack("", "", value)
        except TypeError:  # it is refused by name where it is read
            return ()
    return tuple(getattr(value, "shape", ()))


def as_float(op: str, argument: str, value: Any) -> float:
    """A real number as a float. ValueError where none is so large."""
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"{op}: {argument}: must be finite in float64, got {shown(value)}") from None


def is_tensor(value: Any) -> bool:
    """Whether value is a torch tensor, without importing torch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def array_of(value: Any) -> NDArray[Any]:
    """A tensor on any device, or what NumPy takes, as an array."""
    return value.detach().cpu().numpy() if is_tensor(value) else np.asarray(value)


def real_array(op: str, argument: str, value: Any, forms: str = _FORMS) -> NDArray[Any]:
    """Real numbers as a NumPy array: a number, a list or tuple of numbers, or an array or CPU tensor of any real dtype.

    Tensors keep their dtype, but floats of 16 bits and fewer become float32: a thread that torch has told to take
    subnormal numbers as 0 would lose them in float64. TypeError names `forms` for what is none of these.
    """
    if is_tensor(value):
        check_real_tensor(op, argument, value)
        if value.device.type != "cpu":
            raise ValueError(f"{op}: {argument}: must be on the CPU, got a tensor on {value.device}")
        value = settled(op, argument, value).detach()
        narrow = value.is_floating_point() and value.dtype.itemsize < 4
        return (value.float() if narrow else value).numpy()
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):  # a Prob is no list of two numbers
        return _from_list(op, argument, value)
    if type(value).__name__ == "Series":  # of pandas or polars
        value = value.to_numpy()
    if is_number(value) and not isinstance(value, np.generic):
        return np.array(as_float(op, argument, value))
    if not isinstance(value, (np.ndarray, np.generic)):
        if not hasattr(value, "__dlpack__"):
            raise TypeError(f"{op}: {argument}: must be {forms}, got {type(value).__name__}")
        value = from_dlpack(op, argument, value)
    check_mask(op, argument, value)
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{op}: {argument}: must be real numbers, got dtype {array.dtype}")
    if array.dtype.itemsize > 8 or not array.dtype.isnative:
        return array.astype(np.float64)  # torch has no such dtypes
    return array


def _from_list(op: str, argument: str, value: Any) -> NDArray[np.float64]:
    for each in _leaves(value):
        if not is_number(each):
            raise TypeError(f"{op}: {argument}: must hold real numbers, got {shown(each)}")
    try:
        return np.array(value, np.float64)
    except (ValueError, OverflowError):
        raise ValueError(f"{op}: {argument}: must be rows of equal length, in float64, got {shown(value)}") from None


def _leaves(value: Any) -> Iterator[Any]:
    for each in value:
        if isinstance(each, (list, tuple)):
            yield from _leaves(each)
        else:
            yield each


def from_dlpack(op: str, argument: str, value: Any) -> NDArray[Any]:
    """A DLPack object on the CPU as a NumPy array on its memory."""
    try:
        device = value.__dlpack_device__()
        if device[0] == 1:  # kDLCPU
            return np.from_dlpack(value)
    except Exception as error:  # of the other library, whatever it raises
        reason = " ".join(str(error).split())
        raise TypeError(f"{op}: {argument}: must be readable by DLPack, got {type(value).__name__}: {reason}") from None
    raise TypeError(
        f"{op}: {argument}: DLPack objects must be on the CPU, or be made tensors by torch.from_dlpack, got {device}"
    )


def check_real_tensor(op: str, argument: str, value: Any) -> None:
    """TypeError for a tensor of bools or of complex numbers, of which a conversion would drop a part."""
    if value.dtype is sys.modules["torch"].bool or value.is_complex() or value.is_quantized:
        raise TypeError(f"{op}: {argument}: must be real numbers, got dtype {value.dtype}")


def place_of(wrong: Any) -> str:
    """ " at sample 2, element 7", where the first of these bools is true, of NumPy or of a CPU tensor, (B, ...)."""
    found = np.asarray(wrong)
    if not found.ndim:
        return ""
    sample, element = divmod(int(found.argmax()), found[0].size)
    return f" at sample {sample}, element {element}"


def aligned(
    op: str, argument: str, given: tuple[int, ...], of: str, shape: tuple[int, ...], within: bool = True
) -> tuple[int, ...]:
    """How numbers of the shape `given` stand beside counts, the argument `of`, of this shape: their shape, made one of
    as many dimensions.

    The one rule of all ops that draw or add up by samples. (), (B,) and (B, 1, ..., 1), with the dimensions of the
    counts, are numbers for each sample, and (1, 1, ..., 1) is one for all. Every other array has the dimensions of the
    counts, broadcasts to them, and differs within a sample; within: whether the op allows that. ValueError for all
    else.
    """
    samples, others = (shape[0] if shape else 1), shape[1:]
    if not given:
        return (1,) * len(shape)
    if len(given) == 1:
        if given[0] == samples:
            return (samples, *(1 for _ in others)) if shape else ()
    elif len(given) == len(shape) and given[0] in (1, samples):
        allowed = others if within else (1 for _ in others)
        if all(size in (1, most) for size, most in zip(given[1:], allowed, strict=True)):
            return given
    forms = f"(), ({samples},) or {(samples, *(1 for _ in others))}" if others else f"() or ({samples},)"
    rule = f"shape must be {forms} for a number for each sample"
    if within and others:
        rule += f", or have the {len(shape)} dimensions of {of} and broadcast to {tuple(shape)}"
    raise ValueError(f"{op}: {argument}: {rule}, got {tuple(given)}")


def one_a_sample(op: str, argument: str, value: Any, samples: int) -> Any:
    """An array or tensor of shape (), (B,) or (B, 1, ..., 1), B the number of samples, as () or (B,).

    (1, 1, ..., 1) is one number for all. Beside counts `aligned` says first how many dimensions there may be.
    """
    shape = tuple(value.shape)
    if len(shape) > 1 and all(size == 1 for size in shape):
        return value.reshape(())
    if shape and (shape[0] != samples or any(size != 1 for size in shape[1:])):
        rule = f"shape must be (), ({samples},) or ({samples}, 1, ..., 1)"
        raise ValueError(f"{op}: {argument}: {rule}, got {shape}")
    return value.reshape(samples) if len(shape) > 1 else value


def is_spread(value: Any) -> bool:
    """Whether it is an array, or a Prob of arrays, of numbers that differ within a sample: of several in a dimension
    after the first."""
    parts = value if isinstance(value, tuple) and hasattr(value, "_fields") else (value,)
    return any(size != 1 for part in parts for size in shape_of(part)[1:])


def common_shape(op: str, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """What the shapes of arguments broadcast to."""
    given = list(shapes.values())
    try:
        return given[0] if len(set(given)) == 1 else np.broadcast_shapes(*given)
    except ValueError:
        names = " and ".join(shapes)
        raise ValueError(f"{op}: {names}: shapes must broadcast, got {' and '.join(map(str, given))}") from None


def settled(op: str, argument: str, value: Any) -> Any:
    """A tensor whose memory holds its values: torch may have put off a negation, or the writing of zeros.

    TypeError for one without values of its own there. Tensors on "meta" pass: they are refused by device.
    """
    torch = sys.modules["torch"]
    if value.layout is not torch.strided or value.is_nested or value.is_quantized:
        kind = "a nested tensor" if value.is_nested else f"dtype {value.dtype}, layout {value.layout}"
        raise TypeError(f"{op}: {argument}: must be a dense tensor, got {kind}")
    if value.is_meta:
        return value
    if value.is_neg():
        value = value.resolve_neg()
    elif value._is_zerotensor():
        value = value.clone()
    if _stands_for_others(torch, value):
        raise TypeError(f"{op}: {argument}: must have its values in memory, got a {type(value).__name__} without any")
    return value


def _stands_for_others(torch: Any, value: Any) -> bool:
    """A FakeTensor or another class that handles operations itself, or what a transform of torch.func has wrapped."""
    if type(value).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        return True
    try:
        return value.data_ptr() == 0 and value.numel() > 0
    except RuntimeError:
        return True


def check_memory(what: str, size: int) -> None:
    """ValueError where `what` needs more bytes than this machine has free, before they are asked for.

    A system may promise memory that is not there, and end the process that uses it.
    """
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            there = next(int(line.split()[1]) << 10 for line in file if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):  # not Linux
        try:
            there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        except (AttributeError, ValueError, OSError):  # a system that does not tell
            return
    if size > there:
        raise ValueError(f"{what}: must fit the {there} bytes of memory that this machine has free, got {size}")
