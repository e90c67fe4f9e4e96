"""What is made of the law "bayes-logistic" (bayes_logistic.py): losses of given births, their slopes, and draws."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import portfloat as pf
from .bayes_logistic import Edges, Law, totals_of
from .normal import stream_words
from .philox import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..philox import Philox
    from .dtypes import F32, F64, I64, Array


class _Seen:
    """The state of given births n, in 0..R: the log of its weight but for factors that all n share, and its slopes."""

    def __init__(self, law: Law, n: F64) -> None:
        self.is_most, self.is_zero = n == law.room, (n == 0.0) & law.zero
        low, high = (Edges.at(law.edge(k)) for k in (n, n + 1.0))
        base = np.where(self.is_most, law.base_most, np.where(self.is_zero, law.base_zero, law.base))
        under = np.where(self.is_zero, 0.0, np.where(low.t > 0.0, low.t, 0.0))
        over = np.where(self.is_most, 0.0, np.where(high.t < 0.0, 0.0 - high.t, 0.0))
        log_mass = base - (under + over)
        self.top = log_mass[0]
        for each in log_mass[1:]:
            self.top = np.maximum(self.top, each)
        both = (low.inverse * high.inverse) * law.drop
        mass = np.where(self.is_most, low.inverse, np.where(self.is_zero, high.inverse, both))
        self.mass = pf.exp(log_mass - self.top) * mass
        self.sum = self.mass[0]
        for each in self.mass[1:]:
            self.sum = self.sum + each
        f_a = np.where(self.is_zero, 0.0, low.below())
        f_b = np.where(self.is_most, 0.0, high.above())
        self.mean = f_a - f_b
        self.scale = (low.t * f_a - high.t * f_b) - np.where(self.is_most | self.is_zero, 0.0, law.kappa)


def losses(head: Sequence[Array], offset: F32, room: F64, n: F64, most: int) -> F64:
    """-log P(n), (B, n)"""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):
        law = Law(head, offset, room, float(most))
        seen, total = _Seen(law, n), totals_of(law, *law.walks())[-1]
        loss = ((law.top - law.likelihood(n)) - seen.top) + (pf.log(total) - pf.log(seen.sum))
        return np.where((loss > 0.0) & (room > 0.0), loss, 0.0)


def slopes(head: Sequence[Array], offset: F32, room: F64, n: F64, most: int) -> tuple[F64, ...]:
    """The derivatives of -log P(n) by the arrays of the head: of log sum_n w(n), an average over the law, less
    the derivative of log w(n)."""
    with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):
        law = Law(head, offset, room, float(most))
        seen, (up, down) = _Seen(law, n), law.walks(slopes=True)
        inverse = 1.0 / totals_of(law, up, down)[-1]
        factor = law.factor * inverse
        inner = factor * (up.sum + down.sum)
        q_most, q_zero, seen_share = law.weight_most * inverse, law.weight_zero * inverse, seen.mass * (1.0 / seen.sum)
        f_a, f_b = law.at_most.below(), law.at_zero.above()
        mean = (factor * (up.means + down.means) + q_most * f_a) - q_zero * f_b
        scale = factor * (up.scales + down.scales) - law.kappa * inner
        scale = (scale + q_most * (law.at_most.t * f_a)) - q_zero * (law.at_zero.t * f_b)
        moved_up = (inner + q_most) - np.where(seen.is_zero, 0.0, seen_share)
        moved_down = (inner + q_zero) - np.where(seen.is_most, 0.0, seen_share)
        scale = (scale - seen_share * seen.scale) + (law.moved_up * moved_up + law.moved_down * moved_down)
        by_mean = (16.0 * law.narrow) * (mean - seen_share * seen.mean)
        by_logit = ((inner + q_most) + q_zero) - seen_share
        by_scale = np.where(law.free, scale, 0.0)
        made = [*by_mean, *by_scale, *by_logit[:-1]]
        return tuple(np.where(room > 0.0, each, 0.0) for each in made)


def draw_births_left(head: Sequence[Array], offset: F32, room: I64, most: int, key: Philox) -> I64:
    """N, (B, n), by one uniform of 53 bits for each element."""
    words = (
        stream_words(room.shape, key, stream) for stream in (Stream.POSTERIOR_STATE, Stream.POSTERIOR_STATE_REFINE)
    )
    uniform = pf.uniform_from_zero(pf.bits53(*words)).reshape(room.shape)
    with np.errstate(invalid="ignore", divide="ignore", over="ignore", under="ignore"):
        law = Law(head, offset, room.astype(np.float64), float(most))
        totals = np.stack(totals_of(law, *law.walks()))
        target = uniform * totals[-1]
        part = np.sum(totals[:-1] <= target, axis=0)  # the first whose sum is above it
        drawn = np.where(part == 0, 0.0, law.room)
        for j in range(law.components):
            for sign, number in ((1.0, 1 + 2 * j), (-1.0, 2 + 2 * j)):
                chosen = part == number
                goal = (target - totals[number - 1]) / np.where(chosen, law.factor[j], 1.0)
                drawn = np.where(chosen, law.walk_to(j, sign, chosen, goal), drawn)
        return drawn.astype(np.int64)
