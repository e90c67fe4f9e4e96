"""The gradient of a loss of plain CPU tensors, which is not called through torch's dispatcher."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ..arrays import Array
from ..backends import host
from ..backends.float_mode import default_floats
from ..call import short
from ..call.rules import on_host

_SAVED = object()  # stands for a tensor that autograd keeps
_PLAIN = {float, int, str, np.ndarray, type(None)}  # of most other values: torch's isinstance takes three times as long


def once(op: str) -> str:
    """Why the gradient of a loss refuses."""
    return f"{op}: logits: the gradient cannot be differentiated again, got a second differentiation"


class Kept(torch.autograd.Function):
    """The loss of plain CPU tensors, computed before, with what its gradient needs.

    Not with the static setup_context: it costs 20 us a call, and torch.func takes the other path. One argument beside
    those that have a gradient: each costs 1 us.
    """

    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        """given: the tensors that have a gradient; then a tuple: (op, gradient, slopes, foreseen), values, loss.

        gradient(upstream, *values) gives the gradients, a tuple where there are several tensors. slopes: a list of one
        for each, or an empty one, from which they are had sooner; then the third of the values is the weight. foreseen:
        see ops/birth_loss.py.
        """
        how, values, loss = given[-1]
        saved, kept = [], []
        for each in values:
            if type(each) not in _PLAIN and isinstance(each, torch.Tensor):
                saved.append(each)  # as a tensor: torch tells of a change in place
                each = _SAVED
            kept.append(each)
        ctx.save_for_backward(*saved)
        ctx.made = how, kept
        return loss

    @staticmethod
    def backward(ctx: Any, upstream: Any) -> Any:  # type: ignore[override]
        (op, gradient, slopes, foreseen), kept = ctx.made
        saved = iter(ctx.saved_tensors)
        values = [next(saved) if each is _SAVED else each for each in kept]
        taken = slopes.copy()
        slopes.clear()  # they become the gradients; a second backward computes its own
        # Gradients are enabled here under create_graph alone.
        if torch.is_grad_enabled():
            made = Once.apply(op, gradient, upstream, *values)
        else:
            if taken and (first := _scaled(op, taken[0], upstream, values[2], foreseen)) is not None:
                return (first, *[_scaled(op, each, upstream, values[2], foreseen) for each in taken[1:]], None)
            taken.clear()
            made = gradient(upstream, *values)
        return (*made, None) if type(made) is tuple else (made, None)


class Once(torch.autograd.Function):
    """The gradient of the loss `op`, which refuses to be differentiated instead of passing for a constant."""

    @staticmethod
    def forward(ctx: Any, op: str, gradient: Callable[..., Any], *arguments: Any) -> Any:  # type: ignore[override]
        ctx.op = op
        return gradient(*arguments)

    @staticmethod
    def backward(ctx: Any, *upstream: Any) -> Any:
        raise RuntimeError(once(ctx.op))


@default_floats
def coefficient(op: str, upstream: Any, weight: Any) -> Any:
    """Upstream gradient times weight, in float64."""
    return np.ascontiguousarray(upstream.double().numpy() * on_host(op, "weight", weight, len(upstream)))


def _scaled(op: str, slopes: Any, upstream: Any, weight: Any, foreseen: float | None) -> Any:
    """The slopes made into the gradient, in place; None where they are for another upstream gradient, `foreseen`."""
    ordered = slopes
    if not slopes.is_contiguous():  # gone through as it lies: the states of a network's head are not the innermost
        ordered = slopes.permute(0, *sorted(range(1, slopes.ndim), key=slopes.stride().__getitem__, reverse=True))
    if short.scale_slopes(ordered, upstream, weight, foreseen) is None:
        if foreseen is not None:
            return None
        array = Array(ordered, op, "logits")
        fields = {"coefficient": coefficient(op, upstream, weight)}
        host.run("birth_loss_scale", None, "cpu", fields, {"slopes": array}, array.size(op, "logits"))
    return slopes
