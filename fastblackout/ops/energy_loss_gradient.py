"""The gradient of the energy loss of plain CPU tensors, which is not called through torch's dispatcher."""

from __future__ import annotations

from typing import Any

import torch

from ..call import checks, short
from ..call.operation import Operation
from .birth_loss_gradient import Once


class Kept(torch.autograd.Function):
    """The loss of plain CPU tensors, computed before, with what its gradient needs. See birth_loss_gradient.Kept."""

    @staticmethod
    def forward(ctx: Any, logits: Any, made: list[Any]) -> Any:  # type: ignore[override]
        """made: the op of the gradient, the values of the call, the norms, backend, loss."""
        ctx.operation, values, *ctx.kept, loss = made
        # Tensors are saved as such: torch tells of a change in place.
        ctx.save_for_backward(*(each for each in values if isinstance(each, torch.Tensor)))
        ctx.values = [torch.Tensor if isinstance(each, torch.Tensor) else each for each in values]
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:  # type: ignore[override]
        saved = iter(ctx.saved_tensors)
        values = tuple(next(saved) if each is torch.Tensor else each for each in ctx.values)
        arguments = ctx.operation, upstream, ctx.kept, *values
        if torch.is_grad_enabled():  # under create_graph alone
            return Once.apply("energy_loss", _gradient, *arguments), None
        return _gradient(*arguments), None


def _gradient(operation: Operation, upstream: Any, kept: Any, *values: Any) -> Any:
    norms, backend = kept
    if (grad := short.energy_gradient(values, norms, upstream, backend)) is not None:
        return grad
    x_t, logits, births, weight, *rest = values
    coefficient = upstream.double().numpy() * checks.per_sample("energy_loss", "weight", weight, len(x_t))
    return operation((x_t, logits, births, coefficient, *rest, norms), backend=backend)
