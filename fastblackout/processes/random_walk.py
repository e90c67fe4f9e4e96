"""The nearest-neighbour random walk on a line with reflecting ends: discretized Gaussian diffusion."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .base import Process
from .evaluation import Evaluation, Evaluator
from .inputs import MAX_STATES, integer_of, rate_of
from .uniformization import UNIT, gamma, normalize

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RandomWalk(Process):
    """Steps to each neighbour at one rate r; steps beyond the ends are not made.

        Q[i, i + 1] = Q[i + 1, i] = r,  P(t)[i, j] = f(i - j) + f(i + j + 1)
        f(d) = 1 / (2 S) + (1 / S) sum over k = 1..S - 1 of exp(l_k t) cos(pi k d / S),  l_k = -4 r sin(pi k / (2 S))^2

    states: S, 2..4096. rate: r, above 0. Stationary law: uniform.
    The eigenvectors are those of the discrete cosine transform, cos(pi k (i + 1/2) / S). Rounding hides entries below
    1e-16 in that sum: what divides by entries (log_prob, bridge, reverse_rate, score, posterior) uses uniformization.
    Source: Feller, An Introduction to Probability Theory, vol. I, XVI.3; Strang, SIAM Review 41 (1999).
    """

    def __init__(self, states: int, rate: float = 1.0) -> None:
        super().__init__(integer_of("RandomWalk", "states", states, 2, MAX_STATES))
        self.rate = rate_of("RandomWalk", "rate", rate)
        k, d = np.arange(self.states), np.arange(2 * self.states)
        self._values = -4 * self.rate * np.sin(np.pi * k / (2 * self.states)) ** 2
        turns = np.outer(k, d) % (2 * self.states)  # whole numbers: no rounding in the reduction
        self._waves = np.cos(np.pi * np.minimum(turns, 2 * self.states - turns) / self.states) / self.states
        self._waves[0] /= 2
        rates = np.zeros((self.states, self.states))
        rates[k[:-1], k[1:]] = rates[k[1:], k[:-1]] = self.rate
        self._evaluator = Evaluator(rates, "uniformization", 1e-12, "RandomWalk")

    def _arguments(self) -> str:
        return f"{self.states}, rate={self.rate!r}"

    def generator(self) -> NDArray[np.float64]:
        rates = self._evaluator.rates
        return rates - np.diag(rates.sum(1))

    def stationary(self) -> NDArray[np.float64]:
        return np.full(self.states, 1 / self.states)

    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._summed(t)[0]

    def _summed(self, t: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """P(t), and how far a row's sum was from 1 before it was divided by it."""
        size = self.states
        f = np.exp(t[:, None] * self._values) @ self._waves
        both = np.concatenate([f[:, size - 1 : 0 : -1], f[:, :size]], 1)  # f(|d|), d = 1 - S..S - 1
        near = sliding_window_view(both, size, 1)[:, ::-1]  # [i, j]: f(|j - i|)
        far = sliding_window_view(f[:, 1:], size, 1)  # [i, j]: f(i + j + 1)
        result = np.empty((len(t), size, size))
        off = 0.0
        for b in range(len(t)):
            np.add(near[b], far[b], out=result[b])
            np.maximum(result[b], 0.0, out=result[b])
            off = max(off, normalize(result[b]))
        result[t == 0.0] = np.eye(size)
        return result, off

    def _small_entries(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._evaluator.small_entries(t)

    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        # An f sums S terms whose |exp cos| / S add to at most 1: g(S); exp with its argument's roundings is good to
        # 7 u of 1, the cosine to 8 u. An entry is two of them; setting it to 0 where negative only helps; dividing
        # it by its row's sum adds at most what that sum misses 1 by.
        return Evaluation("closed form", 2 * gamma(self.states) + 64 * UNIT + self._summed(t)[1])
