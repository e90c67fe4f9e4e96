"""Immigration-death: the M/M/infinity queue."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, get_args

import numpy as np

from ..backends.float_mode import default_floats
from ..ground.values import check_integer
from ..typing import Boundary
from .base import Process
from .inputs import MAX_STATES, any_library, like_of, move, rate_of
from .matrices.evaluation import Evaluation, Evaluator
from .matrices.rounding import gamma
from .particles import add_particles, poisson_law, poisson_quantile

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..typing import ArrayT, NumpyLike

MAX_RATE = 1e4
BOUNDARIES = get_args(Boundary)


class ImmigrationDeath(Process):
    """Particles come at rate a, and each of n particles dies at rate 1.

    ::

        Q[n, n + 1] = a,    Q[n, n - 1] = n
        without a boundary: x_t ~ Binomial(x_0, p) + Poisson(a (1 - p)),    p = exp(-t)

    The process has no largest count, so a boundary has to be named.

    Parameters
    ----------
    rate : float
        The rate a, above 0 and at most 1e4.
    max_count : int, optional
        The largest count N, 1..4095. There are S = N + 1 states. By default N is the smallest count that a Poisson(a)
        variable exceeds with a probability of at most 1e-12.
    boundary : {"blocked", "open"}, default "blocked"
        What happens at N.

    Notes
    -----
    "blocked": nobody comes at N. This is a process on 0..N. P(t) is computed as for any generator (see
    `MarkovProcess`), and its rows sum to 1. The stationary law is Poisson(a), given at most N.

    "open": P(t) is the part of the unbounded process that lies in 0..N, in closed form. Its rows sum to 1 - tail(t),
    and P(s) P(t) leaves out paths above N. `generator()` is cut the same way: row N sums to -a. `sample_forward` raises
    ValueError where tail(t) exceeds 1e-9. The stationary law is Poisson(a) on 0..N.

    References
    ----------
    Feller, "An Introduction to Probability Theory", vol. I, XVII.7.

    Examples
    --------
    >>> fb.ImmigrationDeath(2.0)
    ImmigrationDeath(2.0, max_count=18, boundary='blocked')
    """

    def __init__(self, rate: float, max_count: int | None = None, boundary: Boundary = "blocked") -> None:
        op = "ImmigrationDeath"
        self.rate = rate_of(op, "rate", rate)
        if self.rate > MAX_RATE:
            raise ValueError(f"{op}: rate: must be at most {MAX_RATE:g}, got {self.rate!r}")
        if boundary not in BOUNDARIES:
            raise ValueError(f"{op}: boundary: must be one of {', '.join(BOUNDARIES)}, got {boundary!r}")
        self.boundary = boundary
        if max_count is None:
            max_count = poisson_quantile(self.rate, 1e-12, MAX_STATES)
            if max_count >= MAX_STATES:
                raise ValueError(f"{op}: rate: must leave Poisson(rate) within 0..{MAX_STATES - 1}, got {self.rate!r}")
        self.max_count = check_integer(op, "max_count", max_count, 1, MAX_STATES - 1)
        super().__init__(self.max_count + 1)
        n = np.arange(self.states)
        self._off_diagonal = np.zeros((self.states, self.states))
        self._off_diagonal[n[:-1], n[1:]], self._off_diagonal[n[1:], n[:-1]] = self.rate, n[1:]
        self._evaluator = Evaluator(self._off_diagonal, "auto", 1e-12, op) if boundary == "blocked" else None

    def _arguments(self) -> str:
        return f"{self.rate!r}, max_count={self.max_count}, boundary={self.boundary!r}"

    def generator(self) -> NDArray[np.float64]:
        """The generator Q, as in `Process`.

        Returns
        -------
        numpy.ndarray
            Q, float64 (S, S).
        """
        out = self.rate + np.arange(float(self.states))
        if self.boundary == "blocked":
            out[-1] -= self.rate
        return self._off_diagonal - np.diag(out)

    @default_floats
    def stationary(self) -> NDArray[np.float64]:
        """The law that P(t) keeps and tends to, as in `Process`.

        Returns
        -------
        numpy.ndarray
            The law, float64 (S,).
        """
        law = poisson_law(np.array([self.rate]), self.states, self.rate)[0][0]
        return law / law.sum() if self.boundary == "blocked" else law

    @any_library
    def tail(self, t: ArrayT | NumpyLike) -> ArrayT:
        """The probability of a state above the largest count.

        ::

            Pr(x_t > max_count | x_0)

        It is what the rows of P(t) lack, and 0 for a blocked boundary.

        Parameters
        ----------
        t : float or array
            A time, or times (B,).

        Returns
        -------
        array
            The probability for every x_0, float64 (S,), or (B, S) for times (B,).
        """
        xp, device = like_of(t)
        (times,) = self._durations(self._op("tail"), t)
        tails = self._open(np.atleast_1d(times))[1] if self._evaluator is None else np.zeros((times.size, self.states))
        return move(tails if times.ndim else tails[0], xp, device)

    def _open(self, t: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        alive, dead = np.exp(-t), -np.expm1(-t)
        rows = np.empty((len(t), self.states, self.states))
        tails = np.empty((len(t), self.states))
        rows[:, 0], tails[:, 0] = poisson_law(self.rate * dead, self.states, self.rate)
        add_particles(rows, alive, dead)
        # One more particle lifts a sum above N if the sum is N and the particle is alive.
        tails[:, 1:] = tails[:, :1] + np.cumsum(alive[:, None] * rows[:, :-1, -1], 1)
        return rows, tails

    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._open(t)[0] if self._evaluator is None else self._evaluator.matrices(t)[0]

    def _small_entries(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._open(t)[0] if self._evaluator is None else self._evaluator.small_entries(t)

    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        if self._evaluator is not None:
            return self._evaluator.evaluation(t)
        # Roundings of a particle add 2 u, roundings of p and q 4 u (see particles.py), the Poisson row its own.
        poisson = gamma(14 * (math.isqrt(int(self.rate)) + 3) + 40)
        return Evaluation("closed form", gamma(6 * self.states) + poisson)
