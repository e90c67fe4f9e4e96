"""What a model of single cells is asked for: covariates, another batch, several seeds, cells that it has seen."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import fastblackout as fb
from support.simulated_cells import GENES, dense, simulated

pytest.importorskip("sklearn")
torch.set_num_threads(1)
CellModel = fb.cells.CellModel


def test_rates_in_another_batch():
    """Nearer to the rates that the law has there than what the cells' own batch lets expect, also than what a network
    says that is told the other batch with counts that are not of it."""
    data = simulated(900, seed=2)
    effect = np.where(np.arange(GENES) % 3, 1.0, 0.15)
    rates, counts = data.layers["rates"], dense(data)
    two = data.obs["batch"].to_numpy() == "two"
    fewer = np.random.default_rng(1).binomial(counts.astype(int), effect)
    counts = np.maximum(np.where(two[:, None], fewer, counts), np.arange(GENES) == 0)
    data.X, data.obs["depth"] = sp.csr_matrix(counts.astype(np.float32)), rates.sum(1)  # the same in both batches
    told = CellModel("type", "batch", size_factor_key="depth", steps=250, batch_size=64, width=64)
    model = told.fit(data, progress=False)
    other = data.copy()
    other.obs["batch"] = "one"
    found = [model.expected(data, batch="one"), model.expected(data), model.expected(other)]
    errors = [np.abs(np.sqrt(each) - np.sqrt(rates))[two].mean() for each in found]
    assert errors[0] < 0.9 * min(errors[1:]), errors
    assert np.allclose(found[0][~two], found[1][~two], rtol=1e-5)
    scaled = model.expected(data, depth=1000, batch="one")
    assert np.allclose(scaled, found[0] * 1000 / rates.sum(1, keepdims=True), rtol=1e-4)


def test_an_evaluation_by_several_seeds_and_of_training_cells(tiny, tmp_path, monkeypatch):
    """Each seed draws cells anew. Cells of the training are known again, by a model that was saved too."""
    monkeypatch.setattr("fastblackout.cells.metrics.forest_auc", lambda x, y, seed: 0.5)
    data = simulated(20, seed=5)
    each = [tiny.evaluate(data, steps=2, rng=seed).numbers for seed in (3, 4)]
    report = tiny.evaluate(data, steps=2, rng=3, seeds=2)
    assert each[0]["mmd"] != each[1]["mmd"] and report.facts["seeds"] == 2 and report.facts["seen"] == 0
    assert report.numbers == pytest.approx({name: (each[0][name] + each[1][name]) / 2 for name in report.numbers})
    again = CellModel.load(tiny.save(tmp_path / "model"))
    assert again.evaluate(simulated(80)[5:25, ::-1].copy(), steps=2).facts["seen"] == 20
    again._fitted = again._fitted._replace(prints=None)  # of an earlier version
    assert again.evaluate(simulated(80), steps=2).facts["seen"] is None
    assert again.evaluate(simulated(80), simulated(80), steps=2).facts["seen"] == 80


@pytest.mark.usefixtures("few_draws")
def test_an_evaluation_draws_what_it_compares(tiny, monkeypatch):
    """Of many cells some, which each seed chooses; also cells of a type and a batch that the training has not
    together."""
    monkeypatch.setattr("fastblackout.cells.metrics.forest_auc", lambda x, y, seed: 0.5)
    monkeypatch.setattr("fastblackout.cells.metrics.MOST_CELLS", 30)
    monkeypatch.setattr("fastblackout.cells.model.MOST_CELLS", 30)
    data, told = simulated(90, seed=5), []
    trained = simulated(80)
    trained.obs["batch"] = np.where(trained.obs["type"] == "large", "one", trained.obs["batch"])
    model = CellModel("type", "batch", steps=12, batch_size=32, width=16, blocks=1).fit(trained, progress=False)
    assert (data.obs.loc[data.obs["type"] == "large", "batch"] == "two").any()
    draw = model._draw
    monkeypatch.setattr(model, "_draw", lambda *how: told.append(how[1:4]) or draw(*how))
    report = model.evaluate(data, trained, steps=2, seeds=2)
    assert [len(known) for _, _, known in told] == [30, 30] and report.facts["generated"] == report.facts["real"] == 30
    (types, depths, batches), (others, *_) = told
    assert not torch.equal(types, others) and report.numbers["proportions"] == 0
    large = (types == list(model.classes_).index("large")) & (batches[:, 1] == 1)
    own = np.log(dense(trained).sum(1))[(trained.obs["type"] == "large").to_numpy()]
    assert large.any() and np.abs(depths[large].numpy() - own).min(1).max() < 1e-5
    constant = trained[:40].copy()
    constant.X = np.ones((40, GENES), np.float32)
    with pytest.raises(ValueError, match="^CellModel.evaluate: train: counts must differ between cells"):
        model.evaluate(data, constant, steps=2)


def test_covariates_of_new_cells(tiny):
    """They have what is asked for, and are then other cells; all else, depths too, is as without."""
    as_drawn = tiny.sample(9, rng=3, steps=5)
    own = as_drawn.obs["age"]
    for age in (4000, [-2e3, 3e3, 5e3, 6e3, 7e3, 8e3, 9e3, 1e4, 2e4], own):
        new = tiny.sample(9, covariates={"age": age}, rng=3, steps=5)
        assert new.obs["age"].tolist() == pytest.approx(np.broadcast_to(age, 9).tolist(), rel=1e-5)
        same = new.obs.drop(columns="age").equals(as_drawn.obs.drop(columns="age"))
        assert same and ((new.X != as_drawn.X).nnz > 0) == (age is not own)
    assert (tiny.sample(9, covariates={}, rng=3, steps=5).X != as_drawn.X).nnz == 0
