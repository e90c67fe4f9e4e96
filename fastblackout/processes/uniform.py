"""The uniform (multinomial) process."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Process
from .evaluation import Evaluation
from .inputs import MAX_STATES, integer_of

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Uniform(Process):
    """At rate 1 the state is drawn anew, uniformly from all S.

        Q[i, j] = 1 / S (i != j),  P(t) = exp(-t) I + (1 - exp(-t)) / S

    states: S, 2..4096. Stationary law: uniform.
    Source: Hoogeboom et al., Argmax Flows and Multinomial Diffusion, NeurIPS 2021; Austin et al., arXiv 2107.03006.
    """

    def __init__(self, states: int) -> None:
        super().__init__(integer_of("Uniform", "states", states, 2, MAX_STATES))

    def generator(self) -> NDArray[np.float64]:
        return np.full((self.states, self.states), 1.0 / self.states) - np.eye(self.states)

    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        size = self.states
        result = np.empty((len(t), size, size))
        result[...] = (-np.expm1(-t) / size)[:, None, None]
        result[:, np.arange(size), np.arange(size)] += np.exp(-t)[:, None]
        return result

    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        return Evaluation("closed form", 1e-15)
