"""The gradient of the energy loss of plain CPU tensors, which is not called through torch's dispatcher."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..arrays import Array
from ..backends import host
from ..reference.energy_loss import energy_loss_backward
from .birth_loss_gradient import Once


class Kept(torch.autograd.Function):
    """The loss of plain CPU tensors, computed before, with what its gradient needs. See birth_loss_gradient.Kept."""

    @staticmethod
    def forward(ctx: Any, logits: Any, made: list[Any]) -> Any:  # type: ignore[override]
        """made: the fields of the call by name, the norms, backend, loss."""
        fields, *ctx.kept, loss = made
        x_t, births = fields["x_t"], fields["births"]
        # Tensors are saved as such: torch tells of a change in place.
        ctx.save_for_backward(logits, x_t.value, *([births.value] if births.is_tensor else []))
        ctx.births = None if births.is_tensor else births  # an array of NumPy's
        ctx.numbers = fields["weight"], fields["offset"], fields["max_count"]
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:  # type: ignore[override]
        logits, x_t, *births = ctx.saved_tensors
        arguments = logits, upstream, x_t, births[0] if births else ctx.births, ctx.numbers, *ctx.kept
        # Gradients are enabled here under create_graph alone.
        grad = Once.apply("energy_loss", _gradient, *arguments) if torch.is_grad_enabled() else _gradient(*arguments)
        return grad, None


def _gradient(logits: Any, upstream: Any, x_t: Any, births: Any, numbers: Any, norms: Any, backend: str) -> Any:
    weight, offset, max_count = numbers
    counts, net = Array(x_t, "energy_loss", "x_t"), Array(logits.detach(), "energy_loss", "logits")
    fields = {
        "x_t": counts,
        "logits": net,
        "births": births if isinstance(births, Array) else Array(births.detach(), "energy_loss", "births"),
        "coefficient": np.ascontiguousarray(upstream.double().numpy() * weight),
        "offset": offset,
        "max_count": max_count,
        "norms": norms,
    }
    grad, size = net.empty_like(), (counts.samples, counts.elements)
    host.run("energy_loss_backward", energy_loss_backward, backend, fields, {"grad": grad}, size)
    return grad.value
