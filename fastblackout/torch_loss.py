"""Derivative and vmap rule of torch.ops.fastblackout.birth_loss.

The rules are autograd.Functions with a static setup_context, which torch.func needs and which those of
torch.library.register_autograd lack. They stand behind the op's Autograd key; inside a transform of torch.func, whose
levels a Function behind a key cannot cross, `loss` and `gradient` apply them directly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .arrays import in_functorch
from .ops.birth_loss import ONCE
from .torch_ops import birth_loss, birth_loss_backward, library


def _map_rows(op: Callable[..., Tensor], info: Any, dims: Any, *arguments: Any) -> tuple[Tensor, int]:
    """The op with the mapped dimension merged into dimension 0: samples are independent, so they are more samples."""
    *tensors, backend = arguments
    count = info.batch_size
    fronted = [
        tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims[:-1], strict=True)
    ]
    samples = fronted[0].shape[1]
    result = op(*(tensor.reshape(count * samples, *tensor.shape[2:]) for tensor in fronted), backend)
    return result.reshape(count, samples, *result.shape[1:]), 0


class Loss(torch.autograd.Function):
    """d loss_b / d logit by the kernel that recomputes y; births, weight and gain get no gradient."""

    @staticmethod
    def forward(logits: Tensor, births: Tensor, weight: Tensor, gain: Tensor, backend: str) -> Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            return birth_loss(logits, births, weight, gain, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.backend = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        logits, births, weight, gain = ctx.saved_tensors
        coefficient = upstream.double() * weight
        return gradient(logits, births, coefficient, gain, ctx.backend), None, None, None, None

    @staticmethod
    def vmap(info: Any, dims: Any, *arguments: Any) -> tuple[Tensor, int]:
        return _map_rows(birth_loss, info, dims, *arguments)


class Gradient(torch.autograd.Function):
    """The gradient itself, which refuses to be differentiated instead of passing for a constant."""

    @staticmethod
    def forward(logits: Tensor, births: Tensor, coefficient: Tensor, gain: Tensor, backend: str) -> Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            return birth_loss_backward(logits, births, coefficient, gain, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        raise RuntimeError(ONCE)

    @staticmethod
    def vmap(info: Any, dims: Any, *arguments: Any) -> tuple[Tensor, int]:
        return _map_rows(birth_loss_backward, info, dims, *arguments)


def _register(name: str, op: Callable[..., Tensor], function: type[torch.autograd.Function]) -> Callable[..., Tensor]:
    def behind_the_key(*arguments: Any) -> Any:
        differentiable = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in arguments[:-1])
        return (function.apply if differentiable else function.forward)(*arguments)

    library.impl(name, behind_the_key, "Autograd")
    torch.library.register_vmap(f"fastblackout::{name}", function.vmap, lib=library)

    def call(*arguments: Any) -> Any:
        return (function.apply if in_functorch() else op)(*arguments)

    return call


loss = _register("birth_loss", birth_loss, Loss)
gradient = _register("birth_loss_backward", birth_loss_backward, Gradient)
