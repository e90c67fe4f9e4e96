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
from . import available

_CODES: dict[Any, int] = {}  # torch dtype -> code
_CHUNK = 1024


def _launch(kernel: str, op: str, fields: tuple[Any, ...], flag: Any, module: ModuleType | None) -> None:
    """The kernel on the fields of the op; the first says where it runs and on how much."""
    chosen = available.load("_cuda") if module is None else module
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
        code = _CODES[field.dtype] = DTYPES.index(name) if name in DTYPES else 0  # a guide is read without one
    return field.data_ptr(), code, tuple(field.shape), field.stride()


def _kernel(name: str, op: str = "") -> Callable[..., None]:
    """The function of a kernel that takes the fields as they are. op: what an error calls it."""

    def function(*fields: Any, module: ModuleType | None = None) -> None:
        *given, flag = fields
        _launch(name, op or name, tuple(given), flag, module)

    function.__name__ = name
    return function


philox = _kernel("philox")  # words, int64 (64, 3, 4), by each Philox, of counter, int64 (6,): its four, the key's two
thin = _kernel("thin")
bridge_step = _kernel("bridge_step")
tau_leap_step = _kernel("tau_leap_step")  # overshoot is added to: pass zeros
birth_loss_backward = _kernel("birth_loss_backward", "birth_loss")
binomial = _kernel("binomial")
poisson = _kernel("poisson")
categorical = _kernel("categorical")
categorical_table = _kernel("categorical_table", "categorical")
build_categorical_table = _kernel("build_categorical_table", "CategoricalTable")
transition_rows = _kernel("transition_rows")


def birth_loss(*fields: Any, module: ModuleType | None = None) -> None:
    """With scratch where a sample has more than one chunk."""
    logits, *_, loss, flag = fields
    samples = logits.shape[0]
    chunks, scratch = -(-logits.numel() // max(samples, 1) // _CHUNK), (None, None)
    if chunks > 1:
        scratch = logits.new_empty(samples * chunks, dtype=loss.dtype), _counters(logits, samples)
    _launch("birth_loss", "birth_loss", (*fields[:-1], *scratch), flag, module)


def _counters(like: Any, size: int) -> Any:
    """int32 zeros. They are this call's own: a CUDA graph that is warmed up or captured may own what is allocated in
    the meantime, and launches on other streams may run beside this one."""
    import torch

    return like.new_zeros(size, dtype=torch.int32)


def categorical_bridge(*fields: Any, module: ModuleType | None = None) -> None:
    """Of the weights (B, ..., S) the kernel takes those of the first class, and the step to the next."""
    x_t, x_0, weights, *rest, flag = fields
    first, stride = (None, 1) if weights is None else (weights.select(-1, 0), weights.stride(-1))
    _launch("categorical_bridge", "categorical_bridge", (x_t, x_0, first, stride, *rest), flag, module)


def thin_log_prob(x_t: Any, x_0: Any, *rest: Any, module: ModuleType | None = None) -> None:
    """rest: p and q, float64 (B,) or of the shape of x_t, out, flag."""
    _log_prob("thin_log_prob", (x_t, x_0, None), rest, module)


def bridge_log_prob(x_s: Any, x_t: Any, x_0: Any, *rest: Any, module: ModuleType | None = None) -> None:
    """rest: p and q, float64 (B,) or of the shape of x_s, out, flag."""
    _log_prob("bridge_log_prob", (x_s, x_t, x_0), rest, module)


def _log_prob(op: str, counts: tuple[Any, ...], rest: tuple[Any, ...], module: ModuleType | None) -> None:
    x, (*pair, out, flag) = counts[0], rest
    pair = [t if t.dim() == x.dim() else t.view(-1, *[1] * (x.dim() - 1)).expand(x.shape) for t in pair]
    _launch("log_prob", op, (*counts, *pair, out), flag, module)
