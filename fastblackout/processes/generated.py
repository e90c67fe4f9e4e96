"""The generator of a process, its stationary law, and the clock that a time change gives it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.float_mode import default_floats
from .clock import Clock, Inside, clock_of
from .inputs import any_library, like_of, move, one_a_sample, times_of
from .matrices.structure import closed_classes, stationary

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from numpy.typing import NDArray

    from ..typing import ArrayT, NumpyLike


class Generated(ABC):
    """What a process is made of: a generator Q on the states 0..S-1, and a clock."""

    states: int
    _clock: Clock | None

    @abstractmethod
    def generator(self) -> NDArray[np.float64]:
        """The generator Q: rates i -> j off the diagonal, rows summing to 0.

        Returns
        -------
        numpy.ndarray
            Q, float64 (S, S). A time change does not scale it.
        """

    @default_floats
    def stationary(self) -> NDArray[np.float64]:
        """The law that P(t) keeps and tends to: pi Q = 0.

        Returns
        -------
        numpy.ndarray
            pi, float64 (S,).

        Raises
        ------
        ValueError
            If the law is not unique, because the process has several closed classes of states.
        """
        rates = self._rates()
        classes = closed_classes(rates)
        if len(classes) > 1:
            first = ", ".join(str(members[:5].tolist()) for members in classes[:3])
            raise ValueError(
                f"{self._op('stationary')}: Q: must have one closed class of states, got {len(classes)}: {first}"
                f"{', ...' if len(classes) > 3 else ''}"
            )
        law = stationary(rates, classes[0])
        if not np.isfinite(law).all():
            span = rates[rates > 0]
            raise ValueError(
                f"{self._op('stationary')}: Q: quotients of rates must be within float64's range, got rates from "
                f"{float(span.min())!r} to {float(span.max())!r}"
            )
        return law

    def _rates(self) -> NDArray[np.float64]:
        """Q with a diagonal of 0."""
        rates = self.generator().copy()
        np.fill_diagonal(rates, 0.0)
        return rates

    def time_change(
        self, beta: float | Callable[[float], float], speed: Callable[[float], float] | None = None
    ) -> Self:
        """The same process under another clock.

        ::

            Q(t) = beta(t) Q,    P(s, t) = exp((B(t) - B(s)) Q),    B(t) = integral of beta from 0 to t

        `generator()` stays Q. All laws and draws follow the change. A change of a changed process applies on top: P(t)
        becomes P(B(t)).

        Parameters
        ----------
        beta : float or callable
            A number, at least 0, for a constant beta, B(t) = beta t. Or the integral B itself: a function of one float
            that returns a float, with B(0) = 0, and never falls.
        speed : callable, optional
            Beside an integral, its derivative beta(t). `beta`, reverse rates and losses by rates need it.

        Returns
        -------
        Process
            The changed process. This one does not change.
        """
        clock = clock_of(self._op("time_change"), beta, speed)
        changed = object.__new__(type(self))
        changed.__dict__.update(self.__dict__, _clock=clock if self._clock is None else Inside(self._clock, clock))
        return changed

    @any_library
    def beta(self, t: ArrayT | NumpyLike) -> ArrayT:
        """The factor of Q at time t.

        Parameters
        ----------
        t : float or array
            A time, or times (B,).

        Returns
        -------
        array
            beta(t), float64, of the shape, library and device of `t`: 1 without a time change.
        """
        return move(self._speed(self._op("beta"), t), *like_of(t))

    def _op(self, method: str) -> str:
        return f"{type(self).__name__}.{method}"

    def _times(self, op: str, argument: str, t: Any) -> NDArray[np.float64]:
        """Times as float64, finite and at least 0, of a shape that the process takes."""
        return times_of(op, argument, t)

    def _durations(self, op: str, t: Any, s: Any = None) -> tuple[NDArray[np.float64], ...]:
        """B(t), or (B(s), B(t) - B(s), B(t)), each () or (B,)."""
        end = later = self._times(op, "t", t)
        if self._clock is not None:
            end = self._clock.read(op, later)
        if s is None:
            return (end,)
        start = earlier = self._times(op, "s", s)
        if earlier.ndim and later.ndim and earlier.shape != later.shape:
            raise ValueError(f"{op}: s: shape must be () or the shape of t, {later.shape}, got {earlier.shape}")
        if (earlier > later).any():
            raise ValueError(f"{op}: s: must be at most t, got {float(np.max(earlier - later))!r} more")
        if self._clock is not None:
            start = self._clock.read(op, earlier)
            if (start > end).any():
                raise ValueError(
                    f"{op}: t: the integral of beta must not fall, got {float(np.max(start - end))!r} less"
                )
        return start, end - start, end

    def _speed(self, op: str, t: Any) -> NDArray[np.float64]:
        """beta(t), of t's shape."""
        times = self._times(op, "t", t)
        return np.ones(times.shape) if self._clock is None else self._clock.speed(op, times)

    def _beta(self, op: str, t: Any, now: Any, behind: int = 1) -> Any:
        """beta(t) as a factor of an array with `behind` dimensions behind the dimensions of states `now`."""
        factor = self._speed(op, t)
        one_a_sample(op, factor, now.shape)
        ones = (1,) * (now.ndim + behind - factor.ndim)
        return move(factor.reshape(factor.shape + ones) if factor.ndim else factor, *like_of(now))

    def _faster(self, op: str, rates: Any, t: Any, now: Any) -> Any:
        """Rates (B, ..., S) of states `now` times beta(t)."""
        return rates if self._clock is None else rates * self._beta(op, t, now)
