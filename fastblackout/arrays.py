"""NumPy arrays, torch tensors and DLPack objects behind one face: described for the kernels, made, and given back."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .ground.persistent import is_capturing
from .ground.values import check_mask, from_dlpack, is_tensor, settled

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

# Index: the dtype's code in csrc/cpu/support/view.h.
DTYPES = ("uint8", "int16", "int32", "int64", "float32", "float64", "bfloat16", "float16")
COUNTS = DTYPES[:4]
FLOATS = DTYPES[4:]
_CODES = {name: code for code, name in enumerate(DTYPES)} | {"uint16": 8}  # of guides alone
_WORDS = 1 << 32  # values of a word of the random numbers' counter
_EXACT = {"float32": 1 << 24, "float16": 1 << 11, "bfloat16": 1 << 8}


def exact_counts(dtype: str) -> int:
    """The count up to which a dtype holds every one, at most 2^53: above it a draw could not be given back exactly."""
    return _EXACT.get(dtype, 1 << 53)


# Filled once, whole: torch.compile traces what reads it, warns of a functools.cache, and compiles anew when it grows.
_TORCH_NAMES: dict[Any, str] = {}


def _learn_dtypes() -> None:
    torch = sys.modules["torch"]
    _TORCH_NAMES.update({getattr(torch, name): name for name in DTYPES})


def name_of_torch(dtype: Any) -> str:
    """ "uint8" for torch.uint8. What is traced fills no table: Dynamo may begin anew, and must find all as it was."""
    if not _TORCH_NAMES and not sys.modules["torch"].compiler.is_compiling():
        _learn_dtypes()
    return _TORCH_NAMES.get(dtype) or str(dtype).removeprefix("torch.")


# Not where torch is blocked, or another thread is half through its import: `name_of_torch` learns them then.
if all(hasattr(sys.modules.get("torch"), name) for name in DTYPES):
    _learn_dtypes()

_NUMPY_NAMES = {np.dtype(name): name for name in DTYPES if name != "bfloat16"}  # dtype.name takes a microsecond


def _name_of_numpy(dtype: np.dtype[Any]) -> str:
    return dtype.name if dtype.isnative else str(dtype)


class Array:
    """An array of a caller. `value` is what the kernels read; `give` turns a result of that kind into the caller's.

    came_as: the caller's dtype of counts, where `value` is a copy in another (call/arguments.py), else "".
    """

    value: Any
    dtype: str
    shape: tuple[int, ...]
    # As of a NumPy array: `adopt` and `empty_like` say no more of one.
    is_tensor = False
    device = "cpu"
    came_as = ""
    namespace: Any = None

    def __init__(self, value: Any, op: str, argument: str) -> None:
        torch = sys.modules.get("torch")
        if torch is not None and isinstance(value, torch.Tensor):
            if value.is_nested:
                raise TypeError(f"{op}: {argument}: must be a dense tensor, got a nested tensor")
            self.is_tensor, self.dtype = True, name_of_torch(value.dtype)
            self.device = "cpu" if value.is_cpu else value.device.type
        else:
            if not isinstance(value, np.ndarray):
                value = self._from_other(value, op, argument)
            if type(value) is not np.ndarray:
                check_mask(op, argument, value)
            self.dtype = _NUMPY_NAMES.get(value.dtype) or _name_of_numpy(value.dtype)
        self.value, self.shape = value, tuple(value.shape)

    def _from_other(self, value: Any, op: str, argument: str) -> Any:
        if isinstance(value, np.generic):
            return np.asarray(value)
        if hasattr(value, "__dlpack__") and hasattr(value, "__dlpack_device__"):
            array = from_dlpack(op, argument, value)
            self.namespace = value.__array_namespace__() if hasattr(value, "__array_namespace__") else None
            return array
        raise TypeError(
            f"{op}: {argument}: must be a NumPy array, a torch tensor or a DLPack object, got {type(value).__name__}"
        )

    @property
    def samples(self) -> int:
        return self.shape[0] if self.shape else 1

    def size(self, op: str, argument: str) -> tuple[int, int]:
        """(samples, elements of one). ValueError for more elements than the counter of the random numbers has words."""
        elements = 1
        for length in self.shape[1:]:
            elements *= length
        if elements >= _WORDS:
            raise ValueError(f"{op}: {argument}: elements per sample must be below 2^32, got {elements}")
        return self.shape[0] if self.shape else 1, elements

    def empty_like(self, dtype: str | None = None, shape: tuple[Any, ...] | None = None) -> Array:
        """A new array of this library, of this shape and memory order, or of another shape in C order."""
        other = Array.__new__(Array)
        other.dtype = name = dtype or self.dtype
        other.shape = self.shape if shape is None else shape
        if self.is_tensor:
            other.is_tensor, other.device = True, self.device
            other.value = empty_tensor(self.value, None if name == self.dtype else name, shape)
        elif shape is not None or self.value.flags.c_contiguous:
            other.value = np.empty(other.shape, name)
        else:
            other.value = np.empty_like(self.value, dtype=name, subok=False)
        if self.namespace is not None:
            other.namespace = self.namespace
        return other

    def like(self, value: Any) -> Array:
        """Another array of the same library and the same way back."""
        other = Array(value, "", "")
        other.namespace, other.came_as = self.namespace, self.came_as
        return other

    def give(self, op: str = "fastblackout") -> Any:
        """The value as the caller's kind of array. ValueError for integers that JAX would cut to 32 bits."""
        if self.namespace is None:
            return self.value
        # What came in read-only goes out as a copy: libraries with DLPack before 1.0 take nothing read-only.
        read_only = not self.is_tensor and not self.value.flags.writeable
        made = self.namespace.from_dlpack(self.value.copy() if read_only else self.value)
        cut = self.dtype == "int64" and str(getattr(made, "dtype", "")) == "int32"
        if cut and (wrong := self.value != self.value.astype(np.int32)).any():
            rule = "must fit int32, JAX has int64 only with jax_enable_x64"
            raise ValueError(f"{op}: results: {rule}, got {int(self.value[wrong][0])}")
        return made

    def address(self) -> int:
        return self.value.data_ptr() if self.is_tensor else self.value.__array_interface__["data"][0]

    def strides(self) -> tuple[int, ...]:
        """In elements."""
        if self.is_tensor:
            return self.value.stride()
        size, strides = self.value.itemsize, self.value.strides
        return strides if size == 1 else tuple([stride // size for stride in strides])

    def described(self) -> Any:
        """As the native modules take tensors (and NumPy's own arrays as they are): (address, dtype code, shape, strides
        in elements)."""
        return self.value.data_ptr(), _CODES[self.dtype], self.shape, self.value.stride()

    def numpy(self) -> NDArray[Any]:
        """As NumPy, for the reference: a CPU tensor without copying; bfloat16 as its bit patterns in uint16."""
        if not self.is_tensor:
            return self.value
        value = self.value.detach()
        if self.dtype == "bfloat16":
            import torch

            value = value.view(torch.int16)
            return value.numpy().view(np.uint16)
        return value.numpy()

    def extent(self) -> tuple[int, int]:
        """First and last byte address + 1 that the array touches."""
        low = high = self.address()
        if 0 in self.shape:
            return low, low
        size = self.value.element_size() if self.is_tensor else self.value.itemsize
        # In bytes: a field of a record array has steps that are no whole elements.
        steps = [step * size for step in self.value.stride()] if self.is_tensor else self.value.strides
        for length, step in zip(self.shape, steps, strict=True):
            low += min(0, (length - 1) * step)
            high += max(0, (length - 1) * step)
        return low, high + size


def empty_tensor(like: Any, dtype: str | None = None, shape: tuple[Any, ...] | None = None) -> Any:
    """torch.empty_like, or of a shape; MemoryError, like NumPy's, where the CPU lacks it."""
    torch = sys.modules["torch"]
    chosen = like.dtype if dtype is None else getattr(torch, dtype)
    try:
        return torch.empty_like(like, dtype=chosen) if shape is None else like.new_empty(shape, dtype=chosen)
    except RuntimeError as error:
        if like.device.type != "cpu" or "memory" not in str(error):
            raise
        raise MemoryError(str(error)) from None


def repeated(number: NDArray[Any], samples: int) -> NDArray[Any]:
    """One number, of shape (), as an array (samples,) that holds it once: a step to the next sample is 0 bytes."""
    return np.ndarray((samples,), number.dtype, number, strides=(0,))


def adopt(value: Any, op: str, argument: str, dtypes: Sequence[str]) -> Array:
    """An argument as an Array of one of `dtypes`, on the CPU, a CUDA device or "meta". TypeError or ValueError else."""
    if type(value) is np.ndarray and (dtype := _NUMPY_NAMES.get(value.dtype, "")) in dtypes:
        flags = value.flags
        if flags.c_contiguous and flags.aligned:  # as most are
            array = Array.__new__(Array)
            array.value, array.dtype, array.shape = value, dtype, value.shape
            return array
    array = Array(value, op, argument)
    if array.dtype not in dtypes:
        raise TypeError(f"{op}: {argument}: dtype must be one of {', '.join(dtypes)}, got {array.dtype}")
    if array.device not in ("cpu", "cuda", "meta"):
        raise ValueError(f"{op}: {argument}: must be on the CPU or a CUDA device, got {array.value.device}")
    if array.is_tensor:
        if array.value.layout is not sys.modules["torch"].strided:
            raise TypeError(f"{op}: {argument}: must be a dense tensor, got layout {array.value.layout}")
        return array
    if type(array.value) is not np.ndarray:
        array.value = np.asarray(array.value)  # np.matrix has rows of two dimensions
    flags = array.value.flags
    if not flags.aligned or not (
        flags.c_contiguous or all(stride % array.value.itemsize == 0 for stride in array.value.strides)
    ):
        return array.like(np.array(array.value))  # a field of a record array: its steps are no whole elements
    return array


def adopt_settled(value: Any, op: str, argument: str, dtypes: Sequence[str]) -> Array:
    """`adopt` of a tensor whose memory holds its values, unless torch traces it."""
    return adopt(
        settled(op, argument, value) if is_tensor(value) and not is_traced(value) else value, op, argument, dtypes
    )


def store(result: NDArray[Any], into: Array) -> None:
    """Copies a result of the reference into an output."""
    if not into.is_tensor:
        into.value[...] = result
        return
    import torch

    # ascontiguousarray makes 0-d arrays 1-d
    result = np.ascontiguousarray(result.view(np.int16) if into.dtype == "bfloat16" else result).reshape(into.shape)
    tensor = torch.from_numpy(result)
    into.value.copy_(tensor.view(torch.bfloat16) if into.dtype == "bfloat16" else tensor)


def is_traced(value: Any) -> bool:
    """Whether a tensor stands for others: torch.compile, export, fake and meta tensors, functorch, dispatch modes."""
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling():
        return True
    internals, kind = torch._C, type(value)
    return (
        internals._len_torch_dispatch_stack() > 0
        or internals._functorch.peek_interpreter_stack() is not None
        or (kind is not torch.Tensor and kind.__torch_dispatch__ is not torch.Tensor.__torch_dispatch__)
        or value.is_meta
    )


def in_functorch() -> bool:
    """Whether a transform of torch.func (grad, vmap, ...) is being applied, outside torch.compile."""
    torch = sys.modules["torch"]
    return not torch.compiler.is_compiling() and torch._C._functorch.peek_interpreter_stack() is not None


def same_in_every_slice(value: Any) -> bool:
    """Whether torch.vmap is being applied, outside torch.compile, and this argument is none of those it maps over.

    Of several, one inside the other, the innermost counts.
    """
    torch = sys.modules["torch"]
    if torch.compiler.is_compiling():
        return False
    functorch = torch._C._functorch
    top = functorch.peek_interpreter_stack()
    if top is None or top.key() != functorch.TransformType.Vmap:
        return False
    return not isinstance(value, torch.Tensor) or functorch.maybe_get_level(value) != top.level()


def to_device(value: torch.Tensor, device: Any) -> torch.Tensor:
    """A CPU tensor on a device; to a CUDA device through pinned memory, so that nothing waits."""
    device = sys.modules["torch"].device(device)
    if device.type == "cuda" and not is_traced(value):
        if is_capturing(device):
            raise ValueError(
                "arguments: must be Python numbers or tensors on the device in a CUDA graph, got CPU values"
            )
        value = value.pin_memory()
    return value.to(device, non_blocking=True)
