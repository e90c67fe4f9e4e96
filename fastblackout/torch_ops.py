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
