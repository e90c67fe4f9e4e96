"""Any process whose generator the caller has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Process
from .inputs import generator_of, rate_of
from .matrices.evaluation import METHODS, Evaluation, Evaluator

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..typing import Method


class MarkovProcess(Process):
    """The process of a given generator.

    Parameters
    ----------
    Q : array or scipy.sparse matrix
        The generator (S, S), S in 1..4096: rates i -> j, finite and at least 0 off the diagonal. Those out of a state
        are at most 1e200 in sum. Each row sums to 0 within 1e-9 of its largest entry. The diagonal is then taken as
        minus the sum of the others.
    method : {"auto", "eigendecomposition", "uniformization", "expm"}, default "auto"
        How P(t) is computed. "expm" needs SciPy, and raises ValueError where it overflows.
    tolerance : float, default 1e-12
        A bound on the truncation of uniformization, in (0, 1e-3]: the probability that is left out of a row of P(t).

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range, Q is no generator, or the method cannot take it.

    Notes
    -----
    A sparse Q is made dense. It takes 8 S^2 bytes, at most 128 MiB. Each P(t), and each power of it that a
    long time needs, takes as much.

    "auto" takes uniformization for short times. For long times it takes the eigendecomposition where Q is symmetrizable
    by a law that spans few decades. Other birth-and-death chains of 64 to 1024 states are computed from their few
    slowest modes once these suffice. All else is uniformization. How P(t) is computed depends on Q and t alone.

    What divides by entries of P(t) (`log_prob`, `bridge`, `reverse_rate`, `score`, `posterior`) always uses
    uniformization with a tolerance of 1e-250. This keeps the relative accuracy of small entries.

    Examples
    --------
    >>> process = fb.MarkovProcess(np.array([[-1.0, 1.0], [2.0, -2.0]]))
    >>> process.stationary().round(4)
    array([0.6667, 0.3333])
    """

    def __init__(self, Q: Any, *, method: Method = "auto", tolerance: float = 1e-12) -> None:
        op = "MarkovProcess"
        rates = generator_of(op, "Q", Q)
        if method not in METHODS:
            raise ValueError(f"{op}: method: must be one of {', '.join(METHODS)}, got {method!r}")
        if rate_of(op, "tolerance", tolerance) > 1e-3:
            raise ValueError(f"{op}: tolerance: must be at most 1e-3, got {tolerance!r}")
        super().__init__(len(rates))
        self._off_diagonal = rates
        self._evaluator = Evaluator(rates, method, float(tolerance), op)

    def _arguments(self) -> str:
        rates, by = self._off_diagonal, self._evaluator
        jumps = f"{np.count_nonzero(rates)} jumps, rates up to {float(rates.max())!r}"
        return f"{self.states} states, {jumps}, method={by.method!r}, tolerance={by.tolerance!r}"

    def generator(self) -> NDArray[np.float64]:
        """The generator Q, as in `Process`.

        Returns
        -------
        numpy.ndarray
            Q, float64 (S, S).
        """
        return self._off_diagonal - np.diag(self._off_diagonal.sum(1))

    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._evaluator.matrices(t)[0]

    def _small_entries(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._evaluator.small_entries(t)

    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        return self._evaluator.evaluation(t)
