"""The tables of the page, in Markdown, from the records of final runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cells.hidden import PROTOCOLS
from cells.methods import KINDS
from cells.records import Record

OURS, REAL = "ours", "real"
RESAMPLES = 10_000
T_95 = {2: 12.706, 3: 4.303, 4: 3.182, 5: 2.776}  # Student's t at 0.975, by the number of splits
TEST_OVER_TRAIN = 0.25  # the cells of a test set by the ones of its training set

Array = NDArray[Any]

# Of the columns of a table: the title, the number, its digits.
CELLS = (
    ("energy distance", "energy_distance", 3), ("MMD", "mmd", 4), ("AUC, log", "forest_auc_log", 3),
    ("AUC, raw", "forest_auc_raw", 3), ("KS of depth", "depth_ks", 3), ("nearest training cell", "nearest_train", 2),
    ("nearer than real", "nearer_than_real", 3), ("accuracy", "accuracy", 3),
)  # fmt: skip
GENES = (
    ("means, slope", "means_slope", 3), ("variances, slope", "variances_slope", 3), ("zeros, error", "zeros_error", 3),
    ("correlations, slope", "correlations_slope", 3), ("fold changes, correlation", "fold_changes_correlation", 3),
    ("fold changes, slope", "fold_changes_slope", 3), ("differing genes found", "genes_found", 3),
    ("of them right", "genes_right", 3),
)  # fmt: skip
IMPUTED = (
    ("RMSE of mean", "rmse_mean", 3), ("of 1 draw", "rmse_1", 3), ("of 5 draws", "rmse_5", 3),
    ("log RMSE", "log_rmse", 3), ("deviance", "deviance", 3), ("fold changes, slope, mean", "fold_slope_mean", 3),
    ("draw", "fold_slope_draw", 3), ("differing genes right, mean", "genes_right_mean", 3),
    ("draw", "genes_right_draw", 3),
)  # fmt: skip
PAIRED = ("energy_distance", "mmd", "forest_auc_log", "forest_auc_raw", "depth_ks", "log_rmse", "deviance")


def tables(finals: Sequence[Record], splits: int) -> str:
    """All tables of all sets; a number is the mean over the outer splits, with a bootstrap interval of 95%. A method
    that lacks one of the first `splits` splits is left out, as its means would be of other cells."""
    lines = []
    for name in dict.fromkeys(record["set"] for record in finals):
        mine, lacking = whole(finals, name, splits)
        if lacking:
            lines += [f"Of {name} these methods lack a split, and are left out: {', '.join(lacking)}", ""]
        if not mine:
            continue
        some = mine[0]
        about = f"{some['train']} training cells, {some['test']} held out, {some['genes_kept']} genes"
        machines = " and ".join(dict.fromkeys(record["machine"] for record in mine))
        lines += [f"### {name}: {about}", "", f"Outer splits: {splits}. One thread of {machines}.", ""]
        made = [record for record in mine if record["numbers"]]
        for columns in (CELLS, GENES) if made else ():
            lines += _table(columns, {REAL: real_cells(made), **by_method(made, of_sets)})
        for protocol in PROTOCOLS:
            got = [record for record in mine if protocol in record["imputed"]]
            if got:
                lines += [f"Hidden: {protocol}", "", *_table(IMPUTED, by_method(got, of_protocol(protocol)))]
        lines += [*_paired(mine), *_costs(mine)]
    return "\n".join(lines)


def whole(finals: Sequence[Record], name: str, splits: int) -> tuple[list[Record], list[str]]:
    """The records of a set's first splits by methods that have all of these, and the names of the others."""
    mine = [record for record in finals if record["set"] == name and record["split"] < splits]
    there = [kind for kind in KINDS if any(record["method"] == kind for record in mine)]
    lacking = [kind for kind in there if sum(record["method"] == kind for record in mine) < splits]
    return [record for record in mine if record["method"] not in lacking], lacking


Values = dict[str, dict[int, list[float]]]  # name of a number: by split, one for each set of cells


def of_sets(record: Record) -> list[dict[str, float]]:
    """The numbers of a run's sets of cells."""
    return record["numbers"]  # type: ignore[no-any-return]


def of_protocol(name: str) -> Callable[[Record], list[dict[str, float]]]:
    """What finds the numbers of a run's imputation."""
    return lambda record: [record["imputed"][name]] if name in record["imputed"] else []


def _values(records: Sequence[Record], numbers: Callable[[Record], list[dict[str, float]]] | None) -> Values:
    """A number that a set of cells lacks is left out of its split. numbers: None for real cells, which every record of
    a split has alike."""
    found: Values = {}
    for record in records:
        for one in record["floors"] if numbers is None else numbers(record):
            for name, value in one.items():
                by_split = found.setdefault(name, {})
                if numbers is not None or len(by_split.get(record["split"], ())) < len(record["floors"]):
                    by_split.setdefault(record["split"], []).append(value)
    most = max((len(each) for by_split in found.values() for each in by_split.values()), default=0)
    whole = {name: {n: each for n, each in by_split.items() if len(each) == most} for name, by_split in found.items()}
    return {name: by_split for name, by_split in whole.items() if by_split}


def real_cells(records: Sequence[Record]) -> Values:
    """The numbers of real training cells in the place of generated ones."""
    return _values(records, None)


def by_method(records: Sequence[Record], numbers: Callable[[Record], list[dict[str, float]]]) -> dict[str, Values]:
    """The numbers of each method."""
    names = [name for name in KINDS if any(record["method"] == name for record in records)]
    return {name: _values([r for r in records if r["method"] == name], numbers) for name in names}


def _table(columns: Sequence[tuple[str, str, int]], rows: dict[str, Values]) -> list[str]:
    shown = [column for column in columns if any(column[1] in values for values in rows.values())]
    lines = ["| |" + "".join(f" {title} |" for title, *_ in shown), "|---|" + "--:|" * len(shown)]
    for name, values in rows.items():
        words = "real training cells" if name == REAL else KINDS[name].words
        cells = (
            _cell(list(values[number].values()), digits) if number in values else "" for _, number, digits in shown
        )
        lines.append(f"| {words} |" + "".join(f" {cell} |" for cell in cells))
    return [*lines, ""]


def _cell(splits: list[list[float]], digits: int) -> str:
    mean = np.mean([np.mean(each) for each in splits])
    if len(splits) < 2:
        return f"{mean:.{digits}f}"
    low, high = interval(splits)
    return f"{mean:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def interval(splits: Sequence[Sequence[float]], seed: int = 0) -> tuple[float, float]:
    """The 95% bootstrap interval of the mean: splits are drawn again, and within a split its sets of cells."""
    random, values = np.random.default_rng(seed), np.array(splits, float)
    count, sets = values.shape
    rows = random.integers(0, count, (RESAMPLES, count, 1))
    drawn = values[rows, random.integers(0, sets, (RESAMPLES, count, sets))].mean(axis=(1, 2))
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)


def corrected(differences: Array) -> float:
    """Half the 95% interval of a mean difference, by Student's t with the correction of Nadeau and Bengio (2003) for
    training sets that overlap."""
    count = len(differences)
    spread = float(np.std(differences, ddof=1)) * np.sqrt(1 / count + TEST_OVER_TRAIN)
    return T_95[count] * spread


def _paired(records: Sequence[Record]) -> list[str]:
    """Ours less another method, split by split: negative where ours has less."""
    methods = by_method([r for r in records if r["numbers"]], of_sets)
    imputing = by_method([r for r in records if "tenth" in r["imputed"]], of_protocol("tenth"))
    lines: list[str] = []
    for number in PAIRED:
        source = imputing if number in ("log_rmse", "deviance") else methods
        ours = source.get(OURS, {}).get(number, {})
        for name, values in source.items():
            both = sorted(ours.keys() & values.get(number, {}).keys())
            if name == OURS or len(both) < 2:
                continue
            each = [np.subtract(ours[split], values[number][split]) for split in both]
            means, (low, high) = np.array([one.mean() for one in each]), interval(each)
            half = corrected(means)
            told = (means.mean(), low, high, means.mean() - half, means.mean() + half)
            row = "{:.4f} | {:.4f} to {:.4f} | {:.4f} to {:.4f}".format(*told)
            lines.append(f"| {number} | {KINDS[name].words} | {row} |")
    if not lines:
        return []
    head = "| ours less the other | | mean difference | bootstrap interval | corrected t interval |"
    return [head, "|---|---|--:|--:|--:|", *lines, ""]


def _costs(records: Sequence[Record]) -> list[str]:
    lines = [
        "| | seconds to fit | to draw a set | to impute | MiB, at most | settings chosen by splits |",
        "|---|--:|--:|--:|--:|---|",
    ]
    for name in KINDS:
        mine = [record for record in records if record["method"] == name]
        if not mine:
            continue
        cells = []
        for part in ("fit", "sample", "impute"):
            found = [
                r["seconds"][part] / (len(r["numbers"]) if part == "sample" else 1)
                for r in mine
                if part in r["seconds"]
            ]
            mean = np.mean(found or 0)
            cells.append("" if not found else "under 0.1" if mean < 0.1 else f"{mean:.{1 if mean < 10 else 0}f}")
        settings = "; ".join(dict.fromkeys(_words(record["settings"]) for record in mine))
        memory = f"{max(record['memory_mib'] for record in mine):,}"
        lines.append(f"| {KINDS[name].words} | {' | '.join(cells)} | {memory} | {settings} |")
    return [*lines, ""]


def _words(settings: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items()) or "defaults"
