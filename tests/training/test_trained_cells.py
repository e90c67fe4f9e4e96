"""Trainings on AnnData and .h5ad files, their samples as AnnData, and figures about these."""

import json

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import fastblackout as fb
from fastblackout.data import from_anndata, make_dataset, to_anndata
from fastblackout.evaluation import compare, table
from fastblackout.training.config import preset
from fastblackout.training.trained_model import load_run
from support.annotated import CELLS, COUNTS, GENES, KINDS, TINY, anndata, cells, names
from support.helpers import assert_named


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on sparse cells with types."""
    out = tmp_path_factory.mktemp("run") / "cells"
    config = preset("h5ad", conditional=True, **TINY)
    fb.train(cells(sp.csr_matrix), out, config, progress=False, layer="counts", labels_key="type")
    return out


def test_a_training_on_an_anndata(run, tmp_path):
    """It learns from sparse cells what it learns from dense ones, keeps all names, and can be resumed."""
    config = preset("h5ad", conditional=True, **TINY)
    cells(np.asarray).write_h5ad(tmp_path / "cells.h5ad")
    fb.train(tmp_path / "cells.h5ad", tmp_path / "dense", config, progress=False, layer="counts", labels_key="type")
    first, second = ([json.loads(line) for line in (out / "log.jsonl").open()] for out in (run, tmp_path / "dense"))
    for one, other in zip(first, second, strict=True):
        for name in one.keys() & {"loss", "held_out_loss"}:
            assert one[name] == pytest.approx(other[name], rel=1e-5)
    trained = load_run(run)
    known = {name: trained.dataset[name] for name in ("name", "var_names", "class_names", "layer", "labels_key")}
    assert known == {
        "name": "h5ad", "var_names": names(), "class_names": ["B cell", "NK", "T cell"],
        "layer": "counts", "labels_key": "type",
    }  # fmt: skip
    assert (trained.config.head, trained.config.network) == ("negative-binomial", "mlp")
    again = {"resume": True, "progress": False, "layer": "counts"}
    fb.train(cells(), tmp_path / "dense", config, labels_key="type", **again)
    with pytest.raises(ValueError, match="train: data: a resumed run keeps its data"):
        fb.train(cells(), tmp_path / "dense", config, labels_key="number", **again)


def test_without_options_it_is_a_table_of_cells(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr("fastblackout.training.run.train_in_held_folder", lambda *all: seen.update(config=all[2]))
    for key in (None, "type"):
        fb.train(cells(), tmp_path / "new", layer="counts", labels_key=key)
        assert seen["config"] == preset("h5ad", conditional=key is not None)
    data = from_anndata(cells(), "counts")
    rule = "train: layer, labels_key: must be None but for AnnData"
    assert_named(lambda: fb.train(data, tmp_path / "new", layer="counts"), TypeError, rule, "got a Dataset")
    assert_named(lambda: fb.train(COUNTS, tmp_path / "new"), TypeError, "train: dataset: must be a", "got ndarray")
    assert_named(lambda: fb.train(cells(), tmp_path / "new"), ValueError, "train: dataset: must hold raw", "got ")
    rule = "train: dataset: must be a .h5ad file"
    assert_named(lambda: fb.train("a.npz", tmp_path / "new"), ValueError, rule, "got a.npz")


def test_samples_as_an_anndata(run):
    trained = load_run(run)
    labels = torch.arange(5) % 3
    drawn = fb.sample(trained.model, trained.schedule, (5, *trained.shape), 2, labels=labels, rng=fb.Philox(1))
    data = to_anndata(drawn, trained, labels, first=7)
    assert data.X.dtype == np.int32 and data.X.format == "csr" and np.array_equal(data.X.toarray(), drawn[:, :, 0, 0])
    assert list(data.var_names) == names() and list(data.obs_names) == [f"sample-{n}" for n in range(7, 12)]
    assert list(data.obs["type"]) == ["B cell", "NK", "T cell", "B cell", "NK"]
    assert list(data.obs["type"].cat.categories) == ["B cell", "NK", "T cell"]
    bare = from_anndata(anndata.AnnData(COUNTS.astype(np.int64)))
    made = to_anndata(COUNTS + 2**40, bare, np.zeros(CELLS, int))
    assert made.X.dtype == np.int64 and list(made.var_names) == list("012345") and set(made.obs["label"]) == {"0"}
    assert to_anndata(COUNTS[:0], bare).n_obs == 0
    for samples, given, rule, got in (
        (COUNTS[:, 1:], None, "samples: must be integers of shape (N, 6) or (N, 6, 1, 1)", "int64 of shape (60, 5)"),
        (COUNTS[0], None, "samples: must be integers", "(6,)"),
        (COUNTS * 0.5, None, "samples: must be integers", "float64"),
        (COUNTS, labels, "labels: must be 60 integers", "int64 of shape (5,)"),
        (COUNTS[:5], labels + 1, "labels: must be in 0..2", "got 1..3"),
        (COUNTS[:5], labels * 0.5, "labels: must be 5 integers", "float32"),
    ):
        assert_named(lambda s=samples, g=given: to_anndata(s, trained, g), ValueError, f"to_anndata: {rule}", got)


def test_figures_about_cells(tmp_path):
    """Of an AnnData, whatever the order of its genes, they are the figures of its counts; numbers are by hand in
    test_tables.py."""
    whole, data = cells(), from_anndata(cells(), layer="counts")
    drawn = np.random.default_rng(1).poisson(2.0, (20, GENES))
    expected = compare(drawn[:, :, None, None], data)
    assert expected["columns"] == GENES and table(expected).startswith("1 set of 20 samples, 54 training rows")
    for lay in KINDS:
        made = anndata.AnnData(lay(drawn.astype(np.float32)), var=whole.var)
        wider = anndata.concat([made, anndata.AnnData(lay(np.ones((20, 1))), obs=made.obs)], axis=1)[:, ::-1]
        wider.write_h5ad(tmp_path / "drawn.h5ad")
        raw = anndata.AnnData(lay(COUNTS), var=whole.var)
        for samples in (made, wider, tmp_path / "drawn.h5ad"):
            assert compare(samples, data) == expected
        assert compare([made, wider], raw)["mean_samples"] == pytest.approx(expected["mean_samples"])
        raw.write_h5ad(tmp_path / "real.h5ad")
        found = compare(made, tmp_path / "real.h5ad")
        assert found["mean_train"] == pytest.approx(expected["mean_train"])
    rule = "compare: samples: must have all 6 genes, by var_names"
    assert_named(lambda: compare(made[:, [0, 1, 3, 5]], data), ValueError, rule, "got none named 'gene-2' and 1 more")
    assert_named(lambda: compare(whole, data), ValueError, "compare: samples: must hold raw counts", "got ")
    array = make_dataset("array", COUNTS[:, :, None, None], max_count=COUNTS.max())
    rule = "compare: samples: must be an array for a data set without names of genes"
    assert_named(lambda: compare(made, array), ValueError, rule, "got an AnnData for array data")
    assert compare(drawn, COUNTS)["columns"] == GENES


@pytest.mark.parametrize("lay", KINDS[:2])
@pytest.mark.parametrize("table_of", ["one gene", "cells without counts", "genes without counts", "no counts"])
def test_tables_that_lack_much(lay, table_of, tmp_path):
    counts = {
        "one gene": COUNTS[:, :1], "cells without counts": COUNTS * (np.arange(CELLS)[:, None] % 3 > 0),
        "genes without counts": COUNTS * np.array([1, 0, 1, 0, 1, 0]), "no counts": 0 * COUNTS,
    }[table_of]  # fmt: skip
    data = from_anndata(cells(lay, counts=counts), layer="counts")
    fb.train(data, tmp_path / "run", preset("h5ad", bits_every=2, **TINY), progress=False)
    trained = load_run(tmp_path / "run")
    drawn = fb.sample(trained.model, trained.schedule, (30, *trained.shape), 3, rng=fb.Philox(1))
    found = compare(to_anndata(drawn, trained), data)
    assert found["columns"] == counts.shape[1] and table(found)
    for record in map(json.loads, (tmp_path / "run" / "log.jsonl").open()):
        assert np.isfinite([value for value in record.values() if isinstance(value, float)]).all()
