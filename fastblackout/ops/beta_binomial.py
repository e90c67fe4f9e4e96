"""Beta-binomial draws: binomial ones whose probability is a beta draw, for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..arrays import COUNTS
from ..call.arguments import Key
from ..call.elements import Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..philox import Philox
from ..reference.beta_binomial import beta_binomial_elements

if TYPE_CHECKING:
    import torch

ELEMENT_COUNTS = (*COUNTS, "float32", "float64")
FLOATS = ("float64", "float32", "bfloat16", "float16")

_BETA_BINOMIAL = Operation(
    "beta_binomial",
    Elements({"n": ELEMENT_COUNTS, "a": FLOATS, "b": FLOATS}),
    Key(),
    outputs=Single(like="dense"),
    twin=beta_binomial_elements,
)


def beta_binomial(
    n: Any,
    a: Any,
    b: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """Binomial(n, f) with f ~ Beta(a, b), element by element, of any shapes that broadcast.

        Pr(k) = C(n, k) B(k + a, n - k + b) / B(a, b)

    n: whole numbers in 0..2^53, uint8, int16, int32, int64, float64 or a Python number, or in 0..2^24, float32.
    a, b: in 1e-300..1e300, float64, float32, bfloat16 or float16, or a Python number; their types may differ.
    rng, generator: as in fb.thin. Dimension 0 of the result is the sample of the key; the element index runs in C
        order.
    Returns n's dtype, in C order. f and 1 - f each keep all their digits, so shapes may be tiny or huge: the
    distribution function of a draw is within 6e-14 + 8e-16 (sqrt(a) + sqrt(b)) + 1.2e-15 sqrt(n) of the exact one
    everywhere (fastblackout/reference/beta_binomial.py derives it). Equal keys give equal results, bit for bit, on
    every backend and for any split of the batch. Log-probabilities: fb.beta_binomial_log_prob, for a and b to 2^53.
    There is no gradient: n, a and b are detached.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: as fb.beta and fb.binomial, of which it is one pass.

        >>> fb.beta_binomial(np.array([100, 100]), np.array([0.5, 50.0]), np.array([0.5, 150.0]), rng=fb.Philox(1))
        array([97, 30])
    """
    return _BETA_BINOMIAL(((n, a, b), (rng, generator)), backend=backend)
