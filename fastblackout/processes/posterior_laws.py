"""Laws of states given states under a law of x_0, such as a model's: scores, reverse steps, the posterior."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from .inputs import a_state_each, any_library, law_of, like_of, simplex_of, together, visible
from .laws import Laws
from .matrices.lookup import Lookup, in_parts

if TYPE_CHECKING:
    from ..typing import Array, ArrayT, NumpyLike, Real


class PosteriorLaws(Laws):
    """What base.Process can say of a law of x_0; arguments as there."""

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
            States i, of the shape of `x_t`. The ratio is then that of these states alone.

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
        return at.xp.where(needed, weights / at.xp.where(chance > 0, chance, 1.0), 0.0)

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
