"""Gamma draws with a shape for each element, in NumPy: the twin of csrc/include/fastblackout/gamma.h to the bit.

A draw of Gamma(a) is kept as G = m exp(s), s <= 0, so that no shape overflows or loses a tail:

    a >= 1: m ~ Gamma(a), s = 0.    a < 1: m ~ Gamma(a + 1), s = log(U) / a, as Gamma(a) = Gamma(a + 1) U^(1 / a).

m is drawn by the rejection of Marsaglia and Tsang. With d = a - 1/3 (a + 2/3 where a < 1) and c = 1 / (3 sqrt(d)), a
trial takes e = c z, z standard normal, and V in (0, 1], and accepts m = d (1 + e)^3 where

    e > -1 and log V <= 3 d r(e),    r(e) = log1p(e) - e + e^2 / 2 - e^3 / 3 = -e^4 / 4 + e^5 / 5 - ...

That is their test, log V < z^2 / 2 + d (1 - v + log v) with v = (1 + e)^3, without the terms that cancel: where
|e| < 1/8, r is a sum of 13 terms. Where e >= -1/2, -3 r(e) <= 1.2711 e^4, so V <= 1 - 1.28 d e^4 accepts at once.

Words: trial t of element i has the Philox block (i, first_sample + row, call, stream << 24 | t); the first two make z
as in reference/normal.py, the others V. A trial is accepted with probability above 0.951 (least at a = 1), so all 1,024
are used up with probability below 1e-1300; m = d then. U has 64 bits of the block (i, first_sample + row, call,
boost stream << 24): the top bit says whether U is v or 1 - v, v = (k + 1/2) 2^-64 with the other 63 as k. So log U is
good relative to itself at both ends, from -45.1 to -2^-65.

Gamma(a) scaled is (scale exp(s / 2)) (m exp(s / 2)), which is 0 where s < -1416: no value above 1e-300 becomes 0 but by
rounding to the output's dtype.

Error, derived. u = 2^-53, and KS is the largest difference of two distribution functions.
* Normal and c: z is off by 43 u |z| (reference/normal.py), c and the product by 4 u, which moves the distribution
  function of e by less than 0.242 * 47 u + 2^-64 < 1.3e-15. The law of m is a quotient of two integrals over it, of
  functions whose variation is at most 2, and the lower one is at least 0.951: KS <= 4 * 1.3e-15 / 0.951 < 5.5e-15.
* Test: the grid of V is off by u, the cheap test by u, log V by 2 u of itself, which is 0.8 u of a probability, the
  series by 3 u, and cut off by less than 2 u on average over z. Elsewhere terms cancel: on average their rounding
  is below 5 u, the most at d = 6. Total variation below 2 * 13 u / 0.951 < 3.1e-15.
* d is off by 1.75 u of itself, so m has a law whose shape is off by as much (with exact arithmetic it is
  Gamma(d + 1/3)), and 1 + e, the cube and the products round m by 7 u. As |dF/da| < 0.5 / sqrt(a) and
  x f(x) < 0.4 sqrt(a) for a >= 1: KS <= 3.7 u sqrt(max(a, 2)).
* a < 1: s is off by 5 u of itself, which moves a distribution function by less than 0.37 * 5 u, and the grid of U by
  2^-65; both factors exp(s / 2) and the products add 7 u of G, 3 u of KS.
Sum: KS <= 1e-14 + 5e-16 sqrt(a) for every shape from 1e-300 to 1e300. The second part is rounding: a draw is within 9
units in the last place of one whose law is within 1e-14. The lower tail of a shape below 1 is good relative to itself:
Pr(G < x) is off by 2^-64 / Pr(G < x) of itself, and no draw is below the quantile of 2^-65.

Source: G. Marsaglia, W. W. Tsang, A simple method for generating gamma variables, ACM TOMS 26 (2000).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import portfloat as pf
from .binomial import MAX_TRIALS, element_words
from .normal import standard_normal
from .philox import Stream
from .rows import AT_LEAST_0, LARGEST, checked_floats, rounded

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, U32, Array, Bools

LEAST_SHAPE, MOST_SHAPE = 1e-300, 1e300
_SERIES = tuple((-1) ** n / (n + 4) for n in range(12, -1, -1))  # of -r(e) / e^4, the highest power first


def _log_ratio(d: F64, e: F64) -> F64:
    """3 d r(e), e > -1."""
    q = e * e
    series = np.full_like(e, _SERIES[0])
    for coefficient in _SERIES[1:]:
        series = series * e + coefficient
    far = pf.log1p(e) - (e - q * (0.5 - e * 0.3333333333333333))
    return (3.0 * d) * np.where((e < 0.125) & (e > -0.125), -((q * q) * series), far)


def _accepted(d: F64, e: F64, v: F64) -> Bools:
    q = e * e
    accepted = (e >= -0.5) & (v <= 1.0 - (1.28 * d) * (q * q))
    open_ = np.flatnonzero((e > -1.0) & ~accepted)
    accepted[open_] = pf.log(v[open_]) <= _log_ratio(d[open_], e[open_])
    return accepted


def magnitudes(shape: F64, key: Philox, stream: int) -> F64:
    """m of every element; shape (B, n) float64 in LEAST_SHAPE..MOST_SHAPE, which the caller has checked."""
    a = shape.ravel()
    words = element_words(shape.shape, key, stream)
    d = np.where(a < 1.0, a + 0.6666666666666666, a - 0.3333333333333333)
    c = 1.0 / (3.0 * np.sqrt(d))
    m = d.copy()
    open_ = np.arange(a.size)
    for trial in range(MAX_TRIALS):
        if open_.size == 0:
            break
        w0, w1, w2, w3 = words(open_, trial)
        e = c[open_] * standard_normal(w0, w1)
        accepted = _accepted(d[open_], e, pf.uniform_to_one(pf.bits53(w2, w3)))
        w = 1.0 + e[accepted]
        m[open_[accepted]] = d[open_[accepted]] * ((w * w) * w)
        open_ = open_[~accepted]
    return m.reshape(shape.shape)


def _log_uniform(high: U32, low: U32) -> F64:
    """log U of two words."""
    upper = (high & np.uint32(0x7FFFFFFF)).astype(np.float64) * 2.0**-32
    v = upper + (low.astype(np.float64) + 0.5) * 2.0**-64
    return np.where(high >> np.uint32(31) == 1, pf.log(v), pf.log1p(-v))


def exponents(shape: F64, key: Philox, stream: int, part: int = 0) -> F64:
    """s of every element; its words are the first two (part 0) or the last two (part 1) of its block."""
    a = shape.ravel()
    s = np.zeros_like(a)
    boosted = np.flatnonzero(a < 1.0)
    words = element_words(shape.shape, key, stream)(boosted, 0)
    s[boosted] = _log_uniform(words[2 * part], words[2 * part + 1]) / a[boosted]
    return s.reshape(shape.shape)


def scaled(scale: F64, m: F64, s: F64) -> F64:
    """scale m exp(s)."""
    half = pf.exp(0.5 * s)
    with np.errstate(over="ignore"):
        return (scale * half) * (m * half)


def gamma(shape: F64, scale: F64, key: Philox) -> F64:
    """Gamma(shape) times scale, (B, n) float64; the caller has checked the values."""
    return scaled(scale, magnitudes(shape, key, Stream.GAMMA), exponents(shape, key, Stream.GAMMA_BOOST))


def gamma_elements(shape: Array, scale: Array, key: Philox) -> Array:
    """Gamma(shape) times scale in the dtype of `shape`, both of one shape (B, ...).

    ValueError for shapes out of range, and a scale that is negative or not finite.
    """
    shapes = checked_shapes(shape, "gamma", "shape")
    return rounded(gamma(shapes, checked_floats(scale, "gamma", "scale", AT_LEAST_0, LARGEST), key), shape)


def checked_shapes(array: Array, op: str, argument: str) -> F64:
    rule = f"must be finite and in {LEAST_SHAPE:g}..{MOST_SHAPE:g}"
    return checked_floats(array, op, argument, rule, MOST_SHAPE, LEAST_SHAPE)
