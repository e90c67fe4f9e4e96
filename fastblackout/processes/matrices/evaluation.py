"""P(t) = exp(t Q) of any generator: which method, and how far its result can be from the truth."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple, get_args

import numpy as np

from ...ground.extras import is_there, lacking
from ...typing import Method
from .modes import FEWEST, MOST, Eigen, Modes, find_modes
from .rounding import normalize
from .spectrum import Spectrum, is_narrow, symmetrizing_law
from .structure import bandwidth, unit_of
from .uniformization import LONGEST, Uniformization

if TYPE_CHECKING:
    from numpy.typing import NDArray

METHODS = get_args(Method)


class Evaluation(NamedTuple):
    """How `Process.transition_matrix` computes P(t), and how exactly.

    Parameters
    ----------
    method : {"closed form", "uniformization", "eigendecomposition", "modes", "expm"}
        The method. For several times it is the method of the longest.
    error : float
        A bound on the largest absolute error of an entry of P(t), roundings included. For several times it is the
        worst.
    """

    method: str
    error: float


class Evaluator:
    """P(t) of the generator with these off-diagonal rates, by "auto" or a named method.

    "auto" is uniformization up to q t = LONGEST, where q is the largest rate out of a state. Then it is the
    eigendecomposition where Q is symmetrizable by a law that spans few decades (see spectrum.py). For birth-and-death
    chains of 64 to 1024 states with another law it is uniformization until few modes are left, and then these (see
    modes.py). For any other Q it is uniformization.

    "expm" is SciPy's scaling and squaring, which comes without a forward bound. It is measured against uniformization,
    whose bound is added. Nothing is computed before it is needed, and how P(t) is computed depends on Q and t alone.
    """

    def __init__(self, rates: NDArray[np.float64], method: str, tolerance: float, op: str) -> None:
        self.given, self.method, self.tolerance, self.op = rates, method, tolerance, op
        self.unit = unit_of(rates)
        # Rates are multiplied by the unit of time, and times divided by it.
        self.rates = rates if self.unit == 1.0 else rates * self.unit
        self.fastest = float(self.rates.sum(1).max())
        if method == "expm" and not is_there("scipy"):
            raise lacking(f"{op}: method: expm", "scipy")
        if method == "eigendecomposition" and not self.narrow:
            raise ValueError(
                f"{op}: method: eigendecomposition needs an irreducible, symmetrizable Q whose stationary law spans a "
                f"factor of at most 2000, got {method!r}"
            )
        self._tried = 0  # for how many starting times the modes were tried and found wanting
        self._modes: Modes | None = None

    @cached_property
    def uniformization(self) -> Uniformization:
        return Uniformization(self.rates, self.tolerance)

    @cached_property
    def _deep(self) -> Uniformization:
        return Uniformization(self.rates, 1e-250)

    @cached_property
    def law(self) -> NDArray[np.float64] | None:
        return symmetrizing_law(self.rates) if len(self.rates) > 1 and self.rates.any() else None

    @cached_property
    def spectrum(self) -> Spectrum | None:
        return Spectrum(self.rates, self.law) if self.law is not None and self.narrow else None

    @cached_property
    def narrow(self) -> bool:
        return self.law is not None and is_narrow(self.law)

    @cached_property
    def _eigen(self) -> Eigen | None:
        if self.law is None or not FEWEST <= len(self.rates) <= MOST or bandwidth(self.rates > 0) > 1:
            return None
        return Eigen(self.rates, self.law)

    def _times(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """In units of `unit`. ValueError where that many jumps are beyond float64."""
        with np.errstate(over="ignore"):
            far = ~np.isfinite(t / self.unit * max(self.fastest, 1.0))
        if far.any():
            raise ValueError(
                f"{self.op}: t: must be finite times the largest rate out of a state, {self.fastest / self.unit!r}, "
                f"got {float(t[far][0])!r}"
            )
        return t if self.unit == 1.0 else t / self.unit

    def matrices(self, t: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64], str]:
        """(B, S, S), error bounds (B,), and the method of the longest time."""
        t = self._times(t)
        if self.method == "expm":
            return *self._expm(t), "expm"
        late: Spectrum | Modes | None = None
        name, start = "uniformization", math.inf
        if self.method == "eigendecomposition" and self.spectrum is not None:
            name, late, start = self.method, self.spectrum, 0.0
        elif self.method == "auto":
            name, late, start = self._late(float(t.max(initial=0.0)))
        result, error = np.empty((len(t), len(self.rates), len(self.rates))), np.empty(len(t))
        early, long = np.flatnonzero(t < start), np.flatnonzero(t >= start)
        if len(early):
            error[early] = self.uniformization.into(result, early, t[early])
        if late is not None and len(long):
            error[long] = late.into(result, long, t[long])
        return result, error, name if len(long) else "uniformization"

    def _late(self, longest: float) -> tuple[str, Spectrum | Modes | None, float]:
        """What "auto" takes for later times, and from when on: the same for whatever `longest` is at least that."""
        series = self.uniformization
        if series.rate == 0.0 or longest <= LONGEST / series.rate:
            return "uniformization", None, math.inf
        if self.spectrum is not None:
            return "eigendecomposition", self.spectrum, math.nextafter(LONGEST / series.rate, math.inf)
        if self._eigen is None:
            return "uniformization", None, math.inf
        while self._modes is None:
            n = (4 + self._tried % 4) << (self._tried // 4)
            if series.step * n > longest or series.ends(n):
                break
            self._modes = find_modes(series, self._eigen, n)
            self._tried += 1
        return "modes", self._modes, math.inf if self._modes is None else self._modes.start

    def evaluation(self, t: NDArray[np.float64]) -> Evaluation:
        _, error, method = self.matrices(t)
        return Evaluation(method, float(error.max(initial=0.0)))

    def small_entries(self, t: NDArray[np.float64]) -> NDArray[np.float64]:
        """(B, S, S) by uniformization with next to no truncation: entries down to 1e-250 to a relative 1e-10 or so."""
        result = np.empty((len(t), len(self.rates), len(self.rates)))
        self._deep.into(result, np.arange(len(t)), self._times(t))
        return result

    def _expm(self, t: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        from scipy.linalg import expm

        generator = self.rates - np.diag(self.rates.sum(1))
        result = np.empty((len(t), *generator.shape))
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for b, time in enumerate(t.tolist()):
                result[b] = np.maximum(expm(time * generator), 0.0)
                normalize(result[b])
                if not np.isfinite(result[b]).all():
                    raise ValueError(
                        f"{self.op}: t: must be short enough for expm to stay finite, or method 'auto' be taken, "
                        f"got {time * self.unit!r}"
                    )
        other = np.empty_like(result)
        error = self.uniformization.into(other, np.arange(len(t)), t)
        return result, np.abs(result - other).max((1, 2), initial=0.0) + error
