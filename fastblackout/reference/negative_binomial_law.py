"""The law "negative-binomial" of a head, in NumPy: the twin of csrc/include/fastblackout/negative_binomial_law.h to the
bit.

A pixel's x_0 has the prior Poisson(lambda), lambda ~ Gamma(r) m / r. Each of its particles is alive with probability p
at time t, so that x_t and N = x_0 - x_t are independent given lambda, Poisson(lambda p) and Poisson(lambda (1 - p)),
and lambda given x_t is Gamma(A) m / (r + p m), A = r + x_t. So N ~ Poisson(theta G), G ~ Gamma(A), a negative binomial
law of size A and mean A theta:

    theta = (1 - p) m / (r + p m) = (1 - p) / (e + p),    e = r / m,
    P(N = n) = A (A + 1) .. (A + n - 1) / n! share^n (1 + theta)^-A,    share = theta / (1 + theta) = (1 - p) / (1 + e).

Of m and r the head gives logarithms, and of p it is log(1 - p) that is known:

    log m = clamp(log(max_count) / 2 + o_1, -12, 36),  log r = clamp(o_2 + 1, -7, 16),  log(1 - p) = min(offset, 0)

o_1 = 0 lies in the middle, on the scale of logarithms, of the counts 1..max_count, so that a network that gives numbers
of a size of a few reaches both ends of them, be it 255 or a bound on counts that have none. Both outputs are logarithms
of what they mean: a network's error in them is one relative to the mean, whatever its size, and the loss is linear in
the tails of o_1 on the side of few births and bounded on the other. exp(36) is just below 2^52, the largest rate that
is drawn; exp(-12) is a pixel that is black but for one draw in 160,000. r = exp(1) at o_2 = 0 is a wide law, whose
standard deviation is 0.6 of its mean; exp(16) is a Poisson law up to a variance larger by mean / 8.9e6 of itself,
exp(-7) one of which nearly all draws are 0.

Losses. log(1 + theta) comes from theta, a sum and a quotient of positive numbers; log share from offset, so that no
1 - p that vanishes loses it; p = 1 - exp(offset) from _not_exp, good relative to itself also next to 0. The rising
factorial is portfloat.rising, whose parts go to 0 with n - 1. In the Poisson limit, n log A + n log share and
A log(1 + theta) stay numbers of the size of n log r and of the mean, with nothing else to cancel. log m is off by 36 u,
u = 2^-53, and exp by 2 u, e by 61 u of itself, p by 6 u, theta by 70 u and A by 2 u; logarithms are within 3 ulp. In
sum -log P is off by less than

    u (8 n (24 + log(n + A)) + 80 A log(1 + theta) + 40).

Slopes. With share' = e / (1 + e), mean = A theta and H(n) = 1 / A + 1 / (A + 1) + .. + 1 / (A + n - 1):

    by log m:  share' (mean - n),    by log r:  r (log(1 + theta) - H(n)) - share' (mean - n).

As r grows the second is a difference that falls like 1 / r, of terms of the size of n and mean: either is off by less
than 200 u (n + mean + 1).

Draws. Binomial(N, q) ~ Poisson(q theta G): a gamma draw and a Poisson draw, which is cut at the room max_count - x_t.
Error of the distribution function, derived. The exact law is the law of the head in float32, the offset, and q as
given. A scale of G that is off by d of itself moves its distribution function by less than 0.4 d sqrt(max(A, 1)), a
shape by less than 0.5 d sqrt(max(A, 1)): here 4e-15 sqrt(max(A, 1)); the rest is the error of
reference/negative_binomial.py. In sum it is within

    6e-14 + 5e-15 sqrt(A) + 2e-15 sqrt(q mean)

of the exact one. A rate above 2^52 counts as that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import portfloat as pf
from .gamma import exponents, magnitudes, scaled
from .philox import Stream
from .poisson import MAX_RATE, poisson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..philox import Philox
    from .dtypes import F32, F64, I64, Array, Bools


_LOG_MEAN, _LOG_SIZE = (-12.0, 36.0), (-7.0, 16.0)  # the clamps of log m and log r


def _clamped(x: F64, ends: tuple[float, float]) -> F64:
    """x between both ends; a NaN, which only a device may meet, becomes the lower one."""
    return np.where(x > ends[0], np.where(x < ends[1], x, ends[1]), ends[0])


def _not_exp(y: F64, e: F64) -> F64:
    """1 - exp(y) of y <= 0 and e = exp(y) as rounded, good relative to itself: next to 0 by W. Kahan's quotient, whose
    1 - e and log(e) have the error of e in common."""
    near = y > -0.5
    log_e = pf.log(np.where(near & (e < 1.0), e, 0.5))
    return np.where(near, np.where(e < 1.0, (1.0 - e) * (y / log_e), -y), 1.0 - e)


class _Law(NamedTuple):
    """All (B, n)."""

    r: F64
    size: F64  # A
    e: F64  # r / m
    log_share: F64
    theta: F64
    free_mean: Bools  # where a clamp changes nothing
    free_size: Bools

    @staticmethod
    def of(head: Sequence[Array], offset: F32, x_t: F64, most: int) -> _Law:
        first, second = (each.reshape(x_t.shape).astype(np.float64) for each in head)
        wide = np.where(offset < 0.0, offset, 0.0).astype(np.float64)[:, None]
        gone = pf.exp(wide)  # 1 - p
        wide_mean, wide_size = 0.5 * pf.log(np.full_like(first, float(max(most, 1)))) + first, second + 1.0
        log_mean, log_size = _clamped(wide_mean, _LOG_MEAN), _clamped(wide_size, _LOG_SIZE)
        r, e = pf.exp(log_size), pf.exp(log_size - log_mean)
        log_share = wide - pf.log_one_plus(e)
        theta = gone / (e + _not_exp(wide, gone))
        return _Law(r, r + x_t, e, log_share, theta, log_mean == wide_mean, log_size == wide_size)


def losses(head: Sequence[Array], offset: F32, room: F64, n: F64, most: int) -> F64:
    """-log P(n), (B, n)"""
    law = _Law.of(head, offset, float(most) - room, most)
    total, above, below = pf.rising(law.size, np.where(n < 1.0, 1.0, n))
    some = (n * law.log_share + total) + pf.log(law.size * (above / below))
    born = np.where(n < 1.0, 0.0, some - pf.log_factorial(n))
    loss = law.size * pf.log_one_plus(law.theta) - born
    return np.where(loss > 0.0, loss, 0.0)


def slopes(
    head: Sequence[Array], offset: F32, room: F64, n: F64, most: int
) -> tuple[F64, F64]:  # fmt: skip
    """The derivatives of -log P(n) by both arrays of the head."""
    law = _Law.of(head, offset, float(most) - room, most)
    by_mean = (law.e / (1.0 + law.e)) * (law.size * law.theta - n)
    rises = (law.r / law.size) * pf.rising_slope(law.size, n)
    by_size = (law.r * pf.log_one_plus(law.theta) - rises) - by_mean
    return np.where(law.free_mean, by_mean, 0.0), np.where(law.free_size, by_size, 0.0)


def draw_births(head: Sequence[Array], offset: F32, room: I64, p: F64, _q: F64, key: Philox, most: int) -> I64:
    """Binomial(N, p), at most the room, (B, n); p: (B,)."""
    law = _Law.of(head, offset, (most - room).astype(np.float64), most)
    m, s = magnitudes(law.size, key, Stream.POSTERIOR_A), exponents(law.size, key, Stream.POSTERIOR_BOOST)
    rate = scaled(law.theta * p[:, None], m, s)
    return np.minimum(poisson(np.minimum(rate, MAX_RATE), key, Stream.POSTERIOR_ELEMENT), room)
