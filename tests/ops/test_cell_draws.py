"""Draws of fb.cells: the same bits for any way that counts lie or are cut, and the laws."""

import functools
import itertools
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp
from scipy import stats

import fastblackout as fb
from fastblackout.cells import draws
from fastblackout.reference import draw as reference
from support.helpers import assert_named, chi_square_counts

anndata = pytest.importorskip("anndata")

RNG = fb.Philox(seed=2**63 + 5, first_sample=3, call=2)
KINDS = [np.asarray, np.asfortranarray, sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.csc_array]
CELLS, GENES = 23, 40
_random = np.random.default_rng(0)
COUNTS = _random.geometric(0.1, (CELLS, GENES)) * (_random.random((CELLS, GENES)) < 0.4)
COUNTS[2] = 0
COUNTS[5, :30] = 0  # few counts
COUNTS[7, 3], COUNTS[9, 9] = 4000, 300
ALIVE = np.linspace(0, 1, CELLS)
DEPTHS = np.resize([0, 1, 20, 100, 10**6, 4000], CELLS)
SHARES = (0.2, 0.3, 0.5)
DRAWS = {
    "split": lambda x, **how: fb.cells.split(x, SHARES, **how),
    "split, overdispersion": lambda x, **how: fb.cells.split(x, 3, np.linspace(0.1, 40, GENES), **how),
    "thin": lambda x, **how: [fb.cells.thin(x, 0.3, **how)],
    "thin, each cell": lambda x, **how: [fb.cells.thin(x, ALIVE, **how)],
    "downsample": lambda x, **how: [fb.cells.downsample(x, 50, **how)],
    "downsample, each cell": lambda x, **how: [fb.cells.downsample(x, DEPTHS, **how)],
}


def cells(counts=COUNTS, lay=np.asarray, dtype="float32"):
    return anndata.AnnData(lay(counts.astype(dtype)))


def dense(part):
    return part.X.toarray() if sp.issparse(part.X) else part.X


def once(thresholds):
    """The function, which makes each table once: the reference would make the same tables for each layout."""
    made = {}

    def of(n, p, q):
        key = n, p.tobytes(), q.tobytes()
        if key not in made:
            made[key] = thresholds(n, p, q)
            made[key].setflags(write=False)
        return made[key]

    return of


@pytest.mark.parametrize("draw", DRAWS)
def test_a_cell_draws_the_same_however_it_lies(draw, backend, monkeypatch):
    monkeypatch.setattr(reference, "thresholds", once(reference.thresholds))
    wanted = [dense(part) for part in DRAWS[draw](cells(), rng=RNG)]
    assert any(0 < part.sum() < COUNTS.sum() for part in wanted)
    dtypes = itertools.cycle(["int64", "float64", "uint16", "int32"])
    sizes, together = [1, 4, 7, 23, 99, None], [1, 40, 1 << 16, 1, 70, 70]
    for lay, dtype, size, at_once in zip(KINDS, dtypes, sizes, together, strict=False):
        monkeypatch.setattr(draws, "_AT_ONCE", at_once)
        given = cells(COUNTS, lay, dtype)
        before = given.X.copy()
        for part, like in zip(DRAWS[draw](given, rng=RNG, chunk_size=size), wanted, strict=True):
            assert type(part.X) is type(anndata.AnnData(before).X) and part.X.dtype == dtype
            assert np.array_equal(dense(part), like)
            if sp.issparse(part.X):
                assert part.X.has_canonical_format and part.X.data.all()
        assert abs(given.X - before).sum() == 0


def test_a_cell_knows_nothing_of_others():
    whole, late = cells(), RNG.at(first_sample=RNG.first_sample + 10)
    for draw in (DRAWS["split"], DRAWS["thin"], DRAWS["downsample"], DRAWS["split, overdispersion"]):
        for part, some in zip(draw(whole, rng=RNG), draw(whole[10:14], rng=late), strict=True):
            assert np.array_equal(part.X[10:14], some.X)
    apart = np.zeros((CELLS, 3 * GENES))  # genes without counts between the others
    apart[:, 1::3] = COUNTS
    down = fb.cells.downsample(anndata.AnnData(apart), 50, rng=RNG).X
    assert np.array_equal(down[:, 1::3], fb.cells.downsample(whole, 50, rng=RNG).X)


def test_zeros_that_are_stored_and_counts_in_parts():
    loose = sp.csr_matrix(COUNTS.astype(np.float32))
    halves = np.floor(loose.data / 2)
    cell = np.repeat(np.arange(CELLS), np.diff(loose.indptr))
    order = np.argsort(np.tile(cell, 2), kind="stable")
    data, genes = np.append(halves, loose.data - halves)[order], np.tile(loose.indices, 2)[order]
    loose = sp.csr_matrix((data, genes, 2 * loose.indptr), shape=loose.shape)
    assert not loose.has_canonical_format and not loose.data.all()
    zeros = sp.csr_matrix(np.ones(COUNTS.shape, np.float32))
    zeros.data[:] = COUNTS.ravel()
    for draw in DRAWS.values():
        for matrix in (loose, zeros):
            size = matrix.nnz
            for part, like in zip(draw(anndata.AnnData(matrix), rng=RNG), draw(cells(), rng=RNG), strict=True):
                assert np.array_equal(dense(part), like.X)
            assert matrix.nnz == size


def test_cells_without_counts_cost_nothing():
    """Not even where a cell with many counts stands between them."""
    counts = sp.csr_matrix(np.ones((1, 3000), np.float32))
    counts = sp.vstack([sp.csr_matrix((4000, 3000), dtype=np.float32), counts] * 2, format="csr")
    tracemalloc.start()
    parts = fb.cells.split(anndata.AnnData(counts), overdispersion=2.0, rng=RNG)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16e6, peak
    assert (sum(part.X for part in parts) != counts).nnz == 0


def test_columns_of_pandas_are_numbers_of_each_cell():
    data = cells()
    data.obs["share"], data.obs["depth"] = np.linspace(0, 1, CELLS), np.arange(CELLS)
    data.var["size"] = np.linspace(0.1, 40, GENES)
    for draw, column in (
        (fb.cells.thin, data.obs["share"]), (fb.cells.downsample, data.obs["depth"]),
        (lambda x, size, rng: fb.cells.split(x, 2, size, rng=rng)[0], data.var["size"]),
    ):  # fmt: skip
        assert np.array_equal(draw(data, column, rng=RNG).X, draw(data, column.to_numpy(), rng=RNG).X)


def test_sums():
    parts = fb.cells.split(cells(dtype="int64"), 7, rng=RNG)
    assert np.array_equal(sum(part.X for part in parts), COUNTS)
    down = fb.cells.downsample(cells(), DEPTHS, rng=RNG).X
    assert np.array_equal(down.sum(1), np.minimum(DEPTHS, COUNTS.sum(1))) and (down <= COUNTS).all()
    assert np.array_equal(fb.cells.downsample(cells(), 10**9).X, COUNTS)
    wide = np.array([[2**40, 3, 2**52]])
    assert fb.cells.downsample(anndata.AnnData(wide), 2**50).X.sum() == 2**50
    for genes in (1024, 2100):  # whose sum wraps below 0, and above
        much = anndata.AnnData(np.array([[2**53], [3]]).repeat(genes, 1)[::-1])
        rule = "downsample: adata: counts of a cell must add up to less than 2^62"
        assert_named(lambda much=much: fb.cells.downsample(much, 50), ValueError, rule, "in cell 1")
    seeded = fb.cells.thin(cells(), 0.5, rng=7).X
    assert np.array_equal(seeded, fb.cells.thin(cells(), 0.5, rng=fb.Philox(7)).X)


@pytest.mark.parametrize("depth", [1, 2, 3, 7, 8, 9])
@pytest.mark.parametrize("counts", [(3, 1, 2, 4), (1,) * 10, (9, 1)])
def test_downsampling_is_multivariate_hypergeometric(counts, depth):
    """All outcomes of a small cell. A right law fails once in a million tests of 20,000 cells."""
    found = fb.cells.downsample(anndata.AnnData(np.tile(counts, (20_000, 1))), depth, rng=RNG).X
    outcomes = [x for x in itertools.product(*(range(n + 1) for n in counts)) if sum(x) == depth]
    expected = stats.multivariate_hypergeom.pmf(outcomes, counts, depth) * len(found)
    place = {outcome: n for n, outcome in enumerate(outcomes)}
    seen = np.bincount([place[tuple(row)] for row in found.tolist()], minlength=len(outcomes))
    assert chi_square_counts(seen, expected) > 1e-6


@pytest.mark.parametrize("depth", [30, 200, 700, 990])
def test_downsampling_of_large_cells(depth):
    """Each gene is hypergeometric, and so is the sum of some. As often false as above, for each of the sums."""
    counts = np.array([400, 300, 100, 50, 50, 50, 20, 10, *[1] * 20])
    found = fb.cells.downsample(anndata.AnnData(np.tile(counts, (20_000, 1))), depth, rng=RNG).X
    for genes in ([0], [2], [7], [9], [1, 3, 8], list(range(8, 28)), list(range(2, 28, 3))):
        good = counts[genes].sum()
        expected = stats.hypergeom(counts.sum(), good, depth).pmf(np.arange(good + 1)) * len(found)
        seen = np.bincount(found[:, genes].sum(1), minlength=good + 1)
        assert chi_square_counts(seen, expected) > 1e-6, genes


def test_thinning_and_splits_have_their_laws():
    """As often false as above."""
    counts = np.array([30, 4, 400])
    x = anndata.AnnData(np.tile(counts, (20_000, 1)))
    thin, part = fb.cells.thin(x, 0.3, rng=RNG).X, fb.cells.split(x, (0.7, 0.3), 2.0, rng=RNG)[1].X
    poisson = fb.cells.split(x, (0.7, 0.3), rng=RNG)[1].X
    for gene, count in enumerate(counts):
        at = np.arange(count + 1)
        for drawn, law in (
            (thin, stats.binom(count, 0.3)),
            (poisson, stats.binom(count, 0.3)),
            (part, stats.betabinom(count, 0.6, 1.4)),
        ):
            seen = np.bincount(drawn[:, gene], minlength=count + 1)
            assert chi_square_counts(seen, law.pmf(at) * len(thin)) > 1e-6


OPS = {
    "split": fb.cells.split,
    "thin": lambda x, **how: fb.cells.thin(x, 0.5, **how),
    "downsample": lambda x, **how: fb.cells.downsample(x, 5, **how),
}


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("lay", KINDS[1:4])
def test_what_is_no_count_is_told(op, lay):
    for wrong, value in ((0.5, "0.5"), (-1, "-1"), (np.nan, "nan"), (np.inf, "inf"), (2.0**54, "1.8")):
        harmed = COUNTS.astype(float)
        harmed[11, 4] = wrong
        data = anndata.AnnData(lay(harmed))
        assert_named(lambda x=data: OPS[op](x), ValueError, f"{op}: adata: must hold raw counts", f"got {value}")
    data = anndata.AnnData(lay(COUNTS > 3))
    assert_named(lambda: OPS[op](data), ValueError, f"{op}: adata: must hold raw counts", "got dtype bool")


@pytest.mark.parametrize("op", OPS)
def test_errors(op):
    data, gone, call = cells(), anndata.AnnData(obs=cells().obs), OPS[op]
    late = fb.Philox(0, first_sample=2**32 - 5)
    for wrong, error, rule, got in (
        (lambda: call(gone), ValueError, "adata: must have counts in X", "without X"),
        (lambda: call(data, layer="raw"), ValueError, "layer: must be one of", "'raw'"),
        (lambda: call(COUNTS), TypeError, "adata: must be an AnnData, or the path of a file", "ndarray"),
        (lambda: call(data[:0]), ValueError, "adata: must have cells and genes", "(0, 40)"),
        (lambda: call(data, chunk_size=0), ValueError, "chunk_size: must be in 1..", "got 0"),
        (lambda: call(data, rng="a"), TypeError, "rng: must be", "str"),
        (lambda: call(data, rng=late), ValueError, "rng: first_sample + samples", "+ 23"),
        (lambda: call(data, out="x.h5ad"), ValueError, "out: must be None for an AnnData", "x.h5ad"),
    ):
        assert_named(wrong, error, f"{op}: {rule}", got)


def test_errors_of_numbers():
    data, one_each = cells(), "must be one number or one for each of"
    ops = fb.cells.thin, fb.cells.downsample, fb.cells.split
    thin, downsample, split = (functools.partial(op, data) for op in ops)
    for call, rule, got in (
        (lambda: thin(1.5), "thin: alive: must be in [0, 1]", "1.5"),
        (lambda: thin(np.full(CELLS, np.nan)), "thin: alive: must be in [0, 1]", "nan"),
        (lambda: thin(np.ones(3)), f"thin: alive: {one_each} 23 cells", "(3,)"),
        (lambda: downsample(-1), "downsample: counts_per_cell: must be whole numbers", "-1"),
        (lambda: downsample([1.5] * CELLS), "downsample: counts_per_cell: must be whole numbers", "1.5"),
        (lambda: downsample(np.ones((CELLS, 1))), f"downsample: counts_per_cell: {one_each} 23 cells", "(23, 1)"),
        (lambda: split(1), "split: folds: must be in 2..", "got 1"),
        (lambda: split(2, 0.0), "split: overdispersion: must be finite and in", "0.0"),
        (lambda: split(2, np.ones(CELLS)), f"split: overdispersion: {one_each} 40 genes", "(23,)"),
    ):
        assert_named(call, ValueError, rule, got)
