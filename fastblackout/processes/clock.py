"""Time changes: Q(t) = beta(t) Q is Q itself run on the clock B(t), the integral of beta."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import rate_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Times = NDArray[np.float64]


class Clock(ABC):
    """B, and its derivative beta where it is known. Classes, not closures, so that processes pickle."""

    @abstractmethod
    def at(self, t: float) -> float:
        """B(t)."""

    @abstractmethod
    def slope(self, t: float) -> float | None:
        """beta(t), None where it was not given."""

    def read(self, op: str, times: Times) -> Times:
        """B(t)."""
        return _apply(op, self.at, times, "the integral of beta")

    def speed(self, op: str, times: Times) -> Times:
        """beta(t)."""

        def beta(t: float) -> float:
            slope = self.slope(t)
            if slope is None:
                raise ValueError(f"{op}: speed: must have been given with the integral to time_change, got None")
            return slope

        return _apply(op, beta, times, "beta")


@dataclass(frozen=True)
class Steady(Clock):
    """A constant beta."""

    beta: float

    def at(self, t: float) -> float:
        return self.beta * t

    def slope(self, t: float) -> float:
        return self.beta

    def __str__(self) -> str:
        return f"{self.beta!r}"


@dataclass(frozen=True)
class Integral(Clock):
    """A function of the caller's, and its derivative."""

    integral: Callable[[float], float]
    derivative: Callable[[float], float] | None

    def at(self, t: float) -> float:
        return float(self.integral(t))

    def slope(self, t: float) -> float | None:
        return None if self.derivative is None else float(self.derivative(t))

    def __str__(self) -> str:
        named = (self.integral,) if self.derivative is None else (self.integral, self.derivative)
        return ", ".join(getattr(function, "__qualname__", repr(function)) for function in named)


@dataclass(frozen=True)
class Inside(Clock):
    """outer.at(inner.at(t)): the change `inner` of a process that already ran on `outer`."""

    outer: Clock
    inner: Clock

    def at(self, t: float) -> float:
        return self.outer.at(self.inner.at(t))

    def slope(self, t: float) -> float | None:
        outer, inner = self.outer.slope(self.inner.at(t)), self.inner.slope(t)
        return None if outer is None or inner is None else inner * outer

    def __str__(self) -> str:
        return f"{self.outer}).time_change({self.inner}"


def clock_of(op: str, beta: Any, speed: Any) -> Clock:
    """Of a constant beta, or of an integral and its derivative."""
    if callable(beta):
        if speed is not None and not callable(speed):
            raise TypeError(f"{op}: speed: must be a function of t, got {speed!r}")
        return Integral(beta, speed)
    if speed is not None:
        raise TypeError(f"{op}: speed: goes with an integral only, got beta={beta!r}")
    return Steady(rate_of(op, "beta", beta, zero=True))


def _apply(op: str, function: Callable[[float], float], times: Times, what: str) -> Times:
    values = np.array([float(function(time)) for time in times.ravel().tolist()]).reshape(times.shape)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        raise ValueError(
            f"{op}: t: {what} must be finite and at least 0, got {float(values[wrong][0])!r} "
            f"at t = {float(times[wrong][0])!r}"
        )
    return values
