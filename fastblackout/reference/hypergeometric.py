"""Hypergeometric draws in NumPy: the twin of csrc/include/fastblackout/hypergeometric.h to the bit.

Of N = good + bad balls `draws` are drawn, none put back; the result is how many of them are good. The balls are split
twice, into good and bad ones, and into those drawn and those left. Of the smaller parts of the two splits let s be the
smaller number and l the larger one, so that l <= N / 2, and k the number of balls in both; the result is k, or one of
draws - k, good - k and good - (N - draws) + k where a smaller part was the other one.

    Pr(k) = C(s, k) C(N - s, l - k) / C(N, l)  is in proportion to  b(k; s, p) b(l - k; N - s, p)  for every p,

b(j; n, p) the binomial probability, as the powers of p and 1 - p in the product are the powers for l and N - l. So k is
proposed as Binomial(s, p), p = l / N, and accepted with probability b(l - k; N - s, p) over the largest b(.; N - s, p),
at j* = floor((N - s + 1) p). An attempt succeeds with probability b(l; N, p) / b(j*; N - s, p), about sqrt(1 - s / N),
which is above 0.6 (tests: all urns of up to 60 balls).

The words of the attempts: reference/attempts.py. The ratio is computed as in reference/binomial.py, in Loader's form
with x = j + 1, y = N - s - j + 1, X = (N - s + 2) p, Y likewise of q:
sqrt(x y) exp(-D(x, X) - D(y, Y) - S(x) - S(y)) without its constant.

Total variation (TV) from the true law, derived. How p and q round does not matter, as the law above is the same for
every p, as long as both factors have the same p / q. The proposal is within 4e-14 + 2e-15 sqrt(m) of Binomial(s, p),
m = s p. The logarithm of the ratio is off by 2e-14 from the parts of D and S that do not grow, and by at most
2^-53 (6 |x - X| + 6) from rounding X, Y and p / q in them, D's slope being log(x / X); the mean of |x - X| is below
sqrt(m) + 1, so this is 1e-15 sqrt(m) in the mean. An accepted draw is off by twice the sum over the chance to be
accepted, 0.6:

    TV <= 2e-13 + 1e-14 sqrt(m),  m = s l / N the mean of k.

An outcome whose probability is below about 1e-13 may be off by any factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import attempts
from . import portfloat as pf
from .binomial import drawn_by
from .philox import Stream
from .rows import checked_counts

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, I64, Array, Bools

MAX_BALLS = 1 << 53
STREAMS = Stream.HYPERGEOMETRIC, Stream.HYPERGEOMETRIC_ACCEPT


class _Urn:
    """What the attempts need of elements with s >= 1."""

    def __init__(self, s: I64, large: I64, balls: I64) -> None:
        self.s, self.large = s, large
        self.p = large.astype(np.float64) / balls.astype(np.float64)
        self.q = (balls - large).astype(np.float64) / balls.astype(np.float64)
        self.count = (balls - s).astype(np.float64)
        self.mean_1, self.mean_2 = (self.count + 2.0) * self.p, (self.count + 2.0) * self.q
        self.both, self.level = self._at(((self.count + 1.0) * self.p).astype(np.int64).astype(np.float64))

    def _at(self, j: F64) -> tuple[F64, F64]:
        x_1, x_2 = j + 1.0, (self.count - j) + 1.0
        d = x_1 - self.mean_1
        deviances = pf.deviance(x_1, self.mean_1, d) + pf.deviance(x_2, self.mean_2, -d)
        return x_1 * x_2, deviances + (pf.stirling_correction(x_1) + pf.stirling_correction(x_2))

    def propose(self, words: attempts.Words) -> I64:
        return drawn_by(words, self.s, self.p, self.q)

    def accepts(self, k: I64, v: F64) -> Bools:
        both, level = self._at((self.large - k).astype(np.float64))
        return pf.log(v * np.sqrt(self.both / both)) <= self.level - level


def hypergeometric(good: I64, bad: I64, draws: I64, key: Philox) -> I64:
    """Good balls among `draws` of good + bad ones, all (B, n); the caller has checked the values."""
    shape = good.shape
    good, bad, draws = good.ravel(), bad.ravel(), draws.ravel()
    left = good + bad - draws
    fewer, taken = np.minimum(good, bad), np.minimum(draws, left)
    s = np.minimum(fewer, taken)
    some = np.flatnonzero(s > 0)
    urn = _Urn(s[some], np.maximum(fewer, taken)[some], (good + bad)[some])
    k = attempts.draw(urn, some, shape, key, STREAMS)
    among = np.where(good <= bad, k, taken - k)
    return np.where(draws <= left, among, good - among).reshape(shape)


def hypergeometric_elements(good: Array, bad: Array, draws: Array, key: Philox) -> Array:
    """Good balls among `draws` of good + bad ones, in good's dtype, all of one shape (B, ...).

    ValueError for numbers that are no counts, more than 2^53 balls, and more draws than balls.
    """
    op = "hypergeometric"
    given = checked_counts(good, op, "good"), checked_counts(bad, op, "bad"), checked_counts(draws, op, "draws")
    balls, drawn = given[0] + given[1], given[2]
    if (more := drawn > balls).any():
        raise ValueError(f"{op}: draws: must be at most good + bad, {balls[more][0]}, got {drawn[more][0]}")
    if (many := balls > MAX_BALLS).any():
        raise ValueError(f"{op}: bad: good + bad must be at most 2^53, got {balls[many][0]}")
    return hypergeometric(*given, key).reshape(good.shape).astype(good.dtype)
