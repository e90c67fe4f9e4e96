"""AnnData and .h5ad files as data sets: what is read of them, and what is refused."""

import sys

import numpy as np
import pytest
import scipy.sparse as sp

from fastblackout.data import from_anndata, load, make_dataset, to_anndata
from fastblackout.data.dataset import SparseRows, kept_and_held_out
from fastblackout.evaluation import compare
from support.annotated import CELLS, COUNTS, KINDS, TYPES, anndata, cells, names
from support.helpers import assert_named


@pytest.mark.parametrize("lay", KINDS)
@pytest.mark.parametrize("dtype", ["uint8", "int64", "uint16", "float32", "float64"])
def test_the_data_set_of_an_anndata(lay, dtype):
    """Sparse or dense, it has the counts of the same array, held out alike; a sparse one is sparse."""
    whole = cells(lay, dtype)
    raw = anndata.AnnData(whole.layers["counts"], obs=whole.obs, var=whole.var)
    labels = np.searchsorted(["B cell", "NK", "T cell"], TYPES)
    for most, data in (
        (COUNTS.max(), from_anndata(whole, layer="counts", labels_key="type")),
        (1000, from_anndata(raw, labels_key="type", max_count=1000)),
    ):
        like = make_dataset("array", COUNTS[:, :, None, None], labels, max_count=most)
        assert isinstance(data.train, np.ndarray if lay is np.asarray else SparseRows)
        assert (data.max_count, data.sha256, data.shape) == (most, like.sha256, like.shape) and data.is_table
        for one, other in ((data.train, like.train), (data.held_out, like.held_out)):
            assert one.dtype == other.dtype and np.array_equal(one[:], other)
        assert data.train_labels.tolist() == like.train_labels.tolist()
        assert data.held_out_labels.tolist() == like.held_out_labels.tolist()
        assert data.cells["class_names"] == ["B cell", "NK", "T cell"] and data.cells["var_names"] == names()
    view = whole[10:50, ["gene-3", "gene-0"]]
    assert from_anndata(view, layer="counts").sha256 == from_anndata(view.copy(), layer="counts").sha256


def test_sparse_rows_are_as_dense_ones():
    dense = COUNTS.astype(np.int16)[:, :, None, None]
    rows = SparseRows(sp.csr_matrix(COUNTS.astype(np.int16)))
    assert (len(rows), rows.shape, rows.ndim, rows.dtype, rows.nbytes) == (
        len(dense), dense.shape, dense.ndim, dense.dtype, dense.nbytes,
    )  # fmt: skip
    places = [0, np.int64(3), -1, slice(2, 9), slice(None, None, 7), np.array([5, 5, 1]), np.arange(CELLS) % 7 == 0]
    for place in (*places, slice(0, 0)):
        assert np.array_equal(rows[place], dense[place]) and rows[place].dtype == dense.dtype
    assert (rows.min(), rows.max()) == (dense.min(), dense.max())
    assert rows.mean(dtype=np.float64) == dense.mean(dtype=np.float64)
    assert np.array_equal(rows.mean(axis=0, dtype=np.float64), dense.mean(axis=0, dtype=np.float64))
    assert rows.std(dtype="float64") == pytest.approx(dense.std(dtype="float64"), rel=1e-12)
    assert np.array_equal((rows >= 2).astype(np.uint8)[:], (dense >= 2).astype(np.uint8))


@pytest.mark.parametrize("lay", KINDS)
def test_rows_in_parts(lay, monkeypatch):
    """Of which digests and figures are made, as of the whole."""
    found = []
    for most in (CELLS, 7):
        monkeypatch.setattr("fastblackout.data.dataset._ROWS_AT_ONCE", most)
        data = from_anndata(cells(lay), layer="counts")
        found.append(
            (data.sha256, {n: v for n, v in compare(data.train[:], data).items() if n.startswith("difference")})
        )
    assert found[0][0] == found[1][0]
    for one, other in zip(*(each.values() for _, each in found), strict=True):
        assert one == pytest.approx(other, rel=1e-9, abs=1e-12)


def test_a_matrix_with_places_stored_twice():
    loose = sp.csr_matrix((np.array([3.0, 2, 4]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    data = from_anndata(anndata.AnnData(loose))
    assert data.max_count == 5 and {tuple(part[0].ravel()) for part in (data.train, data.held_out)} == {(0, 5), (4, 0)}
    assert loose.nnz == 3


@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("cluster", ["0", "1", "2", "3"]),  # sorted, without one that no cell has
        ("number", ["0", "1", "2", "3"]),
        ("control", ["False", "True"]),
    ],
)
def test_classes(key, found):
    whole = cells()
    data = from_anndata(whole, layer="counts", labels_key=key)
    assert data.cells["class_names"] == found and data.classes == len(found)
    wanted = ["new", *found[::-1]]
    again = from_anndata(whole, layer="counts", labels_key=key, class_names=wanted)
    assert again.cells["class_names"] == wanted
    for one, other in ((data, again), (again, data)):
        assert [one.cells["class_names"][n] for n in one.train_labels] == [
            other.cells["class_names"][n] for n in other.train_labels
        ]


def test_genes_by_name():
    wanted = ["gene-3", "gene-0", "gene-5"]
    for lay in KINDS:
        data = from_anndata(cells(lay), layer="counts", var_names=wanted)
        assert data.cells["var_names"] == wanted
        assert data.sha256 == from_anndata(cells(lay, counts=COUNTS[:, [3, 0, 5]]), layer="counts").sha256
    for given in (tuple(wanted), np.array(wanted), cells().var_names[[3, 0, 5]]):
        assert repr(from_anndata(cells(), layer="counts", var_names=given).cells["var_names"]) == repr(wanted)


def _with(change, lay=np.asarray):
    data = cells(lay)
    change(data)
    return data


def _no_type(data):
    data.obs.loc["cell-4", "type"] = None


def _twice(data):
    data.var_names = ["a", "b", "c", "d", "b", "e"]


def _rare(data):
    data.obs.loc[f"cell-{kept_and_held_out('', CELLS)[1][0]}", "type"] = "rare"


@pytest.mark.parametrize(
    ("data", "how", "error", "rule", "got"),
    [
        (cells(), {}, ValueError, "data: must hold raw counts, whole", "(a layer may have them: 'counts'), got "),
        (cells(counts=COUNTS - 1), {"layer": "counts"}, ValueError, "data: must hold raw counts", "got -1"),
        (cells(), {"layer": "count"}, ValueError, "layer: must be one of 'counts'", "got 'count'"),
        (cells(), {"labels_key": "typ"}, ValueError, "labels_key: must be a column of obs, one of 'type', ", "'typ'"),
        (cells(), {"labels_key": "age"}, ValueError, "labels_key: must be a column of names, integers", "float64"),
        (_with(_no_type), {"labels_key": "type"}, ValueError, "labels_key: every cell must have a class", "'cell-4'"),
        (_with(_rare), {"labels_key": "type"}, ValueError, "labels_key: every class must have a cell left", "'rare'"),
        (cells(), {"labels_key": "type", "class_names": ["NK"]}, ValueError, "labels_key: classes must be", "'B cell'"),
        (_with(_twice), {}, ValueError, "data: names in var must be unique, make them so by", "got 'b' twice"),
        (_with(_twice), {"var_names": ["a", "b"]}, ValueError, "data: names in var must be unique", "got 'b' twice"),
        (cells(), {"var_names": ["gene-1", "x", "y"]}, ValueError, "data: must have all 3 genes", "'x' and 1 more"),
        (cells(), {"var_names": "gene-1"}, TypeError, "var_names: must be a sequence of names", "got 'gene-1'"),
        (cells(), {"var_names": 5}, TypeError, "var_names: must be a sequence of names", "got 5"),
        (cells(), {"var_names": {"gene-1"}}, TypeError, "var_names: must be a sequence of names", "got {'gene-1'}"),
        (cells(), {"var_names": []}, ValueError, "var_names: must hold at least one name", "got none"),
        (cells(), {"var_names": ["gene-1"] * 2}, ValueError, "var_names: names must differ", "got 'gene-1' twice"),
        (cells(), {"labels_key": "type", "class_names": "NK"}, TypeError, "class_names: must be a sequence", "'NK'"),
        (cells(), {"labels_key": "type", "class_names": ["a", "a"]}, ValueError, "class_names: names", "'a' twice"),
        (cells(), {"labels_key": "type", "class_names": []}, ValueError, "class_names: must hold at least", "got none"),
        (cells(), {"class_names": ["NK"]}, ValueError, "class_names: must be None without labels_key", "got ['NK']"),
        (cells(), {"max_count": 5}, ValueError, "data: counts must be in 0..5 (max_count)", f"got {COUNTS.max()}"),
        (cells(counts=COUNTS[:, :0]), {}, ValueError, "data: must have cells and genes", "got shape (60, 0)"),
        (cells(counts=COUNTS[:1]), {"layer": "counts"}, ValueError, "data: cells: at least 2 are needed", "got 1"),
        (COUNTS, {}, TypeError, "data: must be an AnnData", "got ndarray"),
        (anndata.AnnData(obs=cells().obs), {}, ValueError, "data: must have counts in X", "without X"),
    ],
)  # fmt: skip
def test_what_is_refused(data, how, error, rule, got):
    how = {"layer": "counts", **how} if how else how
    assert_named(lambda: from_anndata(data, **how), error, f"from_anndata: {rule}", got)


@pytest.mark.parametrize("lay", KINDS)
@pytest.mark.parametrize("value", [0.5, np.nan, np.inf, -2.0, 1e30])
def test_counts_that_are_none(lay, value):
    counts = COUNTS.astype(np.float32)
    counts[3, 2] = value
    data, rule = anndata.AnnData(lay(counts)), "from_anndata: data: must hold raw counts"
    assert_named(lambda: from_anndata(data), ValueError, rule, f"got {value:.6g}")


def test_files(tmp_path, monkeypatch):
    file = tmp_path / "cells.h5ad"
    cells(sp.csr_matrix).write_h5ad(file)
    data = load("h5ad", file, layer="counts", labels_key="type")
    assert data.sha256 == from_anndata(cells(), layer="counts", labels_key="type").sha256
    lit = load("h5ad", file, layer="counts", binarize=2)
    assert lit.max_count == 1 and np.array_equal(lit.train[:], data.train[:] >= 2)
    backed = anndata.read_h5ad(file, backed="r")
    assert_named(lambda: from_anndata(backed, "counts"), ValueError, "data: must be in memory", "an AnnData in a file")
    backed.file.close()
    (tmp_path / "half.h5ad").write_bytes(file.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"load: \S+half.h5ad: not a readable .h5ad file: "):
        load("h5ad", tmp_path / "half.h5ad")
    for name, how, error, rule, got in (
        ("none.h5ad", {}, ValueError, "load: data: must be a .h5ad file", "which does not exist"),
        ("cells.h5ad", {"channels": "first"}, ValueError, "load: channels: belongs to array data alone", "for h5ad"),
        ("cells.h5ad", {"layr": "counts"}, TypeError, "load: arguments: must be", "got layr"),
        ("cells.h5ad", {"layer": "counts", "crop": 2}, ValueError, "load: crop, resize: need images", "6 columns"),
    ):
        assert_named(lambda n=name, h=how: load("h5ad", tmp_path / n, **h), error, rule, got)
    rule = "load: layer: belongs to h5ad data alone"
    assert_named(lambda: load("digits", layer="counts"), ValueError, rule, "got it for digits")
    monkeypatch.setitem(sys.modules, "anndata", None)
    for call in (lambda: load("h5ad", file), lambda: to_anndata(COUNTS, data)):
        assert_named(call, ValueError, "needs anndata", "pip install 'fastblackout[cells]'")
