"""The uniform (multinomial) process."""

from __future__ import annotations

from ..ground.values import check_integer
from ..reference.redraw import MAX_STATES
from .redraw import Redraw
from .redraw_laws import UniformLaw


class Uniform(Redraw):
    """At rate 1 the state is drawn anew, uniformly from all S.

        Q[i, j] = 1 / S (i != j),  P(t) = exp(-t) I + (1 - exp(-t)) / S

    states: S, 2..2^31. Stationary law: uniform. No matrix is made but by generator(), transition_matrix(t) and what
    needs them, for which S is at most 4096. Times of states may be one an element, too.
    Source: Hoogeboom et al., Argmax Flows and Multinomial Diffusion, NeurIPS 2021; Austin et al., arXiv 2107.03006.
    """

    def __init__(self, states: int) -> None:
        self._begin(UniformLaw(check_integer("Uniform", "states", states, 2, MAX_STATES)))

    def _arguments(self) -> str:
        return f"{self.states}"
