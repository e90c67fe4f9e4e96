"""The gradient of the birth loss of plain CPU tensors, which is not called through torch's dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..arrays import Array
from ..backends import host
from ..call import checks, short
from ..reference.birth_loss import birth_loss_backward


def once(op: str) -> str:
    """Why the gradient of a loss refuses."""
    return f"{op}: logits: the gradient cannot be differentiated again, got a second differentiation"


class Kept(torch.autograd.Function):
    """The loss of plain CPU tensors, computed before, with what its gradient needs.

    Not with the static setup_context: it costs 20 us a call, and torch.func takes the other path. One argument beside
    the logits: each costs 1 us.
    """

    @staticmethod
    def forward(ctx: Any, logits: Any, made: list[Any]) -> Any:  # type: ignore[override]
        """made: weight, gain, backend, the gradient foreseen from above, slopes for it or None, births, loss."""
        loss = made.pop()  # kept here, it would keep itself
        saved: tuple[Any, ...] = (logits, made.pop())
        # A tensor among the numbers is saved as one: torch tells of a change in place.
        if isinstance(made[0], torch.Tensor):
            saved += (made[0],)
        if isinstance(made[1], torch.Tensor):
            saved += (made[1],)
        ctx.made = made
        ctx.save_for_backward(*saved)
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:  # type: ignore[override]
        made = ctx.made
        logits, births, *_ = ctx.saved_tensors
        weight, gain, backend, foreseen, slopes = made
        made[-1] = grad = None  # the slopes become the gradient; a second backward computes its own
        if slopes is not None and not torch.is_grad_enabled():
            grad = short.scale_slopes(slopes, upstream, weight, foreseen)
        if grad is None:
            weights = checks.per_sample("birth_loss", "weight", weight, len(logits))
            gains = checks.per_sample("birth_loss", "gain", gain, len(logits), np.float32)
            arguments = logits, births, None if foreseen is not None else slopes, upstream, weights, gains, backend
            # Gradients are enabled here under create_graph alone.
            grad = Once.apply("birth_loss", _gradient, *arguments) if torch.is_grad_enabled() else _gradient(*arguments)
        return grad, None


class Once(torch.autograd.Function):
    """The gradient of the loss `op`, which refuses to be differentiated instead of passing for a constant."""

    @staticmethod
    def forward(ctx: Any, op: str, gradient: Callable[..., Any], *arguments: Any) -> Any:  # type: ignore[override]
        ctx.op = op
        return gradient(*arguments)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        raise RuntimeError(once(ctx.op))


def _gradient(logits: Any, births: Any, slopes: Any, upstream: Any, weight: Any, gain: Any, backend: str) -> Any:
    coefficient = np.ascontiguousarray(upstream.double().numpy() * weight)
    net = Array(logits.detach(), "birth_loss", "logits")
    size = net.samples, net.elements
    if slopes is not None:
        made = {"slopes": Array(slopes, "birth_loss", "logits")}
        host.run("birth_loss_scale", None, "cpu", {"coefficient": coefficient}, made, size)
        return slopes
    born = Array(births.detach(), "birth_loss", "births")
    fields = {"logits": net, "births": born, "coefficient": coefficient, "gain": gain}
    grad = net.empty_like()
    host.run("birth_loss_backward", birth_loss_backward, backend, fields, {"grad": grad}, size)
    return grad.value
