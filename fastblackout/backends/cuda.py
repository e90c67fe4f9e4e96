"""The CUDA C++ kernels over torch tensors: no allocation but scratch, no synchronisation, the tensors' current stream.

Outputs are given; None is not asked for. key: int64 (3,): seed (two's complement), first_sample, call. flag: int32
(1,), where a kernel sets bits 1 (counts), 2 (logits), 4 (births), 8 (probability or rate), 16 (another number of a
sample, or the key) for values that are wrong (wrong_values.py has the rules); results are defined then: counts
are clamped, NaN births nothing, a probability of NaN is 0, a wrong gain makes a loss NaN. p, q, sigma_p, sigma_q,
factor, weight, coefficient: float64 (B,); gain, center, scale: float32 (B,). All on one device, and all but the arrays
contiguous. Matrices: float64 or float32 (K, rows, columns) of any strides; index: int64 (B,), None: K is 1 (one for all
samples) or B.
`module` is fastblackout._cuda; the tests pass fastblackout._simt with CPU tensors.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from ..arrays import DTYPES
from . import available

_CODES: dict[Any, int] = {}  # torch dtype -> code
_CHUNK = 1024


def _module(op: str, module: ModuleType | None) -> ModuleType:
    chosen = available.load("_cuda") if module is None else module
    if isinstance(chosen, str):
        raise RuntimeError(f"{op}: backend: 'cuda' is absent: {chosen}")
    return chosen


def _describe(tensor: Any) -> tuple[int, int, tuple[int, ...], tuple[int, ...]] | None:
    if tensor is None:
        return None
    code = _CODES.get(tensor.dtype)
    if code is None:
        code = _CODES[tensor.dtype] = DTYPES.index(str(tensor.dtype).removeprefix("torch."))
    return tensor.data_ptr(), code, tuple(tensor.shape), tensor.stride()


def _address(tensor: Any) -> int:
    return 0 if tensor is None else tensor.data_ptr()


def _head(op: str, like: Any, key: Any, flag: Any) -> tuple[int, int, int, int, int, int, str]:
    """(device, stream, samples, elements of one, key, flag, name)"""
    device, stream = -1, 0
    if like.is_cuda:
        import torch

        device, stream = like.device.index, torch.cuda.current_stream(like.device).cuda_stream
    samples = like.shape[0] if like.dim() else 1
    return device, stream, samples, like.numel() // samples if samples else 0, _address(key), _address(flag), op


def philox(counter: Any, words: Any, module: ModuleType | None = None) -> None:
    """words, int64 (64, 3, 4): those of counter, int64 (6,) with the key's two last, by each Philox of the kernels."""
    _module("philox", module).philox(_head("philox", words, None, None), counter.data_ptr(), words.data_ptr())


def thin(
    x_0: Any, p: Any, q: Any, key: Any, max_count: int, center: Any, scale: Any, x_t: Any, births: Any,
    model_input: Any, flag: Any, module: ModuleType | None = None,
) -> None:  # fmt: skip
    """x_t ~ Binomial(x_0, p), births = x_0 - x_t, model_input = (x_t - center) * scale."""
    _module("thin", module).thin(
        _head("thin", x_0, key, flag), _describe(x_0), _describe(x_t), _describe(births), _describe(model_input),
        p.data_ptr(), q.data_ptr(), center.data_ptr(), scale.data_ptr(), max_count,
    )  # fmt: skip


def bridge_step(
    x_t: Any, logits: Any, births: Any, p: Any, q: Any, sigma_p: Any, sigma_q: Any, key: Any, max_count: int, gain: Any,
    stochastic: bool, center: Any, scale: Any, x_s: Any, model_input: Any, flag: Any, module: ModuleType | None = None,
) -> None:  # fmt: skip
    """x_s = x_t + Binomial(N, p) - Binomial(x_t, sigma), N = min(round(y), max_count - x_t)."""
    _module("bridge_step", module).bridge(
        _head("bridge_step", x_t, key, flag), tuple(map(_describe, (x_t, logits, births, x_s, model_input))),
        (gain.data_ptr(), center.data_ptr(), scale.data_ptr()), max_count, p.data_ptr(), q.data_ptr(),
        _address(sigma_p), _address(sigma_q), stochastic,
    )  # fmt: skip


def tau_leap_step(
    x_t: Any, logits: Any, births: Any, factor: Any, key: Any, max_count: int, gain: Any, center: Any, scale: Any,
    x_s: Any, model_input: Any, overshoot: Any, flag: Any, module: ModuleType | None = None,
) -> None:  # fmt: skip
    """x_s = x_t + min(Poisson(y * factor), max_count - x_t). overshoot: int64 (B,), added to: pass zeros."""
    _module("tau_leap_step", module).tau_leap(
        _head("tau_leap_step", x_t, key, flag), tuple(map(_describe, (x_t, logits, births, x_s, model_input))),
        (gain.data_ptr(), center.data_ptr(), scale.data_ptr()), max_count, factor.data_ptr(), overshoot.data_ptr(),
    )  # fmt: skip


def birth_loss(
    logits: Any, births: Any, weight: Any, gain: Any, loss: Any, flag: Any, module: ModuleType | None = None
) -> None:
    """loss (float32, (B,)) = weight times the sum over a sample of y - births log y."""
    head = _head("birth_loss", logits, None, flag)
    chunks, sums, done = -(-head[3] // _CHUNK), None, None
    if chunks > 1:
        sums, done = logits.new_empty(head[2] * chunks, dtype=loss.dtype), _counters(logits, head[2])
    _module("birth_loss", module).birth_loss(
        head, _describe(logits), _describe(births), weight.data_ptr(), gain.data_ptr(), loss.data_ptr(),
        _address(sums), _address(done), None,
    )  # fmt: skip


def _counters(like: Any, size: int) -> Any:
    """int32 zeros. They are this call's own: a CUDA graph that is warmed up or captured may own what is allocated in
    the meantime, and launches on other streams may run beside this one."""
    import torch

    return like.new_zeros(size, dtype=torch.int32)


def birth_loss_backward(
    logits: Any, births: Any, coefficient: Any, gain: Any, grad: Any, flag: Any, module: ModuleType | None = None
) -> None:
    """grad = coefficient * (gain * sigmoid(logits) - births * sigmoid / softplus); coefficient = upstream * weight."""
    _module("birth_loss", module).birth_loss(
        _head("birth_loss", logits, None, flag), _describe(logits), _describe(births), coefficient.data_ptr(),
        gain.data_ptr(), 0, 0, 0, _describe(grad),
    )  # fmt: skip


def binomial(count: Any, p: Any, q: Any, key: Any, out: Any, flag: Any, module: ModuleType | None = None) -> None:
    """out ~ Binomial(count, p), element by element; q None: 1 - p in float64."""
    _module("binomial", module).binomial(
        _head("binomial", out, key, flag), _describe(count), _describe(p), _describe(q), _describe(out)
    )


def poisson(rate: Any, key: Any, out: Any, flag: Any, module: ModuleType | None = None) -> None:
    """out ~ Poisson(rate), element by element."""
    _module("poisson", module).poisson(_head("poisson", out, key, flag), _describe(rate), _describe(out))


def categorical(
    state: Any, probs: Any, index: Any, key: Any, out: Any, flag: Any, module: ModuleType | None = None
) -> None:
    """out ~ row `state` of the sample's matrix of probs, element by element; a row that is none gives the state."""
    _module("categorical", module).categorical(
        _head("categorical", state, key, flag), _describe(state), _describe(probs), _address(index), _describe(out)
    )


def categorical_table(
    state: Any, thresholds: Any, guide: Any, index: Any, key: Any, out: Any, flag: Any, module: ModuleType | None = None
) -> None:
    """`categorical` by the thresholds (K, R, S) int64 and guide (K, R, 256) uint16 of build_categorical_table."""
    _module("categorical", module).categorical_table(
        _head("categorical", state, key, flag), _describe(state), _describe(thresholds), thresholds.data_ptr(),
        guide.data_ptr(), _address(index), _describe(out),
    )  # fmt: skip


def build_categorical_table(
    probs: Any, thresholds: Any, guide: Any, flag: Any, module: ModuleType | None = None
) -> None:
    """thresholds and guide of every row of probs."""
    _module("CategoricalTable", module).categorical_table(
        _head("CategoricalTable", probs, None, flag), None, _describe(probs), thresholds.data_ptr(), guide.data_ptr(),
        0, None,
    )  # fmt: skip


def categorical_bridge(
    x_t: Any, x_0: Any, weights: Any, is_logits: bool, before: Any, after: Any, index: Any, key: Any, x_s: Any,
    flag: Any, module: ModuleType | None = None,
) -> None:  # fmt: skip
    """x_s ~ before[x_0, .] after[., x_t], x_0 drawn first where it is None: from weights (B, ..., S)."""
    classes = None if weights is None else weights.select(-1, 0)  # the first of every element
    stride = 1 if weights is None else weights.stride(-1)
    _module("categorical_bridge", module).categorical_bridge(
        _head("categorical_bridge", x_t, key, flag), tuple(map(_describe, (x_t, x_0, classes, x_s))), stride,
        is_logits, _describe(before), _describe(after), _address(index),
    )  # fmt: skip


def transition_rows(p: Any, q: Any, out: Any, flag: Any = None, module: ModuleType | None = None) -> None:
    """out[b, n, k] = Pr(Binomial(n, p_b) = k), float64 (B, S, S)."""
    _module("transition_rows", module).transition_rows(
        _head("transition_rows", p, None, flag), p.data_ptr(), q.data_ptr(), _describe(out)
    )


def thin_log_prob(
    x_t: Any, x_0: Any, p: Any, q: Any, out: Any, flag: Any = None, module: ModuleType | None = None
) -> None:
    """log Binomial(x_0, p) at x_t, float64; p, q: float64 (B,), or of the shape of x_t."""
    _log_prob("thin_log_prob", 0, x_t, x_0, None, p, q, out, flag, module)


def bridge_log_prob(
    x_s: Any, x_t: Any, x_0: Any, p: Any, q: Any, out: Any, flag: Any = None, module: ModuleType | None = None
) -> None:
    """log Binomial(x_0 - x_t, p) at x_s - x_t, float64; p, q: float64 (B,), or of the shape of x_s."""
    _log_prob("bridge_log_prob", 1, x_s, x_t, x_0, p, q, out, flag, module)


def _log_prob(name: str, kind: int, x: Any, a: Any, b: Any, p: Any, q: Any, out: Any, flag: Any, module: Any) -> None:
    pair = [t if t.dim() == x.dim() else t.view(-1, *[1] * (x.dim() - 1)).expand(x.shape) for t in (p, q)]
    _module(name, module).log_prob(_head(name, x, None, flag), kind, tuple(_describe(t) for t in (x, a, b, *pair, out)))
