"""The loss of blackout diffusion and its gradient."""

from __future__ import annotations

import functools
import sys
from typing import Any

import numpy as np

from ..arrays import DTYPES, FLOATS, Array, adopt, store
from ..backends import select
from ..call import checks, short
from ..call.route import readable, through_torch
from ..reference.birth_loss import birth_loss as reference_loss
from ..reference.birth_loss import birth_loss_grad as reference_grad
from ..reference.portfloat import from_bfloat16, round_to_bfloat16

ONCE = "birth_loss: logits: the gradient cannot be differentiated again, got a second differentiation"


def birth_loss(logits: Any, births: Any, weight: Any, *, gain: Any = 1.0, backend: str = "auto") -> Any:
    """Sums over each sample of the cost of predicting y births where there were `births`.

        y = gain * softplus(logits),  loss_b = weight_b * sum over the sample of (y - births * log y)

    Its minimum over y is at E[births | model input]. Constants in births are left out, so it may be negative.
    logits: (B, ...), float32, float64, bfloat16 or float16, finite in float32; computed in float32. Differentiable when
        a torch tensor: d loss_b / d logit = weight_b * (gain * sigmoid - births * sigmoid / softplus), in its dtype, by
        a kernel that recomputes y instead of keeping it; once (RuntimeError the second time), under torch.func too.
    births: x_0 - x_t, logits' shape, any integer or float dtype, finite, at least 0.
    weight: finite, per sample (see fb.thin): Schedule.weight(name, k). gain: finite, above 0, per sample.
    Returns float32 (B,), in the library of logits. Element losses and gradients are within a few ulp of the exact
    float32 value and equal to the bit on every backend; the sum runs in a fixed order (trees of 1,024 in float32,
    added in float64), so it is too. A logit below -86.99 has y = 0 and log y = log gain + logit; the loss is finite for
    every finite logit with gain * logit below 3.4e38.
    Autocast leaves it alone. Raises TypeError or ValueError naming op, argument, rule and value; on CUDA devices wrong
    values in tensors are told by fb.check_values.
    Source: Santos et al., ICML 2023, arXiv 2305.11089, section 4.4.
    """
    op = "birth_loss"
    if (made := short.birth_loss(logits, births, weight, gain, backend)) is not None:
        loss, slopes, foreseen = made
        if slopes is None:
            return loss
        return _function().apply(logits, [weight, gain, "cpu", foreseen, slopes, births, loss])
    logits, births, weight, gain = readable(op, logits, logits=logits, births=births, weight=weight, gain=gain)
    if through_torch(logits, backend):
        from .. import torch_calls

        return torch_calls.birth_loss(logits, births, weight, gain, backend)
    net = adopt(logits, op, "logits", FLOATS)
    born = adopt(births, op, "births", DTYPES)
    checks.same_shape(op, "births", born, "logits", net)
    if not net.shape:
        raise ValueError(f"{op}: logits: must have a batch dimension, got shape ()")
    chosen = select.select_host(op, backend)
    graded = net.is_tensor and logits.requires_grad and sys.modules["torch"].is_grad_enabled()
    samples, _ = checks.size_of(op, "logits", net)
    weights = checks.per_sample(op, "weight", weight, samples)
    gains = checks.per_sample(op, "gain", gain, samples, np.float32, low=0.0, open_low=True)
    # The memory of the gradient, made now: it saves a second pass over the logits.
    kept = net.empty_like() if graded and chosen == "cpu" and net.dtype == "float32" else None
    loss = loss_of(net, born, weights, gains, chosen, kept)
    if not net.is_tensor:
        return net.like(loss).give()
    loss = sys.modules["torch"].from_numpy(loss)
    if not graded:
        return loss
    slopes = None if kept is None else kept.value
    return _function().apply(logits, [weights, gains, chosen, None, slopes, born.value, loss])


def loss_of(
    logits: Array, births: Array, weight: np.ndarray, gain: np.ndarray, backend: str, slope: Array | None = None
) -> np.ndarray:
    """slope, float32 like logits and not for the reference: gets gain * sigmoid - births * sigmoid / softplus."""
    if backend == "reference":
        net, born = _readable(logits), _readable(births)
        _check_values(net, born)
        return reference_loss(net, born, weight, gain.astype(np.float64))
    size = (logits.samples, logits.elements)
    loss = np.empty(logits.samples, np.float32)
    select.cpu_module("birth_loss").birth_loss(
        size, select.threads(), select.isa(), logits.describe(), births.describe(), weight, gain, loss,
        None if slope is None else slope.describe(),
    )  # fmt: skip
    return loss


def _check_values(logits: np.ndarray, births: np.ndarray) -> None:
    """What the native kernel checks in its pre-pass."""
    with np.errstate(over="ignore"):
        rules = (
            ("logits", logits, np.isfinite(logits.astype(np.float32)), "in float32"),
            ("births", births, np.isfinite(births.astype(np.float32)) & (births >= 0), "and at least 0"),
        )
    for name, values, right, rule in rules:
        if not right.all():
            raise ValueError(f"birth_loss: {name}: must be finite {rule}, got {float(values[~right][0]):.17g}")


def _readable(logits: Array) -> np.ndarray:
    """For the reference: NumPy has no bfloat16, so its values go in as float32."""
    return from_bfloat16(logits.numpy()) if logits.dtype == "bfloat16" else logits.numpy()


def gradient_of(logits: Array, births: Array, coefficient: np.ndarray, gain: np.ndarray, backend: str) -> Array:
    """coefficient: float64 (B,), upstream gradient times weight."""
    grad = logits.empty_like()
    if 0 in logits.shape:  # no memory: its address may be null, which the module takes for "not asked for"
        return grad
    if backend == "reference":
        result = reference_grad(_readable(logits), _readable(births), coefficient, gain.astype(np.float64))
        store(round_to_bfloat16(result) if logits.dtype == "bfloat16" else result, grad)
        return grad
    size = (logits.samples, logits.elements)
    select.cpu_module("birth_loss").birth_loss(
        size, select.threads(), select.isa(), logits.describe(), births.describe(), coefficient, gain,
        None, grad.describe(),
    )  # fmt: skip
    return grad


def _scale(slope: Array, coefficient: np.ndarray) -> None:
    """In place, from the slopes that loss_of kept to the gradient."""
    if 0 in slope.shape:
        return
    select.cpu_module("birth_loss").birth_loss_scale(
        (slope.samples, slope.elements), select.threads(), select.isa(), slope.describe(), coefficient
    )


@functools.cache
def _function() -> Any:
    import torch

    # Not the static setup_context: it costs 20 us a call, and torch.func takes the torch path. One argument beside the
    # logits: each costs 1 us.
    class BirthLoss(torch.autograd.Function):
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
            weight, gain, backend, foreseen, slope = made
            made[-1] = grad = None  # the slopes become the gradient; a second backward computes its own
            if slope is not None and not torch.is_grad_enabled():
                grad = short.scale_slopes(slope, upstream, weight, foreseen)
            if grad is None:
                weights = checks.per_sample("birth_loss", "weight", weight, len(logits))
                gains = checks.per_sample("birth_loss", "gain", gain, len(logits), np.float32)
                raw = None if foreseen is not None else slope
                grad = gradient(logits, births, raw, upstream, weights, gains, backend)
            return grad, None

    class Gradient(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, logits: Any, births: Any, slope: Any, upstream: Any, weight: Any, gain: Any, backend: str
        ) -> Any:  # type: ignore[override]
            coefficient = np.ascontiguousarray(upstream.double().numpy() * weight)
            if slope is not None:
                _scale(Array(slope, "birth_loss", "logits"), coefficient)
                return slope
            net, born = (Array(value.detach(), "birth_loss", "logits") for value in (logits, births))
            return gradient_of(net, born, coefficient, gain, backend).value

        @staticmethod
        def backward(ctx: Any, upstream: Any) -> Any:  # type: ignore[override]
            raise RuntimeError(ONCE)

    def gradient(*arguments: Any) -> Any:
        # Gradients are enabled here under create_graph alone.
        return Gradient.apply(*arguments) if torch.is_grad_enabled() else Gradient.forward(None, *arguments)

    return BirthLoss
