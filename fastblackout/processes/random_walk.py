"""The nearest-neighbour random walk on a line with reflecting ends: discretized Gaussian diffusion."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from ..ground.values import check_integer
from .base import Process
from .inputs import MAX_STATES, rate_of
from .matrices.evaluation import Evaluation, Evaluator
from .matrices.rounding import UNIT, gamma, weighted

if TYPE_CHECKING:
    from numpy.typing import NDArray


class RandomWalk(Process):
    """Steps to each neighbour at one rate r. Steps beyond the ends are not made.

    ::

        Q[i, i + 1] = Q[i + 1, i] = r,    P(t)[i, j] = f(i - j) + f(i + j + 1)
        f(d) = 1 / (2 S) sum over k = 0..2 S - 1 of exp(l_k t) cos(pi k d / S),    l_k = -4 r sin(pi k / (2 S))^2

    The stationary law is uniform.

    Parameters
    ----------
    states : int
        The number of states S, 2..4096.
    rate : float, default 1.0
        The rate r, above 0.

    Notes
    -----
    f is the law of the walk on a ring of 2 S states, where each state meets its mirror image. The
    eigenvectors are the discrete cosine transform's, cos(pi k (i + 1/2) / S).

    Rounding hides entries below 1e-16 in that sum. So what divides by entries (`log_prob`, `bridge`, `reverse_rate`,
    `score`, `posterior`) uses uniformization.

    References
    ----------
    Feller, "An Introduction to Probability Theory", vol. I, XVI.3; Strang, SIAM Review 41 (1999).

    Examples
    --------
    >>> fb.RandomWalk(4).generator()
    array([[-1.,  1.,  0.,  0.],
           [ 1., -2.,  1.,  0.],
           [ 0.,  1., -2.,  1.],
           [ 0.,  0.,  1., -1.]])
    """

    def __init__(self, states: int, rate: float = 1.0) -> None:
        super().__init__(check_integer("RandomWalk", "states", states, 2, MAX_STATES))
        self.rate = rate_of("RandomWalk", "rate", rate)
        self._values = -4 * self.rate * np.sin(np.pi * np.arange(self.states + 1) / (2 * self.states)) ** 2

    @cached_property
    def _waves(self) -> NDArray[np.float64]:
        """(S + 1, S + 1): exp(l_k t) @ this is f(0..S); 0 < k < S stand for 2 S - k too."""
        size = self.states
        turn = np.arange(2 * size)
        cosines = np.cos(np.pi * np.minimum(turn, 2 * size - turn) / size) / size
        cosines_of = np.outer(turn[: size + 1], turn[: size + 1]) % (2 * size)  # whole numbers: no rounding
        waves = cosines[cosines_of]
        waves[[0, -1]] /= 2
        return waves

    @cached_property
    def _evaluator(self) -> Evaluator:
        return Evaluator(self._rates(), "uniformization", 1e-12, "RandomWalk")

    def _arguments(self) -> str:
        return f"{self.states}, rate={self.rate!r}"

    def generator(self) -> NDArray[np.float64]:
        """The generator Q, as in `Process`.

        Returns
        -------
        numpy.ndarray
            Q, float64 (S, S).
        """
        n = np.arange(self.states)
        generator = np.zeros((self.states, self.states))
        generator[n[:-1], n[1:]] = generator[n[1:], n[:-1]] = self.rate
        generator[n, n] = -generator.sum(1)
        return generator

    def stationary(self) -> NDArray[np.float64]:
        """The law that P(t) keeps and tends to, as in `Process`.

        Returns
        -------
        numpy.ndarray
            The law, float64 (S,).
        """
        return np.full(self.states, 1 / self.states)

    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        size = self.states
        f = self._ring(t)[0]
        both = np.concatenate([f[:, size - 1 : 0 : -1], f], 1)  # f(|d|), d = 1 - S..S
        near = sliding_window_view(both[:, :-1], size, 1)[:, ::-1]  # [i, j]: f(|j - i|)
        round_ = np.concatenate([f[:, 1:], f[:, size - 1 : 0 : -1]], 1)  # f(1..2 S - 1), f(2 S - d) = f(d)
        far = sliding_window_view(round_, size, 1)  # [i, j]: f(i + j + 1)
        result = np.empty((len(t), size, size))
        for b in range(len(t)):
            np.add(near[b], far[b], out=result[b])
        result[t == 0.0] = np.eye(size)
        return result

    def _ring(self, t: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
        """f(0..S), (B, S + 1), and how far its sum over the ring was from 1 before it was divided by that.

        A row of P(t) is all of the ring once: it needs no sum of its own.
        """
        with np.errstate(over="ignore"):  # exp(-inf) is 0
            f = weighted(np.exp(t[:, None] * self._values), self._waves)
        np.maximum(f, 0.0, out=f)
        total = f.sum(1) + f[:, 1:-1].sum(1)
        f /= total[:, None]
        return f, float(np.abs(total - 1.0).max(initial=0.0))

    def _small_entries(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._evaluator.small_entries(t)

    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        # An f sums S + 1 terms that add to at most 1: g(S + 1); exp with its argument's roundings is good to 7 u of 1,
        # the cosine to 8 u. An entry is two of them; setting one to 0 where negative only helps; dividing by the sum
        # adds at most what that misses 1 by, and its roundings (NumPy adds in pairs).
        return Evaluation("closed form", 2 * gamma(self.states + 1) + 64 * UNIT + self._ring(t)[1] + gamma(40))
