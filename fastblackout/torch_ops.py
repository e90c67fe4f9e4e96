"""The ops as torch knows them, torch.ops.fastblackout.*: functional, with the key and every number a sample in tensors.

Registered for CPU and CUDA, with shapes for meta and fake tensors; autograd and vmap on birth_loss alone (torch_loss).
They return only the outputs asked for. The public functions (fb.thin, ...) check and call them where torch traces.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from . import torch_kernels as kernels
from . import torch_state_kernels as state_kernels

# Outputs keep the input's strides as they were when traced, so the input must keep them too.
_TAG = getattr(torch.Tag, "needs_exact_strides", torch.Tag.needs_fixed_stride_order)
library = torch.library.Library("fastblackout", "DEF")


def _like(x: Tensor, names: Sequence[str], known: Sequence[str], input_dtype: torch.dtype) -> list[Tensor | None]:
    """New outputs in the order of `known`; None where not asked for."""
    dtypes = [input_dtype if name == "model_input" else x.dtype for name in known]
    return [torch.empty_like(x, dtype=d) if n in names else None for n, d in zip(known, dtypes, strict=True)]


def _asked(made: Sequence[Tensor | None]) -> list[Tensor]:
    return [output for output in made if output is not None]


def _thin(
    x_0: Tensor, p: Tensor, q: Tensor, key: Tensor, max_count: int, center: Tensor, scale: Tensor,
    outputs: Sequence[str], input_dtype: torch.dtype, backend: str, fake: bool = False,
) -> list[Tensor]:  # fmt: skip
    made = _like(x_0, outputs, ("x_t", "births", "model_input"), input_dtype)
    if not fake:
        kernels.thin(backend, x_0, p, q, key, max_count, center, scale, *made)
    return _asked(made)


def _bridge_step(
    x_t: Tensor, logits: Tensor | None, births: Tensor | None, p: Tensor, q: Tensor, sigma_p: Tensor | None,
    sigma_q: Tensor | None, key: Tensor, max_count: int, gain: Tensor, stochastic: bool, center: Tensor, scale: Tensor,
    outputs: Sequence[str], input_dtype: torch.dtype, backend: str, fake: bool = False,
) -> list[Tensor]:  # fmt: skip
    made = _like(x_t, outputs, ("x_s", "model_input"), input_dtype)
    if not fake:
        kernels.bridge_step(
            backend, x_t, logits, births, p, q, sigma_p, sigma_q, key, max_count, gain, stochastic, center, scale, *made
        )
    return _asked(made)


def _tau_leap_step(
    x_t: Tensor, logits: Tensor | None, births: Tensor | None, factor: Tensor, key: Tensor, max_count: int,
    gain: Tensor, center: Tensor, scale: Tensor, outputs: Sequence[str], input_dtype: torch.dtype, backend: str,
    fake: bool = False,
) -> list[Tensor]:  # fmt: skip
    """The last result is overshoot."""
    made = _like(x_t, outputs, ("x_s", "model_input"), input_dtype)
    overshoot = torch.zeros_like(factor, dtype=torch.int64)
    if not fake:
        kernels.tau_leap_step(
            backend, x_t, logits, births, factor, key, max_count, gain, center, scale, overshoot, *made
        )
    return [*_asked(made), overshoot]


def _birth_loss(
    logits: Tensor, births: Tensor, weight: Tensor, gain: Tensor, backend: str, fake: bool = False
) -> Tensor:
    if fake:
        return logits.new_empty(logits.shape[0], dtype=torch.float32)
    return kernels.birth_loss(backend, logits, births, weight, gain)


def _birth_loss_backward(
    logits: Tensor, births: Tensor, coefficient: Tensor, gain: Tensor, backend: str, fake: bool = False
) -> Tensor:
    if fake:
        return torch.empty_like(logits)
    return kernels.birth_loss_backward(backend, logits, births, coefficient, gain)


def _binomial(count: Tensor, p: Tensor, q: Tensor | None, key: Tensor, backend: str, fake: bool = False) -> Tensor:
    if fake:
        return count.new_empty(count.shape)
    return kernels.binomial(backend, count, p, q, key)


def _poisson(rate: Tensor, key: Tensor, backend: str, fake: bool = False) -> Tensor:
    if fake:
        return rate.new_empty(rate.shape, dtype=torch.int64)
    return kernels.poisson(backend, rate, key)


def _categorical(
    state: Tensor, probs: Tensor, index: Tensor | None, key: Tensor, backend: str, fake: bool = False
) -> Tensor:
    return torch.empty_like(state) if fake else state_kernels.categorical(backend, state, probs, index, key)


def _categorical_table(
    state: Tensor, thresholds: Tensor, guide: Tensor, index: Tensor | None, key: Tensor, backend: str,
    fake: bool = False,
) -> Tensor:  # fmt: skip
    if fake:
        return torch.empty_like(state)
    return state_kernels.categorical_table(backend, state, thresholds, guide, index, key)


def _build_categorical_table(probs: Tensor, backend: str, fake: bool = False) -> tuple[Tensor, Tensor]:
    if fake:
        guide = probs.new_empty((*probs.shape[:2], state_kernels.GUIDE), dtype=torch.uint16)
        return probs.new_empty(probs.shape, dtype=torch.int64), guide
    return state_kernels.build_categorical_table(backend, probs)


def _categorical_bridge(
    x_t: Tensor, x_0: Tensor | None, weights: Tensor | None, is_logits: bool, before: Tensor, after: Tensor,
    index: Tensor | None, key: Tensor, backend: str, fake: bool = False,
) -> Tensor:  # fmt: skip
    if fake:
        return torch.empty_like(x_t)
    return state_kernels.categorical_bridge(backend, x_t, x_0, weights, is_logits, before, after, index, key)


def _transition_rows(p: Tensor, q: Tensor, states: int, backend: str, fake: bool = False) -> Tensor:
    if fake:
        return p.new_empty((p.shape[0], states, states))
    return state_kernels.transition_rows(backend, p, q, states)


def _thin_log_prob(x_t: Tensor, x_0: Tensor, p: Tensor, q: Tensor, backend: str, fake: bool = False) -> Tensor:
    if fake:
        return torch.empty_like(x_t, dtype=torch.float64)
    return state_kernels.log_prob(backend, 0, x_t, x_0, None, p, q)


def _bridge_log_prob(
    x_s: Tensor, x_t: Tensor, x_0: Tensor, p: Tensor, q: Tensor, backend: str, fake: bool = False
) -> Tensor:
    if fake:
        return torch.empty_like(x_s, dtype=torch.float64)
    return state_kernels.log_prob(backend, 1, x_s, x_t, x_0, p, q)


def _register(signature: str, kernel: Callable[..., Any]) -> Any:
    name = signature.partition("(")[0]
    library.define(signature, tags=(_TAG, torch.Tag.pt2_compliant_tag))
    for device in ("CPU", "CUDA"):
        library.impl(name, kernel, device)

    def shapes(*arguments: Any) -> Any:
        return kernel(*arguments, fake=True)

    torch.library.register_fake(f"fastblackout::{name}", shapes, lib=library)
    return getattr(torch.ops.fastblackout, name).default


_END = "str[] outputs, ScalarType input_dtype, str backend) -> Tensor[]"
thin = _register(
    f"thin(Tensor x_0, Tensor p, Tensor q, Tensor key, int max_count, Tensor center, Tensor scale, {_END}", _thin
)
bridge_step = _register(
    "bridge_step(Tensor x_t, Tensor? logits, Tensor? births, Tensor p, Tensor q, Tensor? sigma_p, Tensor? sigma_q, "
    f"Tensor key, int max_count, Tensor gain, bool stochastic, Tensor center, Tensor scale, {_END}",
    _bridge_step,
)
tau_leap_step = _register(
    "tau_leap_step(Tensor x_t, Tensor? logits, Tensor? births, Tensor factor, Tensor key, int max_count, "
    f"Tensor gain, Tensor center, Tensor scale, {_END}",
    _tau_leap_step,
)
birth_loss = _register(
    "birth_loss(Tensor logits, Tensor births, Tensor weight, Tensor gain, str backend) -> Tensor", _birth_loss
)
birth_loss_backward = _register(
    "birth_loss_backward(Tensor logits, Tensor births, Tensor coefficient, Tensor gain, str backend) -> Tensor",
    _birth_loss_backward,
)
binomial = _register("binomial(Tensor count, Tensor p, Tensor? q, Tensor key, str backend) -> Tensor", _binomial)
poisson = _register("poisson(Tensor rate, Tensor key, str backend) -> Tensor", _poisson)
categorical = _register(
    "categorical(Tensor state, Tensor probs, Tensor? index, Tensor key, str backend) -> Tensor", _categorical
)
categorical_table = _register(
    "categorical_table(Tensor state, Tensor thresholds, Tensor guide, Tensor? index, Tensor key, str backend) "
    "-> Tensor",
    _categorical_table,
)
build_categorical_table = _register(
    "build_categorical_table(Tensor probs, str backend) -> (Tensor, Tensor)", _build_categorical_table
)
categorical_bridge = _register(
    "categorical_bridge(Tensor x_t, Tensor? x_0, Tensor? weights, bool is_logits, Tensor before, Tensor after, "
    "Tensor? index, Tensor key, str backend) -> Tensor",
    _categorical_bridge,
)
transition_rows = _register(
    "transition_rows(Tensor p, Tensor q, SymInt states, str backend) -> Tensor", _transition_rows
)
thin_log_prob = _register(
    "thin_log_prob(Tensor x_t, Tensor x_0, Tensor p, Tensor q, str backend) -> Tensor", _thin_log_prob
)
bridge_log_prob = _register(
    "bridge_log_prob(Tensor x_s, Tensor x_t, Tensor x_0, Tensor p, Tensor q, str backend) -> Tensor", _bridge_log_prob
)
