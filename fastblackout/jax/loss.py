"""The birth loss in JAX, with its gradient."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import ops
from ..ops.birth_loss import gradient_of
from .callback import callback, parted, readable


def birth_loss(logits: Any, births: Any, weight: Any, *, gain: Any = 1.0, mask: Any = None) -> Any:
    """fb.birth_loss: weight times the sum over each sample of y - births log y, y = gain softplus(logit); float32 (B,).

    jax.grad differentiates it by the logits, once; the others are constants. Arguments as in fb.birth_loss.
    """
    logits = jnp.asarray(logits)
    traced, fixed = parted({"births": births, "weight": weight, "gain": gain, "mask": mask})
    out = jax.ShapeDtypeStruct(logits.shape[:1], np.float32)

    @jax.custom_vjp
    def loss(logits: Any, traced: dict[str, Any]) -> Any:
        run = lambda **given: ops.birth_loss(**given, **fixed)  # noqa: E731
        return callback(run, {"logits": logits, **traced}, out, logits.ndim)

    def forward(logits: Any, traced: dict[str, Any]) -> Any:
        return loss(logits, traced), (logits, traced)

    def backward(kept: Any, upstream: Any) -> Any:
        logits, traced = kept
        like = jax.ShapeDtypeStruct(logits.shape, readable(logits).dtype)
        run = lambda **given: gradient_of(**given, **fixed)  # noqa: E731
        given = {"logits": logits, "upstream": upstream, **traced}
        return callback(run, given, like, logits.ndim).astype(logits.dtype), None

    loss.defvjp(forward, backward)
    return loss(logits, traced)
