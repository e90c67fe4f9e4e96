"""Arguments of log-probabilities, log-uniform, and what a check of one consists of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from mpmath import log, mpf

Numbers = tuple[float, ...]


class LogProb(NamedTuple):
    """given(random): arguments of one call. call: the function under test, of arrays (BATCH,) of them. truth: of one,
    to all digits. bound(*given, truth): the error that is allowed."""

    name: str
    given: Callable[[np.random.Generator], Numbers]
    call: Callable[..., np.ndarray]
    truth: Callable[..., Any]
    bound: Callable[..., float]


def logs(*values: float) -> float:
    return float(sum(abs(log(mpf(value))) for value in values if value))


def power(random: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform between 10^low and 10^high."""
    return float(10.0 ** random.uniform(low, high))


def some_shape(random: np.random.Generator, high: float) -> float:
    """Any, a usual one, or one where Stirling's series does not hold yet."""
    kind = random.random()
    return power(random, *((-300, high) if kind < 0.3 else (-3, 6) if kind < 0.6 else (-1, 1.5)))


def whole(random: np.random.Generator, high: float = 15.95) -> int:
    return int(power(random, 0, high)) - 1


def near(random: np.random.Generator, mean: float, deviation: float, high: float, low: float = 0) -> int:
    """A whole number near the middle, far out, or at an end."""
    kind = random.integers(6)
    if kind < 4 and np.isfinite(deviation):
        found = mean + deviation * random.normal() * (1, 1, 5, 40)[kind]
    elif kind < 5 or not np.isfinite(high):
        found = whole(random) * (1 if low == 0 else random.choice((-1, 1)))
    else:
        found = random.choice((low, high))
    return int(min(max(round(found), low), high, 2**53))
