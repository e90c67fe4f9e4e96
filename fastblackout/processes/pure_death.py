"""The pure-death process of blackout diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .base import Process
from .evaluation import Evaluation
from .inputs import MAX_STATES, integer_of
from .particles import binomial_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray


class PureDeath(Process):
    """Each of n particles dies at rate 1: blackout diffusion.

        Q[n, n - 1] = n,  x_t ~ Binomial(x_0, exp(-t))

    max_count: the largest count, 1..4095; S = max_count + 1. Stationary law: all 0.
    Source: Santos et al., ICML 2023, arXiv 2305.11089, section 4.
    """

    def __init__(self, max_count: int = 255) -> None:
        super().__init__(integer_of("PureDeath", "max_count", max_count, 1, MAX_STATES - 1) + 1)

    def generator(self) -> NDArray[np.float64]:
        n = np.arange(float(self.states))
        return np.diag(n[1:], -1) - np.diag(n)

    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        return binomial_rows(np.exp(-t), -np.expm1(-t), self.states)

    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        return Evaluation("closed form", 1e-13)
