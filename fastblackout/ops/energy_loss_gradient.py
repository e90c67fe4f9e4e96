"""The gradient of the energy loss of plain CPU tensors, which is not called through torch's dispatcher."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..arrays import Array
from ..backends import host
from ..reference.energy_loss import energy_loss_backward
from .birth_loss_gradient import once


class Kept(torch.autograd.Function):
    """The loss of plain CPU tensors, computed before, with what its gradient needs. See birth_loss_gradient.Kept."""

    @staticmethod
    def forward(ctx: Any, logits: Any, made: list[Any]) -> Any:  # type: ignore[override]
        """made: the fields of the call, in their order, the norms, backend, loss."""
        fields, *ctx.kept, loss = made
        # Tensors are saved as such, so that torch tells of a change in place; births may be an array of NumPy's.
        saved = [each.value for each in fields.values() if isinstance(each, Array) and each.is_tensor]
        ctx.save_for_backward(*saved)
        ctx.fields = {
            name: None if isinstance(each, Array) and each.is_tensor else each for name, each in fields.items()
        }
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:  # type: ignore[override]
        saved = iter(ctx.saved_tensors)
        fields = {name: next(saved) if each is None else each for name, each in ctx.fields.items()}
        # Gradients are enabled here under create_graph alone.
        make = _Once.apply if torch.is_grad_enabled() else _gradient
        return make(fields["logits"], upstream, fields, *ctx.kept), None


class _Once(torch.autograd.Function):
    """The gradient of Kept, which refuses to be differentiated instead of passing for a constant."""

    @staticmethod
    def forward(ctx: Any, *arguments: Any) -> Any:
        return _gradient(*arguments)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        raise RuntimeError(once("energy_loss"))


def _gradient(logits: Any, upstream: Any, fields: dict[str, Any], norms: Any, backend: str) -> Any:
    net = Array(logits.detach(), "energy_loss", "logits")
    made = {name: Array(each, "energy_loss", name) if torch.is_tensor(each) else each for name, each in fields.items()}
    coefficient = np.ascontiguousarray(upstream.double().numpy() * made.pop("weight"))
    given = {
        **{"x_t": made["x_t"], "logits": net, "births": made["births"], "coefficient": coefficient},
        **{"offset": made["offset"], "max_count": made["max_count"], "norms": norms},
    }
    grad, samples = net.empty_like(), made["x_t"]
    size = samples.samples, samples.elements
    host.run("energy_loss_backward", energy_loss_backward, backend, given, {"grad": grad}, size)
    return grad.value
