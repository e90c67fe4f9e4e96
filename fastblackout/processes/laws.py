"""Laws of states given states or a law of x_0, and the reversed process, from entries of transition matrices."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .generated import Generated
from .inputs import (
    a_state_each,
    any_library,
    law_of,
    like_of,
    move,
    simplex_of,
    states_of,
    together,
    visible,
)
from .matrices.lookup import Lookup, in_parts
from .matrices.structure import followers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..typing import Array, ArrayT, NumpyLike, Real


class Laws(Generated):
    """What base.Process can say of states given x_0, or given a law of x_0; arguments as there."""

    @property
    def _held(self) -> int:
        """How many entries a Lookup of one time holds."""
        return self.states**2

    @abstractmethod
    def _lookup(self, times: NDArray[np.float64], xp: Any, device: Any) -> Lookup: ...

    @any_library
    def log_prob(self, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, t: Real) -> ArrayT:
        """The log-probability of x_t given x_0, element by element.

        ::

            log P(t)[x_0, x_t]

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        x_0 : int or array of int
            States at time 0, of the shape of `x_t`.
        t : float or array
            A time, or one for each sample, (B,).

        Returns
        -------
        array
            float64, of the shape of the states; -inf where P(t) is 0.
        """
        op = self._op("log_prob")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, at: Lookup) -> Any:
            return at.log(at.entries(then, now))

        return in_parts(op, self._lookup, self._held, body, pair, self._durations(op, t))

    @any_library
    def cdf(self, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, t: Real) -> ArrayT:
        """The probability of a state of at most x_t at time t given x_0, element by element.

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        x_0 : int or array of int
            States at time 0, of the shape of `x_t`.
        t : float or array
            A time, or one for each sample, (B,).

        Returns
        -------
        array
            float64, of the shape of the states.
        """
        op = self._op("cdf")
        pair = self._pair(op, x_t=x_t, x_0=x_0)

        def body(now: Any, then: Any, at: Lookup) -> Any:
            return at.cumulative(then, now)

        return in_parts(op, self._lookup, self._held, body, pair, self._durations(op, t))

    @any_library
    def bridge(self, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, s: Real, t: Real) -> ArrayT:
        """The law of x_s given x_t and x_0, for 0 <= s <= t.

        ::

            Pr(x_s = i | x_t, x_0) = P(s)[x_0, i] P(t - s)[i, x_t] / P(t)[x_0, x_t]

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        x_0 : int or array of int
            States at time 0, of the shape of `x_t`.
        s : float or array
            The earlier time, a number or (B,).
        t : float or array
            The later time, a number or (B,).

        Returns
        -------
        array
            The probability of every i, float64 (..., S).

        Raises
        ------
        ValueError
            If x_0 cannot reach x_t, or reaches it with a probability that float64 cannot tell from 0.

        Examples
        --------
        >>> fb.Uniform(3).bridge(1, 1, 0.5, 1.0).round(4)
        array([0.0297, 0.9405, 0.0297])
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
    def reverse_rate(self, x_t: ArrayT | NumpyLike, x_0: ArrayT | NumpyLike, t: Real) -> ArrayT:
        """The rates of the reversed process from x_t to every i, given x_0.

        ::

            beta(t) Q[i, x_t] P(t)[x_0, i] / P(t)[x_0, x_t]

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        x_0 : int or array of int
            States at time 0, of the shape of `x_t`.
        t : float or array
            A time, or one for each sample, (B,).

        Returns
        -------
        array
            The rates, float64 (..., S); 0 at i = x_t.

        Raises
        ------
        ValueError
            If x_0 cannot reach x_t, or reaches it with a probability that float64 cannot tell from 0.
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

    @any_library
    def score(
        self,
        x_t: ArrayT | NumpyLike,
        posterior: ArrayT | NumpyLike,
        t: Real,
        states: ArrayT | NumpyLike | None = None,
    ) -> ArrayT:
        """The concrete score of x_t, as the mean over a posterior of x_0.

        ::

            p_t(i) / p_t(x_t) = sum over x_0 of posterior[x_0] P(t)[x_0, i] / P(t)[x_0, x_t]

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        posterior : array
            p(x_0 | x_t), floating point (..., S), whose rows sum to 1. The result is differentiable in it.
        t : float or array
            A time, or one for each sample, (B,).
        states : int or array of int, optional
            States i, of the shape of `x_t`. The ratio is then of these states alone.

        Returns
        -------
        array
            The ratio for every i, float64 (..., S), or for `states` alone, of their shape.

        Raises
        ------
        ValueError
            If one of `states` has Q[i, x_t] = 0, or the posterior has weight on an x_0 that cannot reach x_t.

        Notes
        -----
        The equation holds where Q[i, x_t] > 0, which is all that the reverse process needs. The result is 1
        at i = x_t, and NaN elsewhere.

        References
        ----------
        Meng et al., "Concrete Score Matching", NeurIPS 2022; Lou et al., arXiv 2310.16834.
        """
        op = self._op("score")
        now, *wanted = self._pair(op, x_t=x_t, **({} if states is None else {"states": states}))
        ratios = self._ratios(op, "posterior", now, posterior, t, wait=True)
        if not wanted:
            return ratios
        ratios, chosen = together(op, posterior=ratios, states=wanted[0])
        xp, index = like_of(ratios)[0], chosen[..., None]
        there: Any = (np.take_along_axis(ratios, index, -1) if xp is np else ratios.gather(-1, index))[..., 0]
        if bool(xp.isnan(there).any()):
            raise ValueError(f"{op}: states: must be i with Q[i, x_t] > 0, got one with Q[i, x_t] = 0")
        return cast("ArrayT", there)

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
        """Weights over the chances of x_t given each x_0; 0 where both are. ValueError for weight without a chance."""
        needed = weights > 0
        if (wait or visible(weights)) and bool((needed & (chance == 0)).any()):
            raise ValueError(f"{op}: {name}: must be 0 where P(t)[x_0, x_t] is 0, got weight on such an x_0")
        return at.xp.where(chance > 0, weights / at.xp.where(chance > 0, chance, 1.0), 0.0)

    @any_library
    def reverse_law(self, x_t: ArrayT | NumpyLike, posterior: ArrayT | NumpyLike, s: Real, t: Real) -> ArrayT:
        """The law of a reverse step from t to s of a model of p(x_0 | x_t).

        ::

            p(x_s = i | x_t) = sum over x_0 of posterior[x_0] P(s)[x_0, i] P(t - s)[i, x_t] / P(t)[x_0, x_t]

        `fb.categorical_bridge` draws from this law. It takes two matrix products, and no array larger than the result
        and the matrices.

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        posterior : array
            p(x_0 | x_t), floating point (..., S), whose rows sum to 1. The result is differentiable in it.
        s : float or array
            The earlier time, a number or (B,), 0 <= s <= t.
        t : float or array
            The later time, a number or (B,).

        Returns
        -------
        array
            The probability of every i, float64 (..., S).

        Raises
        ------
        ValueError
            If the posterior has weight on an x_0 that cannot reach x_t.

        References
        ----------
        Austin et al., NeurIPS 2021, arXiv 2107.03006, equation 4.
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
    def posterior(self, x_t: ArrayT | NumpyLike, prior: Array, t: Real) -> ArrayT:
        """The law of x_0 given x_t by Bayes, for a known law of x_0.

        ::

            p(x_0 | x_t) = prior[x_0] P(t)[x_0, x_t] / sum over x_0 of the same

        Parameters
        ----------
        x_t : int or array of int
            States (B, ...) at time t.
        prior : array
            The law of x_0, (S,).
        t : float or array
            A time, or one for each sample, (B,).

        Returns
        -------
        array
            The probability of every x_0, float64 (..., S).

        Raises
        ------
        ValueError
            If an x_t has probability 0.

        Examples
        --------
        >>> fb.PureDeath(3).posterior(1, np.full(4, 0.25), np.log(2.0)).round(4)
        array([0.    , 0.3636, 0.3636, 0.2727])
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
