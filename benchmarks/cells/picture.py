"""A picture of the final runs of a set: a panel a number, a row a method, a dot an outer split."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cells.methods import KINDS
from cells.records import Record
from cells.tables import OURS, by_method, of_protocol, of_sets, real_cells, whole
from fastblackout.evaluation.charts import new_figure, save_figure

# Of the panels: what stands above and below, the number, and whether it is one of imputation.
PANELS = (
    ("told from real cells\nby a forest", "AUC, .5 is best", "forest_auc_log", False),
    ("correlations of genes", "slope, 1 is best", "correlations_slope", False),
    ("closest training cell", "median distance", "nearest_train", False),
    ("a tenth of the counts\nhidden, and imputed", "deviance, 0 is best", "deviance", True),
)


def draw(finals: Sequence[Record], splits: int, path: Path) -> Path:
    """Write a picture of the first set of the records. A line shows the mean of real training cells."""
    mine, _ = whole(finals, finals[0]["set"], splits)
    made = [record for record in mine if record["numbers"]]
    real, generated = real_cells(made), by_method(made, of_sets)
    imputed = by_method([r for r in mine if "tenth" in r["imputed"]], of_protocol("tenth"))
    rows = [name for name in KINDS if name in generated or name in imputed]
    figure = new_figure(9, 0.7 + 0.28 * len(rows))
    for axes, (title, below, number, hidden) in zip(figure.subplots(1, len(PANELS), sharey=True), PANELS, strict=True):
        for place, name in enumerate(rows):
            splits = (imputed if hidden else generated).get(name, {}).get(number, {})
            means = [np.mean(values) for values in splits.values()]
            colour = "tab:red" if name == OURS else "tab:blue"
            axes.plot(means, [place] * len(means), ".", color=colour, alpha=0.6, markersize=6)
            if means:
                axes.plot(np.mean(means), place, "|", color=colour, markersize=14, markeredgewidth=2)
        if not hidden:
            axes.axvline(np.mean([np.mean(values) for values in real[number].values()]), color="black", linewidth=0.8)
        axes.set_title(title, fontsize=9)
        axes.set_xlabel(below, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.set_yticks(range(len(rows)), [KINDS[name].words for name in rows], fontsize=9)
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.grid(axis="y", alpha=0.3)
    return save_figure(figure, path)
