"""Negative binomial draws: Poisson ones whose rate is a gamma draw, for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..call.arguments import Key
from ..call.elements import Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..philox import Philox
from ..reference.negative_binomial import negative_binomial_elements

if TYPE_CHECKING:
    import torch

FLOATS = ("float64", "float32", "bfloat16", "float16")

_NEGATIVE_BINOMIAL = Operation(
    "negative_binomial",
    Elements({"r": FLOATS, "mean": FLOATS}),
    Key(),
    outputs=Single(dtype="int64", like="dense"),
    twin=negative_binomial_elements,
)


def negative_binomial(
    r: Any,
    mean: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """Poisson(mean g / r) with g ~ Gamma(r), element by element, of any shapes that broadcast.

        Pr(k) = Gamma(k + r) / (k! Gamma(r)) (r / (r + mean))^r (mean / (r + mean))^k,  variance mean + mean^2 / r

    r: in 1e-300..1e300, float64, float32, bfloat16 or float16, or a Python number; as r grows, the law tends to
        Poisson(mean).
    mean: in 0..2^52, of the same types, which may differ from r's.
    rng, generator: as in fb.thin. Dimension 0 is the sample of the key; the element index runs in C order.
    Returns int64, in C order. Rates above 2^52 count as 2^52. But for these, the distribution function of a draw is
    within 5e-14 + 6e-16 sqrt(r) + 2e-15 sqrt(mean) of the exact one everywhere
    (fastblackout/reference/negative_binomial.py derives it). Equal keys give equal results, bit for bit, on every
    backend and for any split of the batch. There is no gradient: r and mean are detached.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: as fb.gamma and fb.poisson, of which it is one pass.

        >>> fb.negative_binomial(np.array([0.5, 1e6]), 20.0, rng=fb.Philox(1))
        array([48, 18])
    """
    return _NEGATIVE_BINOMIAL(((r, mean), (rng, generator)), backend=backend)
