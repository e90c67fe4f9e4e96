"""Exact paths of the reverse process of a known law, by inversion of the chance of staying.

The reverse process leaves a state j at rate d/dt log p_t(j) - Q[j, j], p_t the law of x_t. So the chance of staying in
j from t down to s is known,

    p_s(j) / p_t(j) exp(Q[j, j] (t - s)),

and inverting it gives the time of the next jump, with no bound on a rate, no rejection and no step: it works where
rates grow like 1 / t as t -> 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from ...ground.values import check_memory
from ...reference.philox import Stream, philox4x32

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ...philox import Philox
    from ..base import Process

_WINDOW = 0.5  # largest rate times the length of a window; with 15 terms the Taylor series is exact to 1e-17
_TERMS = 15
_NEWTON = 60  # far more than is ever needed: a step that leaves the bracket halves it


class Paths:
    """All paths at once, walked through windows of time from the last to the first."""

    def __init__(
        self, process: Process, law: NDArray[Any], start: float, end: float, x_t: NDArray[Any], key: Philox, op: str
    ) -> None:
        rates = process._rates()
        self.exit = rates.sum(1)
        self.fastest = float(self.exit.max()) or 1.0
        windows = max(1, math.ceil(min(self.fastest * (end - start) / _WINDOW, 1e300)))
        check_memory(f"{op}: t: the laws of {windows} windows", windows * 8 * process.states)
        self.length = (end - start) / windows
        # One step of the chain sampled at the fastest rate: no negative entry, so the series below cannot cancel.
        self.step = rates / self.fastest + np.diag(1 - self.exit / self.fastest)
        self.laws = [law]  # the laws at the lower ends of the windows
        for _ in range(windows):
            self.laws.append(self._law_at(self._series(self.laws[-1]), self.length))
        # Where a state can be entered from, padded with rate 0 to one width.
        width = max(1, int((rates > 0).sum(0).max()))
        self.sources = np.argsort(rates == 0, axis=0, kind="stable")[:width].T.copy()
        self.source_rates = rates[self.sources, np.arange(len(rates))[:, None]]
        self.shape = x_t.shape
        self.x = x_t.reshape(-1).copy()
        if (self.laws[-1][self.x] <= 0).any():
            wrong = int(self.x[self.laws[-1][self.x] <= 0][0])
            raise ValueError(f"{op}: x_t: must have a probability above 0 at t, got {wrong}")
        samples = x_t.shape[0] if x_t.ndim else 1
        self.element, self.sample = (
            part.ravel() for part in np.meshgrid(np.arange(self.x.size // max(samples, 1)), np.arange(samples))
        )
        self.key = key
        self.jumps = np.zeros(self.x.size, dtype=np.int64)
        self.stay, self.choice = self._uniforms(np.arange(self.x.size))

    def _uniforms(self, rows: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Two uniforms in (0, 1) of each path's next jump."""
        c1 = (self.key.first_sample + self.sample[rows]).astype(np.uint32)
        c3 = (Stream.REVERSE_PATH.word() + self.jumps[rows]).astype(np.uint32)
        words = philox4x32(self.element[rows].astype(np.uint32), c1, self.key.call, c3, *self.key.key)
        first, second = (
            ((high.astype(np.uint64) << np.uint64(32) | low) >> np.uint64(11)).astype(np.float64) * 2.0**-53 + 2.0**-54
            for high, low in (words[:2], words[2:])
        )
        return first, second

    def _series(self, law: NDArray[np.float64]) -> NDArray[np.float64]:
        """c with p_{low + d}(j) = exp(-fastest d) sum over m of c[m, j] (fastest d)^m, for p_low = law."""
        terms = [law]
        for m in range(1, _TERMS):
            terms.append(terms[-1] @ self.step / m)
        return np.stack(terms)

    def _law_at(self, series: NDArray[np.float64], d: float) -> NDArray[np.float64]:
        return np.exp(-self.fastest * d) * (series * (self.fastest * d) ** np.arange(_TERMS)[:, None]).sum(0)

    def run(self) -> NDArray[np.int64]:
        for low_law in self.laws[-2::-1]:
            series = self._series(low_law)
            rows = np.arange(self.x.size)
            d = np.full(self.x.size, self.length)
            while len(rows):
                j = self.x[rows]
                now, _ = self._unjumped(series, j, d)
                low = series[0, j]
                goal = self.stay[rows] * now
                stays = goal < low
                # Given that it stays, the uniform over the chance of staying is uniform again.
                self.stay[rows[stays]] *= now[stays] / low[stays]
                rows, j, d, goal = rows[~stays], j[~stays], d[~stays], goal[~stays]
                if len(rows):
                    guess = d * (goal - low[~stays]) / (now - low)[~stays]  # within a window nearly a straight line
                    d = self._time_of_jump(series, j, d, goal, guess)
                    self._jump(series, rows, j, d)
        return self.x.reshape(self.shape)

    def _unjumped(self, series: NDArray[Any], j: NDArray[Any], d: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """p_{low + d}(j) exp(exit_j d), which never falls in d, and its derivative."""
        y = self.fastest * d
        value, slope = np.zeros(len(j)), np.zeros(len(j))
        for row in series[::-1]:
            slope = slope * y + value
            value = value * y + row[j]
        excess = self.fastest - self.exit[j]
        factor = np.exp(-excess * d)
        return factor * value, factor * (self.fastest * slope - excess * value)

    def _time_of_jump(
        self, series: NDArray[Any], j: NDArray[Any], d: NDArray[Any], goal: NDArray[Any], guess: NDArray[Any]
    ) -> NDArray[np.float64]:
        """Where `_unjumped` equals goal: Newton's method within a bracket."""
        low, high, open_rows = np.zeros(len(j)), d.copy(), np.arange(len(j))
        for _ in range(_NEWTON):
            at = guess[open_rows]
            value, slope = self._unjumped(series, j[open_rows], at)
            above = value > goal[open_rows]
            high[open_rows[above]] = at[above]
            low[open_rows[~above]] = at[~above]
            with np.errstate(divide="ignore", invalid="ignore"):
                new = at - (value - goal[open_rows]) / slope
            inside = (new > low[open_rows]) & (new < high[open_rows])
            new = np.where(inside, new, (low[open_rows] + high[open_rows]) / 2)
            guess[open_rows] = new
            open_rows = open_rows[np.abs(new - at) > 1e-15 * self.length]
            if not len(open_rows):
                break
        return guess

    def _jump(self, series: NDArray[Any], rows: NDArray[Any], j: NDArray[Any], d: NDArray[Any]) -> None:
        sources = self.sources[j]
        weights = np.zeros(sources.shape)
        y = (self.fastest * d)[:, None]
        for row in series[::-1]:
            weights = weights * y + row[sources]
        cumulative = np.cumsum(weights * self.source_rates[j], axis=1)
        # At most the last source that has a rate, whatever rounding does.
        threshold = np.minimum(self.choice[rows, None] * cumulative[:, -1:], np.nextafter(cumulative[:, -1:], 0.0))
        self.x[rows] = sources[np.arange(len(j)), (cumulative <= threshold).sum(1)]
        self.jumps[rows] += 1
        self.stay[rows], self.choice[rows] = self._uniforms(rows)
