"""What `fb.cells.compare` found: numbers, a table, three plots."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..evaluation.charts import check_matplotlib, new_figure, save_figure
from ..ground.terminal import wrap

# Of each metric: its words, its digits, and what is best where that is one number.
_METRICS = {
    "energy_distance": ("Energy distance, in components", 3, "0"),
    "mmd": ("Squared MMD, in components", 4, "0"),
    "forest_auc_log": ("Forest tells real, log-normalized: AUC", 3, "0.5"),
    "forest_auc_raw": ("Forest tells real, raw counts: AUC", 3, "0.5"),
    "depth_ks": ("Depths, Kolmogorov-Smirnov", 3, "0"),
    "means_correlation": ("Gene means, correlation of logs", 3, "1"),
    "means_slope": ("Gene means, slope of logs", 3, "1"),
    "variances_correlation": ("Gene variances, correlation of logs", 3, "1"),
    "variances_slope": ("Gene variances, slope of logs", 3, "1"),
    "zeros_correlation": ("Shares of zeros, correlation", 3, "1"),
    "zeros_error": ("Shares of zeros, root mean square error", 3, "0"),
    "correlations_slope": ("Correlations of genes, slope", 3, "1"),
    "fold_changes_correlation": ("Fold changes of types, correlation", 3, "1"),
    "fold_changes_slope": ("Fold changes of types, slope", 3, "1"),
    "accuracy": ("Types of real cells, learned from these", 3, ""),
    "proportions": ("Shares of types, total variation", 3, "0"),
    "nearest_train": ("Nearest training cell, median distance", 2, ""),
    "nearer_than_real": ("Nearer to one than 5% of real cells are", 3, "0.05"),
}
_OF_TYPES = {"fold_changes_correlation", "fold_changes_slope", "accuracy", "proportions"}
_OF_TRAIN = {"nearest_train", "nearer_than_real"}
_MOST_COLOURS = 10
PLOTS = ("genes", "depth", "components")

Array = NDArray[Any]


class Drawn(NamedTuple):
    """What the plots show of a side."""

    moments: tuple[Array, Array, Array]
    depths: Array
    places: Array
    types: Array | None


@dataclass(frozen=True, repr=False)
class CellReport:
    """Generated cells beside real ones; print it for a table.

    Parameters
    ----------
    numbers : dict
        The metrics by name, as `fb.cells.compare` defines them. What could not be measured is not there.
    floors : dict or None
        The same of real training cells in place of the generated ones; None where there were no training cells.
    facts : dict
        How many cells and genes were compared, the column of types, the first seed and how many there were, and how
        many real cells had the counts of a training cell, None where that is not known.
    nearest_by_type : dict
        Of each type the median distance to the nearest training cell, of generated and of real cells.
    made, held_out : Drawn
        What the plots show of either.
    intervals, floor_intervals : dict or None
        Of several seeds the two ends of the interval of each number, which is a mean then; `fb.cells.compare` says how.
    """

    numbers: dict[str, float]
    floors: dict[str, float] | None
    facts: dict[str, Any]
    nearest_by_type: dict[str, dict[str, float]]
    made: Drawn
    held_out: Drawn
    intervals: dict[str, tuple[float, float]] | None = None
    floor_intervals: dict[str, tuple[float, float]] | None = None

    def to_dict(self) -> dict[str, Any]:
        """All numbers and facts, as JSON takes them.

        Returns
        -------
        dict
            The keys are "numbers", "floors", "nearest_by_type" and "facts", of several seeds "intervals" and
            "floor_intervals" too.
        """
        near = {name: dict(each) for name, each in self.nearest_by_type.items()}
        floors = None if self.floors is None else dict(self.floors)
        told = {"numbers": dict(self.numbers), "floors": floors, "nearest_by_type": near, "facts": dict(self.facts)}
        ends = {"intervals": self.intervals, "floor_intervals": self.floor_intervals} if self.intervals else {}
        return {**told, **{name: each and {n: list(two) for n, two in each.items()} for name, each in ends.items()}}

    def __repr__(self) -> str:
        return str(self)

    def __str__(self) -> str:
        facts, floors = self.facts, self.floors or {}
        cells = f"{facts['generated']} generated and {facts['real']} real cells of {facts['genes']} genes"
        sides = (self.numbers, self.intervals or {}), (floors, self.floor_intervals or {})
        first, wide, last = (40, 17, 6) if self.intervals else (44, 12, 8)
        lines = [
            wrap(cells),
            "",
            f"{'':{first}}{'generated':>{wide}}{'real' if floors else '':>{wide}}{'best':>{last}}",
        ]
        for name, (words, digits, best) in _METRICS.items():
            if name in self.numbers or name in floors:
                told, real = (_shown(name, *side, digits) for side in sides)
                lines.append(f"{words:{first}}{told:>{wide}}{real if floors else '':>{wide}}{best:>{last}}".rstrip())
        return "\n".join([*lines, "", *(wrap(f"{note}.") for note in self.notes())])

    def notes(self) -> list[str]:
        """Say what the numbers are of, and which were left out for what reason.

        Returns
        -------
        list of str
            Sentences, without their full stops.
        """
        facts, notes = self.facts, []
        if self.floors is None:
            notes.append("Without training cells there is no column of real ones, and no distance to them")
            notes.append("Components are fitted to a half of the real cells, and the other half is compared in them")
        else:
            notes.append(f"The column real has {facts['floor']} training cells in place of generated ones")
            notes.append(f"In the two lines on the nearest training cells it has the {facts['real']} real cells")
        if facts["seeds"] > 1:
            means = f"Numbers are means of the seeds {facts['seed']} to {facts['seed'] + facts['seeds'] - 1}"
            notes.append(f"{means}; behind +- is half the interval of 95% of a mean, by Student's t")
            notes.append("It is of what is drawn and chosen at random; other real cells or trainings differ more")
        if facts["seen"]:
            notes.append(f"Of the real cells that were given {facts['seen']} had all counts of a training cell")
            notes.append("If the training saw them, these numbers do not tell how good the model is")
        if facts["labels_key"] is None:
            notes.append("Without labels_key the metrics of types are left out")
        lacking = [name for name in _METRICS if name not in self.numbers]
        lacking = [name for name in lacking if name not in (_OF_TYPES if facts["labels_key"] is None else ())]
        lacking = [name for name in lacking if name not in (_OF_TRAIN if self.floors is None else ())]
        if lacking:
            notes.append(f"Left out, as too few genes or cells of two types vary: {', '.join(lacking)}")
        return notes

    def plot(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Draw three plots.

        Parameters
        ----------
        folder : path
            Where genes.png, depth.png and components.png are written. It is made where it is missing.

        Returns
        -------
        list of Path
            The files.

        Raises
        ------
        ValueError
            If matplotlib is not installed.
        """
        check_matplotlib("plot")
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        figures = (self._genes(), self._depth(), self._components())
        return [save_figure(figure, folder / f"{name}.png") for name, figure in zip(PLOTS, figures, strict=True)]

    def _genes(self) -> Any:
        figure = new_figure(7, 2.9)
        panels = figure.subplots(1, 3)
        kinds = ("mean", "variance", "share of zeros")
        for axes, kind, new, real in zip(panels, kinds, self.made.moments, self.held_out.moments, strict=True):
            if kind != kinds[2]:
                shown = np.concatenate([new, real])
                least = float(shown[shown > 0].min(initial=1.0))
                axes.set_xscale("log")
                axes.set_yscale("log")
                new, real = np.maximum(new, least), np.maximum(real, least)
            axes.plot(real, new, ".", markersize=3, alpha=0.5)
            ends = (min(real.min(), new.min()), max(real.max(), new.max()))
            axes.plot(ends, ends, color="black", linewidth=0.8)
            axes.set_title(kind, fontsize=10)
            axes.set_xlabel("real")
        panels[0].set_ylabel("generated")
        return figure

    def _depth(self) -> Any:
        figure = new_figure(7, 3.2)
        axes = figure.subplots()
        logs = [np.log10(np.maximum(side.depths, 1)) for side in (self.made, self.held_out)]
        bins = min(40, 5 + 2 * math.isqrt(min(map(len, logs))))  # fewer cells are not to show their noise
        edges = np.linspace(min(map(np.min, logs)), max(map(np.max, logs)) + 1e-9, bins + 1)
        for values, name in zip(logs, ("generated", "real"), strict=True):
            axes.hist(10**values, 10**edges, density=False, weights=np.full(len(values), 1 / len(values)),
                      histtype="step", linewidth=1.5, label=name)  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel("depth: counts of a cell")
        axes.set_ylabel("share of cells")
        axes.legend()
        return figure

    def _components(self) -> Any:
        figure = new_figure(7, 3.6)
        panels = figure.subplots(1, 2, sharex=True, sharey=True)
        types = self.held_out.types
        if types is None:
            names = []
        else:
            known, times = np.unique(types, return_counts=True)
            names = known[np.argsort(-times, kind="stable")][:_MOST_COLOURS].tolist()
        for axes, side, title in zip(panels, (self.held_out, self.made), ("real", "generated"), strict=True):
            others = np.full(len(side.places), True) if side.types is None else ~np.isin(side.types, names)
            axes.plot(*side.places[others].T, ".", markersize=3, color="0.6")
            for name in names:
                axes.plot(*side.places[side.types == name].T, ".", markersize=3, alpha=0.7, label=name)
            axes.set_title(title, fontsize=10)
            axes.set_xlabel("first component")
        panels[0].set_ylabel("second component")
        if names:
            handles, words = panels[0].get_legend_handles_labels()
            figure.legend(handles, words, loc="outside lower center", ncols=4, fontsize=9, markerscale=3)
        return figure


def mean_of(reports: Sequence[CellReport]) -> CellReport:
    """One report of those of several seeds: means, and their intervals. The plots are of the first."""
    from scipy.stats import t

    first, count = reports[0], len(reports)
    if count == 1:
        return first
    factor = float(t.ppf(0.975, count - 1)) / math.sqrt(count)

    def means(each: Sequence[dict[str, float]]) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
        numbers, ends = {}, {}
        for name in each[0]:
            if all(name in one for one in each):  # what one seed could not measure has no mean
                values = [one[name] for one in each]
                numbers[name], half = float(np.mean(values)), factor * float(np.std(values, ddof=1))
                ends[name] = (numbers[name] - half, numbers[name] + half)
        return numbers, ends

    numbers, intervals = means([one.numbers for one in reports])
    floors, floor_intervals = (None, None) if first.floors is None else means([one.floors or {} for one in reports])
    near = {name: means([one.nearest_by_type.get(name, {}) for one in reports])[0] for name in first.nearest_by_type}
    return replace(
        first, numbers=numbers, floors=floors, facts={**first.facts, "seeds": count}, nearest_by_type=near,
        intervals=intervals, floor_intervals=floor_intervals,
    )  # fmt: skip


def _shown(name: str, numbers: dict[str, float], ends: dict[str, tuple[float, float]], digits: int) -> str:
    """A number of the table, with half its interval where it has one."""
    half = f" +-{(ends[name][1] - ends[name][0]) / 2:.{digits}f}" if name in ends else ""
    return f"{numbers[name]:.{digits}f}{half}" if name in numbers else "-"
