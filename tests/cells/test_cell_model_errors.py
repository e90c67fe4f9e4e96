"""What a model of single cells refuses, before any work, and odd cells that it takes."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.helpers import assert_named
from support.simulated_cells import GENES, anndata, dense, simulated

pytest.importorskip("sklearn")
torch.set_num_threads(1)
CellModel = fb.cells.CellModel
TINY = {"steps": 12, "batch_size": 32, "width": 16, "blocks": 1}


def changed(data, where, value):
    data = data.copy()
    counts = dense(data)
    counts[where] = value
    data.X = counts
    return data


WRONG_DATA = {
    "fraction": (lambda d: changed(d, (3, 1), 1.5), ValueError, "must hold raw counts", "1.5"),
    "negative": (lambda d: changed(d, (3, 1), -2), ValueError, "must hold raw counts", "-2"),
    "nan": (lambda d: changed(d, (3, 1), np.nan), ValueError, "must hold raw counts", "nan"),
    "empty cell": (lambda d: changed(d, 5, 0), ValueError, "every cell must have a count above 0", "'cell-5'"),
    "all zero": (lambda d: changed(d, ..., 0), ValueError, "every cell must have a count", "'cell-0'"),
    "too large": (lambda d: changed(d, (3, 1), 2.0**31), ValueError, "the largest count", "2147483648"),
    "one cell": (lambda d: d[:1], ValueError, "must have at least two cells", "1"),
    "no cells": (lambda d: d[:0], ValueError, "must have cells and genes", "(0, 24)"),
    "matrix": (lambda d: dense(d), TypeError, "must be an AnnData, or the path of an .h5ad", "ndarray"),
    "no file": (lambda d: "nowhere.h5ad", ValueError, "must be a .h5ad file or a .zarr store", "nowhere.h5ad"),
    "no store": (lambda d: "nowhere.zarr", ValueError, "must be a .h5ad file or a .zarr store", "nowhere.zarr"),
    "no type": (lambda d: lacking(d, "type"), ValueError, "(leave such cells out, or call their class", "'cell-1'"),
    "twice": (lambda d: d[:, [0, 1, 1]], ValueError, "names in var must be unique", "'gene-1'"),
}


@pytest.mark.parametrize("name", WRONG_DATA)
def test_wrong_cells_are_named(name):
    make, *told = WRONG_DATA[name]
    assert_named(lambda: CellModel("type", **TINY).fit(make(simulated(12)), progress=False), *told)


TWICE = "CellModel.fit: columns of obs: "  # or one would take the place of another in obs of new cells


@pytest.mark.parametrize(
    "options, error, rule, value",
    [
        ({"labels_key": "kind"}, ValueError, "labels_key: must be a column of obs", "'kind'"),
        ({"labels_key": "age"}, ValueError, "must be a column of names", "'age'"),
        ({"labels_key": 3}, TypeError, "labels_key: must be", "int"),
        ({"batch_key": "lane"}, ValueError, "batch_key: must be a column of obs", "'lane'"),
        ({"layer": "raw"}, ValueError, "layer: must be one of", "'raw'"),
        ({"size_factor_key": "type"}, ValueError, "size_factor_key: must be a column of numbers", "'type'"),
        ({"covariates": ["type"]}, ValueError, "covariates: must be a column of numbers", "'type'"),
        ({"covariates": ["sex"]}, ValueError, "covariates: must be a column of obs", "'sex'"),
        ({"covariates": "age"}, TypeError, "covariates: must be", "age"),
        ({"covariates": [3]}, TypeError, "covariates: must be", "3"),
        ({"genes": ["gene-1", "gene-x"]}, ValueError, "must have all 2 genes", "'gene-x'"),
        ({"genes": ["gene-1", "gene-1"]}, ValueError, "must differ", "'gene-1'"),
        ({"genes": []}, ValueError, "genes: must hold at least one", "none"),
        ({"genes": 5}, TypeError, "genes: must be a sequence of names", "5"),
        ({"genes": "variable"}, ValueError, "genes: must be", "'variable'"),
        ({"steps": 0}, ValueError, "steps: must be", "0"),
        ({"steps": 2.5}, TypeError, "steps: must be", "2.5"),
        ({"batch_size": 0}, ValueError, "batch_size: must be", "0"),
        ({"width": -1}, ValueError, "width: must be", "-1"),
        ({"learning_rate": 0}, ValueError, "learning_rate: must be", "0"),
        ({"learning_rate": "fast"}, ValueError, "learning_rate: must be", "fast"),
        ({"weight_decay": -1}, ValueError, "weight_decay: must be", "-1"),
        ({"dropout": 1}, ValueError, "dropout: must be", "1"),
        ({"rng": -1}, ValueError, "rng: must be", "-1"),
        ({"rng": fb.Philox(1, call=2)}, ValueError, "rng: must be", "Philox"),
        ({"labels_key": "depth"}, ValueError, TWICE, "got 'depth' twice"),
        ({"covariates": ["depth"]}, ValueError, TWICE, "got 'depth' twice"),
        ({"covariates": ["a", "a"]}, ValueError, TWICE, "got 'a' twice"),
        ({"labels_key": "type", "batch_key": "type"}, ValueError, TWICE, "got 'type' twice"),
        ({"size_factor_key": "a", "covariates": ["a"]}, ValueError, TWICE, "got 'a' twice"),
    ],
)
def test_wrong_options_are_named(options, error, rule, value):
    assert_named(lambda: CellModel(**TINY | options).fit(simulated(12), progress=False), error, rule, value)


def test_a_model_must_be_fitted():
    model, data = CellModel(), simulated(12)
    for call in (
        lambda: model.sample(3), lambda: model.impute(data, True), lambda: model.expected(data),
        lambda: model.evaluate(data), lambda: model.save("folder"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"CellModel\.\w+: model: must be fitted, call fit first"):
            call()


@pytest.mark.parametrize(
    "call,error,rule,value",
    [
        (lambda m, d: m.sample(0), ValueError, "n: must be", "0"),
        (lambda m, d: m.sample(3, label="huge"), ValueError, "label: must be one of 'large', 'small'", "'huge'"),
        (lambda m, d: m.sample(3, label=["large"]), ValueError, "label: must be one name or 3", "1"),
        (lambda m, d: m.sample(3, label=4), ValueError, "label: must be one of", "4"),
        (lambda m, d: m.sample(3, label=np.array(["large", "huge", "small"])), ValueError, "label: must be", "'huge'"),
        (lambda m, d: m.sample(3, batch=[["one"]] * 3), ValueError, "batch: must be one of", "['one']"),
        (lambda m, d: m.evaluate(d[:9]), ValueError, "adata: must have 10 cells or more", "9"),
        (lambda m, d: m.evaluate(d, train=d[:3]), ValueError, "train: must have 10 cells or more", "3"),
        (lambda m, d: m.evaluate(d, rng=1 << 32), ValueError, "rng: must be", "4294967296"),
        (lambda m, d: m.evaluate(d, seeds=0), ValueError, "seeds: must be", "0"),
        (lambda m, d: m.evaluate(d, rng=(1 << 32) - 2, seeds=3), ValueError, "rng: must be", "4294967294"),
        (lambda m, d: m.sample(3, batch="three"), ValueError, "batch: must be one of 'one', 'two'", "'three'"),
        (lambda m, d: m.sample(3, covariates=["age"]), TypeError, "covariates: must be a mapping", "list"),
        (lambda m, d: m.sample(3, covariates={"sex": 1}), ValueError, "covariates: names must be among 'age'", "'sex'"),
        (lambda m, d: m.sample(3, covariates={"age": "old"}), TypeError, "covariates: age: must be a number", "'old'"),
        (lambda m, d: m.sample(3, covariates={"age": [1, 2]}), TypeError, "must be a number or 3 numbers", "[1, 2]"),
        (lambda m, d: m.sample(3, covariates={"age": [[1], [2, 3], 4]}), TypeError, "3 numbers", "[[1], [2, 3], 4]"),
        (lambda m, d: m.sample(3, covariates={"age": np.nan}), ValueError, "age: must be finite in float32", "nan"),
        (lambda m, d: m.sample(3, covariates={"age": 1e99}), ValueError, "age: must be finite in float32", "1e+99"),
        (lambda m, d: m.expected(d, batch="three"), ValueError, "batch: must be one of 'one', 'two'", "'three'"),
        (lambda m, d: m.sample(3, depth=0), ValueError, "depth: must be above 0", "0"),
        (lambda m, d: m.sample(3, depth=[5, 6]), TypeError, "depth: must be a number or 3 numbers", "[5, 6]"),
        (lambda m, d: m.sample(3, steps=1001), ValueError, "steps: must be", "1001"),
        (lambda m, d: m.sample(3, rng=-1), ValueError, "rng: must be", "-1"),
        (lambda m, d: m.sample(3, seed=1), TypeError, "seed: must be given as rng=", "1"),
        (lambda m, d: m.impute(d, True, seed=1), TypeError, "seed: must be given as rng=", "1"),
        (lambda m, d: m.evaluate(d, seed=1), TypeError, "seed: must be given as rng=", "1"),
        (lambda m, d: m.impute(d, np.ones(3)), TypeError, "observed: must be an array of bools", "float64"),
        (lambda m, d: m.impute(d, np.ones((2, 2), bool)), ValueError, "the shape (12, 24) or (12, 16)", "(2, 2)"),
        (lambda m, d: m.impute(d, True, draws=0), ValueError, "draws: must be", "0"),
        (lambda m, d: m.expected(d, depth=-1), ValueError, "depth: must be above 0", "-1"),
        (lambda m, d: m.expected(d[:, :20]), ValueError, "must have all 16 genes", "'gene-20'"),
        (lambda m, d: m.expected(unknown(d, "type")), ValueError, "among 'large', 'small' (give every", "'new'"),
        (lambda m, d: m.expected(unknown(d, "batch")), ValueError, "'one', 'two' (give every cell a batch", "'new'"),
        (lambda m, d: m.expected(lacking(d, "type")), ValueError, "a class (give every cell a type", "'cell-1'"),
        (lambda m, d: m.impute(d, d.obs.pop("type") == ""), ValueError, "'depth' (give every cell a", "'type'"),
        (lambda m, d: m.evaluate(changed(d, (3, 1), 0.5)), ValueError, "must hold raw counts", "0.5"),
        (lambda m, d: m.save(3), TypeError, "folder: must be a path", "int"),
    ],
)
def test_wrong_calls_are_named(tiny, call, error, rule, value):
    assert_named(lambda: call(tiny, simulated(12)), error, rule, value)


@pytest.mark.usefixtures("few_draws")
def test_a_model_without_batches_or_covariates_says_so():
    data = simulated(12)
    model = CellModel(**TINY).fit(data, progress=False)
    assert_named(lambda: model.sample(3, covariates={"age": 3}), ValueError, "none, for a model without cov", "'age'")
    assert_named(lambda: model.expected(data, batch="one"), ValueError, "None, for a model without batch_key", "'one'")


def lacking(data, column):
    """Without a value for the second cell."""
    data = data.copy()
    data.obs.loc[data.obs_names[1], column] = None
    return data


def unknown(data, column):
    data = data.copy()
    data.obs[column] = ["new", *data.obs[column].astype(str)[1:]]
    return data


@pytest.mark.usefixtures("few_draws")
def test_two_cells_and_two_genes_are_enough():
    data = anndata.AnnData(np.array([[3, 1], [0, 2]], np.float32))
    model = CellModel(steps=2, width=4, blocks=1).fit(data, progress=False)
    assert model.sample(2, steps=2).shape == (2, 2) and model.impute(data, [[True, False]]).shape == (2, 2)


def test_the_last_cell_of_a_type_is_trained_on(monkeypatch):
    """Wherever the order puts it, and the last of a batch as well."""
    from fastblackout.cells import training

    order = np.array([3, 0, 5, 1, 2, 4, 6, 7])
    types, batches = np.array([0, 1, 1, 2, 1, 1, 1, 1]), np.array([0, 0, 0, 0, 0, 1, 0, 0])
    monkeypatch.setattr(training, "HELD_OUT", 3)
    rest, aside = training._set_aside(order, [types, batches])
    assert aside.tolist() == [1, 2] and rest.tolist() == [3, 0, 5, 4, 6, 7]
    rest, aside = training._set_aside(order, [np.arange(8)])
    assert aside.tolist() == [3] and rest.tolist() == order.tolist()


def test_the_bar_says_why_it_ends(capsys, monkeypatch):
    from fastblackout.cells import training

    monkeypatch.setattr(training, "PATIENCE", 1)
    model = CellModel(**{**TINY, "steps": 400, "learning_rate": 0.5}).fit(simulated(40))
    assert model.history_[-1]["step"] < 400 and "stopped after step" in capsys.readouterr().err


@pytest.mark.usefixtures("few_draws")
def test_genes_of_one_constant_or_of_no_count():
    data = changed(simulated(30), (slice(None), [2, 3]), 0)
    data = changed(data, (slice(None), 4), 7)
    model = CellModel(**TINY).fit(data, progress=False)
    assert np.isfinite(model.expected(data)).all() and len(model.genes_) == GENES
