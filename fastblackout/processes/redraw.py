"""Processes that at rate 1 draw the state anew from one law: uniform and absorbing diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Process
from .inputs import move
from .matrices.evaluation import Evaluation
from .matrices.lookup import Lookup
from .matrices.rounding import UNIT

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Redraw(Process):
    """P(t) = exp(-t) I + (1 - exp(-t)) 1 r, with r the law (S,), float64, that a state is drawn from anew.

    The bound on the error of an entry: exp and expm1 are good to 4 u, u = 2^-53, r, the product and the sum to u each.
    """

    def __init__(self, law: NDArray[np.float64]) -> None:
        super().__init__(len(law))
        self._law = law

    def generator(self) -> NDArray[np.float64]:
        return np.tile(self._law, (self.states, 1)) - np.eye(self.states)

    def stationary(self) -> NDArray[np.float64]:
        return self._law.copy()

    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        result = np.empty((len(t), self.states, self.states))
        result[...] = (-np.expm1(-t))[:, None, None] * self._law
        result[:, np.arange(self.states), np.arange(self.states)] += np.exp(-t)[:, None]
        return result

    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        return Evaluation("closed form", 8 * UNIT)

    def _lookup(self, t: NDArray[np.float64], xp: Any, device: Any) -> Lookup:
        return RedrawLookup(
            move(np.exp(-t), xp, device), move(-np.expm1(-t), xp, device), move(self._law, xp, device), xp, device
        )


class RedrawLookup(Lookup):
    """Entries, rows and columns from the closed form, without a matrix a sample."""

    def __init__(self, stay: Any, leave: Any, law: Any, xp: Any, device: Any) -> None:
        self.stay, self.leave, self.law, self.xp, self.device = stay, leave, law, xp, device
        self.places = xp.arange(len(law)) if xp is np else xp.arange(len(law), device=device)

    def _both(self, ndim: int) -> tuple[Any, Any]:
        shape = (-1,) + (1,) * (ndim - 1) if self.stay.ndim else (1,) * ndim
        return self.stay.reshape(shape), self.leave.reshape(shape)

    def entries(self, i: Any, j: Any) -> Any:
        stay, leave = self._both(i.ndim)
        return stay * (i == j) + leave * self.law[j]

    def rows(self, i: Any) -> Any:
        stay, leave = self._both(i.ndim + 1)
        return stay * (i[..., None] == self.places) + leave * self.law

    def columns(self, j: Any) -> Any:
        stay, leave = self._both(j.ndim + 1)
        return stay * (j[..., None] == self.places) + leave * self.law[j][..., None]

    def cumulative(self, i: Any, j: Any) -> Any:
        stay, leave = self._both(i.ndim)
        return stay * (i <= j) + leave * self.xp.cumsum(self.law, -1)[j]

    def weighted(self, weights: Any) -> Any:
        stay, leave = self._both(weights.ndim)
        return stay * weights + leave * weights.sum(-1)[..., None] * self.law

    def averaged(self, values: Any) -> Any:
        stay, leave = self._both(values.ndim)
        return stay * values + leave * (values * self.law).sum(-1)[..., None]
