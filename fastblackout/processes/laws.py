"""Laws of states given states, and the reversed process, from the entries of transition matrices."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from .clock import Clock
from .inputs import (
    a_state_each,
    any_library,
    law_of,
    like_of,
    move,
    one_a_sample,
    simplex_of,
    states_of,
    times_of,
    together,
    visible,
)
from .matrices.lookup import Lookup, in_parts
from .matrices.structure import followers

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Laws(ABC):
    """What base.Process can say about states; arguments as there."""

    states: int
    _clock: Clock | None

    @property
    def _held(self) -> int:
        """How many entries a Lookup of one time holds."""
        return self.states**2

    @abstractmethod
    def _op(self, method: str) -> str: ...

    @abstractmethod
    def _rates(self) -> NDArray[np.float64]: ...

    @abstractmethod
    def _durations(self, op: str, t: Any, s: Any = None) -> tuple[NDArray[np.float64], ...]: ...

    def _times(self, op: str, argument: str, t: Any) -> NDArray[np.float64]:
        """Times as float64, finite and at least 0, of a shape that the process takes."""
        return times_of(op, argument, t)

    @abstractmethod
    def _lookup(self, times: NDArray[np.float64], xp: Any, device: Any) -> Lookup: ...

    @any_library
    def log_prob(self, x_t: Any, x_0: Any, t: Any) -> Any:
        """log P(t)[x_0, x_t], float64, element by element; -inf where P(t) is 0."""
        op = self._op("log_prob")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, at: Lookup) -> Any:
            return at.log(at.entries(then, now))

        return in_parts(op, self._lookup, self._held, body, pair, self._durations(op, t))

    @any_library
    def cdf(self, x_t: Any, x_0: Any, t: Any) -> Any:
        """Pr(at most x_t at time t | x_0), float64, element by element."""
        op = self._op("cdf")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, at: Lookup) -> Any:
            return at.cumulative(then, now)

        return in_parts(op, self._lookup, self._held, body, pair, self._durations(op, t))

    @any_library
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

        return in_parts(op, self._lookup, self._held, body, pair, self._durations(op, t, s))

    @any_library
    def reverse_rate(self, x_t: Any, x_0: Any, t: Any) -> Any:
        """The rate of the reversed process from x_t to i, given x_0: float64 (..., S), 0 at i = x_t.

        beta(t) Q[i, x_t] P(t)[x_0, i] / P(t)[x_0, x_t]
        """
        op = self._op("reverse_rate")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, jumps: Any, at: Lookup) -> Any:
            here = at.entries(then, now)
            self._possible(op, here, now, then)
            return jumps * at.rows(then) / here[..., None]

        arrays = *pair, self._jumps(pair[0])
        result = in_parts(op, self._lookup, self._held, body, arrays, self._durations(op, t))
        return self._faster(op, result, t, pair[0])

    def _jumps(self, now: Any) -> Any:
        """Q[i, now], (..., S), with a diagonal of 0."""
        return move(self._rates().T, *like_of(now))[now]

    def _jump_or_stay(self, now: Any) -> Any:
        """Whether Q[i, now] is above 0 or i is now, (..., S)."""
        return move((self._rates().T > 0) | np.eye(self.states, dtype=bool), *like_of(now))[now]

    def _faster(self, op: str, rates: Any, t: Any, now: Any) -> Any:
        """Rates (B, ..., S) of states `now` times beta(t)."""
        return rates if self._clock is None else rates * self._beta(op, t, now)

    def _speed(self, op: str, t: Any) -> NDArray[np.float64]:
        """beta(t), of t's shape."""
        times = self._times(op, "t", t)
        return np.ones(times.shape) if self._clock is None else self._clock.speed(op, times)

    def _beta(self, op: str, t: Any, now: Any, behind: int = 1) -> Any:
        """beta(t) as a factor of an array with `behind` dimensions behind those of states `now`."""
        factor = self._speed(op, t)
        one_a_sample(op, factor, now.shape)
        ones = (1,) * (now.ndim + behind - factor.ndim)
        return move(factor.reshape(factor.shape + ones) if factor.ndim else factor, *like_of(now))

    @any_library
    def score(self, x_t: Any, posterior: Any, t: Any, states: Any = None) -> Any:
        """The ratio p_t(i) / p_t(x_t) (concrete score), float64 (..., S), as the mean over the posterior of x_0.

            sum over x_0 of posterior[x_0] P(t)[x_0, i] / P(t)[x_0, x_t]

        posterior: p(x_0 | x_t), (..., S), floating point, rows summing to 1. This form holds where Q[i, x_t] > 0, all
        that the reverse process needs, and is 1 at i = x_t; elsewhere the result is NaN. states: i, an integer or an
        integer array of x_t's shape: the ratio there alone, of that shape; ValueError where Q[i, x_t] = 0.
        Differentiable in posterior. Source: Meng et al., Concrete Score Matching, NeurIPS 2022; Lou et al., arXiv
        2310.16834.
        """
        op = self._op("score")
        now, *wanted = self._pair(op, x_t=x_t, **({} if states is None else {"states": states}))
        ratios = self._ratios(op, "posterior", now, posterior, t, wait=True)
        if not wanted:
            return ratios
        ratios, chosen = together(op, posterior=ratios, states=wanted[0])
        xp, index = like_of(ratios)[0], chosen[..., None]
        there = (np.take_along_axis(ratios, index, -1) if xp is np else ratios.gather(-1, index))[..., 0]
        if bool(xp.isnan(there).any()):
            raise ValueError(f"{op}: states: must be i with Q[i, x_t] > 0, got one with Q[i, x_t] = 0")
        return there

    def _ratios(self, op: str, name: str, now: Any, probs: Any, t: Any, wait: bool) -> Any:
        """`score` of states `now`; wait: whether to look at values on a device."""
        weights, now = self._weights(op, name, now, probs, wait)

        def body(now: Any, weights: Any, at: Lookup) -> Any:
            return at.weighted(self._share(op, name, weights, at.columns(now), at, wait))

        result = in_parts(op, self._lookup, self._held, body, (now, weights), self._durations(op, t))
        return like_of(now)[0].where(self._jump_or_stay(now), result, math.nan)

    def _weights(self, op: str, name: str, now: Any, probs: Any, wait: bool) -> tuple[Any, Any]:
        """(probabilities of x_0, float64, x_t) in one library."""
        weights, now = a_state_each(op, name, probs, now, self.states)
        return simplex_of(op, name, weights, self.states, wait), now

    def _share(self, op: str, name: str, weights: Any, chance: Any, at: Lookup, wait: bool) -> Any:
        """weights over the chances of x_t given each x_0; 0 where both are. ValueError for weight without a chance."""
        needed = weights > 0
        if (wait or visible(weights)) and bool((needed & (chance == 0)).any()):
            raise ValueError(f"{op}: {name}: must be 0 where P(t)[x_0, x_t] is 0, got weight on such an x_0")
        return at.xp.where(needed, weights / at.xp.where(chance > 0, chance, 1.0), 0.0)

    @any_library
    def reverse_law(self, x_t: Any, posterior: Any, s: Any, t: Any) -> Any:
        """p(x_s = i | x_t) of a model of p(x_0 | x_t), float64 (..., S), for 0 <= s <= t: the law of a reverse step.

            sum over x_0 of posterior[x_0] P(s)[x_0, i] P(t - s)[i, x_t] / P(t)[x_0, x_t]

        posterior: as in score. What fb.categorical_bridge draws from; two matrix products, and no array larger than
        the result and the matrices. Differentiable in posterior. ValueError for weight on an x_0 that cannot reach x_t.
        Source: Austin et al., NeurIPS 2021, arXiv 2107.03006, equation 4.
        """
        op = self._op("reverse_law")
        (now,) = self._pair(op, x_t=x_t)
        weights, now = self._weights(op, "posterior", now, posterior, wait=True)

        def body(now: Any, weights: Any, before: Lookup, after: Lookup) -> Any:
            second = after.scaled(after.columns(now))
            share = self._share(op, "posterior", weights, before.averaged(second), before, wait=True)
            return second * before.weighted(share)

        start, gap, _ = self._durations(op, t, s)
        return in_parts(op, self._lookup, self._held, body, (now, weights), (start, gap))

    @any_library
    def posterior(self, x_t: Any, prior: Any, t: Any) -> Any:
        """p(x_0 | x_t) by Bayes for a known law of x_0, prior (S,): float64 (..., S).

        prior[x_0] P(t)[x_0, x_t] / sum over x_0 of the same
        """
        op = self._op("posterior")
        (now,) = self._pair(op, x_t=x_t)
        law = law_of(op, "prior", prior, self.states)

        def body(now: Any, at: Lookup) -> Any:
            joint = at.columns(now) * at.table(law)
            total = joint.sum(-1)
            if bool((total == 0).any()):
                raise ValueError(
                    f"{op}: x_t: must have a probability above 0, got {int(now[total == 0].reshape(-1)[0])}"
                )
            return joint / total[..., None]

        return in_parts(op, self._lookup, self._held, body, (now,), self._durations(op, t))

    def _pair(self, op: str, **given: Any) -> tuple[Any, ...]:
        """State arguments as int64 of one library and one shape; Python integers as they are."""
        values = {name: states_of(op, name, value, self.states) for name, value in given.items()}
        shape = next((v.shape for v in values.values() if v.ndim), ())
        for name, value in values.items():
            if value.ndim and value.shape != shape:
                raise ValueError(f"{op}: {name}: shape must be {tuple(shape)}, got {tuple(value.shape)}")
        values = dict(zip(values, together(op, **values), strict=True))
        xp, _ = like_of(next(iter(values.values())))
        return tuple(xp.broadcast_to(v, shape) for v in values.values())

    def _possible(self, op: str, weight: Any, now: Any, then: Any) -> None:
        wrong = weight <= 0
        if not bool(wrong.any()):
            return
        x_t, x_0 = int(now[wrong].reshape(-1)[0]), int(then[wrong].reshape(-1)[0])
        if not self._leads(x_0, x_t):
            raise ValueError(f"{op}: x_t: must be reachable from x_0, got x_t = {x_t} and x_0 = {x_0}")
        raise ValueError(
            f"{op}: x_t: must have a probability above 0 in float64 at these times, got x_t = {x_t} and x_0 = {x_0}"
        )

    def _leads(self, x_0: int, x_t: int) -> bool:
        """Whether x_0 can become x_t at all."""
        return x_t in followers(self._rates() > 0, x_0)
