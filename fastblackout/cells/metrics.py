"""How good generated cells are: what `CellModel.evaluate` and the benchmark of cells measure of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..call.keys import seed_of
from ..ground.extras import is_there, lacking
from ..ground.named import named
from ..ground.values import check_integer
from .measures import Reference
from .report import CellReport, Drawn, mean_of
from .sides import FEWEST_CELLS, FEWEST_GENES, Side, prints_of

if TYPE_CHECKING:
    from anndata import AnnData
    from scipy.sparse import sparray, spmatrix

    from ..philox import Philox

CellCounts: TypeAlias = "AnnData | NDArray[Any] | spmatrix | sparray"

MOST_CELLS = 1000  # of each side
MOST_FITTED = 2000  # training cells that the components are fitted to
NEAR_SHARE = 0.05


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
    drawn, there = (Drawn.of(cells, reference.places(cells)) for cells in (made, held_out))
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
