"""The CUDA C++ kernels over torch tensors: no allocation but scratch, no synchronisation, the tensors' current stream.

A function takes an op's arguments as its torch schema has them, in that order, then its outputs, None where one is not
asked for, then a flag. key: int64 (3,): seed (two's complement), first_sample, call. flag: int32 (1,) or None, where a
kernel sets bits 1 (counts), 2 (logits), 4 (births), 8 (probability or rate), 16 (another number of a sample, or the
key) for values that are wrong (wrong_values.py has the rules); results are defined then: counts are clamped, NaN births
nothing, a probability of NaN is 0, a wrong gain makes a loss NaN. p, q, sigma_p, sigma_q, factor, weight, coefficient:
float64 (B,); gain, center, scale: float32 (B,). All on one device, and all but the arrays contiguous. Matrices: float64
or float32 (K, rows, columns) of any strides; index: int64 (B,), None: K is 1 (one for all samples) or B.
`module` is fastblackout._cuda; the tests pass fastblackout._simt with CPU tensors.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..arrays import DTYPES
from ..reference.birth_loss import CHUNK
from . import available

_CODES: dict[Any, int] = {}  # torch dtype -> code
ALONE = {"birth_loss": 8, "posterior_loss": 1}  # how many chunks of a sample need no scratch: a block takes them
# What errors call an op, where that is not its kernel.
_SAID_AS = {
    "birth_loss_backward": "birth_loss",
    "energy_loss_backward": "energy_loss",
    "posterior_loss_backward": "posterior_loss",
    "build_categorical_table": "CategoricalTable",
    "categorical_table": "categorical",
}


def _launch(kernel: str, fields: tuple[Any, ...], flag: Any, module: ModuleType | None) -> None:
    """The kernel on the fields of the op; the first says where it runs and on how much."""
    chosen, op = available.load("_cuda") if module is None else module, _SAID_AS.get(kernel, kernel)
    if isinstance(chosen, str):
        raise RuntimeError(f"{op}: backend: 'cuda' is absent: {chosen}")
    like, device, stream = fields[0], -1, 0
    if like.is_cuda:
        import torch

        device, stream = like.device.index, torch.cuda.current_stream(like.device).cuda_stream
    samples = like.shape[0] if like.dim() else 1
    size = samples, like.numel() // samples if samples else 0
    head = device, stream, *size, 0 if flag is None else flag.data_ptr(), op
    getattr(chosen, kernel)(head, *map(_described, fields))


def _described(field: Any) -> Any:
    """A tensor as (address, dtype code, shape, strides); other fields as they are."""
    if field is None or isinstance(field, (bool, int)):
        return field
    code = _CODES.get(field.dtype)
    if code is None:
        name = str(field.dtype).removeprefix("torch.")
        code = _CODES[field.dtype] = DTYPES.index(name) if name in DTYPES else 8  # uint16, of a guide
    return field.data_ptr(), code, tuple(field.shape), field.stride()


def __getattr__(name: str) -> Callable[..., None]:
    """The function of a kernel of fastblackout._cuda that takes the fields as they are."""
    if name.startswith("__"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def function(*fields: Any, module: ModuleType | None = None) -> None:
        *given, flag = fields
        _launch(name, tuple(given), flag, module)

    return function


def _loss(name: str) -> Callable[..., None]:
    """The function of a loss, with scratch for the sums of the chunks of a sample, whose first pass ends in float32.

    A sample without elements has a chunk.
    """

    def function(*fields: Any, module: ModuleType | None = None) -> None:
        *given, flag = fields
        first, sums, scratch = given[0], given[-1], (None, None)
        samples = first.shape[0]
        chunks = max(-(-first.numel() // max(samples, 1) // CHUNK), 1)
        if chunks > ALONE.get(name, 0):
            import torch

            # Counters tell which of several chunks is done last. They are this call's own: a CUDA graph that is warmed
            # up or captured may own what is allocated in the meantime, and launches on other streams may run beside.
            counters = first.new_zeros(samples, dtype=torch.int32) if chunks > 1 else None
            scratch = first.new_empty(sums.numel() * chunks, dtype=torch.float32), counters
        _launch(name, (*given, *scratch), flag, module)

    return function


birth_loss, energy_loss, posterior_loss = map(_loss, ("birth_loss", "energy_loss", "posterior_loss"))
