"""The public ops on tensors that the direct path cannot read: metadata checked, numbers made tensors, kernels called.

Everything here can be traced: no value of a tensor is looked at. Where torch traces, the registered ops are called
(torch_ops); else, on a device, the kernels themselves, which also write into `out`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import torch_kernels, torch_loss, torch_ops
from .arrays import COUNTS, DTYPES, FLOATS, Array, adopt, is_traced
from .backends.select import check_name
from .call import checks
from .call.elements import number_of
from .ground.values import is_number
from .ops.binomial import ELEMENT_COUNTS, PROBS
from .ops.bridge import check_rule, is_zero
from .ops.poisson import RATES
from .ops.reverse import OUTPUTS as STEP_OUTPUTS
from .ops.tau_leap import factor_of
from .ops.thin import OUTPUTS as THIN_OUTPUTS
from .probability import Prob
from .torch_args import broadcast, key_of, pair_of, per_sample


def thin(
    x_0: Tensor, alive: Any, rng: Any, generator: Any, max_count: Any, center: Any, scale: Any, outputs: Any,
    input_dtype: Any, out: Any, backend: str,
) -> list[Tensor | None]:  # fmt: skip
    op = "thin"
    x = adopt(x_0, op, "x_0", COUNTS)
    max_count = checks.max_count_of(op, max_count, x.dtype)
    wanted = checks.names_of(op, "outputs", outputs, THIN_OUTPUTS)
    input_dtype = checks.float_dtype(op, "input_dtype", input_dtype, x)
    samples, _ = checks.size_of(op, "x_0", x)
    p, q = pair_of(op, "alive", alive, x_0, samples, backend)
    centers = per_sample(op, "center", center, x_0, samples, torch.float32)
    scales = per_sample(op, "scale", scale, x_0, samples, torch.float32)
    key = key_of(op, rng, generator, x_0, samples)
    dtypes = {"x_t": x.dtype, "births": x.dtype, "model_input": input_dtype}

    def call(names: list[str]) -> list[Tensor]:
        dtype = getattr(torch, input_dtype)
        return torch_ops.thin(x_0, p, q, key, max_count, centers, scales, names, dtype, backend)

    def launch(made: Sequence[Tensor | None]) -> None:
        torch_kernels.thin(backend, x_0, p, q, key, max_count, centers, scales, *made)

    read = {"alive": alive, "rng": rng, "center": center, "scale": scale}
    return _results(op, x, dtypes, wanted, out, "x_t", backend, call, launch, read)[0]


def bridge_step(
    x_t: Tensor, logits: Any, births: Any, step: Any, rounding: Any, attrition: Any, rng: Any, generator: Any,
    max_count: Any, gain: Any, center: Any, scale: Any, outputs: Any, input_dtype: Any, out: Any, backend: str,
) -> list[Tensor | None]:  # fmt: skip
    op = "bridge_step"
    x, max_count, net, given, wanted, input_dtype, samples = _step(
        op, x_t, logits, births, max_count, outputs, input_dtype
    )
    check_rule(op, rounding, step)
    birth = pair_of(op, "step", step, x_t, samples, backend)
    death = (None, None) if is_zero(attrition) else pair_of(op, "attrition", attrition, x_t, samples, backend)
    numbers = _numbers(op, x_t, samples, gain, center, scale)
    key = key_of(op, rng, generator, x_t, samples)
    arguments = (x_t, net, given, *birth, *death, key, max_count, numbers[0], rounding == "stochastic", *numbers[1:])

    def call(names: list[str]) -> list[Tensor]:
        return torch_ops.bridge_step(*arguments, names, getattr(torch, input_dtype), backend)

    def launch(made: Sequence[Tensor | None]) -> None:
        torch_kernels.bridge_step(backend, *arguments, *made)

    dtypes = {"x_s": x.dtype, "model_input": input_dtype}
    read = {
        "logits": net, "births": given, "step": step, "attrition": attrition, "rng": rng, "gain": gain,
        "center": center, "scale": scale,
    }  # fmt: skip
    return _results(op, x, dtypes, wanted, out, "x_s", backend, call, launch, read)[0]


def tau_leap_step(
    x_t: Tensor, logits: Any, births: Any, step: Any, rng: Any, generator: Any, max_count: Any, gain: Any, center: Any,
    scale: Any, outputs: Any, input_dtype: Any, out: Any, backend: str,
) -> list[Tensor | None]:  # fmt: skip
    op = "tau_leap_step"
    x, max_count, net, given, wanted, input_dtype, samples = _step(
        op, x_t, logits, births, max_count, outputs, input_dtype
    )
    factor = per_sample(op, "step", factor_of(op, step), x_t, samples, torch.float64, low=0.0)
    numbers = _numbers(op, x_t, samples, gain, center, scale)
    key = key_of(op, rng, generator, x_t, samples)
    arguments = (x_t, net, given, factor, key, max_count, *numbers)
    overshoot = [torch.zeros_like(factor, dtype=torch.int64)]

    def call(names: list[str]) -> list[Tensor]:
        return torch_ops.tau_leap_step(*arguments, names, getattr(torch, input_dtype), backend)

    def launch(made: Sequence[Tensor | None]) -> None:
        torch_kernels.tau_leap_step(backend, *arguments, overshoot[0], *made)

    dtypes = {"x_s": x.dtype, "model_input": input_dtype}
    read = {"logits": net, "births": given, "step": step, "rng": rng, "gain": gain, "center": center, "scale": scale}
    results, rest = _results(op, x, dtypes, wanted, out, "x_s", backend, call, launch, read)
    return [*results, *(rest or overshoot)]


def birth_loss(logits: Tensor, births: Any, weight: Any, gain: Any, backend: str) -> Tensor:
    op = "birth_loss"
    check_name(op, backend)
    net = adopt(logits, op, "logits", FLOATS)
    checks.same_shape(op, "births", _tensor(op, "births", births, DTYPES), "logits", net)
    if not net.shape:
        raise ValueError(f"{op}: logits: must have a batch dimension, got shape ()")
    samples, _ = checks.size_of(op, "logits", net)
    weights = per_sample(op, "weight", weight, logits, samples, torch.float64)
    gains = per_sample(op, "gain", gain, logits, samples, torch.float32, low=0.0, open_low=True)
    return torch_loss.loss(logits, births.detach(), weights, gains, backend)


def binomial(count: Any, prob: Any, rng: Any, generator: Any, backend: str) -> Tensor:
    op = "binomial"
    pair = isinstance(prob, Prob)
    given = {"prob.p": (prob.p, PROBS[:1]), "prob.q": (prob.q, PROBS[:1])} if pair else {"prob": (prob, PROBS)}
    n, p, *q = _elements(op, {"count": (count, ELEMENT_COUNTS), **given})
    key = key_of(op, rng, generator, n, n.shape[0] if n.ndim else 1)
    if is_traced(n):
        check_name(op, backend)
        return torch_ops.binomial(n, p, q[0] if q else None, key, backend)
    return torch_kernels.binomial(backend, n, p, q[0] if q else None, key)


def poisson(rate: Tensor, rng: Any, generator: Any, backend: str) -> Tensor:
    op = "poisson"
    (rates,) = _elements(op, {"rate": (rate, RATES)})
    key = key_of(op, rng, generator, rates, rates.shape[0] if rates.ndim else 1)
    if is_traced(rates):
        check_name(op, backend)
        return torch_ops.poisson(rates, key, backend)
    return torch_kernels.poisson(backend, rates, key)


def _tensor(op: str, name: str, value: Any, dtypes: Sequence[str]) -> Array:
    array = adopt(value, op, name, dtypes)
    if not array.is_tensor:
        raise TypeError(f"{op}: {name}: must be a torch tensor like the other argument, got {type(value).__name__}")
    return array


def _step(
    op: str, x_t: Tensor, logits: Any, births: Any, max_count: Any, outputs: Any, input_dtype: Any
) -> tuple[Array, int, Tensor | None, Tensor | None, frozenset[str], str, int]:
    x = adopt(x_t, op, "x_t", COUNTS)
    max_count = checks.max_count_of(op, max_count, x.dtype)
    if (logits is None) == (births is None):
        raise TypeError(
            f"{op}: logits: exactly one of logits and births must be given, got {'none' if births is None else 'both'}"
        )
    for name, value, dtypes in (("logits", logits, FLOATS), ("births", births, DTYPES)):
        if value is not None:
            checks.same_shape(op, name, _tensor(op, name, value, dtypes), "x_t", x)
    net, given = (None if value is None else value.detach() for value in (logits, births))
    wanted = checks.names_of(op, "outputs", outputs, STEP_OUTPUTS)
    input_dtype = checks.float_dtype(op, "input_dtype", input_dtype, x)
    return x, max_count, net, given, wanted, input_dtype, checks.size_of(op, "x_t", x)[0]


def _numbers(op: str, x: Tensor, samples: int, gain: Any, center: Any, scale: Any) -> tuple[Tensor, Tensor, Tensor]:
    return (
        per_sample(op, "gain", gain, x, samples, torch.float32, low=0.0),
        per_sample(op, "center", center, x, samples, torch.float32),
        per_sample(op, "scale", scale, x, samples, torch.float32),
    )


def _results(
    op: str, x: Array, dtypes: dict[str, str], wanted: frozenset[str], out: Any, in_place: str, backend: str,
    call: Any, launch: Any, read: dict[str, Any],
) -> tuple[list[Tensor | None], list[Tensor]]:  # fmt: skip
    """(outputs by the order of dtypes, what the registered op returned beyond them)."""
    if not is_traced(x.value):
        made = checks.outputs_of(op, x, dtypes, wanted, out, in_place, read)
        values = [None if array is None else array.value for array in made.values()]
        launch(values)
        return values, []
    check_name(op, backend)
    given = {} if out is None else {name: value for name in dtypes if (value := getattr(out, name, None)) is not None}
    names = [name for name in dtypes if name in (wanted if out is None else given)]
    for name, value in given.items():
        array = _tensor(op, f"out.{name}", value, (dtypes[name],))
        checks.same_shape(op, f"out.{name}", array, "the input", x)
    results = call(names)
    by_name = {name: results[number] for number, name in enumerate(names)}
    for name, value in given.items():
        by_name[name] = value.copy_(by_name[name])
    return [by_name.get(name) for name in dtypes], list(results[len(names) :])


def _elements(op: str, given: dict[str, tuple[Any, Sequence[str]]]) -> list[Tensor]:
    """Arguments as tensors of one device, expanded to one shape; Python numbers become tensors of their kind."""
    device = next(value.device for value, _ in given.values() if isinstance(value, Tensor))
    tensors = []
    for name, (value, dtypes) in given.items():
        if is_number(value) and not isinstance(value, np.generic):
            number, dtype = number_of(op, name, value, dtypes)
            value = torch.full((), number, dtype=getattr(torch, dtype), device=device)
        tensors.append(_tensor(op, name, value, dtypes).value.detach())
        if tensors[-1].device != device:
            raise ValueError(f"{op}: {name}: must be on the device of the other argument, {device}, got {value.device}")
    return broadcast(op, list(given), tensors)
