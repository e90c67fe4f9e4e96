"""Poisson(rate) with its own rate per element, in NumPy: the twin of csrc/include/fastblackout/poisson.h to the bit.

Keys and uniforms as in reference/binomial.py.

rate < 10: inversion of the cumulative sum of f(k + 1) = f(k) rate / (k + 1) from f(0) = exp(-rate), with the same stop.
rate >= 10: PTRS (Hormann, Insurance: Mathematics and Economics 12, 1993): k = floor(G(u)) with
    G(u) = (2 a / (1/2 - |u|) + b) u + rate + 0.43, accepted when v <= T(u, k) = f(k) (a / (1/2 - |u|)^2 + b) / A,
    at once where v <= v_r and |u| <= 0.43. With x = k + 1, D and S as in reference/binomial.py,
    f(k) = sqrt(x / (2 pi)) / rate exp(-D(x, rate) - S(x)).
    With the published constants T reaches 1.0058 (rate 14.05) and the squeeze lies up to 0.0039 above T (rate 30.86):
    the law is off by a total variation of 7e-7 at rates near 14 and 16. So A starts at 1.1339 instead of 1.1239 and
    v_r at 0.9077 instead of 0.9277; T <= 0.9981 and v_r <= T - 0.0108 then hold (tests: both ends of every cell over
    a grid of rates). The published quick rejection at |u| > 0.487 is not needed.

Total variation from the true law (TV), derived as for the binomial: 2e-14 for rate < 10, else
TV <= 4e-14 + 2e-15 sqrt(rate):
| rate up to | 10    | 10^4    | 10^6    | 2^31  | 2.3e11 | 2^52   |
| TV         | 2e-14 | 2.4e-13 | 2.1e-12 | 1e-10 | 1e-9   | 1.4e-7 |
Rates above MAX_RATE = 2^52 are refused by callers: below it every result stays under 2^53, an exact float64, and no sum
overflows int64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import portfloat as pf
from .binomial import element_words, reject
from .philox import Stream
from .rows import checked_floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..philox import Philox
    from .dtypes import F64, I64, U32, Array, Bools

MAX_RATE = 2.0**52


def _inversion(rate: F64, u: F64) -> I64:
    mass = pf.exp(-rate)
    cdf = mass
    k = np.zeros_like(rate)
    for _ in range(128):
        more = (u >= cdf) & (mass >= 2.0**-54)
        if not more.any():
            break
        mass = np.where(more, mass * (rate / (k + 1.0)), mass)
        cdf = np.where(more, cdf + mass, cdf)
        k = np.where(more, k + 1.0, k)
    return k.astype(np.int64)


def _trial(rate: F64, u: F64, v: F64) -> tuple[Bools, I64]:
    whole = rate.astype(np.int64)
    start = whole.astype(np.float64)
    fraction = rate - start
    b = 0.931 + 2.53 * np.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1339 + 1.1328 / (b - 3.4)
    squeeze = 0.9077 - 3.6224 / (b - 2.0)
    edge = 0.5 - np.abs(u)
    y = ((2.0 * a) / edge + b) * u + (fraction + 0.43)
    inside = (y >= -start) & (y < 2.0**45)
    j = pf.floor_to_int(np.where(inside, y, 0.0))
    x = (whole + j + 1).astype(np.float64)
    d = (j.astype(np.float64) - fraction) + 1.0
    hat = (a / (edge * edge) + b) * (np.sqrt(x * 0.15915494309189535) / rate)
    exact = pf.log((v * inverse_alpha) / hat) <= -(pf.deviance(x, rate, d) + pf.stirling_correction(x))
    return inside & (((edge >= 0.07) & (v <= squeeze)) | exact), whole + j


def poisson(rate: F64, key: Philox, stream: int = Stream.POISSON) -> I64:
    """Poisson(rate), one draw per element; rate float64 (B, n) in [0, MAX_RATE]; returns int64 (B, n).

    rate = 0 gives 0 exactly. The caller has checked the range.
    """
    return drawn_by(element_words(rate.shape, key, stream), rate.ravel()).reshape(rate.shape)


def drawn_by(words: Callable[..., tuple[U32, ...]], flat: F64) -> I64:
    """Poisson(rate) of flat rates. words(places in them, trial): the words of a trial."""
    out = np.empty(flat.size, dtype=np.int64)

    inverted = np.flatnonzero(~(flat >= 10.0))
    w0, w1, _, _ = words(inverted, 0)
    out[inverted] = _inversion(flat[inverted], pf.uniform_from_zero(pf.bits53(w0, w1)))

    rejected = np.flatnonzero(flat >= 10.0)
    out[rejected] = flat[rejected].astype(np.int64)
    reject(rejected, words, lambda which, u, v: _trial(flat[rejected[which]], u, v), out)
    return out


def poisson_elements(rate: Array, key: Philox) -> I64:
    """Poisson(rate), (B, ...). uint16 rates are bfloat16 bit patterns. ValueError for rates out of range."""
    rates = checked_floats(rate, "poisson", "rate", f"must be finite and in 0..{MAX_RATE:.0f}", MAX_RATE)
    return poisson(rates, key).reshape(rate.shape)
