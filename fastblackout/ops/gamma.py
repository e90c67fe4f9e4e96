"""Gamma draws with a shape and a scale for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..call.arguments import Key
from ..call.elements import Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..philox import Philox
from ..reference.gamma import gamma_elements

if TYPE_CHECKING:
    import torch

FLOATS = ("float64", "float32", "bfloat16", "float16")

_GAMMA = Operation(
    "gamma", Elements({"shape": FLOATS, "scale": FLOATS}), Key(), outputs=Single(like="dense"), twin=gamma_elements
)


def gamma(
    shape: Any,
    scale: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """scale g with g ~ Gamma(shape, 1), density g^(shape - 1) exp(-g) / Gamma(shape), element by element, of any shapes
    that broadcast.

    shape: in 1e-300..1e300, float64, float32, bfloat16 or float16, or a Python number.
    scale: finite and at least 0, of the same types, which may differ from shape's.
    rng, generator: as in fb.thin. Dimension 0 of the result is the sample of the key; the element index runs in C
        order.
    Returns the dtype of `shape` (float64 for a Python number), in C order. All is computed in float64 and rounded once,
    to bfloat16 and float16 by way of float32; what is too large for its dtype becomes infinite, what is too small 0.
    The distribution function of a draw is within 1e-14 + 5e-16 sqrt(shape) of the exact one everywhere, which says
    little above 1e28, where the whole law lies within some hundred neighbouring floats; and it is good relative to
    itself in the lower tail of a small shape (fastblackout/reference/gamma.py derives it). Equal keys give equal
    results, bit for bit, on every backend and for any split of the batch.
    There is no gradient: shape and scale are detached.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: G. Marsaglia, W. W. Tsang, A simple method for generating gamma variables, ACM TOMS 26 (2000).

        >>> fb.gamma(np.array([0.5, 20.0]), 2.0, rng=fb.Philox(1))
        array([ 4.88803858, 47.66527444])
    """
    return _GAMMA(((shape, scale), (rng, generator)), backend=backend)
