"""Arrays for the tests of the ops: memory layouts, poisoned outputs, bits, and arrays of another library."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced", "inner", "expanded", "negative", "unaligned")
NUMPY_ONLY = ("negative", "unaligned")  # torch has no such tensors


def storage(dtype):
    """The NumPy dtype that holds a dtype's bits."""
    return np.dtype("uint16" if dtype == "bfloat16" else dtype)


def _view(shape, dtype, how):
    """(buffer, view into it of this shape and layout), filled with a pattern."""
    rank = len(shape)
    axes, larger, cut = list(range(rank)), list(shape), [slice(None)] * rank
    offset = 0
    if how == "channels_last":
        axes = [0, *range(2, rank), 1] if rank > 2 else axes[::-1]
    elif how == "transposed":
        axes = axes[::-1]
    elif how == "sliced":
        larger, cut = [2 * size for size in shape], [slice(0, 2 * size, 2) for size in shape]
    elif how == "inner":
        larger, cut = [size + 3 for size in shape], [slice(1, size + 1) for size in shape]
    elif how == "negative":
        cut = [slice(None, None, -1)] * rank
    elif how == "unaligned":
        offset = 1
    memory = [larger[axis] for axis in axes]
    buffer = np.full(int(np.prod(memory)) * dtype.itemsize + offset, 0xA5, np.uint8)
    array = np.ndarray(memory, dtype, buffer, offset).transpose(np.argsort(axes) if rank else ())
    return buffer, array[(..., *cut)]


def strides_of(shape, how):
    """(elements, first, strides) of a view of this shape in a layout, all in elements of its memory."""
    buffer, view = _view(shape, np.dtype("uint8"), how if how != "expanded" else "contiguous")
    first = view.__array_interface__["data"][0] - buffer.__array_interface__["data"][0] if view.size else 0
    return buffer.size, first, view.strides


def lay(values, how):
    """The values in memory laid out as asked; "expanded" repeats the first entry of the longest dimension."""
    if how == "expanded":
        if values.ndim == 0 or 0 in values.shape:
            return np.asarray(values)
        axis = int(np.argmax(values.shape))
        return np.broadcast_to(values.take([0], axis), values.shape)
    _, view = _view(values.shape, values.dtype, how)
    view[...] = values
    return view


class Poisoned:
    """An output array full of a pattern, in a larger buffer whose other bytes must stay as they are."""

    def __init__(self, shape, dtype, how, library):
        self.buffer, self.view = _view(
            shape, storage(dtype), how if how not in ("expanded", "unaligned") else "contiguous"
        )
        self.value = as_library(self.view, library, dtype)

    def check(self):
        self.view.view(f"u{self.view.itemsize}")[...] = int.from_bytes(b"\xa5" * self.view.itemsize, "little")
        assert (self.buffer == 0xA5).all(), "bytes outside the output were written"


def as_library(array, library, dtype=None):
    """The same memory as a NumPy array or a torch tensor; bfloat16 comes as uint16 bits."""
    if library == "numpy":
        return array
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of expanded arrays, which are read-only: the ops only read them
        if dtype == "bfloat16":
            return torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
        return torch.from_numpy(array)


def bits(array):
    """(dtype, shape, the bytes in C order) of an array of either library; None for None."""
    if array is None:
        return None
    if isinstance(array, torch.Tensor):
        array = array.detach()
        name = str(array.dtype).removeprefix("torch.")
        array = (array.view(torch.int16) if name == "bfloat16" else array).numpy()
    else:
        name = array.dtype.name
    return name, array.shape, array.tobytes()


def same(results, expected, what=""):
    names = getattr(expected, "_fields", range(len(expected)))
    for name, result, wanted in zip(names, results, expected, strict=True):
        assert bits(result) == bits(wanted), f"{what}: {name} differs: {first_difference(result, wanted)}"


def first_difference(a, b):
    a, b = (v if v is None else np.asarray(v.float() if isinstance(v, torch.Tensor) else v) for v in (a, b))
    if a is None or b is None or a.shape != b.shape:
        return f"{a!r} against {b!r}"[:200]
    at = np.argwhere(~((a == b) | ((a != a) & (b != b))))
    if len(at) == 0:
        return "equal values, other bits"
    return f"{len(at)} elements, first {at[0].tolist()}: {a[tuple(at[0])]} against {b[tuple(at[0])]}"


class DLPackOnly:
    """An array of some other library: nothing but DLPack, and a namespace to go back through if asked."""

    def __init__(self, array, namespace=False):
        self.array = array
        if namespace:
            self.__array_namespace__ = lambda: DLPackOnly

    @staticmethod
    def from_dlpack(other):
        return DLPackOnly(np.from_dlpack(other), namespace=True)

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class Through(TorchDispatchMode):
    """Changes nothing, but makes the ops take the path of traced tensors."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {}))
