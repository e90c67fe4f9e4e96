"""Imputation: which counts are hidden, and how well they come back.

The protocols are the ones of CountsDiff (arXiv 2604.03779), and one of a tenth. A zero is *unknown* where another cell
of its type has the gene, as it may be a gap; all other counts are *known*.

``tenth``, ``half``
    Any count is hidden with probability 0.1 or 0.5: missing at random.
``high``, ``low``
    Of each gene a quarter of the known counts is hidden, drawn from its highest or lowest ones: missing not at random.
    The ones that they are drawn from are a tenth of the known counts more.

CountsDiff hides unknown zeros in all protocols. Here they are shown as zeros unless they are drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastblackout.cells.metrics import FEWEST_OF_TYPE, DenseCells, fold_changes, line

Array = NDArray[Any]
Numbers = dict[str, float]

PROTOCOLS = ("tenth", "half", "high", "low")
RATES = {"tenth": 0.1, "half": 0.5}
NOT_AT_RANDOM, SLACK = 0.25, 0.1
LEAST_MEAN = 0.02  # of the deviance, in which a mean of 0 would weigh without end
LEVEL = 0.05  # of the false discovery rate of differential genes


def known_of(counts: Array, types: Array) -> Array:
    """Which counts (N, G) are known."""
    known = counts > 0
    for kind in np.unique(types):
        mine = types == kind
        known[mine] |= ~known[mine].any(axis=0)
    return known


def observed_of(protocol: str, counts: Array, types: Array, seed: int = 7) -> Array:
    """Which counts (N, G) are observed."""
    random = np.random.default_rng((seed, PROTOCOLS.index(protocol)))
    if protocol in RATES:
        observed: Array = random.random(counts.shape) >= RATES[protocol]
        return observed
    observed, known = np.full(counts.shape, True), known_of(counts, types)
    for gene in range(counts.shape[1]):
        rows = random.permutation(np.flatnonzero(known[:, gene]))  # so that ties are broken at random
        order = rows[np.argsort(counts[rows, gene] * (-1 if protocol == "high" else 1), kind="stable")]
        few = int(NOT_AT_RANDOM * len(rows))
        observed[random.choice(order[: few + int(SLACK * len(rows))], few, replace=False), gene] = False
    return observed


def recovered(protocol: str, counts: Array, types: Array, mean: Array, draws: Array | None) -> Numbers:
    """How well hidden counts came back, and what remains of types' differences in completed cells.

    rmse_mean, rmse_1, rmse_5: of hidden known counts by the mean, by one draw and by the mean of five draws. log_rmse,
    deviance: of all hidden counts by the mean, the root mean square difference of log(1 + count) and the Poisson
    deviance.
    """
    observed = observed_of(protocol, counts, types)
    hidden, asked = ~observed, ~observed & known_of(counts, types)
    x, m = counts[hidden].astype(float), np.maximum(mean[hidden].astype(float), 0)
    least = np.maximum(m, LEAST_MEAN)
    numbers = {
        "rmse_mean": _root(mean[asked] - counts[asked]),
        "log_rmse": _root(np.log1p(m) - np.log1p(x)),
        "deviance": float(np.mean(2 * (np.where(x > 0, x * np.log(np.maximum(x, 1) / least), 0) - x + least))),
    }
    completed = {"mean": np.where(observed, counts, np.maximum(mean, 0))}
    if draws is not None:
        numbers["rmse_1"] = _root(draws[0][asked] - counts[asked])
        numbers["rmse_5"] = _root(draws.mean(axis=0)[asked] - counts[asked])
        completed["draw"] = np.where(observed, counts, draws[0])
    for name, cells in completed.items():
        numbers |= {f"{key}_{name}": value for key, value in differences(cells, types, counts, types).items()}
    return numbers


def differences(made: Array, made_types: Array, real: Array, real_types: Array) -> Numbers:
    """Whether cells keep the differences of types: the correlation and slope of their fold changes, and of the genes
    that differ between a type and the rest of real cells the share that is found again, and of the ones found in these
    cells the share that is right. By Mann-Whitney tests of log-normalized counts, at a false discovery rate of 0.05."""
    sides = [
        DenseCells(np.asarray(each, np.float32), kinds.astype(str))
        for each, kinds in ((real, real_types), (made, made_types))
    ]
    times = [dict(zip(*np.unique(side.types, return_counts=True), strict=True)) for side in sides]
    names = sorted(name for name, count in times[0].items() if min(count, times[1].get(name, 0)) >= FEWEST_OF_TYPE)
    if len(names) < 2:
        return {}
    correlation, slope = line(*(fold_changes(side, names) for side in sides))
    true, found = (np.stack([_differs(side, name) for name in names]) for side in sides)
    both = float((true & found).sum())
    return {
        "fold_correlation": correlation, "fold_slope": slope,
        "genes_found": both / max(int(true.sum()), 1), "genes_right": both / max(int(found.sum()), 1),
    }  # fmt: skip


def _differs(cells: DenseCells, name: str) -> Array:
    """Which genes differ between a type and all other cells, and in which direction: (2 G,), up and down."""
    from scipy.stats import false_discovery_control, mannwhitneyu

    mine = cells.types == name
    test = mannwhitneyu(cells.log[mine], cells.log[~mine], axis=0, method="asymptotic")
    p = np.nan_to_num(test.pvalue, nan=1.0)  # of a gene that no cell has
    up = test.statistic > mine.sum() * (~mine).sum() / 2
    told = false_discovery_control(p) < LEVEL
    return np.concatenate([told & up, told & ~up])


def _root(values: Array) -> float:
    return float(np.sqrt(np.mean(np.asarray(values, float) ** 2)))
