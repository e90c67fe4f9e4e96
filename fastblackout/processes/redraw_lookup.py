"""Entries, rows and columns of the transition matrices of processes that draw the state anew, without a matrix."""

from __future__ import annotations

from typing import Any

from .inputs import move
from .matrices.lookup import Lookup
from .redraw_laws import RedrawLaw


class RedrawLookup(Lookup):
    """Entries, rows and columns from the closed form, without a matrix a sample."""

    def __init__(self, stay: Any, leave: Any, law: RedrawLaw, xp: Any, device: Any) -> None:
        self.stay, self.leave, self.law, self.xp, self.device = stay, leave, law, xp, device

    def _both(self, ndim: int) -> tuple[Any, Any]:
        """exp(-t) and 1 - exp(-t) against arrays with so many dimensions, the last perhaps the dimension of states."""
        shape = tuple(self.stay.shape) + (1,) * (ndim - self.stay.ndim)
        return self.stay.reshape(shape), self.leave.reshape(shape)

    def _row(self) -> Any:
        return move(self.law.row(), self.xp, self.device)

    def _places(self) -> Any:
        return self.law.places(self.xp, self.device)

    def entries(self, i: Any, j: Any) -> Any:
        stay, leave = self._both(i.ndim)
        return stay * (i == j) + leave * self.law.at(j)

    def rows(self, i: Any) -> Any:
        stay, leave = self._both(i.ndim + 1)
        return stay * (i[..., None] == self._places()) + leave * self._row()

    def columns(self, j: Any) -> Any:
        stay, leave = self._both(j.ndim + 1)
        return stay * (j[..., None] == self._places()) + leave * self.law.at(j)[..., None]

    def cumulative(self, i: Any, j: Any) -> Any:
        stay, leave = self._both(i.ndim)
        return stay * (i <= j) + leave * self.law.up_to(j)

    def weighted(self, weights: Any) -> Any:
        stay, leave = self._both(weights.ndim)
        return stay * weights + leave * weights.sum(-1)[..., None] * self._row()

    def averaged(self, values: Any) -> Any:
        stay, leave = self._both(values.ndim)
        return stay * values + leave * self.law.mean(values)[..., None]
