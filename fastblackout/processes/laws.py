"""Laws of states given x_0, and the reversed process, from the entries of transition matrices."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from .generated import Generated
from .inputs import (
    any_library,
    like_of,
    move,
    states_of,
    together,
)
from .matrices.lookup import Lookup, in_parts
from .matrices.structure import followers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..typing import ArrayT, NumpyLike, Real


class Laws(Generated):
    """What base.Process can say of states given x_0; arguments as there."""

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
