"""Ehrenfest's urn: a fixed number of two-state particles."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..backends.float_mode import default_floats
from ..ground.values import check_integer
from ..ops.transition import host_rows
from ..probability import Prob
from .base import Process
from .inputs import MAX_STATES, rate_of
from .matrices.evaluation import Evaluation
from .matrices.rounding import gamma, normalize
from .matrices.uniformization import ROW_SUM
from .particles import binomial_error

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 32
_TOGETHER = 1 << 19  # the most entries of matrices made at once


class Ehrenfest(Process):
    """Ehrenfest's urn: n of N balls are up; each goes up at rate a when down, and down at rate b when up.

    ::

        Q[n, n + 1] = a (N - n),    Q[n, n - 1] = b n
        x_t ~ Binomial(x_0, (a + b e) / (a + b)) + Binomial(N - x_0, a (1 - e) / (a + b)),    e = exp(-(a + b) t)

    The stationary law is Binomial(N, a / (a + b)).

    Parameters
    ----------
    balls : int
        The number of balls N, 1..4095. There are S = N + 1 states.
    up : float, default 1.0
        The rate a, 1e-150..1e150.
    down : float, default 1.0
        The rate b, 1e-150..1e150.

    Notes
    -----
    The same law has two binomial steps, and P(t) is computed as their product. With c = (b + a e) / (a +
    b), each ball that is up first goes down with probability 1 - e / c. Then each that is down goes up with probability
    1 - c.

    References
    ----------
    Ehrenfest, 1907; as a diffusion model: Winkler et al., arXiv 2405.03549.

    Examples
    --------
    >>> fb.Ehrenfest(4).stationary()
    array([0.0625, 0.25  , 0.375 , 0.25  , 0.0625])
    """

    def __init__(self, balls: int, up: float = 1.0, down: float = 1.0) -> None:
        self.balls = check_integer("Ehrenfest", "balls", balls, 1, MAX_STATES - 1)
        self.up, self.down = rate_of("Ehrenfest", "up", up), rate_of("Ehrenfest", "down", down)
        for name, rate in (("up", self.up), ("down", self.down)):
            if not 1e-150 <= rate <= 1e150:  # their quotient must be in float64's range
                raise ValueError(f"Ehrenfest: {name}: must be in 1e-150..1e150, got {rate!r}")
        super().__init__(self.balls + 1)

    def _arguments(self) -> str:
        return f"{self.balls}, up={self.up!r}, down={self.down!r}"

    def generator(self) -> NDArray[np.float64]:
        """The generator Q, as in `Process`.

        Returns
        -------
        numpy.ndarray
            Q, float64 (S, S).
        """
        n = np.arange(self.states)
        rise, fall = self.up * (self.balls - n), self.down * n
        return np.diag(rise[:-1], 1) + np.diag(fall[1:], -1) - np.diag(rise + fall)

    @default_floats
    def stationary(self) -> NDArray[np.float64]:
        """The law that P(t) keeps and tends to, as in `Process`.

        Returns
        -------
        numpy.ndarray
            The law, float64 (S,).
        """
        total = self.up + self.down
        return host_rows(Prob(self.up / total, self.down / total), self.balls)[-1]

    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        size = self.states
        half = (size + 1) // 2
        result = np.empty((len(t), size, size))
        step = max(1, _TOGETHER // (size * size))
        upper = np.empty((step, half, size))
        for first in range(0, len(t), step):
            times, into = t[first : first + step], result[first : first + step]
            self._last_rows(times, self.up, self.down, into[:, size - half :])
            # The other rows belong to the urn seen from its other side. Where a = b it is the same urn.
            other = into[:, size - half :]
            if self.up != self.down:
                other = upper[: len(times)]
                self._last_rows(times, self.down, self.up, other)
            into[:, : size - half] = other[:, ::-1, ::-1][:, : size - half]
        return result

    def _last_rows(self, t: NDArray[np.float64], up: float, down: float, out: NDArray[np.float64]) -> None:
        """The last rows of P(t) with these rates, (B, rows, S), into `out`: the first of the other urn, from behind."""
        up, down = down, up
        total, rows = up + down, out.shape[1]
        with np.errstate(over="ignore"):  # exp(-inf) is 0
            kept, changed = np.exp(-total * t), -np.expm1(-total * t)
        stay = (down + up * kept) / total  # the chance that a ball that was down is down again
        # Roundings may lift a ratio above 1.
        falls = Prob(np.minimum(kept / stay, 1.0), np.minimum(down * changed / (total * stay), 1.0))
        fallen = np.ascontiguousarray(host_rows(falls, rows - 1)[:, ::-1, ::-1])
        risen = host_rows(Prob(stay, up * changed / total), self.balls)[:, -rows:]
        _triangular_product(fallen, risen, out)
        for matrix in out:
            normalize(matrix, within=ROW_SUM)

    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        # Two factors, whose p and q are good to 16 u for the rounded (a + b) t, their product, and the division by a
        # row's sum, off by as much. (a + b) t = x is off by 2 u x, which moves each ball's law by 4 u x exp(-x) < 2 u.
        factors = 2 * binomial_error(self.balls, 16) + gamma(self.states)
        return Evaluation("closed form", 2 * factors + gamma(2 * self.balls + 32))


def _triangular_product(left: NDArray[np.float64], right: NDArray[np.float64], out: NDArray[np.float64]) -> None:
    """out = left @ right, left (B, R, R) upper triangular, the last R columns of right (B, R, S) lower: by blocks.

    Blocks of zeros are left out.
    """
    rows = left.shape[-1]
    before = right.shape[-1] - rows
    for b in range(len(left)):
        for i in range(0, rows, _BLOCK):
            k = min(i + _BLOCK, rows)
            np.matmul(left[b, i:k, i:], right[b, i:, : before + k], out=out[b, i:k, : before + k])
            columns = slice(before + i, before + k)
            np.matmul(left[b, :i, i:], right[b, i:, columns], out=out[b, :i, columns])
