"""What the pattern of a generator's positive rates decides: reachability, closed classes, the stationary law."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def reachable(rates: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(S, S): whether j can follow i after some time; every state follows itself."""
    paths = ((rates > 0) | np.eye(len(rates), dtype=bool)).astype(np.float32)
    while True:
        longer = (paths @ paths > 0).astype(np.float32)
        if (longer == paths).all():
            return paths > 0
        paths = longer


def closed_classes(reach: NDArray[np.bool_]) -> list[NDArray[np.intp]]:
    """The states of each closed communicating class, by their smallest state."""
    closed = (reach <= reach.T).all(1)  # all that i reaches reaches i
    firsts = np.argmax(reach, 1)  # within a closed class its smallest state, the same for all
    return [np.flatnonzero(closed & (firsts == first)) for first in np.unique(firsts[closed])]


def stationary(rates: NDArray[np.float64], members: NDArray[np.intp]) -> NDArray[np.float64]:
    """The stationary law of one closed class, (S,) with 0 elsewhere.

    Grassmann, Taksar and Heyman's elimination: sums, products and quotients of non-negative numbers only, so that every
    entry has a relative error of order S^2 eps at most, however many decades the law spans.
    Source: Grassmann, Taksar, Heyman, Operations Research 33 (1985).
    """
    left = rates[np.ix_(members, members)].copy()
    size = len(members)
    for last in range(size - 1, 0, -1):
        left[:last, last] /= left[last, :last].sum()
        left[:last, :last] += np.outer(left[:last, last], left[last, :last])
    law = np.zeros(size)
    law[0] = 1.0
    for state in range(1, size):
        law[state] = law[:state] @ left[:state, state]
        if law[state] > 1e100:
            law[: state + 1] /= law[state]
    result = np.zeros(len(rates))
    result[members] = law / law.sum()
    return result
