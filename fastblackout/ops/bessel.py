"""Draws of the Bessel law: the smaller of two Poisson numbers whose difference is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..call.arguments import Key
from ..call.elements import Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..philox import Philox
from ..reference import log_prob as reference
from ..reference.bessel import MOST, bessel_elements
from .binomial import ELEMENT_COUNTS
from .log_probs import Law, Range, log_prob
from .poisson import RATES

if TYPE_CHECKING:
    import torch

_BESSEL = Operation(
    "bessel",
    Elements({"order": ELEMENT_COUNTS, "argument": RATES}),
    Key(),
    outputs=Single(dtype="int64", like="dense"),
    twin=bessel_elements,
)


def bessel(
    order: Any,
    argument: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """The smaller of two Poisson numbers, given their difference, element by element.

        Pr(k) = (a / 2)^(2 k + n) / (k! (k + n)! I_n(a)),  n = order, a = argument, I_n a Bessel function

    If the difference d of Poisson numbers of rates rate_1 and rate_2 is known, as between two states of a birth and
    death process, the smaller one is fb.bessel(abs(d), 2 sqrt(rate_1 rate_2)), and the larger one abs(d) more.
    order: whole numbers in 0..2^52, uint8, int16, int32, int64, float64 or a Python number, or in 0..2^24, float32.
    argument: in 0..2^52, float64, float32, bfloat16 or float16, or a Python number; both of any shapes that broadcast.
    rng, generator: as in fb.thin. Dimension 0 of the result is the sample of the key; the element index runs in C
        order.
    Returns int64, in C order. The law is within 2e-13 + 1e-14 sqrt(argument / 2) total variation of the exact one
    (fastblackout/reference/bessel.py derives it). Equal keys give equal results on every backend. No gradient.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: L. Yuan, J. D. Kalbfleisch, On the Bessel distribution and related problems, Ann. Inst. Statist. Math. 52
    (2000); L. Devroye, Simulating Bessel random variables, Statist. Probab. Lett. 57 (2002), for the law. A Poisson
    draw, accepted with the ratio of another Poisson probability to its largest value.

        >>> fb.bessel(np.array([0, 3, 100]), np.array([1.0, 50.0, 1e6]), rng=fb.Philox(1))
        array([     0,     18, 500178])
    """
    return _BESSEL(((order, argument), (rng, generator)), backend=backend)


def bessel_log_prob(x: Any, order: Any, argument: Any) -> Any:
    """log Pr(X = x) for X of the Bessel law of this order and argument, element by element: that of fb.bessel.

        (2 x + order) log(argument / 2) - log x! - log (x + order)! - log I_order(argument)

    x, order: whole numbers of any integer or float dtype that broadcast with argument; order and argument in 0..2^52.
    NumPy arrays or numbers give NumPy float64; torch tensors give float64 tensors on their device, differentiable in
    argument. Where x is no whole number in 0..2^53, it is -inf.
    The error is within 2e-14 (1 + |log argument| + log(1 + x + order) + |result|) + 2e-15 |x - m|, m the mean, for
    NumPy arrays and plain CPU tensors, which take it as two Poisson probabilities over one of fb.skellam_log_prob;
    tensors that need a gradient, are traced or lie on a device take the equation as it stands.
    Raises ValueError for order and argument outside their range (NumPy and CPU tensors).
    Source: as fb.bessel and fb.skellam_log_prob.

        >>> fb.bessel_log_prob(2, 1, 4.0)
        array(-1.29740835)
    """
    return log_prob("bessel_log_prob", {"x": x, "order": order, "argument": argument}, _LAW)


_LAW = Law(
    {"order": Range(0, MOST, "whole numbers in 0..2^52", True), "argument": Range(0, MOST, "in 0..2^52")},
    reference.bessel_log_pmf,
)
