"""The absorbing (masking) process."""

from __future__ import annotations

from ..ground.values import check_integer
from ..reference.redraw import MAX_STATES
from .redraw import Redraw
from .redraw_laws import MaskLaw


class Absorbing(Redraw):
    """At rate 1 the state becomes the mask, and stays so.

    ::

        Q[i, mask] = 1 (i != mask),    x_t = x_0 with probability exp(-t), else the mask

    The stationary law is all on the mask.

    Parameters
    ----------
    states : int
        The number of states S, 2..2^31, the mask among them.
    mask : int, optional
        Which state is the mask. By default it is the last, S - 1.

    Notes
    -----
    What `Redraw` says of matrices and of times for each element holds here, too.

    References
    ----------
    Austin et al., arXiv 2107.03006; Lou et al., arXiv 2310.16834; Sahoo et al., arXiv 2406.07524.

    Examples
    --------
    >>> fb.Absorbing(4).sample_forward(np.array([[0, 1, 2, 0, 1, 2]]), 1.0, rng=fb.Philox(1))
    array([[3, 3, 2, 3, 1, 3]])
    """

    def __init__(self, states: int, mask: int | None = None) -> None:
        size = check_integer("Absorbing", "states", states, 2, MAX_STATES)
        self.mask = size - 1 if mask is None else check_integer("Absorbing", "mask", mask, 0, size - 1)
        self._begin(MaskLaw(size, self.mask))

    def _arguments(self) -> str:
        return f"{self.states}, mask={self.mask}"
