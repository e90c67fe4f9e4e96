"""Time changes: Q(t) = beta(t) Q is Q itself run on the clock B(t), the integral of beta."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .inputs import rate_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Times = NDArray[np.float64]


class Clock:
    """B, and its derivative beta where it is known."""

    def __init__(self, integral: Callable[[float], float], speed: Callable[[float], float] | None) -> None:
        self.integral, self.derivative = integral, speed

    def read(self, op: str, times: Times) -> Times:
        """B(t)."""
        return _apply(op, self.integral, times, "the integral of beta")

    def speed(self, op: str, times: Times) -> Times:
        """beta(t)."""
        if self.derivative is None:
            raise ValueError(f"{op}: speed: must have been given with the integral to time_change, got None")
        return _apply(op, self.derivative, times, "beta")

    def inside(self, outer: Clock | None) -> Clock:
        """The clock B_outer(B(t)) of a process that already ran on `outer`."""
        if outer is None:
            return self
        integral, derivative, before = self.integral, self.derivative, outer
        if derivative is None or before.derivative is None:
            return Clock(lambda t: before.integral(float(integral(t))), None)
        slope, slope_before = derivative, before.derivative
        return Clock(
            lambda t: before.integral(float(integral(t))),
            lambda t: float(slope(t)) * float(slope_before(float(integral(t)))),
        )


def clock_of(op: str, beta: Any, speed: Any) -> Clock:
    """Of a constant beta, or of an integral and its derivative."""
    if callable(beta):
        if speed is not None and not callable(speed):
            raise TypeError(f"{op}: speed: must be a function of t, got {speed!r}")
        return Clock(beta, speed)
    if speed is not None:
        raise TypeError(f"{op}: speed: goes with an integral only, got beta={beta!r}")
    factor = rate_of(op, "beta", beta, zero=True)
    return Clock(lambda t: factor * t, lambda t: factor)


def _apply(op: str, function: Callable[[float], float], times: Times, what: str) -> Times:
    values = np.array([float(function(time)) for time in times.ravel().tolist()]).reshape(times.shape)
    wrong = ~(np.isfinite(values) & (values >= 0))
    if wrong.any():
        raise ValueError(
            f"{op}: t: {what} must be finite and at least 0, got {float(values[wrong][0])!r} "
            f"at t = {float(times[wrong][0])!r}"
        )
    return values
