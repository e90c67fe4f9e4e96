"""The derivative and vmap rules of the registered birth loss, torch.ops.fastblackout.birth_loss.

They are autograd.Functions with a static setup_context, which torch.func needs and which those of
torch.library.register_autograd lack. They stand behind the op's Autograd key; inside a transform of torch.func, whose
levels a Function behind a key cannot cross, they are applied directly.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..arrays import in_functorch
from ..call.torch_registry import calls, library
from .birth_loss_gradient import ONCE


def _map_rows(name: str, info: Any, dims: Any, *arguments: Any) -> tuple[Tensor, int]:
    """The op with the mapped dimension merged into dimension 0: samples are independent, so they are more samples."""
    *tensors, backend = arguments
    count = info.batch_size
    fronted = [
        tensor.expand(count, *tensor.shape) if dim is None else tensor.movedim(dim, 0)
        for tensor, dim in zip(tensors, dims[:-1], strict=True)
    ]
    samples = fronted[0].shape[1]
    op = getattr(torch.ops.fastblackout, name).default
    result = op(*(tensor.reshape(count * samples, *tensor.shape[2:]) for tensor in fronted), backend)
    return result.reshape(count, samples, *result.shape[1:]), 0


class Loss(torch.autograd.Function):
    """d loss_b / d logit by the kernel that recomputes y; births, weight and gain get no gradient."""

    @staticmethod
    def forward(logits: Tensor, births: Tensor, weight: Tensor, gain: Tensor, backend: str) -> Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.fastblackout.birth_loss.default(logits, births, weight, gain, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        *tensors, ctx.backend = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        logits, births, weight, gain = ctx.saved_tensors
        coefficient = upstream.double() * weight
        grad = calls["birth_loss_backward"](logits, births, coefficient, gain, ctx.backend)
        return grad, None, None, None, None

    @staticmethod
    def vmap(info: Any, dims: Any, *arguments: Any) -> tuple[Tensor, int]:
        return _map_rows("birth_loss", info, dims, *arguments)


class Gradient(torch.autograd.Function):
    """The gradient itself, which refuses to be differentiated instead of passing for a constant."""

    @staticmethod
    def forward(logits: Tensor, births: Tensor, coefficient: Tensor, gain: Tensor, backend: str) -> Tensor:
        with torch._C._AutoDispatchBelowAutograd():
            return torch.ops.fastblackout.birth_loss_backward.default(logits, births, coefficient, gain, backend)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Any, ...]:  # type: ignore[override]
        raise RuntimeError(ONCE)

    @staticmethod
    def vmap(info: Any, dims: Any, *arguments: Any) -> tuple[Tensor, int]:
        return _map_rows("birth_loss_backward", info, dims, *arguments)


def register(name: str, function: type[torch.autograd.Function]) -> None:
    """Gives the registered op `name` the rules of `function`, and calls of it the way around its key."""
    op: Callable[..., Tensor] = calls[name]

    def behind_the_key(*arguments: Any) -> Any:
        differentiable = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in arguments[:-1])
        return (function.apply if differentiable else function.forward)(*arguments)

    library.impl(name, behind_the_key, "Autograd")
    torch.library.register_vmap(f"fastblackout::{name}", function.vmap, lib=library)  # type: ignore[attr-defined]

    def call(*arguments: Any) -> Any:
        return (function.apply if in_functorch() else op)(*arguments)

    calls[name] = call
