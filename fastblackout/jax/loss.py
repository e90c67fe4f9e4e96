"""The birth loss in JAX, with its gradient."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..ops.birth_loss import check_alone, gradient_by_expected, gradient_of
from .callback import parted
from .layout import Layout, layout_of
from .way import run

if TYPE_CHECKING:
    from jax.typing import ArrayLike

    from ..typing import Array, Numbers


def birth_loss(
    logits: ArrayLike | None, births: ArrayLike, weight: Numbers, *, expected: ArrayLike | None = None,
    gain: Numbers = 1.0, mask: Array | None = None,
) -> jax.Array:  # fmt: skip
    """Sum over each sample the cost of predicting y births, as fb.birth_loss does.

    ::

        y = gain * softplus(logits),  loss_b = weight_b * sum over the sample of (y - births * log y)

    Parameters
    ----------
    logits : array (B, ...) or None
        The outputs of a network. None where `expected` is given.
    births : array
        x_0 - x_t, in the shape of `logits`.
    weight : number or array
        As in fb.birth_loss.
    expected : array, optional
        y itself in place of `logits`.
    gain : number or array, optional
        As in fb.birth_loss.
    mask : array of bool, optional
        True where elements count.

    Returns
    -------
    jax.Array of float32 (B,)
        The loss of each sample.

    Raises
    ------
    TypeError, ValueError
        If a shape, a dtype or a constant is wrong, while JAX traces. A wrong value in an array raises the same error
        when the call runs on the CPU, in whatever JAX raises then. CUDA clamps it.

    Notes
    -----
    jax.grad differentiates it once, by `logits` or by `expected`. By the others it has no derivative: this is a
    TypeError, unless jax.lax.stop_gradient makes them constants.
    """
    name, first = ("logits", logits) if expected is None else ("expected", expected)
    if expected is not None:
        check_alone(logits, gain)
    elif logits is None:
        raise TypeError("birth_loss: logits: exactly one of logits and expected must be given, got none")
    array = jnp.asarray(first)
    values = {"births": births, "weight": weight, "mask": mask}
    if expected is None:
        values["gain"] = gain
    traced, fixed = parted(values)
    loss_of = ops.birth_loss if expected is None else functools.partial(ops.birth_loss, None)
    gradient = gradient_of if expected is None else gradient_by_expected

    def layout(upstream: str = "") -> Layout | None:
        if expected is not None:
            return None
        return layout_of("birth_loss", {"logits": array, **values}, upstream=upstream)

    @jax.custom_vjp
    def loss(first: Any, traced: dict[str, Any]) -> Any:
        host = lambda **given: {"loss": loss_of(**given, **fixed)}  # noqa: E731
        results = {"loss": jax.ShapeDtypeStruct(first.shape[:1], np.float32)}
        return run(layout(), host, {name: first, **traced}, results, first.ndim)["loss"]

    def forward(first: Any, traced: dict[str, Any]) -> Any:
        for name, each in traced.items():
            if each.perturbed:
                rule = "must be a constant, as jax.lax.stop_gradient makes it, there being no derivative by it"
                raise TypeError(f"birth_loss: {name}: {rule}, got an array that is differentiated by")
        given = first.value, {name: each.value for name, each in traced.items()}
        return loss(*given), given

    def backward(kept: Any, upstream: Any) -> Any:
        first, traced = kept
        host = lambda **given: {"grad": gradient(**given, **fixed)}  # noqa: E731
        given = {name: first, "upstream": upstream, **traced}
        results = {"grad": jax.ShapeDtypeStruct(first.shape, first.dtype)}
        return run(layout("upstream"), host, given, results, first.ndim)["grad"], None

    loss.defvjp(forward, backward, symbolic_zeros=True)
    return loss(array, traced)
