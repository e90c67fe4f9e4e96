"""The laws that a state is drawn from anew: of one state, of all states alike, and any other. None holds a matrix."""

from __future__ import annotations

import math
import sys
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..reference.categorical import thresholds
from .inputs import like_of, move

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Law = NDArray[np.float64]


class RedrawLaw(ABC):
    """r, a law of `states` states.

    mask: the state of a law of one, else -1. thresholds: of a law that is neither that nor uniform, (S,), int64: C(j)
    of reference/categorical.py.
    """

    mask = -1
    thresholds: NDArray[np.int64] | None = None

    def __init__(self, states: int) -> None:
        self.states = states

    @abstractmethod
    def row(self) -> Law:
        """r, (S,)."""

    @abstractmethod
    def at(self, j: Any) -> Any:
        """r[j], float64 of the shape of j."""

    @abstractmethod
    def up_to(self, j: Any) -> Any:
        """r[0] + ... + r[j], of the shape of j."""

    @abstractmethod
    def mean(self, values: Any) -> Any:
        """sum over j of r[j] values[..., j]."""

    def inverse(self, j: Any) -> Any:
        """1 / r[j], at most the largest float64; infinite where r[j] is 0."""
        xp, _ = like_of(j)
        r = self.at(j)
        with np.errstate(over="ignore"):
            return xp.where(r > 0, (1.0 / xp.where(r > 0, r, 1.0)).clip(max=sys.float_info.max), math.inf)

    def reaches(self, j: int) -> bool:
        """Whether r[j] is above 0."""
        return bool(self.at(np.asarray(j)) > 0)

    def places(self, xp: Any, device: Any) -> Any:
        """0..S - 1."""
        return xp.arange(self.states) if xp is np else xp.arange(self.states, device=device)


class MaskLaw(RedrawLaw):
    """Of one state."""

    def __init__(self, states: int, mask: int) -> None:
        super().__init__(states)
        self.mask = mask

    def row(self) -> Law:
        law = np.zeros(self.states)
        law[self.mask] = 1.0
        return law

    def at(self, j: Any) -> Any:
        xp, _ = like_of(j)
        return xp.where(j == self.mask, xp.ones_like(j, dtype=xp.float64), 0.0)

    def up_to(self, j: Any) -> Any:
        xp, _ = like_of(j)
        return xp.where(j >= self.mask, xp.ones_like(j, dtype=xp.float64), 0.0)

    def mean(self, values: Any) -> Any:
        return values[..., self.mask]


class UniformLaw(RedrawLaw):
    """Of all states alike."""

    def row(self) -> Law:
        return np.full(self.states, 1.0 / self.states)

    def at(self, j: Any) -> Any:
        xp, _ = like_of(j)
        return xp.full_like(j, 1.0 / self.states, dtype=xp.float64)

    def up_to(self, j: Any) -> Any:
        return (j + 1) / self.states

    def mean(self, values: Any) -> Any:
        return values.sum(-1) / self.states


class TableLaw(RedrawLaw):
    """Any law, as an array."""

    def __init__(self, table: Law) -> None:
        super().__init__(len(table))
        self.table = table
        (self.thresholds,) = thresholds(table[None])

    def row(self) -> Law:
        return self.table.copy()

    def at(self, j: Any) -> Any:
        return move(self.table, *like_of(j))[j]

    def up_to(self, j: Any) -> Any:
        return move(self.table.cumsum(), *like_of(j))[j]

    def mean(self, values: Any) -> Any:
        return (values * move(self.table, *like_of(values))).sum(-1)
