"""Hypergeometric draws: good balls among those that are drawn from good and bad ones, none put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..call.arguments import Key
from ..call.elements import Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..philox import Philox
from ..probability import Prob
from ..reference.hypergeometric import hypergeometric_elements
from .binomial import ELEMENT_COUNTS
from .log_probs import COUNTS_TO_53, Law, binomial_log_prob, log_prob

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_HYPERGEOMETRIC = Operation(
    "hypergeometric",
    Elements({"good": ELEMENT_COUNTS, "bad": ELEMENT_COUNTS, "draws": ELEMENT_COUNTS}),
    Key(),
    outputs=Single(like="dense"),
    twin=hypergeometric_elements,
)


def hypergeometric(
    good: Any,
    bad: Any,
    draws: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """How many of `draws` balls are good, drawn from good and bad ones without putting any back, element by element.

        Pr(k) = C(good, k) C(bad, draws - k) / C(good + bad, draws)

    It is the number of particles left of `good` when all but `draws` of good + bad are taken away at random.
    good, bad, draws: whole numbers in 0..2^53, uint8, int16, int32, int64, float64 or a Python number, or in 0..2^24,
        float32, of any shapes that broadcast; their types may differ. draws is at most good + bad, and that at most
        2^53.
    rng, generator: as in fb.thin. Dimension 0 of the result is the sample of the key; the element index runs in C
        order.
    Returns good's dtype, in C order. The law is within 2e-13 + 1e-14 sqrt(m) total variation of the exact one, m the
    mean of the smallest of the four numbers of good or bad balls that are drawn or left: 1.2e-12 for m up to 1e4, 5e-10
    up to 2^31 (fastblackout/reference/hypergeometric.py derives it). Equal keys give equal results on every backend.
    On a CUDA device too many balls or draws are cut off, and told by fb.check_values. No gradient.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: a binomial draw, accepted with the ratio of another binomial probability to its largest value.

        >>> fb.hypergeometric(np.array([5, 1000]), np.array([5, 9000]), np.array([4, 500]), rng=fb.Philox(1))
        array([ 3, 55])
    """
    return _HYPERGEOMETRIC(((good, bad, draws), (rng, generator)), backend=backend)


def hypergeometric_log_prob(x: Any, good: Any, bad: Any, draws: Any) -> Any:
    """log Pr(X = x) for X good balls among `draws` of good + bad ones, element by element: that of fb.hypergeometric.

        log C(good, x) + log C(bad, draws - x) - log C(good + bad, draws)

    x, good, bad, draws: whole numbers of any integer or float dtype that broadcast; draws is at most good + bad, and
    that at most 2^53. NumPy arrays or numbers give NumPy float64; torch tensors give float64 tensors on their device.
    Where x is impossible or no whole number, it is -inf. Its gradient by float tensors is the slope of lgamma.
    The error is three times that of fb.thin_log_prob, of which it is made for NumPy arrays and plain CPU tensors, the
    probability being draws / (good + bad); tensors that are traced or lie on a device go through lgamma: about
    1e-16 n log n, n = good + bad.
    Raises ValueError for numbers outside their range (NumPy and CPU tensors).
    Source: C. Loader, 2000.

        >>> fb.hypergeometric_log_prob(2, 5, 5, 4)
        array(-0.74193734)
    """
    given = {"x": x, "good": good, "bad": bad, "draws": draws}
    return log_prob("hypergeometric_log_prob", given, _LAW)


def _on_numpy(
    x: NDArray[np.float64], good: NDArray[np.float64], bad: NDArray[np.float64], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    balls = good + bad
    some = np.where(balls > 0, balls, 1.0)
    prob = Prob(draws / some, np.where(balls > 0, (balls - draws) / some, 1.0))
    both = binomial_log_prob(x, good, prob) + binomial_log_prob(draws - x, bad, prob)
    return both - binomial_log_prob(draws, balls, prob)


def _check(op: str, given: dict[str, Any]) -> None:
    balls, draws = given["good"] + given["bad"], given["draws"]
    if (more := draws > balls).any():
        raise ValueError(f"{op}: draws: must be at most good + bad, got {float(draws[more][0]):.17g}")
    if (many := balls > 2.0**53).any():
        raise ValueError(f"{op}: bad: good + bad must be at most 2^53, got {float(balls[many][0]):.17g}")


_LAW = Law(dict.fromkeys(("good", "bad", "draws"), COUNTS_TO_53), _on_numpy, _check)
