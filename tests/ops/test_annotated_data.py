"""AnnData in thin, binomial and split: which counts are drawn, what comes back and what must not, and errors."""

import numpy as np
import pytest
import scipy.sparse as sp

import fastblackout as fb
from support.helpers import assert_named

anndata = pytest.importorskip("anndata")
pandas = pytest.importorskip("pandas")

RNG = fb.Philox(seed=2**63 + 5, first_sample=3, call=2)
KINDS = [np.asarray, sp.csr_matrix, sp.csc_matrix, sp.csr_array, sp.csc_array]
ROWS, COLUMNS = 7, 40
_generator = np.random.default_rng(0)
COUNTS = _generator.integers(1, 400, (ROWS, COLUMNS)) * (_generator.random((ROWS, COLUMNS)) < 0.3)
# What scanpy computes of counts, and what it does not.
OF_CELLS = {
    "n_counts": 1.0, "total_counts": np.float32(3), "n_genes_by_counts": 2, "pct_counts_mt": 0.5, "S_score": 0.1,
    "n_genes": pandas.array([4] * ROWS, "Int64"), "leiden": "3", "leiden_r2": "1", "phase": "G1",
    "predicted_doublet": False, "as objects": pandas.Series([1.5] * ROWS, dtype=object).to_numpy(),
}  # fmt: skip
OF_GENES = {"n_cells": 3, "means": 0.5, "highly_variable": True, "highly_variable_rank": 1.0}


def cells(counts):
    """With all that an AnnData may hold beside its counts."""
    names = [f"cell-{n}" for n in range(len(COUNTS))]
    obs = pandas.DataFrame({"type": list("aabbccc"), "control": [True, False] * 3 + [True]}, index=names)
    data = anndata.AnnData(X=counts, obs=obs.assign(**OF_CELLS), var=pandas.DataFrame({"kind": "x"}, index=GENES))
    data.obs["batch"] = pandas.Categorical([1, 2, 1, 2, 1, 2, 1])  # numbers that are names
    data.var = data.var.assign(**OF_GENES)
    data.layers["twice"] = counts * 2
    data.obsm["X_pca"], data.varm["PCs"] = np.ones((ROWS, 2)), np.ones((COLUMNS, 2))
    data.obsp["distances"], data.varp["near"] = sp.eye(ROWS).tocsr(), np.eye(COLUMNS)
    data.uns["pca"] = {"variance": np.ones(2)}
    data.raw = data.copy()
    return data


GENES = [f"gene-{n}" for n in range(COLUMNS)]


def check_bare(made, like):
    """Of the same cells and genes, with nothing of the counts before the draw."""
    assert type(made) is anndata.AnnData and not made.is_view and made.raw is None
    assert not any(len(held) for held in (made.obsm, made.varm, made.obsp, made.varp, made.uns))
    assert made.obs.equals(like.obs[["type", "control", "batch"]]) and made.var.equals(like.var[["kind"]])


@pytest.mark.parametrize("lay", KINDS)
def test_what_is_drawn_and_what_comes_back(lay):
    counts = lay(COUNTS.astype(np.float32))
    data = cells(counts)
    for part, some in ((data, counts), (data[2:5, :30], counts[2:5, :30])):  # a view, too
        chances = np.linspace(0.1, 0.9, len(part))
        draws = [
            lambda x, **how: fb.binomial(x, 0.5, rng=RNG, **how),
            lambda x, **how: fb.thin(x, 0.3, rng=RNG, max_count=5000, **how).x_t,
            lambda x, p=chances, **how: fb.thin(x, p, rng=RNG, max_count=5000, **how).births,
            lambda x, **how: fb.split(x, 2, 3.0, rng=RNG, **how)[1],
        ]
        for draw in draws:
            for made, other in ((draw(part), draw(some)), (draw(part, layer="twice"), draw(some * 2))):
                assert type(made.X) is type(other) and made.X.dtype == np.float32 and abs(made.X - other).sum() == 0
                check_bare(made, part)
                assert not len(made.layers)
    made.obs.loc[:, "type"] = "z"
    assert set(data.obs["type"]) == {"a", "b", "c"} and abs(data.layers["twice"] - counts * 2).sum() == 0  # copies


@pytest.mark.parametrize("lay", KINDS)
def test_parts_in_layers(lay):
    """One new AnnData has the parts, as they are without a key; the one that was split stays as it was."""
    data = cells(lay(COUNTS.astype(np.float32)))
    both = fb.split(data, (0.2, 0.3, 0.5), 3.0, rng=RNG, layer="twice", key_added="part")
    assert list(both.layers) == ["part_0", "part_1", "part_2"] and both.X is None and list(data.layers) == ["twice"]
    check_bare(both, data)
    for n, part in enumerate(fb.split(data, (0.2, 0.3, 0.5), 3.0, rng=RNG, layer="twice")):
        assert abs(both.layers[f"part_{n}"] - part.X).sum() == 0
    assert abs(sum(both.layers.values()) - data.layers["twice"]).sum() == 0


@pytest.mark.parametrize("lay", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", "float32", "float64"])
def test_no_largest_count_is_needed(lay, dtype):
    """It is found where none is given, and a wrong count is told as such."""
    counts = COUNTS % 200
    data = anndata.AnnData(lay(counts.astype(dtype)))
    for alive in (0.4, np.linspace(0.1, 0.9, ROWS)):
        made, other = (fb.thin(data, alive, rng=RNG, max_count=most).x_t.X for most in (None, 250))
        assert abs(made - other).sum() == 0
        dark = anndata.AnnData(lay(np.zeros((3, 2), dtype)))
        assert fb.thin(dark, alive if np.ndim(alive) == 0 else alive[:3]).births.X.sum() == 0
        wrong = {"i": [-3], "f": [-3, 0.5, np.nan, np.inf, 1e30]}.get(data.X.dtype.kind, [])
        for value in wrong:
            harmed = counts.astype(dtype)
            harmed[2, 1] = value
            call = lambda p=alive, h=harmed: fb.thin(anndata.AnnData(lay(h)), p)  # noqa: E731
            assert_named(call, ValueError, "thin: x_0: ", f"{value:.0f}" if value == -3 else "")


def test_errors(tmp_path):
    data = cells(COUNTS.astype(np.float32))
    rule = "binomial: prob: must broadcast to shape (7, 40)"
    assert_named(lambda: fb.binomial(data, np.ones((2, 7, 40))), ValueError, rule, "got (2, 7, 40)")
    without = anndata.AnnData(obs=data.obs)
    assert_named(lambda: fb.split(without), ValueError, "split: counts: must have counts in X", "without X")
    calls = {
        "binomial: ": lambda x, **how: fb.binomial(x, 0.5, **how),
        "thin: ": lambda x, **how: fb.thin(x, 0.5, **how),
        "split: ": fb.split,
    }
    sp_data = sp.csr_matrix(COUNTS)
    file = tmp_path / "cells.h5ad"
    anndata.AnnData(X=sp_data.astype(np.float32), layers={"twice": sp_data}).write_h5ad(file)
    backed = anndata.read_h5ad(file, backed="r")
    for op, call in calls.items():
        known = lambda c=call: c(data, layer="counts")  # noqa: E731
        assert_named(known, ValueError, f"{op}layer: must be one of 'twice'", "got 'counts'")
        for other in (COUNTS, sp_data, 3):
            called = lambda c=call, x=other: c(x, layer="twice")  # noqa: E731
            assert_named(called, TypeError, f"{op}layer: must be None but for AnnData", type(other).__name__)
        for layer in (None, "twice"):
            called = lambda c=call, x=layer: c(backed, layer=x)  # noqa: E731
            assert_named(called, ValueError, "must be in memory, read it by .to_memory() first", "an AnnData in a file")
        assert call(backed.to_memory(), layer="twice") is not None
    backed.file.close()
    for counts, key in ((COUNTS, "part"), (sp_data, "part"), (3, "part"), (data, 3)):
        rule = "split: key_added: must be text, and None but for AnnData"
        assert_named(lambda c=counts, k=key: fb.split(c, key_added=k), TypeError, rule, type(counts).__name__)
