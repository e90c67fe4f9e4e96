"""Particles that die and are born: the chances of one, and laws of sums of many, all by numbers of one sign."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..backends.float_mode import default_floats
from ..probability import Prob
from .matrices.rounding import UNIT, gamma

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]


_TOGETHER = 32  # times whose rows fit a cache


def add_particles(rows: Matrix, p: Matrix, q: Matrix) -> None:
    """Fills rows[b, n] = law of X + Binomial(n, p[b]) from rows[b, 0], the law of X, in place.

    rows[n][k] = q rows[n - 1][k] + p rows[n - 1][k - 1]: relative error at most n (2 u + the error of p and q).
    """
    for first in range(0, len(p), _TOGETHER):
        part = slice(first, first + _TOGETHER)
        alive, dead = p[part, None], q[part, None]
        shifted = np.empty((len(alive), rows.shape[2] - 1))
        for n in range(1, rows.shape[1]):
            last, new = rows[part, n - 1], rows[part, n]
            np.multiply(last, dead, out=new)
            np.multiply(last[:, :-1], alive, out=shifted)
            new[:, 1:] += shifted


def binomial_error(n: int, units: int) -> float:
    """Bound on an entry's error in rows 0..n of fb.transition_rows for p and q each good to `units` u, u = 2^-53.

    A row goes out from its mode by ratios of neighbours, each good to (4 + 2 units) u, so that an entry j steps off is
    to j times that; a row's errors add up to the mean of j times it, at most (sqrt(n) / 2 + 2), and once more for the
    sum that divides the row, which itself adds n terms. Entries it leaves out are below 1e-290.
    """
    return 2 * (4 + 2 * units) * UNIT * (math.sqrt(n) / 2 + 2) + gamma(n + 2)


@default_floats
def poisson_law(mean: Matrix, size: int, most: float) -> tuple[Matrix, Matrix]:
    """(B, S): Poisson(mean) on 0..S - 1, and (B,) the probability above. most: at least every mean, of whatever batch.

    With the mean good to 5 u, a ratio of neighbours is to 7 u, so that the row is off by 14 u (sqrt(mean) + 2) in sum,
    once for the terms and once for the sum that divides them (see binomial_error), and 40 u for the sum itself.
    From the mode outwards by the ratio mean / k, divided by the sum of all, up to where terms are below 1e-30 of it.
    """
    count = max(size + 1, int(most + 40 + 12 * math.sqrt(most))) + 60
    law = np.zeros((len(mean), count))
    mode = np.floor(mean).astype(int)
    k = np.arange(1, count)
    with np.errstate(divide="ignore"):
        for b, (m, average) in enumerate(zip(mode.tolist(), mean.tolist(), strict=True)):
            law[b, m] = 1.0
            law[b, m + 1 :] = np.cumprod(average / k[m:])
            if m:
                law[b, :m] = np.cumprod((k[:m] / average)[::-1])[::-1]
    law /= law.sum(1)[:, None]
    return law[:, :size], law[:, size:].sum(1)


def poisson_quantile(mean: float, tail: float, limit: int) -> int:
    """The smallest N with Pr(Poisson(mean) > N) <= tail, or `limit` where that is larger."""
    if mean > limit:
        return limit
    inside, above = poisson_law(np.array([mean]), limit, mean)
    beyond = np.cumsum(np.concatenate([inside[0, 1:], above])[::-1])[::-1]
    return int(np.argmax(beyond <= tail)) if (beyond <= tail).any() else limit


def alive_at(t: Matrix) -> Prob:
    """(p, 1 - p), p = exp(-t)."""
    return Prob(np.exp(-t), -np.expm1(-t))


def birth_at(start: Matrix, gap: Matrix, end: Matrix) -> Prob:
    """((p_s - p_t) / (1 - p_t), (1 - p_s) / (1 - p_t)); (1, 0) at t = 0, where nobody has died."""
    dead = np.where(end > 0, -np.expm1(-end), 1.0)
    p = np.where(start > 0, np.minimum(np.exp(-start) * -np.expm1(-gap) / dead, 1.0), 1.0)
    return Prob(p, np.where(start > 0, -np.expm1(-start) / dead, 0.0))
