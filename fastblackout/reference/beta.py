"""Beta draws with both shapes for each element, in NumPy: the twin of csrc/include/fastblackout/gamma.h to the bit.

G_a = m_a exp(s_a) and G_b = m_b exp(s_b) are independent draws of Gamma(a) and Gamma(b) (reference/gamma.py), from streams of
their own; where a shape is below 1, its uniform U is made of the first (a) or the last (b) two words of one block. Then

    p = G_a / (G_a + G_b),    q = G_b / (G_a + G_b) = 1 - p.

The larger of exp(s_a) and exp(s_b) is divided out of both before: with t = s_b - s_a and x = exp(-|t|), p is
(m_a x) / (m_a x + m_b) where t > 0, else m_a / (m_a + m_b x), and q likewise. So nothing overflows, no 0 / 0 comes up, and
both p and q are good relative to themselves, however near to 0: p is 0 only where it is below 1e-300.

Error, derived, in the terms of reference/gamma.py. Pr(p <= y) is the mean over G_b of a distribution function of G_a, so
the errors of both add up; t rounds by u of itself, as s_a and s_b do, x, the sum and the quotient by 6 u of p / q, whose
density is below 0.4 sqrt(max(min(a, b), 1)) over it:

    KS <= 2e-14 + 4e-16 (sqrt(a) + sqrt(b)) + 3e-16 sqrt(min(a, b)).

Where the shapes are tiny, nearly all draws are next to 0 or 1, and log(p / q) = log m_a - log m_b + s_a - s_b spreads over
1 / a: it is good to 4 u of itself, so at a = 1e-8 to about 1e-7 of p or q where that lies between 1e-300 and 1/2.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import portfloat as pf
from .gamma import exponents, magnitudes
from .philox import Stream

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..philox import Philox


def beta_pair(
    a: NDArray[np.float64],
    b: NDArray[np.float64],
    key: Philox,
    streams: tuple[int, int, int] = (Stream.BETA_A, Stream.BETA_B, Stream.BETA_BOOST),
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(p, q), p ~ Beta(a, b) and q = 1 - p, (B, n) float64; the caller has checked the values."""
    stream_a, stream_b, boost = streams
    m_a, m_b = magnitudes(a, key, stream_a), magnitudes(b, key, stream_b)
    t = exponents(b, key, boost, 1) - exponents(a, key, boost, 0)
    x = pf.exp(-np.abs(t))
    m_a, m_b = np.where(t > 0.0, m_a * x, m_a), np.where(t > 0.0, m_b, m_b * x)
    total = m_a + m_b
    return m_a / total, m_b / total


def beta(a: NDArray[np.float64], b: NDArray[np.float64], key: Philox) -> NDArray[np.float64]:
    """Beta(a, b), (B, n) float64."""
    p, _ = beta_pair(a, b, key)
    return p
