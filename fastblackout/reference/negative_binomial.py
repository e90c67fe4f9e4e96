"""Negative binomial draws, in NumPy: Poisson(mean G / r), G ~ Gamma(r), with a mean and an r for each element.

The rate is (mean G) / r, G as reference/gamma.py scales it, and at most MAX_RATE = 2^52: larger ones, which need a G /
r above 2^52 / mean, count as that. The draw is made by reference/poisson.py; both have streams of their own.

Error, derived. Pr(Poisson(rate) <= k) falls as the rate grows, so where the distribution function of G is off by KS,
K's is off by no more, and one more rounding of the rate is within what reference/gamma.py counts; the Poisson draw is
within a total variation of 4e-14 + 2e-15 sqrt(rate), whose mean is at most 2e-15 sqrt(mean). The distribution function
of K is thus within

    5e-14 + 6e-16 sqrt(r) + 2e-15 sqrt(mean)

of the negative binomial one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .gamma import checked_shapes, exponents, magnitudes, scaled
from .philox import Stream
from .poisson import MAX_RATE, poisson
from .rows import checked_floats

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, I64, Array


def negative_binomial(r: F64, mean: F64, key: Philox) -> I64:
    """Poisson(mean / r Gamma(r)), (B, n); the caller has checked the values."""
    m, s = magnitudes(r, key, Stream.NEGATIVE_BINOMIAL_GAMMA), exponents(r, key, Stream.NEGATIVE_BINOMIAL_BOOST)
    with np.errstate(over="ignore"):
        rate = scaled(mean, m, s) / r
    return poisson(np.minimum(rate, MAX_RATE), key, Stream.NEGATIVE_BINOMIAL)


def negative_binomial_elements(r: Array, mean: Array, key: Philox) -> I64:
    """Poisson(mean / r Gamma(r)), both of one shape (B, ...). ValueError for values out of range."""
    op = "negative_binomial"
    means = checked_floats(mean, op, "mean", f"must be finite and in 0..{MAX_RATE:.0f}", MAX_RATE)
    return negative_binomial(checked_shapes(r, op, "r"), means, key).reshape(r.shape)
