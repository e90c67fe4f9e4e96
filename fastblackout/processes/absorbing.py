"""The absorbing (masking) process."""

from __future__ import annotations

import numpy as np

from .inputs import MAX_STATES, integer_of
from .redraw import Redraw


class Absorbing(Redraw):
    """At rate 1 the state becomes the mask, and stays so.

        Q[i, mask] = 1 (i != mask),  x_t = x_0 with probability exp(-t), else the mask

    states: S, 2..4096, the mask among them. mask: which state it is; default S - 1. Stationary law: all mask.
    Source: Austin et al., arXiv 2107.03006; Lou et al., arXiv 2310.16834; Sahoo et al., arXiv 2406.07524.
    """

    def __init__(self, states: int, mask: int | None = None) -> None:
        size = integer_of("Absorbing", "states", states, 2, MAX_STATES)
        self.mask = size - 1 if mask is None else integer_of("Absorbing", "mask", mask, 0, size - 1)
        super().__init__((np.arange(size) == self.mask).astype(np.float64))

    def _arguments(self) -> str:
        return f"{self.states}, mask={self.mask}"
