"""Ehrenfest's urn: a fixed number of two-state particles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..ops.transition import transition_rows
from ..probability import Prob
from .base import Process
from .evaluation import Evaluation
from .inputs import MAX_STATES, integer_of, rate_of
from .particles import binomial_error
from .uniformization import gamma, normalize

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 64


class Ehrenfest(Process):
    """n of N balls are up; each ball goes up at rate a when down, and down at rate b when up.

        Q[n, n + 1] = a (N - n),  Q[n, n - 1] = b n,  e = exp(-(a + b) t)
        x_t ~ Binomial(x_0, (a + b e) / (a + b)) + Binomial(N - x_0, a (1 - e) / (a + b))

    balls: N, 1..4095; S = N + 1. up, down: a and b, above 0. Stationary law: Binomial(N, a / (a + b)).
    The same law in two binomial steps, of which P(t) is the product: with c = (b + a e) / (a + b) each ball that is up
    first goes down with probability 1 - e / c, then each that is down goes up with probability 1 - c.
    Source: Ehrenfest, 1907; as a diffusion model: Winkler et al., arXiv 2405.03549.
    """

    def __init__(self, balls: int, up: float = 1.0, down: float = 1.0) -> None:
        self.balls = integer_of("Ehrenfest", "balls", balls, 1, MAX_STATES - 1)
        self.up, self.down = rate_of("Ehrenfest", "up", up), rate_of("Ehrenfest", "down", down)
        super().__init__(self.balls + 1)

    def generator(self) -> NDArray[np.float64]:
        n = np.arange(self.states)
        rise, fall = self.up * (self.balls - n), self.down * n
        return np.diag(rise[:-1], 1) + np.diag(fall[1:], -1) - np.diag(rise + fall)

    def stationary(self) -> NDArray[np.float64]:
        total = self.up + self.down
        return transition_rows(Prob(self.up / total, self.down / total), self.balls)[-1]

    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        total = self.up + self.down
        kept, changed = np.exp(-total * t), -np.expm1(-total * t)
        down = (self.down + self.up * kept) / total  # a ball that was down is down
        size = self.states
        result = np.empty((len(t), size, size))
        step = max(1, (1 << 22) // (size * size))
        for first in range(0, len(t), step):
            part = slice(first, first + step)
            down_to_up = self.up * changed[part] / total
            falls = Prob(kept[part] / down[part], self.down * changed[part] / (total * down[part]))
            lower = transition_rows(falls, self.balls)
            upper = transition_rows(Prob(down[part], down_to_up), self.balls)[:, ::-1, ::-1]
            _triangular_product(lower, np.ascontiguousarray(upper), result[part])
            for matrix in result[part]:
                normalize(matrix)
        return result

    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        # Two factors, whose p and q are good to 16 u, their product, and the division by a row's sum, off by as much.
        factors = 2 * binomial_error(self.balls, 16) + gamma(self.states)
        return Evaluation("closed form", 2 * factors + gamma(32))


def _triangular_product(lower: NDArray[np.float64], upper: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """out = lower @ upper for batches of lower and upper triangular matrices, by blocks, leaving out those of zeros."""
    size = lower.shape[-1]
    for b in range(len(lower)):
        for i in range(0, size, _BLOCK):
            k = min(i + _BLOCK, size)
            np.matmul(lower[b, i:k, :k], upper[b, :k, i:], out=out[b, i:k, i:])
            np.matmul(lower[b, k:, :k], upper[b, :k, i:k], out=out[b, k:, i:k])
