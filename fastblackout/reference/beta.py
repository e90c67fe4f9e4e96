"""Beta draws with both shapes for each element, in NumPy: the twin of csrc/include/fastblackout/gamma.h to the bit.

G_a = m_a exp(s_a) and G_b = m_b exp(s_b) are independent draws of Gamma(a) and Gamma(b) (reference/gamma.py), from
streams of their own; a shape below 1 has its uniform U of the first (a) or the last (b) two words of one block.

    p = G_a / (G_a + G_b),    q = G_b / (G_a + G_b) = 1 - p.

The larger of exp(s_a) and exp(s_b) is divided out of both before: with t = s_b - s_a and x = exp(-|t|), p is
(m_a x) / (m_a x + m_b) where t > 0, else m_a / (m_a + m_b x), and q likewise. So nothing overflows, no 0 / 0 comes up,
and both p and q are good relative to themselves, however near to 0: one is 0 only where |t| > 708, exp(-|t|) < 4e-308.

Error, derived, in the terms of reference/gamma.py. Pr(p <= y) is the mean over G_b of a distribution function of G_a,
so the errors of both add up; where both shapes are below 1, t rounds by u of itself, which no distribution function
feels by more than s_a and s_b do; x, the sum and the quotient round p / q by 6 u, and r f(r) < 0.4 sqrt(min(a, b)) of
its density f (0.4 where that is below 1):

    KS <= 2e-14 + 8e-16 (sqrt(a) + sqrt(b)) from 1e-290 on.

Where |t| > 708, the smaller of p and q is taken for 0. It would be 1e-290 or more only where the smaller of m_a and m_b
is below 3e-18 of the other, with probability below 1e-17. Below 1e-290 there are draws of tiny shapes alone, and Pr(p
<= y) is too large there: with a = 1e-3 and b = 2, Pr(p <= 5e-324) is 0.4926 rather than 0.4753.

Where the shapes are tiny, nearly all draws are next to 0 or 1, and log(p / q) = log m_a - log m_b + s_a - s_b spreads
over 1 / a: it is good to 6 u of the larger of s_a and s_b, so at a = 1e-8 to about 1e-7 of p / q.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import portfloat as pf
from .gamma import checked_shapes, exponents, magnitudes
from .philox import Stream
from .rows import rounded

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, Array


def beta_pair(
    a: F64, b: F64, key: Philox, streams: tuple[int, int, int] = (Stream.BETA_A, Stream.BETA_B, Stream.BETA_BOOST)
) -> tuple[F64, F64]:
    """(p, q), p ~ Beta(a, b) and q = 1 - p, (B, n) float64; the caller has checked the values."""
    stream_a, stream_b, boost = streams
    m_a, m_b = magnitudes(a, key, stream_a), magnitudes(b, key, stream_b)
    t = exponents(b, key, boost, 1) - exponents(a, key, boost, 0)
    x = pf.exp(-np.abs(t))
    m_a, m_b = np.where(t > 0.0, m_a * x, m_a), np.where(t > 0.0, m_b, m_b * x)
    total = m_a + m_b
    return m_a / total, m_b / total


def beta(a: F64, b: F64, key: Philox) -> F64:
    """Beta(a, b), (B, n) float64."""
    p, _ = beta_pair(a, b, key)
    return p


def beta_elements(a: Array, b: Array, key: Philox) -> Array:
    """Beta(a, b) in a's dtype, both of one shape (B, ...). ValueError for shapes out of range."""
    return rounded(beta(checked_shapes(a, "beta", "a"), checked_shapes(b, "beta", "b"), key), a)
