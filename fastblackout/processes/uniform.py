"""The uniform (multinomial) process."""

from __future__ import annotations

from ..ground.values import check_integer
from ..reference.redraw import MAX_STATES
from .redraw import Redraw
from .redraw_laws import UniformLaw


class Uniform(Redraw):
    """At rate 1 the state is drawn anew, uniformly from all S.

    ::

        Q[i, j] = 1 / S (i != j),    P(t) = exp(-t) I + (1 - exp(-t)) / S

    The stationary law is uniform.

    Parameters
    ----------
    states : int
        The number of states S, 2..2^31.

    Notes
    -----
    What `Redraw` says of matrices and of times for each element holds here, too.

    References
    ----------
    Hoogeboom et al., "Argmax Flows and Multinomial Diffusion", NeurIPS 2021; Austin et al., arXiv 2107.03006.

    Examples
    --------
    >>> fb.Uniform(4).transition_matrix(np.log(2.0))[0]
    array([0.625, 0.125, 0.125, 0.125])
    """

    def __init__(self, states: int) -> None:
        self._begin(UniformLaw(check_integer("Uniform", "states", states, 2, MAX_STATES)))

    def _arguments(self) -> str:
        return f"{self.states}"
