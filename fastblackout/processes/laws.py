"""Laws of states given states, and the reversed process, from the entries of transition matrices."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from .clock import Clock
from .inputs import host, like_of, move, simplex_of, states_of, times_of
from .lookup import Lookup, in_parts
from .structure import followers

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Laws(ABC):
    """What base.Process can say about states; arguments as there."""

    states: int
    _clock: Clock | None

    @abstractmethod
    def _op(self, method: str) -> str: ...

    @abstractmethod
    def _rates(self) -> NDArray[np.float64]: ...

    @abstractmethod
    def _durations(self, op: str, t: Any, s: Any = None) -> tuple[NDArray[np.float64], ...]: ...

    @abstractmethod
    def _lookup(self, times: NDArray[np.float64], xp: Any, device: Any) -> Lookup: ...

    def log_prob(self, x_t: Any, x_0: Any, t: Any) -> Any:
        """log P(t)[x_0, x_t], float64, element by element; -inf where P(t) is 0."""
        op = self._op("log_prob")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, at: Lookup) -> Any:
            return at.log(at.entries(then, now))

        return in_parts(op, self._lookup, self.states, body, pair, self._durations(op, t))

    def cdf(self, x_t: Any, x_0: Any, t: Any) -> Any:
        """Pr(at most x_t at time t | x_0), float64, element by element."""
        op = self._op("cdf")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, at: Lookup) -> Any:
            return at.cumulative(then, now)

        return in_parts(op, self._lookup, self.states, body, pair, self._durations(op, t))

    def bridge(self, x_t: Any, x_0: Any, s: Any, t: Any) -> Any:
        """Pr(x_s = i | x_t, x_0), float64 (..., S), for 0 <= s <= t.

            P(s)[x_0, i] P(t - s)[i, x_t] / P(t)[x_0, x_t]

        ValueError for an x_t that x_0 cannot reach, or reaches with a probability that float64 cannot tell from 0.
        """
        op = self._op("bridge")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, before: Lookup, after: Lookup, whole: Lookup) -> Any:
            first, second = before.rows(then), after.columns(now)
            # Each side is scaled by its largest entry, so that the product of two small ones stays above 0.
            law = before.scaled(first) * before.scaled(second)
            total = law.sum(-1)
            self._possible(op, total, now, then)
            return law / total[..., None]

        return in_parts(op, self._lookup, self.states, body, pair, self._durations(op, t, s))

    def reverse_rate(self, x_t: Any, x_0: Any, t: Any) -> Any:
        """The rate of the reversed process from x_t to i, given x_0: float64 (..., S), 0 at i = x_t.

        beta(t) Q[i, x_t] P(t)[x_0, i] / P(t)[x_0, x_t]
        """
        op = self._op("reverse_rate")
        pair = self._pair(op, x_t=x_t, x_0=x_0)
        rates = self._rates()

        def body(now: Any, then: Any, at: Lookup) -> Any:
            here = at.entries(then, now)
            self._possible(op, here, now, then)
            return at.table(rates.T)[now] * at.rows(then) / here[..., None]

        result = in_parts(op, self._lookup, self.states, body, pair, self._durations(op, t))
        return self._faster(op, result, t)

    def _faster(self, op: str, rates: Any, t: Any) -> Any:
        """Rates (B, ..., S) times beta(t)."""
        if self._clock is None:
            return rates
        factor, (xp, device) = self._clock.speed(op, times_of(op, "t", t)), like_of(rates)
        if factor.ndim:
            factor = factor.reshape(factor.shape + (1,) * (rates.ndim - 1))
        return rates * move(factor, xp, device)

    def score(self, x_t: Any, posterior: Any, t: Any, states: Any = None) -> Any:
        """The ratio p_t(i) / p_t(x_t) (concrete score), float64 (..., S), as the mean over the posterior of x_0.

            sum over x_0 of posterior[x_0] P(t)[x_0, i] / P(t)[x_0, x_t]

        posterior: p(x_0 | x_t), (..., S), floating point, rows summing to 1. This form holds where Q[i, x_t] > 0, all
        that the reverse process needs, and is 1 at i = x_t; elsewhere the result is NaN. states: i, an integer or an
        integer array of x_t's shape: the ratio there alone, of that shape; ValueError where Q[i, x_t] = 0.
        Source: Meng et al., Concrete Score Matching, NeurIPS 2022; Lou et al., arXiv 2310.16834.
        """
        op = self._op("score")
        now, *wanted = self._pair(op, x_t=x_t, **({} if states is None else {"states": states}))
        weights = simplex_of(op, "posterior", posterior, self.states)
        if tuple(weights.shape[:-1]) != tuple(now.shape):
            raise ValueError(f"{op}: posterior: shape must be {(*now.shape, self.states)}, got {tuple(weights.shape)}")
        allowed = (self._rates() > 0) | np.eye(self.states, dtype=bool)
        xp, device = like_of(now)
        if wanted and not bool(move(allowed, xp, device)[wanted[0], now].all()):
            raise ValueError(f"{op}: states: must be i with Q[i, x_t] > 0, got one with Q[i, x_t] = 0")

        def body(now: Any, weights: Any, at: Lookup) -> Any:
            here = at.columns(now)
            needed = weights > 0
            if bool((needed & (here == 0)).any()):
                raise ValueError(f"{op}: posterior: must be 0 where P(t)[x_0, x_t] is 0, got weight on such an x_0")
            ratio = at.xp.where(needed, weights / at.xp.where(here > 0, here, 1.0), 0.0)
            return at.weighted(ratio)

        result = in_parts(op, self._lookup, self.states, body, (now, weights), self._durations(op, t))
        if wanted:
            index = wanted[0][..., None]
            return (np.take_along_axis(result, index, -1) if xp is np else result.gather(-1, index))[..., 0]
        return xp.where(move(np.ascontiguousarray(allowed.T), xp, device)[now], result, math.nan)

    def posterior(self, x_t: Any, prior: Any, t: Any) -> Any:
        """p(x_0 | x_t) by Bayes for a known law of x_0, prior (S,): float64 (..., S).

        prior[x_0] P(t)[x_0, x_t] / sum over x_0 of the same
        """
        op = self._op("posterior")
        (now,) = self._pair(op, x_t=x_t)
        law = host(simplex_of(op, "prior", prior, self.states), op, "prior")
        if law.ndim != 1:
            raise ValueError(f"{op}: prior: shape must be ({self.states},), got {law.shape}")

        def body(now: Any, at: Lookup) -> Any:
            joint = at.columns(now) * at.table(law)
            total = joint.sum(-1)
            if bool((total == 0).any()):
                raise ValueError(
                    f"{op}: x_t: must have a probability above 0, got {int(now[total == 0].reshape(-1)[0])}"
                )
            return joint / total[..., None]

        return in_parts(op, self._lookup, self.states, body, (now,), self._durations(op, t))

    def _pair(self, op: str, **given: Any) -> tuple[Any, ...]:
        """State arguments as int64 of one library and one shape; Python integers as they are."""
        values = {name: states_of(op, name, value, self.states) for name, value in given.items()}
        shape = next((v.shape for v in values.values() if v.ndim), ())
        for name, value in values.items():
            if value.ndim and value.shape != shape:
                raise ValueError(f"{op}: {name}: shape must be {tuple(shape)}, got {tuple(value.shape)}")
        tensor = next((v for v in values.values() if like_of(v)[0] is not np), None)
        if tensor is None:
            return tuple(np.broadcast_to(v, shape) for v in values.values())
        xp, device = like_of(tensor)
        moved = (v if like_of(v)[0] is xp else move(np.asarray(v), xp, device) for v in values.values())
        return tuple(xp.broadcast_to(v, shape) for v in moved)

    def _possible(self, op: str, weight: Any, now: Any, then: Any) -> None:
        wrong = weight <= 0
        if not bool(wrong.any()):
            return
        x_t, x_0 = int(now[wrong].reshape(-1)[0]), int(then[wrong].reshape(-1)[0])
        if x_t not in followers(self._rates() > 0, x_0):
            raise ValueError(f"{op}: x_t: must be reachable from x_0, got x_t = {x_t} and x_0 = {x_0}")
        raise ValueError(
            f"{op}: x_t: must have a probability above 0 in float64 at these times, got x_t = {x_t} and x_0 = {x_0}"
        )
