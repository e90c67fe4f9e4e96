"""How good generated cells are: what `CellModel.evaluate` and the benchmark of cells measure of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from itertools import combinations
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..call.foreign import is_annotated, listed, matrix_of
from ..call.keys import seed_of
from ..data.cells import labels_of, places_of, whole_counts
from ..ground.extras import is_there, lacking
from ..ground.named import named
from ..ground.values import check_integer
from .report import CellReport, Drawn, mean_of

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import sparray, spmatrix

    from ..philox import Philox


FEWEST_CELLS, FEWEST_GENES = 10, 3
MOST_CELLS = 1000  # of each side
MOST_FITTED = 2000  # training cells that the components are fitted to
NEAR_SHARE = 0.05
COMPONENTS = 50
TOP_GENES = 200  # whose correlations are compared
FOREST_GENES = 2000  # that forests see
FEWEST_OF_TYPE = 10  # cells, for fold changes of it
BANDWIDTHS = (0.25, 0.5, 1, 2)  # of the kernels of MMD, in medians of the distances of real cells
LEAST_MOMENT = 1e-3  # means and variances below it count as it, lest logs of single counts decide
TREES, LEAST_LEAF, FOLDS = 100, 2, 5
PENALTY = 0.02  # of the logistic regression on components: C of scikit-learn
BLOCK = 2000  # training cells that are made dense at once
_AT_ONCE = 500  # cells

Array = NDArray[Any]
Numbers = dict[str, float]
CellCounts: TypeAlias = "AnnData | NDArray[Any] | spmatrix | sparray"


def prints_of(matrix: Any) -> NDArray[np.int64]:
    """A number of 64 bits of each cell (N,): of equal counts the same, of others with a chance near 2^-64."""
    weights = np.frombuffer(np.random.RandomState(0).bytes(8 * matrix.shape[1]), "<i8")  # the same in every NumPy
    rows = (matrix[first : first + _AT_ONCE] for first in range(0, matrix.shape[0], _AT_ONCE))
    return np.concatenate([each.astype(np.int64) @ weights for each in rows])


class Side:
    """All cells of an argument, as they lie there.

    like: the side whose genes are taken, by the names that they have in an AnnData. where: the op and the argument.
    ValueError and TypeError are those of `fb.cells.compare`.
    """

    def __init__(
        self, op: str, argument: str, value: Any, labels_key: str | None, like: Side | None = None,
        layer: str | None = None,
    ) -> None:  # fmt: skip
        self.where = where = f"{op}: {argument}"
        self.names = [str(name) for name in value.var_names] if is_annotated(value) else None
        if self.names is None and not (isinstance(value, np.ndarray) or hasattr(value, "tocsr")):
            rule = "must be an AnnData, a NumPy array or a matrix of scipy.sparse"
            raise TypeError(f"{where}: {rule}, got {type(value).__name__}")
        if like is not None and (self.names is None) != (like.names is None):
            raise TypeError(f"{where}: must be an AnnData only if generated is one, got {type(value).__name__}")
        if self.names is None and (layer or labels_key) is not None:
            argument, given = ("layer", layer) if layer is not None else ("labels_key", labels_key)
            raise TypeError(f"{op}: {argument}: must be None but for AnnData, got {given!r} for {type(value).__name__}")
        matrix: Any = value if self.names is None else matrix_of(op, argument, value, layer)
        if matrix.ndim != 2:
            raise ValueError(f"{where}: must be cells by genes, got shape {matrix.shape}")
        if matrix.shape[0] < FEWEST_CELLS or matrix.shape[1] < FEWEST_GENES:
            rule = f"must have {FEWEST_CELLS} cells and {FEWEST_GENES} genes or more"
            raise ValueError(f"{where}: {rule}, got {matrix.shape[0]} and {matrix.shape[1]}")
        if self.names is not None:
            wanted = self.names if like is None or like.names is None else like.names
            places = places_of(op, argument, self.names, wanted)
            matrix = matrix if wanted == self.names else matrix[:, places]
        elif like is not None and matrix.shape[1] != like.genes:
            raise ValueError(f"{where}: must have {like.genes} genes as generated has, got {matrix.shape[1]}")
        self.matrix, _ = whole_counts(op, argument, matrix, () if self.names is None else value.layers)
        self.types: Array | None = None
        if labels_key is not None:
            if labels_key not in value.obs.columns:
                rule = f"must be a column of obs of {argument}, one of {listed(value.obs.columns)}"
                raise ValueError(f"{op}: labels_key: {rule}, got {labels_key!r}")
            labels, names = labels_of(op, value.obs, labels_key, None)
            self.types = np.array(names)[labels]

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def genes(self) -> int:
        return int(self.matrix.shape[1])

    def cells(self, rows: Array) -> DenseCells:
        """Some of the cells, dense."""
        part = self.matrix[rows]
        counts = part.toarray() if hasattr(part, "toarray") else part
        return DenseCells(counts.astype(np.float32), None if self.types is None else self.types[rows])


class DenseCells:
    """Counts (N, G), and the type of each cell where types are known."""

    def __init__(self, counts: Array, types: Array | None) -> None:
        self.counts, self.types = counts, types

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, rows: slice) -> DenseCells:
        return DenseCells(self.counts[rows], None if self.types is None else self.types[rows])

    @cached_property
    def depths(self) -> Array:
        """The sums of cells (N,)."""
        return self.counts.sum(axis=1, dtype=np.float64)

    @cached_property
    def shares(self) -> Array:
        """Counts per 10,000 of the cell's (N, G); a cell without counts has zeros."""
        return (self.counts * (1e4 / np.maximum(self.depths, 1))[:, None]).astype(np.float32)

    @cached_property
    def log(self) -> Array:
        """Log-normalized counts (N, G)."""
        return np.log1p(self.shares)

    def moments(self) -> tuple[Array, Array, Array]:
        """The mean, the variance and the share of zeros of each gene."""
        counts = self.counts.astype(np.float64)
        return counts.mean(axis=0), counts.var(axis=0, ddof=1), (counts == 0).mean(axis=0)


class Reference:
    """Real cells, which others are compared with.

    in_space: the ones that are compared in components. fitted: the ones that the components are fitted to, which are
    others. correlated: the ones whose correlations of genes count.
    """

    def __init__(
        self, real: DenseCells, in_space: DenseCells, fitted: DenseCells, correlated: DenseCells, seed: int
    ) -> None:
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

    def places(self, cells: DenseCells) -> Array:
        """Cells in components."""
        return self.space.transform(cells.log).astype(np.float64)  # type: ignore[no-any-return]

    def shared(self, cells: DenseCells, fewest: int = 1) -> list[str]:
        """The types of which both sides have so many cells."""
        if cells.types is None or self.real.types is None:
            return []
        names = sorted(set(self.real.types.tolist()))
        return [n for n in names if min((cells.types == n).sum(), (self.real.types == n).sum()) >= fewest]

    def against(self, cells: DenseCells) -> Numbers:
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

    def _of_types(self, cells: DenseCells, places: Array) -> Numbers:
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

    def distances_to(self, train: Side, cells: DenseCells) -> Array:
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


def fold_changes(cells: DenseCells, names: list[str]) -> Array:
    """log2 fold changes of all genes between any two of these types."""
    means = [np.log2(cells.shares[cells.types == name].mean(axis=0, dtype=np.float64) + 0.5) for name in names]
    return np.concatenate([one - other for one, other in combinations(means, 2)])


def accuracy(x: Array, types: Array, real: Array, real_types: Array | None) -> float:
    """Of a classifier that learned the types of x (N, D), on real (M, D)."""
    from sklearn.linear_model import LogisticRegression

    return float(LogisticRegression(C=PENALTY, max_iter=2000).fit(x, types).score(real, real_types))


@named
def compare(
    generated: CellCounts,
    real: CellCounts,
    *,
    train: CellCounts | None = None,
    labels_key: str | None = None,
    layer: str | None = None,
    rng: Philox | int = 0,
    seeds: int = 1,
) -> CellReport:
    """Compare generated cells with real ones that no model has seen.

    Parameters
    ----------
    generated : AnnData, numpy.ndarray or scipy.sparse matrix
        Raw counts, cells by genes, 10 cells or more. Their types should have the proportions of the real cells: every
        metric but those of single types is of all cells, with the proportions that each side has.
    real : AnnData, numpy.ndarray or scipy.sparse matrix
        Raw counts of held-out cells. An AnnData must have all genes of `generated`; others are left out, of depths too.
        Matrices must have the same genes in the same order.
    train : AnnData, numpy.ndarray or scipy.sparse matrix, optional
        The training cells. With them the report has a second column: what as many real training cells have in place of
        the generated ones, which no model can be expected to beat. And it says how near to training cells the
        generated ones are.
    labels_key : str, optional
        The column of obs that holds the cells' types, of AnnData alone. Without it the metrics of types are left out.
    layer : str, optional
        The layer of `real` and `train` that holds the counts. By default X does, as it does of `generated`.
    rng : Philox or int, default 0
        The key of all that is chosen at random, or its seed. The same cells and key give the same report.
    seeds : int, default 1
        Compare so often, with the seeds rng, rng + 1, ...: the numbers are means then, with intervals.

    Returns
    -------
    CellReport
        Print it for a table. Its `numbers` and `floors` have the metrics by name.

    Raises
    ------
    TypeError
        If cells are neither an AnnData nor a matrix, or one is an AnnData and another is not.
    ValueError
        If counts are not whole, genes, a layer or a column of obs are not there, cells or genes are too few, or
        scikit-learn is not installed.

    Notes
    -----
    Of each side at most 1,000 cells are taken, at random. *Log-normalized* counts are log(1 + counts per 10,000).
    *Components* are the first 50 principal components of these. They are fitted to real cells only, and to none that
    are compared: to at most 2,000 training cells that the second column leaves, or without `train` to a half of the
    real cells, whose other half is compared in them. Components of the compared cells themselves would take their noise
    for structure, which makes every distance to other cells too large.

    The interval of a mean of several seeds has 95% by Student's t: mean -+ t s / sqrt(seeds), with the standard
    deviation s of the seeds. It tells what chance there is in the choice of cells, in the forests and, with
    `CellModel.evaluate`, in the draws of cells. Other real cells, or another training, move the numbers too.

    Real cells with the very counts of a training cell are counted: as ``facts["seen"]``, and in the printed report.

    ``energy_distance``
        2 E|X-Y| - E|X-X'| - E|Y-Y'| in components, of Euclidean distances, unbiased for independent cells
        [1]_. It may be negative, above all where both sides have the same number of each type.
    ``mmd``
        The squared maximum mean discrepancy in components, unbiased [2]_, of the mean of four Gaussian kernels, whose
        widths are 1/4, 1/2, 1 and 2 times the median distance of real cells.
    ``forest_auc_log``, ``forest_auc_raw``
        The area under the ROC curve of a random forest of 100 trees that tells generated cells from real ones, by
        log-normalized or by raw counts, in five-fold cross-validation. It sees the 2,000 genes that vary most among
        real cells. 0.5 is best, and 1 means that all are told.
    ``depth_ks``
        The Kolmogorov-Smirnov statistic of depths, the sums of cells: the largest difference of their distribution
        functions.
    ``means_correlation``, ``means_slope``, ``variances_correlation``, ``variances_slope``
        Of the logs of each gene's mean and variance: the correlation, and the slope of the least squares line that
        takes real ones to generated ones. Values below 0.001 count as 0.001.
    ``zeros_correlation``, ``zeros_error``
        Of each gene's share of zeros: the correlation, and the root mean square difference.
    ``correlations_slope``
        The slope of the line that takes correlations of pairs of genes to generated ones, of log-normalized counts of
        the 200 genes of the largest means. Those of training cells stand for real ones where there are any, as a line
        against correlations of few cells is too flat.
    ``fold_changes_correlation``, ``fold_changes_slope``
        Of log2 fold changes between any two types of 10 cells or more on both sides. A fold change is of means of
        counts per 10,000, plus 1/2.
    ``accuracy``
        The share of real cells whose type is told by a logistic regression on components that learned from the
        generated cells. The second column has one that learned from as many training cells.
    ``proportions``
        Half the sum of the differences of the shares of types: the total variation distance.
    ``nearest_train``
        The median distance, in components, of a generated cell to the nearest training cell of its type, or
        of any where the training cells have none of it. The second
        column has the median of real cells. A model that copies cells has less.
    ``nearer_than_real``
        The share of generated cells that lie nearer to a training cell than the nearest twentieth of the real cells.
        0.05 is best, and a model that copies has more, even where it copies some cells only.

    References
    ----------
    .. [1] Szekely and Rizzo, "Energy statistics: a class of statistics based on distances", 2013.
    .. [2] Gretton et al., "A kernel two-sample test", 2012.

    Examples
    --------
    >>> random = np.random.default_rng(0)
    >>> real, same, deeper = (random.poisson(rate, (200, 20)) for rate in (2.0, 2.0, 3.0))
    >>> report = fb.cells.compare(same, real)
    >>> round(report.numbers["depth_ks"], 3)
    0.08
    >>> fb.cells.compare(deeper, real).numbers["depth_ks"] > 0.5
    True
    """
    op = "compare"
    _check_installed(op)
    seed = first_seed(op, rng, seeds)
    new = Side(op, "generated", generated, labels_key)
    true = Side(op, "real", real, labels_key, new, layer)
    known = None if train is None else Side(op, "train", train, labels_key, new, layer)
    report = mean_of([compared(new, true, known, labels_key, own) for own in range(seed, seed + seeds)])
    if known is not None:
        report.facts["seen"] = int(np.isin(prints_of(true.matrix), prints_of(known.matrix)).sum())
    return report


def compared(new: Side, true: Side, known: Side | None, labels_key: str | None, seed: int) -> CellReport:
    """`compare` with one seed, of arguments that were checked."""
    random = np.random.default_rng(seed)
    made, held_out = (side.cells(random.permutation(len(side))[:MOST_CELLS]) for side in (new, true))
    if known is None:
        half = len(held_out) // 2
        fitted, floor, in_space, correlated = held_out[:half], None, held_out[half:], held_out
    else:
        order = random.permutation(len(known))
        few = min(len(made), len(known) // 2)
        fitted, floor = known.cells(order[few:][:MOST_FITTED]), known.cells(order[:few])
        in_space, correlated = held_out, fitted
    if not (fitted.log != fitted.log[0]).any():
        where = (true if known is None else known).where
        raise ValueError(f"{where}: counts must differ between cells, got the same in all")
    reference = Reference(held_out, in_space, fitted, correlated, seed)
    numbers, floors = reference.against(made), None if floor is None else reference.against(floor)
    by_type: dict[str, dict[str, float]] = {}
    if known is not None and floors is not None:
        near, near_real = (reference.distances_to(known, cells) for cells in (made, held_out))
        threshold = np.quantile(near_real, NEAR_SHARE)
        for one, distances in ((numbers, near), (floors, near_real)):
            one["nearest_train"] = float(np.median(distances))
            one["nearer_than_real"] = float((distances < threshold).mean())
        for name in reference.shared(made):
            each = {"generated": near[made.types == name], "real": near_real[held_out.types == name]}
            by_type[name] = {side: float(np.median(distances)) for side, distances in each.items()}
    facts = {
        "generated": len(made), "real": len(held_out), "train": None if known is None else len(known),
        "floor": None if floor is None else len(floor), "genes": new.genes, "labels_key": labels_key, "seed": seed,
        "seeds": 1, "seen": None,
    }  # fmt: skip
    drawn, there = (
        Drawn(cells.moments(), cells.depths, reference.places(cells)[:, :2], cells.types) for cells in (made, held_out)
    )
    return CellReport(numbers, floors, facts, by_type, drawn, there)


def first_seed(op: str, rng: Any, seeds: Any) -> int:
    """The first of so many seeds, which scikit-learn takes too."""
    return seed_of(op, rng, 2**32 - check_integer(op, "seeds", seeds, 1, 1000))


def _check_installed(op: str) -> None:
    if not is_there("scikit-learn"):
        raise lacking(f"{op}: generated", "scikit-learn")


def check_comparable(op: str, genes: int, cells: Mapping[str, Any]) -> None:
    """The errors of `compare` for too few cells or genes, before anything is drawn. cells: of each argument."""
    _check_installed(op)
    if genes < FEWEST_GENES:
        raise ValueError(f"{op}: model: must have {FEWEST_GENES} genes or more to be compared, got {genes}")
    for argument, each in cells.items():
        if each is not None and len(each.known) < FEWEST_CELLS:
            raise ValueError(f"{op}: {argument}: must have {FEWEST_CELLS} cells or more, got {len(each.known)}")
