"""Any process the caller has the generator of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .base import Process
from .inputs import generator_of, rate_of
from .matrices.evaluation import METHODS, Evaluation, Evaluator

if TYPE_CHECKING:
    from numpy.typing import NDArray


class MarkovProcess(Process):
    """The process of a given generator.

    Q: (S, S), S in 1..4096, dense (NumPy, torch, DLPack) or scipy.sparse, which is made dense: 8 S^2 bytes, at most 128
        MiB, and as much for each P(t), and for each power of it that a long time needs; rates i -> j, finite, at least
        0 off the diagonal, those out of a state at most 1e200 in sum; each row sums to 0 within 1e-9 of its largest
        entry, and the diagonal is then taken as minus the sum of the others.
    method: how P(t) is computed: "auto" (see evaluation.Evaluator), "eigendecomposition", "uniformization", "expm"
        (needs SciPy; ValueError where it overflows). What divides by entries of P(t) (log_prob, bridge, reverse_rate,
        score, posterior) always uses uniformization with a tolerance of 1e-250, which keeps the relative accuracy of
        small entries.
    tolerance: bound on the truncation of uniformization, in (0, 1e-3]: probability left out of a row of P(t).
    Raises TypeError or ValueError naming argument, rule and value.
    """

    def __init__(self, Q: Any, *, method: str = "auto", tolerance: float = 1e-12) -> None:
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
        return self._off_diagonal - np.diag(self._off_diagonal.sum(1))

    def _matrices(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._evaluator.matrices(t)[0]

    def _small_entries(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        return self._evaluator.small_entries(t)

    def _evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        return self._evaluator.evaluation(t)
