"""The gradient of the posterior loss of plain CPU tensors, which is not called through torch's dispatcher."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ..arrays import Array
from ..backends import host
from ..call.head import MOST_HEAD, Head, LikeHead
from ..reference.posterior_loss import posterior_loss_backward
from .birth_loss_gradient import Once

_OP = "posterior_loss"


class Kept(torch.autograd.Function):
    """The loss of plain CPU tensors, computed before, with what its gradient needs. See birth_loss_gradient.Kept."""

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        """given: the arrays of the head, then a list: the fields of the call by name, backend, slopes or none, loss."""
        *head, (fields, ctx.backend, ctx.slopes, loss) = given
        births = fields["births"]
        # Tensors are saved as such: torch tells of a change in place.
        ctx.save_for_backward(fields["x_t"].value, *head, *([births.value] if births.is_tensor else []))
        ctx.size, ctx.births = len(head), None if births.is_tensor else births  # an array of NumPy's
        ctx.numbers = {name: fields[name] for name in ("family", "weight", "offset", "max_count")}
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:  # type: ignore[override]
        x_t, *others = ctx.saved_tensors
        head, births = others[: ctx.size], others[ctx.size :]
        arguments = upstream, x_t, births[0] if births else ctx.births, ctx.numbers, ctx.backend, *head
        slopes, ctx.slopes = ctx.slopes, []  # they become the gradients; a second backward computes its own
        if slopes and not torch.is_grad_enabled():
            return *_scaled(slopes, upstream, ctx.numbers["weight"]), None
        # Gradients are enabled here under create_graph alone.
        grads = Once.apply(_OP, _gradient, *arguments) if torch.is_grad_enabled() else _gradient(*arguments)
        return *grads, None


def _scaled(slopes: list[Array], upstream: Any, weight: Any) -> list[Any]:
    coefficient = {"coefficient": np.ascontiguousarray(upstream.double().numpy() * weight)}
    for each in slopes:
        # In the order of memory, whatever that of the dimensions: the states of a network's head are not the innermost.
        strides = each.value.stride()
        order = sorted(range(1, each.value.ndim), key=strides.__getitem__, reverse=True)
        ordered = Array(each.value.permute(0, *order), _OP, "head")
        host.run("birth_loss_scale", None, "cpu", coefficient, {"slopes": ordered}, (each.samples, each.elements))
    return [each.value for each in slopes]


def _gradient(upstream: Any, x_t: Any, births: Any, numbers: Any, backend: str, *head: Any) -> tuple[Any, ...]:
    counts, arrays = Array(x_t, _OP, "x_t"), [Array(each.detach(), _OP, "head") for each in head]
    absent = [None] * (MOST_HEAD - len(arrays))
    fields = {
        "x_t": counts,
        **dict(zip(Head.names, (numbers["family"], *arrays, *absent), strict=True)),
        "births": births if isinstance(births, Array) else Array(births.detach(), _OP, "births"),
        "coefficient": np.ascontiguousarray(upstream.double().numpy() * numbers["weight"]),
        "offset": numbers["offset"],
        "max_count": numbers["max_count"],
    }
    grads = dict(zip(LikeHead.names, (*(array.empty_like() for array in arrays), *absent), strict=True))
    size = counts.samples, counts.elements
    host.run("posterior_loss_backward", posterior_loss_backward, backend, fields, grads, size)
    return tuple(grad.value for grad in grads.values() if grad is not None)
