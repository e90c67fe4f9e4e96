"""The uniform (multinomial) process."""

from __future__ import annotations

import numpy as np

from .inputs import MAX_STATES, integer_of
from .redraw import Redraw


class Uniform(Redraw):
    """At rate 1 the state is drawn anew, uniformly from all S.

        Q[i, j] = 1 / S (i != j),  P(t) = exp(-t) I + (1 - exp(-t)) / S

    states: S, 2..4096. Stationary law: uniform.
    Source: Hoogeboom et al., Argmax Flows and Multinomial Diffusion, NeurIPS 2021; Austin et al., arXiv 2107.03006.
    """

    def __init__(self, states: int) -> None:
        size = integer_of("Uniform", "states", states, 2, MAX_STATES)
        super().__init__(np.full(size, 1.0 / size))

    def _arguments(self) -> str:
        return f"{self.states}"
