"""What a check found, and the verdict over all of them at one rate of false alarms."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy import stats

FALSE_ALARM = 1e-6  # the chance that a run of a right library fails, over all p values of the run together


class Row(NamedTuple):
    """One line of the table.

    chances: p values, uniform if the library is right. bounds: p values that are at least uniform, of events at the end
    of a tail. error: the largest error of numbers, in units of the promised bound. worst: where that or the smallest p
    value was found.
    """

    what: str
    draws: int
    cases: int
    seconds: float
    chances: list[float] = []
    bounds: list[float] = []
    error: float | None = None
    worst: str = ""

    @property
    def smallest(self) -> float | None:
        every = self.chances + self.bounds
        return min(every) if every else None


def threshold(rows: list[Row]) -> float:
    """The p value at and below which Holm's method rejects; -1 where it rejects none."""
    every = np.sort(np.array([p for row in rows for p in row.chances + row.bounds]))
    allowed = FALSE_ALARM / (len(every) - np.arange(len(every)))
    kept = np.flatnonzero(every > allowed)
    rejected = every[: kept[0]] if len(kept) else every
    return float(rejected[-1]) if len(rejected) else -1.0


def failed(row: Row, level: float) -> bool:
    by_error = row.error is not None and not row.error <= 1
    return by_error or (row.smallest is not None and not row.smallest > level)


def pooled(rows: list[Row]) -> list[Row]:
    """Whether the p values are uniform together, by the test of Kolmogorov and Smirnov; nothing where they are few."""
    every = [p for row in rows for p in row.chances]
    if len(every) < 20:
        return []
    return [Row("all p values are uniform", 0, len(every), 0.0, [float(stats.kstest(every, "uniform").pvalue)])]


def told(row: Row, level: float) -> str:
    """A line of at most 80 columns."""
    found = "-"
    if row.error is not None:
        found = f"{row.error:.3f} of bound"
    elif row.smallest is not None:
        found = f"p {row.smallest:.2g}"
    draws = f"{row.draws:.2g}" if row.draws else "-"
    verdict = "FAILED" if failed(row, level) else "ok"
    return f"{row.what[:33]:33}{draws:>9}{row.cases:>8}{found:>16}{verdict:>7}{row.seconds:>7.0f}"


class Greatest:
    """The greatest of many errors in units of their bounds, and where it was."""

    def __init__(self, what: str) -> None:
        self.what, self.cases, self.seconds, self.error, self.place = what, 0, 0.0, 0.0, ""

    def add(self, got: float, truth: Any, bound: float, place: Any) -> None:
        self.cases += 1
        if got == float(truth):
            return
        error = float(abs(got - truth)) / bound
        error = math.inf if math.isnan(error) else error
        if error > self.error:
            self.error, self.place = error, f"{place}: {got!r} for {float(truth)!r}"

    def row(self) -> Row:
        return Row(self.what, 0, self.cases, self.seconds, error=self.error, worst=self.place)


HEADER = f"{'what':33}{'draws':>9}{'cases':>8}{'smallest, worst':>16}{'':>7}{'s':>7}"


def as_json(row: Row, level: float) -> dict[str, object]:
    values = {name: value for name, value in row._asdict().items() if name not in ("chances", "bounds")}
    finite = {k: (str(v) if isinstance(v, float) and not math.isfinite(v) else v) for k, v in values.items()}
    return finite | {"smallest": row.smallest, "ok": not failed(row, level)}
