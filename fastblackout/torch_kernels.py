"""Kernels on real tensors, with tensor arguments: the device backends and the host's kernels behind one face.

p, q, factor, weight and coefficient: float64 (B,); center, scale, gain: float32 (B,); key: int64 (3,); all on the
device of the counts. Outputs are given, None where not asked for. On the CPU values are checked before anything is
written; a device backend clamps wrong ones and sets its flag (values.flag).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from .arrays import Array
from .backends import select
from .backends.wrong_values import check_values, flag
from .call import checks
from .call.keys import from_tensor
from .call.probabilities import as_prob
from .ops.binomial import run as run_binomial
from .ops.birth_loss import gradient_of, loss_of
from .ops.bridge import run as run_bridge
from .ops.poisson import run as run_poisson
from .ops.reverse import Step
from .ops.tau_leap import run as run_tau_leap
from .ops.thin import run as run_thin
from .philox import Philox
from .probability import Prob


def thin(
    backend: str, x_0: Tensor, p: Tensor, q: Tensor, key: Tensor, max_count: int, center: Tensor, scale: Tensor,
    x_t: Tensor | None, births: Tensor | None, model_input: Tensor | None,
) -> None:  # fmt: skip
    op = "thin"
    chosen = select.select(op, backend, x_0.device.type, x_0.numel())
    if chosen in select.DEVICE_BACKENDS:
        args = (x_0, p, q, key, max_count, center, scale, x_t, births, model_input)
        return _launch(chosen, op, "thin", x_0, args)
    x, philox, size = _host(op, "x_0", x_0, key)
    pair = as_prob(Prob(p, q), size[0], op, "alive")
    made = {"x_t": _array(x_t), "births": _array(births), "model_input": _array(model_input)}
    centers, scales = (_floats(op, *named, size[0]) for named in (("center", center), ("scale", scale)))
    run_thin(chosen, x, pair, philox, size, max_count, centers, scales, made, _dtype(made["model_input"]))


def bridge_step(
    backend: str, x_t: Tensor, logits: Tensor | None, births: Tensor | None, p: Tensor, q: Tensor,
    sigma_p: Tensor | None, sigma_q: Tensor | None, key: Tensor, max_count: int, gain: Tensor, stochastic: bool,
    center: Tensor, scale: Tensor, x_s: Tensor | None, model_input: Tensor | None,
) -> None:  # fmt: skip
    op = "bridge_step"
    chosen = select.select(op, backend, x_t.device.type, x_t.numel())
    if chosen in select.DEVICE_BACKENDS:
        args = (x_t, logits, births, p, q, sigma_p, sigma_q, key, max_count, gain, stochastic, center, scale, x_s)
        return _launch(chosen, op, "bridge", x_t, (*args, model_input))
    step = _step(op, chosen, x_t, logits, births, key, max_count, gain, center, scale, x_s, model_input)
    birth = as_prob(Prob(p, q), step.size[0], op, "step")
    death = None if sigma_p is None else as_prob(Prob(sigma_p, sigma_q), step.size[0], op, "attrition")
    run_bridge(step, birth, death, stochastic)


def tau_leap_step(
    backend: str, x_t: Tensor, logits: Tensor | None, births: Tensor | None, factor: Tensor, key: Tensor,
    max_count: int, gain: Tensor, center: Tensor, scale: Tensor, overshoot: Tensor, x_s: Tensor | None,
    model_input: Tensor | None,
) -> None:  # fmt: skip
    """overshoot: int64 (B,), zeros."""
    op = "tau_leap_step"
    chosen = select.select(op, backend, x_t.device.type, x_t.numel())
    if chosen in select.DEVICE_BACKENDS:
        args = (x_t, logits, births, factor, key, max_count, gain, center, scale, x_s, model_input, overshoot)
        return _launch(chosen, op, "tau_leap", x_t, args)
    step = _step(op, chosen, x_t, logits, births, key, max_count, gain, center, scale, x_s, model_input)
    overshoot.copy_(torch.from_numpy(run_tau_leap(step, checks.per_sample(op, "step", factor, step.size[0], low=0.0))))


def birth_loss(backend: str, logits: Tensor, births: Tensor, weight: Tensor, gain: Tensor) -> Tensor:
    """(B,) float32."""
    op = "birth_loss"
    chosen = select.select(op, backend, logits.device.type, logits.numel())
    if chosen in select.DEVICE_BACKENDS:
        loss = logits.new_empty(logits.shape[0], dtype=torch.float32)
        _launch(chosen, op, "birth_loss", logits, (logits, births, weight, gain, loss))
        return loss
    weights, gains = _loss_factors("weight", weight, gain, logits)
    return torch.from_numpy(loss_of(Array(logits, op, "logits"), Array(births, op, "births"), weights, gains, chosen))


def birth_loss_backward(backend: str, logits: Tensor, births: Tensor, coefficient: Tensor, gain: Tensor) -> Tensor:
    """Like logits; coefficient: upstream gradient times weight."""
    op = "birth_loss"
    chosen = select.select(op, backend, logits.device.type, logits.numel())
    if chosen in select.DEVICE_BACKENDS:
        grad = torch.empty_like(logits)
        _launch(chosen, op, "birth_loss_grad", logits, (logits, births, coefficient, gain, grad))
        return grad
    # No check of the coefficient: an upstream gradient of a scaled loss may well be infinite.
    gains = checks.per_sample(op, "gain", gain, logits.shape[0], np.float32, low=0.0, open_low=True)
    factors = np.ascontiguousarray(coefficient.numpy())
    return gradient_of(Array(logits, op, "logits"), Array(births, op, "births"), factors, gains, chosen).value


def binomial(backend: str, count: Tensor, p: Tensor, q: Tensor | None, key: Tensor) -> Tensor:
    """All of one shape, possibly expanded; the result is dense."""
    op = "binomial"
    chosen = select.select(op, backend, count.device.type, count.numel())
    out = torch.empty(count.shape, dtype=count.dtype, device=count.device)
    if chosen in select.DEVICE_BACKENDS:
        _launch(chosen, op, op, count, (count, p, q, key, out))
        return out
    n, philox, size = _host(op, "arguments", count, key)
    run_binomial(chosen, n, Array(p, op, "prob"), _array(q), philox, size, Array(out, op, "out"))
    return out


def poisson(backend: str, rate: Tensor, key: Tensor) -> Tensor:
    """int64, dense."""
    op = "poisson"
    chosen = select.select(op, backend, rate.device.type, rate.numel())
    out = torch.empty(rate.shape, dtype=torch.int64, device=rate.device)
    if chosen in select.DEVICE_BACKENDS:
        _launch(chosen, op, op, rate, (rate, key, out))
        return out
    rates, philox, size = _host(op, "arguments", rate, key)
    run_poisson(chosen, rates, philox, size, Array(out, op, "out"))
    return out


def _launch(chosen: str, op: str, kernel: str, like: Tensor, arguments: tuple[Any, ...]) -> None:
    """Calls a device backend. Arrays without dimensions go as one row of one element."""
    rows = [a.reshape(1) if isinstance(a, Tensor) and a.ndim == 0 else a for a in arguments]
    getattr(select.device_module(chosen), kernel)(*rows, flag(op, like.device))
    if like.device.type == "cpu":  # Triton's interpreter
        check_values.check()


def _array(tensor: Tensor | None) -> Array | None:
    return None if tensor is None else Array(tensor, "", "")


def _dtype(model_input: Array | None) -> str:
    return "float32" if model_input is None else model_input.dtype


def _host(op: str, name: str, counts: Tensor, key: Tensor) -> tuple[Array, Philox, tuple[int, int]]:
    array, philox = Array(counts, op, name), from_tensor(key, op)
    return array, philox, checks.size_of(op, name, array, philox)


def _floats(op: str, name: str, value: Tensor, samples: int, low: float = -np.inf) -> Any:
    return checks.per_sample(op, name, value, samples, np.float32, low)


def _step(
    op: str, chosen: str, x_t: Tensor, logits: Tensor | None, births: Tensor | None, key: Tensor, max_count: int,
    gain: Tensor, center: Tensor, scale: Tensor, x_s: Tensor | None, model_input: Tensor | None,
) -> Step:  # fmt: skip
    x, philox, size = _host(op, "x_t", x_t, key)
    gains = _floats(op, "gain", gain, size[0], low=0.0)
    centers, scales = (_floats(op, *named, size[0]) for named in (("center", center), ("scale", scale)))
    made = {"x_s": _array(x_s), "model_input": _array(model_input)}
    dtype = _dtype(made["model_input"])
    return Step(
        op, chosen, philox, size, x, _array(logits), _array(births), made, max_count, gains, centers, scales, dtype
    )


def _loss_factors(name: str, factor: Tensor, gain: Tensor, logits: Tensor) -> tuple[Any, Any]:
    samples = logits.shape[0]
    return (
        checks.per_sample("birth_loss", name, factor, samples),
        checks.per_sample("birth_loss", "gain", gain, samples, np.float32, low=0.0, open_low=True),
    )
