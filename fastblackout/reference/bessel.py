"""Draws of the Bessel law in NumPy: the twin of csrc/include/fastblackout/bessel.h to the bit.

The law of the smaller of two independent Poisson numbers, given that they differ by `order` n, is

    Pr(k) = (a / 2)^(2 k + n) / (k! (k + n)! I_n(a)),  in proportion to  f(k; m_2) f(n + k; m_1),  m_1 m_2 = a^2 / 4,

f(j; m) the Poisson probability: only the product of the rates matters, argument a being twice its root. The rates that
are taken differ by n, m_1 = (n + sqrt(n^2 + a^2)) / 2 and m_2 = a^2 / (4 m_1). So k is proposed as Poisson(m_2) and
accepted with probability f(n + k; m_1) over the largest f(.; m_1), at floor(m_1). An attempt succeeds with probability
about sqrt(m_1 / (m_1 + m_2)), which is above 0.6 (tests: a grid). Arguments below 1e-150 give 0.

The words of the attempts: reference/attempts.py. The ratio is computed as in reference/poisson.py, with x = n + k + 1:
sqrt(x) exp(-D(x, m_1) - S(x)) without its constant.

Total variation (TV) from the true law, derived. The proposal is within 4e-14 + 2e-15 sqrt(m_2) of Poisson(m_2); the
logarithm of the ratio is off by 2e-14 from the parts of D and S that do not grow, and by 2^-53 (2 |x - m_1| + 4) from
rounding x - m_1 in them; the product of the rates is off by 4 u of itself, u = 2^-53, which moves the law by 2 u times
its deviation. The deviation of k is at most sqrt(m_2), and |x - m_1| at most that plus 1 in the mean. An accepted draw
is off by twice the sum over the chance to be accepted, 0.6:

    TV <= 2e-13 + 1e-14 sqrt(m_2),  m_2 at most a / 2.

Source: L. Devroye, Simulating Bessel random variables, Statistics and Probability Letters 57 (2002), for the law.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import attempts
from . import portfloat as pf
from .philox import Stream
from .poisson import drawn_by
from .rows import checked_counts, checked_floats

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, I64, Array, Bools

MOST = 2.0**52  # of order and argument
LEAST_ARGUMENT = 1e-150
STREAMS = Stream.BESSEL, Stream.BESSEL_ACCEPT


class _Pair:
    """What the attempts need of elements whose argument is not next to 0."""

    def __init__(self, order: F64, argument: F64) -> None:
        square = argument * argument
        self.order = order
        self.rate_1 = 0.5 * (order + np.sqrt(order * order + square))
        self.rate_2 = (0.25 * square) / self.rate_1
        self.top = self.rate_1.astype(np.int64).astype(np.float64) + 1.0
        self.level = self._level(self.top)

    def _level(self, x: F64) -> F64:
        return pf.deviance(x, self.rate_1, x - self.rate_1) + pf.stirling_correction(x)

    def propose(self, words: attempts.Words) -> I64:
        return drawn_by(words, self.rate_2)

    def accepts(self, k: I64, v: F64) -> Bools:
        x = (self.order + k.astype(np.float64)) + 1.0
        return pf.log(v * np.sqrt(self.top / x)) <= self.level - self._level(x)


def bessel(order: I64, argument: F64, key: Philox) -> I64:
    """The Bessel law of an order and an argument for each element, both (B, n); the caller has checked the values."""
    some = np.flatnonzero(argument.ravel() >= LEAST_ARGUMENT)
    pair = _Pair(order.ravel()[some].astype(np.float64), argument.ravel()[some])
    return attempts.draw(pair, some, order.shape, key, STREAMS).reshape(order.shape)


def bessel_elements(order: Array, argument: Array, key: Philox) -> I64:
    """The Bessel law, both of one shape (B, ...). ValueError for values out of range."""
    op = "bessel"
    orders = checked_counts(order, op, "order", int(MOST))
    rule = f"must be finite and in 0..{MOST:.0f}"
    return bessel(orders, checked_floats(argument, op, "argument", rule, MOST), key).reshape(order.shape)
