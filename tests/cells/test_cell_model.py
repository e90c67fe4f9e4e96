"""A model of single cells: its laws beside the laws of simulated cells, what goes in and out, files, errors."""

import json
import re

import numpy as np
import pytest
import scipy.sparse as sp
import torch

import fastblackout as fb
from fastblackout.cells import inputs, training
from support.simulated_cells import GENES, SHARES, dense, simulated, write_zarr

pytest.importorskip("sklearn")
torch.set_num_threads(1)
CellModel = fb.cells.CellModel
TINY = {"steps": 12, "batch_size": 32, "width": 16, "blocks": 1}


@pytest.fixture(scope="module")
def model():
    """One that has learned what the simulated cells are."""
    return CellModel(labels_key="type", steps=400, batch_size=64, width=64, rng=1).fit(simulated(1200), progress=False)


def test_shares_of_the_types_and_depths(model):
    """Mean shares of genes are those of the law; depths that are asked for are met."""
    real = simulated(4000, seed=9)
    for name, depth in (("large", 180), ("large", 300), ("small", 70), ("small", 120)):
        counts = dense(model.sample(600, label=name, depth=depth, steps=60, rng=2))
        assert counts.sum(1).mean() == pytest.approx(depth, rel=0.08)
        shares = real.layers["rates"][real.obs["type"] == name]
        shares = (shares / shares.sum(1, keepdims=True)).mean(0)
        assert np.abs(counts.sum(0) / counts.sum() - shares).sum() < 0.1


def test_generated_cells_are_like_real_ones(model, monkeypatch):
    """By the metrics; a Poisson law of each gene by itself, with right means and depths, is told at once."""
    monkeypatch.setattr("fastblackout.cells.metrics.forest_auc", lambda x, y, seed: 0.5)
    held_out = simulated(400, seed=5)
    report = model.evaluate(held_out, steps=60, rng=3)
    alone = held_out.copy()
    shares = np.stack([SHARES[name] for name in held_out.obs["type"]])
    alone.X = np.random.default_rng(0).poisson(shares * dense(held_out).sum(1, keepdims=True)).astype(np.float32)
    naive = fb.cells.compare(alone, held_out[:, list(model.genes_)], labels_key="type")
    assert report.numbers["energy_distance"] < 0.1 < naive.numbers["energy_distance"]
    assert report.numbers["correlations_slope"] > 0.1 + naive.numbers["correlations_slope"]
    assert report.numbers["fold_changes_slope"] > 0.85 and report.numbers["depth_ks"] < 0.15


def test_imputed_means_come_from_the_other_genes(model):
    """They beat each type's own shares, which know nothing of the cell but its depth; draws have the same mean."""
    real = simulated(300, seed=6)
    observed = np.random.default_rng(0).random(real.shape) < 0.5
    rates, counts = real.layers["rates"], dense(real)
    mean = model.impute(real, observed)
    assert np.array_equal(mean[observed], counts[observed]) and mean.dtype == np.float32
    shares = np.stack([SHARES[name] for name in real.obs["type"]])
    depth = (counts * observed).sum(1) / (shares * observed).sum(1)
    own = np.log(shares * depth[:, None])
    errors = [np.abs(log[~observed] - np.log(rates)[~observed]).mean() for log in (np.log(mean + observed), own)]
    assert errors[0] < 0.8 * errors[1], errors
    draws = model.impute(real[:40], observed[:40], draws=8, steps=40, rng=4)
    assert draws.dtype == np.int32 and (draws[:, observed[:40]] == counts[:40][observed[:40]]).all()
    hidden = ~observed[:40]
    assert draws.mean(0)[hidden].sum() == pytest.approx(mean[:40][hidden].sum(), rel=0.08)


def test_what_is_hidden_is_not_looked_at(model, tiny):
    for fitted in (model, tiny):
        real = simulated(20, seed=7)
        observed = np.random.default_rng(0).random((20, len(fitted.genes_))) < 0.6
        other = real.copy()
        places = real.var_names.get_indexer(fitted.genes_)
        changed = dense(real)
        changed[:, places] = np.where(observed, changed[:, places], changed[:, places] + 5)
        other.X = sp.csr_matrix(changed)
        for draws in (None, 2):
            one, another = (fitted.impute(each, observed, draws, steps=5) for each in (real, other))
            assert np.array_equal(one, another) if draws else np.allclose(one, another, atol=0, rtol=0)


def test_expression_without_the_noise_of_counting(model):
    """Rates are nearer to the true ones than counts, also than each type's own shares of the depth."""
    real = simulated(300, seed=8)
    rates, depth = real.layers["rates"], dense(real).sum(1, keepdims=True)
    found = model.expected(real)
    shares = np.stack([SHARES[name] for name in real.obs["type"]])
    errors = [((np.sqrt(each) - np.sqrt(rates)) ** 2).mean() for each in (found, dense(real), shares * depth)]
    assert errors[0] < 0.6 * min(errors[1:]), errors
    scaled = model.expected(real, depth=1000)
    assert np.allclose(scaled, found * 1000 / depth, rtol=1e-5)


def test_what_is_sampled(tiny):
    new = tiny.sample(40, rng=3)
    assert sp.issparse(new.X) and new.X.dtype == np.int32 and new.X.min() >= 0
    assert tuple(new.var_names) == tiny.genes_ == tuple(name for n, name in enumerate(simulated(2).var_names) if n % 3)
    assert list(new.obs.columns) == ["type", "batch", "age", "depth"]  # the depth is the size_factor_key
    assert set(new.obs["type"]) <= {"large", "small"} and set(new.obs["batch"]) <= {"one", "two"}
    known = simulated(80).obs
    assert np.isin(np.round(new.obs["age"], 3), np.round(known["age"], 3)).all()  # taken from cells of the training
    one = tiny.sample(3, label=["small", "large", "small"], depth=[50, 60, 70.5], batch="two", steps=7)
    assert one.obs["type"].tolist() == ["small", "large", "small"] and (one.obs["batch"] == "two").all()
    assert one.obs["depth"].tolist() == pytest.approx([50, 60, 70.5])
    assert (tiny.sample(9, rng=3, steps=5).X != tiny.sample(9, rng=3, steps=5).X).nnz == 0
    assert (tiny.sample(9, rng=4, steps=5).X != tiny.sample(9, rng=3, steps=5).X).nnz
    often = [(tiny.sample(400, rng=n, steps=1).obs["type"] == "small").mean() for n in range(2)]
    assert np.mean(often) == pytest.approx(0.75, abs=0.06)  # four standard deviations


@pytest.mark.usefixtures("few_draws")
def test_layouts_and_files_make_no_difference(tmp_path):
    """The weights of dense, sparse and read cells are equal, to the bit; of another seed they are not."""
    data = simulated(60)
    data.layers["raw"], data.X = data.X, data.X * 0.5
    kinds = {"csr": data, "file": tmp_path / "cells.h5ad", "store": tmp_path / "cells.zarr"}
    data.write_h5ad(kinds["file"])
    write_zarr(data, kinds["store"])
    for name, lay in {"csc": sp.csc_matrix, "dense": lambda x: np.asarray(x.todense())}.items():
        kinds[name] = data.copy()
        kinds[name].layers["raw"] = lay(data.layers["raw"])
    made = {name: CellModel("type", layer="raw", **TINY).fit(each, progress=False) for name, each in kinds.items()}
    other = CellModel("type", layer="raw", rng=1, **TINY).fit(data, progress=False)
    first, *rest = (each.model_.weights() for each in (*made.values(), other))
    for each in rest[:-1]:
        assert all(torch.equal(first[name], value) for name, value in each.items())
    assert not all(torch.equal(first[name], value) for name, value in rest[-1].items())
    assert np.array_equal(made["csr"].expected(str(kinds["store"])), made["csr"].expected(data))


@pytest.mark.usefixtures("few_draws")
def test_depth_is_that_of_all_genes(tiny):
    """Also where some are selected; a column that says so takes its place."""
    data = simulated(80)
    chosen = CellModel(genes=["gene-3", "gene-1"], **TINY).fit(data, progress=False)
    assert chosen.genes_ == ("gene-3", "gene-1")
    assert chosen._fitted.log_depth.flatten().tolist() == pytest.approx(np.log(dense(data).sum(1)).tolist(), rel=1e-5)
    with pytest.raises(ValueError, match=r"must have all 24 genes of the training.*got 2"):
        chosen.expected(data[:, ["gene-3", "gene-1"]])
    few = data[:, list(tiny.genes_)[::-1]].copy()  # with a column of depths other genes are not needed
    assert np.array_equal(tiny.expected(few)[:, ::-1], tiny.expected(data))
    renamed = data.copy()
    renamed.var_names = ["other", *data.var_names[1:]]
    with pytest.raises(ValueError, match=r"must have all 24 genes of the training and no others.*got other genes"):
        chosen.expected(renamed)


def test_genes_come_back_in_the_order_of_the_cells(model):
    """So that what is returned can be a layer of them."""
    data = simulated(20, seed=4)
    other = data[:, ::-1].copy()
    observed = np.random.default_rng(0).random(data.shape) < 0.5
    assert np.array_equal(model.impute(other, observed[:, ::-1]), model.impute(data, observed)[:, ::-1])
    draws = [
        model.impute(each, flags, draws=2, steps=3) for each, flags in ((data, observed), (other, observed[:, ::-1]))
    ]
    assert np.array_equal(draws[1], draws[0][:, :, ::-1])
    assert np.array_equal(model.impute(other, True), dense(other))
    assert np.array_equal(model.expected(other), model.expected(data)[:, ::-1])


def test_what_is_asked_for_may_be_a_column(model, tiny):
    obs = simulated(30, seed=3).obs
    for label in (obs["type"], obs["type"].to_numpy(), obs["type"].astype("category"), iter(obs["type"])):
        assert model.sample(30, label=label, steps=2).obs["type"].tolist() == obs["type"].tolist()
    new = tiny.sample(30, label=obs["type"], batch=obs["batch"], steps=2).obs
    assert (new[["type", "batch"]].to_numpy() == obs[["type", "batch"]].to_numpy()).all()
    assert model.sample(3, depth=[5, 60, 7], steps=2).obs["depth"].tolist() == pytest.approx([5, 60, 7])


def test_nothing_observed_and_nothing_counted(model):
    """A cell of which nothing is seen has the mean of its type; one without a count may be imputed."""
    data = simulated(8, seed=4)
    counts = dense(data)
    data.X = np.where(np.arange(8)[:, None] == 2, 0, counts)
    nothing = model.impute(data, False)
    types = data.obs["type"].to_numpy()
    assert np.allclose(nothing, nothing[[list(types).index(name) for name in types]], rtol=1e-6)
    for name, total in (("large", 265), ("small", 98)):  # the means of the depths of the types
        assert nothing[types == name].sum(1) == pytest.approx(total, rel=0.2)
    one_gene = np.arange(24) == 7
    assert (model.impute(data, one_gene).sum(1) < 2000).all()  # one rare gene says little of the depth


def test_no_place_but_the_folder_is_asked(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"CellModel.load: folder: must hold a model, got some/name: there is no such"):
        CellModel.load("some/name")


def test_a_saved_model_is_the_same(model, tiny, tmp_path):
    data = simulated(30, seed=3)
    for n, one in enumerate((model, tiny)):
        again = CellModel.load(one.save(tmp_path / str(n)))
        assert (again.sample(7, rng=2, steps=9).X != one.sample(7, rng=2, steps=9).X).nnz == 0
        assert np.array_equal(again.expected(data), one.expected(data))
        for name in ("history_", "genes_", "classes_", "batches_", "labels_key", "covariates", "steps", "width"):
            assert getattr(again, name) == getattr(one, name)


def test_rng_draws_what_its_seed_drew(tiny, tmp_path):
    """The draws that NumPy makes have the seed as they had when the argument was called so, as has the file."""
    new, fitted = tiny.sample(9, rng=1, steps=2), tiny._fitted
    place = fitted.drawn_like("test", 9, None, None, 1)
    moved = 0.05 * np.random.default_rng((1, 1)).normal(size=(9, 1))
    wanted = torch.exp((fitted.log_depth[place] + torch.from_numpy(moved)).float())[:, 0]
    assert np.allclose(new.obs["depth"], wanted)
    assert (tiny.sample(9, rng=fb.Philox(1), steps=2).X != new.X).nnz == 0
    seen = np.ones((9, len(tiny.genes_)), bool)
    seen[:, ::2] = False
    one, same = (tiny.impute(new, seen, draws=1, steps=2, rng=rng) for rng in (1, fb.Philox(1)))
    assert np.array_equal(one, same)
    assert '"seed": 0' in (tiny.save(tmp_path / "model") / "config.json").read_text()
    with pytest.raises(TypeError, match="^CellModel: seed: must be given as rng=, got 1$"):
        CellModel(seed=1)


def test_damaged_files_are_named(tiny, tmp_path):
    folder = tiny.save(tmp_path / "model")
    whole = json.loads((folder / "config.json").read_text())

    def refused(**changed):
        (folder / "config.json").write_text(json.dumps({**whole, **changed}))
        with pytest.raises(ValueError, match=r"CellModel.load: folder: must hold a model, got .*model: ") as raised:
            CellModel.load(folder)
        assert "\n" not in str(raised.value)

    model = whole["model"]
    refused(format="fastblackout-model")
    refused(files={})
    refused(model={})
    for name in ("options", "columns", "history", "model"):
        refused(model={key: value for key, value in model.items() if key != name})
        refused(model={**model, name: 7})
    wrong = {"classes": ["large"], "genes": ["a"], "batches": [], "covariates": [], "centers": 3, "layer": 5, "more": 3}
    for name, value in wrong.items():
        refused(model={**model, "columns": {**model["columns"], name: value}})
    refused(model={**model, "options": {**model["options"], "width": "wide"}})
    (folder / "config.json").write_text(json.dumps(whole))
    CellModel.load(folder)
    with pytest.raises(ValueError, match=re.escape("fb.cells.CellModel.load reads this one")):
        fb.BlackoutModel.from_pretrained(folder)


@pytest.mark.parametrize("share,least,most", [(0.0, 0.0, 0.0), (1.0, 0.3, 0.7)])
def test_the_loss_is_of_what_is_hidden(model, monkeypatch, share, least, most):
    """Where genes are hidden, outputs of the genes that are seen have no slope: of about half of all, as the share that
    is seen is uniform. Where no gene is hidden all have one."""
    monkeypatch.setattr(training, "MASKED", share)
    kept = []
    hook = model.model_.register_forward_hook(lambda m, given, output: (output.retain_grad(), kept.append(output))[0])
    cells, _ = inputs.read("test", simulated(200, seed=2), model._fitted.columns)
    batch = cells.rows(np.arange(200), torch.device("cpu"))
    training._loss(model.model_, model._fitted.depths, batch, fb.Philox(3)).backward()
    hook.remove()
    model.model_.zero_grad()
    still = (kept[0].grad[:, :GENES] == 0).double().mean()
    assert least <= still <= most


def test_a_rate_knows_the_own_count(tiny):
    """With a depth of its own, a count changes what is expected of its gene beside what it tells of others."""
    data = simulated(20, seed=8)
    more, place = data.copy(), tiny.genes_.index("gene-4")
    counts = dense(data).copy()
    counts[:, 4] += 20
    more.X = counts
    assert (tiny.expected(more)[:, place] > tiny.expected(data)[:, place] + 0.2).all()


@pytest.mark.usefixtures("few_draws")
def test_depth_of_selected_genes_is_by_themselves():
    """As it was told in the training where genes are seen: other genes change nothing."""
    data = simulated(60)
    chosen = CellModel(genes="chosen", **TINY).fit(data, progress=False)
    other, counts = data.copy(), dense(data).copy()
    counts[:, 0] += 50  # a gene that was not selected
    other.X = counts
    assert np.array_equal(chosen.expected(other), chosen.expected(data))


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
