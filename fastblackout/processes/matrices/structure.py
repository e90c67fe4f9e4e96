"""What the pattern of a generator's positive rates decides: reachability, closed classes, the stationary law."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PANEL = 64  # so many states are eliminated before the others are brought up to date
_USUAL = 2.0**300  # rates beyond, or below its inverse, are too near the ends of float64 to be multiplied


def followers(pattern: NDArray[np.bool_], first: int) -> NDArray[np.intp]:
    """The states that can follow `first` after some time, itself included, in the order of a search in breadth.

    pattern[i, j]: whether i may jump to j.
    """
    seen = np.zeros(len(pattern), dtype=bool)
    seen[first] = True
    frontier = np.array([first])
    found = [frontier]
    while len(frontier):
        new = (pattern[frontier[0]] if len(frontier) == 1 else pattern[frontier].any(0)) & ~seen
        frontier = np.flatnonzero(new)
        seen[frontier] = True
        found.append(frontier)
    return np.concatenate(found)


def closed_classes(rates: NDArray[np.float64]) -> list[NDArray[np.intp]]:
    """The states of each closed communicating class, by their smallest state.

    From any state on, to one that cannot come back, until there is none: that is a closed class. What can reach it
    is in no other, and is left out of the search for those.
    """
    pattern = rates > 0
    backward = np.ascontiguousarray(pattern.T)
    left = np.ones(len(rates), dtype=bool)
    classes = []
    while left.any():
        state = int(np.argmax(left))
        while True:
            after = followers(pattern, state)
            before = followers(backward, state)
            gone = after[~np.isin(after, before)]
            if not len(gone):
                break
            state = int(gone[-1])  # the farthest
        classes.append(np.sort(after))
        left[before] = False
    return sorted(classes, key=lambda members: int(members[0]))


def unit_of(rates: NDArray[np.float64]) -> float:
    """A unit of time, a power of two, in which the largest rate out of a state is near 1; 1 for usual rates.

    In it squares of rates stay within float64. Only rates 2^-1000 times smaller than others may be lost.
    """
    fastest = float(rates.sum(1).max())
    if fastest == 0.0 or 1 / _USUAL <= fastest <= _USUAL:
        return 1.0
    return 2.0 ** min(-math.frexp(fastest)[1], 1022)


def stationary(rates: NDArray[np.float64], members: NDArray[np.intp]) -> NDArray[np.float64]:
    """The stationary law of one closed class, (S,) with 0 elsewhere.

    Grassmann, Taksar and Heyman's elimination: sums, products and quotients of non-negative numbers only, so that every
    entry has a relative error of order S^2 eps at most, however many decades the law spans. Last states first; what a
    panel of them changes elsewhere is added as one product. Where rates are near the diagonal, they stay there. NaN
    where quotients of rates leave float64's range.
    Source: Grassmann, Taksar, Heyman, Operations Research 33 (1985).
    """
    left = rates[np.ix_(members, members)]
    left *= unit_of(left)
    near = bandwidth(left > 0)
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        law = _eliminated(left, near)
    result = np.zeros(len(rates))
    result[members] = law
    return result


def _eliminated(left: NDArray[np.float64], near: int) -> NDArray[np.float64]:
    size = len(left)
    for end in range(size, 0, -_PANEL):
        first = max(end - _PANEL, 0)
        reach = max(first - near, 0)
        for last in range(end - 1, max(first, 1) - 1, -1):
            start = max(last - near, 0)
            left[start:last, last] /= left[last, start:last].sum()
            left[start:last, first:last] += np.outer(left[start:last, last], left[last, first:last])
            left[first:last, start:first] += np.outer(left[first:last, last], left[last, start:first])
        left[reach:first, reach:first] += left[reach:first, first:end] @ left[first:end, reach:first]
    law = np.zeros(size)
    law[0] = 1.0
    for state in range(1, size):
        start = max(state - near, 0)
        law[state] = law[start:state] @ left[start:state, state]
        if law[state] > 1e100:
            law[: state + 1] /= law[state]
    return law / law.sum()


def bandwidth(pattern: NDArray[np.bool_]) -> int:
    """The largest |i - j| with pattern[i, j]."""
    places = np.arange(len(pattern))
    first, last = np.argmax(pattern, 1), len(pattern) - 1 - np.argmax(pattern[:, ::-1], 1)
    return int(np.maximum(places - first, last - places)[pattern.any(1)].max(initial=0))
