"""P(t) = exp(t Q) of any generator: which method, and how far its result can be from the truth."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .spectrum import Spectrum, symmetrizing_law
from .uniformization import LONGEST, Uniformization, normalize

if TYPE_CHECKING:
    from numpy.typing import NDArray

METHODS = ("auto", "eigendecomposition", "uniformization", "expm")


class Evaluation(NamedTuple):
    """How transition_matrix evaluates P(t).

    method: "closed form", "eigendecomposition", "uniformization" or "expm". error: a bound on the largest absolute
    error of an entry of P(t), roundings included; for a vector of times that of the worst.
    """

    method: str
    error: float


class Evaluator:
    """P(t) of the generator with these off-diagonal rates, by "auto" or a named method.

    "auto": the eigendecomposition where Q is symmetrizable by a law that spans few decades (see spectrum.py) and
    q t > 16, q the largest rate out of a state; uniformization else. "expm" is SciPy's scaling and squaring, which
    comes without a forward bound: it is measured against uniformization, whose bound is added.
    """

    def __init__(self, rates: NDArray[np.float64], method: str, tolerance: float, op: str) -> None:
        self.rates, self.method = rates, method
        self.uniformization = Uniformization(rates, tolerance)
        self._deep: Uniformization | None = None
        self.spectrum: Spectrum | None = None
        if method in ("auto", "eigendecomposition") and len(rates) > 1 and rates.any():
            law = symmetrizing_law(rates)
            if law is not None:
                self.spectrum = Spectrum(rates, law)
        if method == "eigendecomposition" and self.spectrum is None:
            raise ValueError(
                f"{op}: method: eigendecomposition needs an irreducible, symmetrizable Q whose stationary law spans a "
                f"factor of at most 2000, got {method!r}"
            )

    def matrices(self, t: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
        """(B, S, S), error bounds (B,), and the method of the longest time."""
        if self.method == "expm":
            return *self._expm(t), "expm"
        if self.spectrum is None:
            return *self.uniformization.matrices(t), "uniformization"
        if self.method == "eigendecomposition":
            return *self.spectrum.matrices(t), "eigendecomposition"
        short = self.uniformization.rate * t <= LONGEST
        if short.all():
            return *self.uniformization.matrices(t), "uniformization"
        if not short.any():
            return *self.spectrum.matrices(t), "eigendecomposition"
        size = len(self.rates)
        result, error = np.empty((len(t), size, size)), np.empty(len(t))
        for mask, part in ((short, self.uniformization), (~short, self.spectrum)):
            result[mask], error[mask] = part.matrices(t[mask])
        return result, error, "eigendecomposition"

    def evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        _, error, method = self.matrices(t)
        return Evaluation(method, float(error.max(initial=0.0)))

    def small_entries(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B, S, S) by uniformization with next to no truncation: entries down to 1e-250 to a relative 1e-10 or so."""
        if self._deep is None:
            self._deep = Uniformization(self.rates, 1e-250)
        return self._deep.matrices(t)[0]

    def _expm(self, t: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from scipy.linalg import expm

        generator = self.rates - np.diag(self.rates.sum(1))
        result = (
            np.stack([np.maximum(expm(time * generator), 0.0) for time in t])
            if len(t)
            else np.empty((0, *generator.shape))
        )
        normalize(result)
        other, error = self.uniformization.matrices(t)
        return result, np.abs(result - other).max((1, 2), initial=0.0) + error
