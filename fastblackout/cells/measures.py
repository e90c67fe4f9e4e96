"""The metrics of `fb.cells.compare`, one function each; what they mean stands in its docstring."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .sides import Cells, Side

COMPONENTS = 50
TOP_GENES = 200  # whose correlations are compared
FOREST_GENES = 2000  # that forests see
FEWEST_OF_TYPE = 10  # cells, for fold changes of it
BANDWIDTHS = (0.25, 0.5, 1, 2)  # of the kernels of MMD, in medians of the distances of real cells
LEAST_MOMENT = 1e-3  # means and variances below it count as it, lest logs of single counts decide
TREES, LEAST_LEAF, FOLDS = 100, 2, 5
PENALTY = 0.02  # of the logistic regression on components: C of scikit-learn
BLOCK = 2000  # training cells that are made dense at once

Array = NDArray[Any]
Numbers = dict[str, float]


class Reference:
    """Real cells, which others are compared with.

    in_space: the ones that are compared in components. fitted: the ones that the components are fitted to, which are
    others. correlated: the ones whose correlations of genes count.
    """

    def __init__(self, real: Cells, in_space: Cells, fitted: Cells, correlated: Cells, seed: int) -> None:
        from scipy.spatial.distance import pdist
        from sklearn.decomposition import PCA

        self.real, self.in_space, self.seed = real, in_space, seed
        components = min(COMPONENTS, len(fitted) - 1, fitted.log.shape[1])
        self.space = PCA(components, svd_solver="randomized", random_state=seed).fit(fitted.log)
        self.real_places = self.places(in_space)
        self.width = float(np.median(pdist(self.real_places))) or 1.0
        self.moments = real.moments()
        self.top = np.argsort(-correlated.counts.mean(axis=0, dtype=np.float64), kind="stable")[:TOP_GENES]
        vary = fitted.log.var(axis=0, dtype=np.float64)
        self.told = np.sort(np.argsort(-vary, kind="stable")[:FOREST_GENES])
        self.correlations, self.varied = _correlations(correlated.log[:, self.top])

    def places(self, cells: Cells) -> Array:
        """Cells in components."""
        return self.space.transform(cells.log).astype(np.float64)  # type: ignore[no-any-return]

    def shared(self, cells: Cells, fewest: int = 1) -> list[str]:
        """The types of which both sides have so many cells."""
        if cells.types is None or self.real.types is None:
            return []
        names = sorted(set(self.real.types.tolist()))
        return [n for n in names if min((cells.types == n).sum(), (self.real.types == n).sum()) >= fewest]

    def against(self, cells: Cells) -> Numbers:
        """The metrics of cells in place of real ones, without distances to training cells. What cannot be measured is
        not among them."""
        from scipy.stats import ks_2samp

        places = self.places(cells)
        numbers = {
            "energy_distance": energy_distance(places, self.real_places),
            "mmd": squared_mmd(places, self.real_places, self.width),
            "forest_auc_log": forest_auc(cells.log[:, self.told], self.real.log[:, self.told], self.seed),
            "forest_auc_raw": forest_auc(cells.counts[:, self.told], self.real.counts[:, self.told], self.seed),
            "depth_ks": float(ks_2samp(cells.depths, self.real.depths).statistic),
        }
        means, variances, zeros = cells.moments()
        for name, new, real in (("means", means, self.moments[0]), ("variances", variances, self.moments[1])):
            logs = (np.log(np.maximum(each, LEAST_MOMENT)) for each in (real, new))
            numbers[f"{name}_correlation"], numbers[f"{name}_slope"] = line(*logs)
        numbers["zeros_correlation"], _ = line(self.moments[2], zeros)
        numbers["zeros_error"] = float(np.sqrt(np.mean((zeros - self.moments[2]) ** 2)))
        new, _ = _correlations(cells.log[:, self.top])
        numbers["correlations_slope"] = line(self.correlations[self.varied], new[self.varied])[1]
        numbers |= self._of_types(cells, places)
        return {name: number for name, number in numbers.items() if np.isfinite(number)}

    def _of_types(self, cells: Cells, places: Array) -> Numbers:
        if cells.types is None or self.real.types is None:
            return {}
        names = sorted({*cells.types.tolist(), *self.real.types.tolist()})
        shares = np.array([[(types == name).mean() for name in names] for types in (cells.types, self.real.types)])
        numbers = {"proportions": float(np.abs(shares[0] - shares[1]).sum() / 2)}
        both = self.shared(cells, FEWEST_OF_TYPE)
        if len(both) > 1:
            changes = (fold_changes(each, both) for each in (self.real, cells))
            numbers["fold_changes_correlation"], numbers["fold_changes_slope"] = line(*changes)
        if len(set(cells.types.tolist())) > 1:
            numbers["accuracy"] = accuracy(places, cells.types, self.real_places, self.in_space.types)
        return numbers

    def distances_to(self, train: Side, cells: Cells) -> Array:
        """From each of the cells to the nearest training cell, of its type where there are some of it."""
        from sklearn.neighbors import NearestNeighbors

        blocks = (np.arange(first, min(first + BLOCK, len(train))) for first in range(0, len(train), BLOCK))
        there = np.concatenate([self.places(train.cells(rows)) for rows in blocks])
        places, found = self.places(cells), np.empty(len(cells))
        for name in [None] if cells.types is None else np.unique(cells.types):
            mine = np.full(len(cells), True) if name is None else cells.types == name
            theirs = np.full(len(train), True) if name is None else train.types == name
            nearest = NearestNeighbors(n_neighbors=1).fit(there[theirs] if theirs.any() else there)
            found[mine] = nearest.kneighbors(places[mine])[0][:, 0]
        return found


def energy_distance(x: Array, y: Array) -> float:
    """Of points (N, D) and (M, D), unbiased."""
    from scipy.spatial.distance import cdist, pdist

    return float(2 * cdist(x, y).mean() - pdist(x).mean() - pdist(y).mean())


def squared_mmd(x: Array, y: Array, width: float) -> float:
    """Of points (N, D) and (M, D), unbiased; the kernels are Gaussian, of `BANDWIDTHS` times the width."""
    from scipy.spatial.distance import cdist, pdist

    def kernel(distances: Array) -> float:
        return float(np.mean([np.exp(-((distances / (by * width)) ** 2) / 2).mean() for by in BANDWIDTHS]))

    return kernel(pdist(x)) + kernel(pdist(y)) - 2 * kernel(cdist(x, y))


def forest_auc(x: Array, y: Array, seed: int) -> float:
    """How well a random forest tells rows x (N, D) from rows y (M, D): 0.5 is not at all, 1 is every one."""
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    rows, real = np.concatenate([x, y]), np.repeat([0, 1], [len(x), len(y)])
    forest = RandomForestClassifier(TREES, min_samples_leaf=LEAST_LEAF, random_state=seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    told = cross_val_predict(forest, rows, real, cv=folds, method="predict_proba")[:, 1]
    return float(roc_auc_score(real, told))


def line(x: Array, y: Array) -> tuple[float, float]:
    """The correlation of x and y, and the slope of the least squares line from x to y; NaN where one is constant."""
    if x.size < 2 or np.ptp(x) == 0 or np.ptp(y) == 0:
        return float("nan"), float("nan")
    dx, dy = x - x.mean(dtype=np.float64), y - y.mean(dtype=np.float64)
    between = dx @ dy
    return float(between / np.sqrt((dx @ dx) * (dy @ dy))), float(between / (dx @ dx))


def _correlations(log: Array) -> tuple[Array, Array]:
    """Of pairs of columns, 0 for one that does not vary; and whether both of the pair vary."""
    centred = log - log.mean(axis=0, dtype=np.float64)
    length = np.sqrt((centred**2).sum(axis=0))
    varies, pairs = length > 0, np.triu_indices(log.shape[1], 1)
    unit = centred / np.where(varies, length, 1)
    return (unit.T @ unit)[pairs], (varies & varies[:, None])[pairs]


def fold_changes(cells: Cells, names: list[str]) -> Array:
    """log2 fold changes of all genes between any two of these types."""
    means = [np.log2(cells.shares[cells.types == name].mean(axis=0, dtype=np.float64) + 0.5) for name in names]
    return np.concatenate([one - other for one, other in combinations(means, 2)])


def accuracy(x: Array, types: Array, real: Array, real_types: Array | None) -> float:
    """Of a classifier that learned the types of x (N, D), on real (M, D)."""
    from sklearn.linear_model import LogisticRegression

    return float(LogisticRegression(C=PENALTY, max_iter=2000).fit(x, types).score(real, real_types))
