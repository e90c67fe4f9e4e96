"""What a model of one's own learns of its data, and the folder that it is saved in."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from types import SimpleNamespace

import pytest
import torch

import fastblackout as fb
from fastblackout.heads import HEADS, head_named
from fastblackout.heads.head import Predicted
from support.own_models import SCHEDULE, Cut, Flat, X, made, trained

torch.set_num_threads(1)


@pytest.mark.parametrize("kind", ["normalized", "log1p"])
def test_the_input_of_every_feature_has_mean_0_and_deviation_1(kind):
    model, seen = made(input=kind).fit_input(X), []
    model.network.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    many = X.repeat(40, 1, 1, 1)
    for k in (1, 2, 35, 37, 60):  # at places and between them
        x_t = fb.thin(many, SCHEDULE.survival(k), max_count=40, rng=fb.Philox(1, call=k)).x_t
        model(x_t.float(), k)
        deviation, mean = torch.std_mean(seen[-1], 0)
        if k < 60:
            torch.testing.assert_close(mean, torch.zeros_like(mean), atol=0.03, rtol=0)
        torch.testing.assert_close(deviation, torch.ones_like(deviation), atol=0.05, rtol=0)


@pytest.mark.parametrize("head", HEADS)
def test_a_model_begins_at_the_mean_of_every_feature(head):
    network = Cut(0.0) if head == "implicit" else None
    model = made(head, network).fit_input(X)
    black = torch.zeros(1, 2, 3, 1)
    noise = (torch.zeros(1, 1, 3, 1),) if head == "implicit" else ()
    outputs = model(black, 100, None, *noise).double()
    number = torch.tensor([head_named(head).number(model, 100)], dtype=torch.float64)
    at = Predicted(black.double(), torch.full_like(black, 40).double(), outputs[None] if noise else outputs, number, 40)
    mean = head_named(head).log_mean(at).exp()[0]
    torch.testing.assert_close(mean, X.double().mean(0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("head", ["beta-binomial", "negative-binomial"])
def test_a_law_begins_with_the_variance_of_every_feature(head):
    wide = {"max_count": 1000} if head == "negative-binomial" else {}  # not cut off
    model, black = made(head, **wide).fit_input(X), torch.zeros(1, 2, 3, 1, dtype=torch.float64)
    law, most = head_named(head), model.max_count
    arrays = [array.reshape(-1, 1).double() for array in law.arrays(model(black.float(), 100), black)]
    offset = torch.full((6, 1), model.offset(100), dtype=torch.float64)
    p = law.log_law(arrays, torch.full((6, 1), float(most), dtype=torch.float64), offset, most).exp()
    n = torch.arange(most + 1, dtype=torch.float64)
    variance = p @ n**2 - (p @ n) ** 2
    torch.testing.assert_close(variance, X.double().var(0, correction=0).flatten(), rtol=0.001, atol=0)


def test_counts_without_a_bound():
    model = made("negative-binomial", max_count=None, input="log1p")
    with pytest.raises(ValueError, match="input: needs fit_input for input 'log1p' and max_count=None"):
        model(X[:2].float(), 3)
    large = X * 1000 + 1
    assert model.fit_input(large.numpy()).typical_count == int(large.max())
    drawn = model.sample((200, 2, 3, 1), steps=5, rng=1)
    assert drawn.dtype == torch.int32 and drawn.max() > 32_000
    torch.testing.assert_close(drawn.double().mean(0), large.double().mean(0), rtol=0.4, atol=0)  # 4 sigma
    assert model.loss(large[:4], rng=1).isfinite().all()
    small = X[:4].to(torch.uint8)  # a dtype that cannot hold the bound
    assert torch.equal(model.loss(small, rng=1), model.loss(X[:4], rng=1))
    assert model.bits_per_dim(small, rng=1, draws=2, repeats=2) is not None
    with pytest.raises(ValueError, match="impute: x: counts must lie in 0..2147483647, got -3"):
        model.impute(-X[:4].short() - 3, torch.tensor(True))
    bits = model.bits_per_dim(large[:4], rng=1, draws=4, repeats=2)
    assert 5 < bits.discrete.bits < 50
    grid = fb.sampling.plan.plan_of  # the grid early goes by the largest count of the data
    asked = fb.sampling.plan.Asked(4, "early", None, None, "bridge")
    assert grid("sample", model, SCHEDULE, asked, False).times == SCHEDULE.grid(4, "early", int(large.max())).tolist()


@pytest.mark.parametrize(
    ("model", "given", "error", "message"),
    [
        ({"input": "unit"}, {}, ValueError, "input: must be normalized or log1p, got 'unit'"),
        ({}, {"x_0": X.float()}, TypeError, "x_0: must be integer counts, got torch.float32"),
        ({}, {"x_0": X + 40}, ValueError, "x_0: must lie in 0..40, got 80"),
        ({}, {"x_0": X[:0]}, ValueError, r"x_0: must have shape \(N, C, ...\) without a zero"),
    ],
)
def test_wrong_data_are_named(model, given, error, message):
    with pytest.raises(error, match=f"^BlackoutModel.fit_input: {message}"):
        made(**model).fit_input(**{"x_0": X, **given})


def test_between_two_places_centre_and_deviation_are_linear():
    fitted, x = made().fit_input(X).fitted, X[:1].float()
    low, high = ((x - fitted.center[n]) / fitted.deviation[n] for n in (18, 19))  # k = 36 and 38
    middle = [(table[18] + table[19]) / 2 for table in (fitted.center, fitted.deviation)]
    for k, expected in ((36, low), (37, (x - middle[0]) / middle[1]), (38, high)):
        torch.testing.assert_close(fitted(x, torch.tensor([k])), expected, rtol=1e-5, atol=1e-6)


def test_a_fit_takes_the_place_of_numbers_for_all_features():
    model = made(data_mean=8.0, data_std=7.0)
    assert model.center(50) != 0
    model.fit_input(X)
    assert (model.data_mean, model.center(50), model.scale(50)) == (None, 0.0, 1.0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_fitted_model_may_have_another_dtype(dtype):
    model, seen = made().fit_input(X), []
    model.network.register_forward_pre_hook(
        lambda module, given: seen.append(given[0]) or (given[0].to(dtype), given[1])
    )
    out = model.to(dtype)(X[:4].float(), 3)
    assert out.isfinite().all() and seen[0].dtype == torch.float32


def test_an_average_that_was_made_before_a_fit_is_refused():
    model = made(data_mean=8.0, data_std=7.0)
    average = fb.models.ModelEMA(model)
    model.fit_input(X)
    with pytest.raises(ValueError, match="ModelEMA.update: model: must have the buffers .* got 3 in place of 0"):
        average.update(model)
    assert average.updates == 0


def test_what_does_not_go_with_a_fit_is_named():
    model = made().fit_input(X)
    with pytest.raises(
        ValueError, match=r"model_input: must have the shape \(B, 2, 3, 1\) of the data of fit_input, got"
    ):
        model.sample((4, 2, 4, 1), 2, rng=1)


@pytest.mark.parametrize("other", [{"head": "negative-binomial"}, {"input": "log1p"}])
def test_weights_of_another_head_or_input_are_refused(other):
    weights = made().fit_input(X).weights()
    model = made(**other).fit_input(X)
    before = model.network.first.weight.clone()
    head, kind = other.get("head", "beta-binomial"), other.get("input", "normalized")
    rule = f"of a model with head {head}, input {kind}, got head beta-binomial, input normalized"
    with pytest.raises(ValueError, match=f"^BlackoutModel.load_weights: tensors: must be {rule}$"):
        model.load_weights({name: value + 1 for name, value in weights.items()})
    assert torch.equal(model.network.first.weight, before)
    made().load_weights(weights)
    made().load_weights({name: value for name, value in weights.items() if ".of." not in name})  # an earlier file


# --- saved and read


def test_a_folder_holds_all_of_a_model(tmp_path):
    model = trained(made(input="log1p").fit_input(X))
    average = fb.models.ModelEMA(model)
    assert average.model.save_pretrained(tmp_path / "model") == tmp_path / "model"
    with pytest.raises(ValueError, match="from_pretrained: folder: must hold a model, got .*network: must be given"):
        fb.BlackoutModel.from_pretrained(tmp_path / "model")
    again = fb.BlackoutModel.from_pretrained(tmp_path / "model", network=Flat(2))
    assert not again.training and again.to_config() == model.to_config()
    assert torch.equal(again.sample((4, 2, 3, 1), steps=4, rng=1), model.sample((4, 2, 3, 1), steps=4, rng=1))
    with pytest.raises(ValueError, match="is of a model that save_pretrained wrote, not of a training .fb.BlackoutMod"):
        fb.load_run(tmp_path / "model")
    compiled = made(network=torch.compile(Flat(2))).fit_input(X)
    again = fb.BlackoutModel.from_pretrained(compiled.save_pretrained(tmp_path / "compiled"), network=Flat(2))
    assert torch.equal(again.network.first.weight, compiled.network.first.weight)
    index = torch.arange(1000)
    assert torch.equal(again.early_times(index), compiled.early_times(index))
    own = fb.BlackoutModel(fb.models.small((1, 8, 8), channels=8), SCHEDULE, 16)
    again = fb.BlackoutModel.from_pretrained(own.save_pretrained(tmp_path / "own"))
    assert all(torch.equal(*pair) for pair in zip(own.parameters(), again.parameters(), strict=True))


class Killed(BaseException):
    """Nothing that the writer does after it happens."""


def killed(*paths):
    raise Killed


def test_a_model_that_is_replaced_stays_readable_wherever_the_save_is_killed(tmp_path, monkeypatch):
    models = [fb.BlackoutModel(fb.models.small((1, 8, 8), channels=8), SCHEDULE, top) for top in (16, 17)]
    ends, real = [], os.replace
    for first in range(6):
        folder = models[0].save_pretrained(tmp_path / f"m{first}")
        for last in range(6):  # a save that is killed may follow one that was
            for number, model in ((first, models[1]), (last, models[0])):
                ways = iter([real] * number)  # the renames that are done

                def rename(*paths, ways=ways):
                    next(ways, killed)(*paths)

                monkeypatch.setattr(os, "replace", rename)
                with contextlib.suppress(Killed):
                    model.save_pretrained(folder)
                monkeypatch.setattr(os, "replace", real)
                again = fb.BlackoutModel.from_pretrained(folder)
                ends.append(again.max_count)
                wanted = models[again.max_count - 16].weights()
                assert all(torch.equal(value, wanted[name]) for name, value in again.weights().items())
        models[1].save_pretrained(folder)
        assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert set(ends) == {16, 17}


def broken(folder, how):
    config, weights = folder / "config.json", folder / "model.safetensors"
    head = json.loads(config.read_text())
    if how == "gone":
        weights.unlink()
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-3])
    elif how == "other weights":
        other = fb.BlackoutModel(fb.models.small((1, 8, 8), channels=8), SCHEDULE, 16)
        weights.write_bytes((other.save_pretrained(folder / "other") / "model.safetensors").read_bytes())
    elif how == "foreign":
        head["format"] = "other"
    elif how == "newer":
        head["format_version"] = 2
    elif how == "large":
        head["model"]["network"]["kwargs"]["channels"] = 1 << 12
    elif how == "other network":
        head["model"]["network"]["kwargs"]["channels"] = 4
    elif how == "no schedule":
        del head["model"]["schedule"]
    config.write_text("{" if how == "no JSON" else json.dumps(head))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("gone", "No such file"),
        ("cut", "incomplete|safetensors|header"),
        ("other weights", "not the file whose SHA-256 config.json gives"),
        ("foreign", "no format 'fastblackout-model'"),
        ("newer", "format version must be 1, got 2"),
        ("large", "bytes of weights, but model.safetensors"),
        ("other network", "size mismatch|Missing key|bytes of weights"),
        ("no schedule", "must have exactly the keys"),
        ("no JSON", "Expecting"),
    ],
)
def test_a_damaged_folder_is_named(tmp_path, how, said):
    folder = fb.BlackoutModel(fb.models.small((1, 8, 8), channels=8), SCHEDULE, 16).save_pretrained(tmp_path / "m")
    broken(folder, how)
    with pytest.raises(ValueError, match=f"^from_pretrained: folder: must hold a model, got {folder}: .*({said})"):
        fb.BlackoutModel.from_pretrained(folder)


def test_the_hub_gets_and_gives_the_two_files(tmp_path, monkeypatch):
    """By a stand-in for huggingface_hub, which keeps what it is given."""
    kept = {}

    class HfApi:
        def __init__(self, token=None):
            self.token = token

        def create_repo(self, repo_id, exist_ok, **options):
            assert exist_ok and options == {"private": True}
            return f"https://hub/{repo_id}"

        def upload_folder(self, repo_id, folder_path):
            kept[repo_id] = {path.name: path.read_bytes() for path in folder_path.iterdir()}

    def snapshot_download(repo_id, allow_patterns):
        assert sorted(allow_patterns) == sorted(kept[repo_id])
        for name, content in kept[repo_id].items():
            (tmp_path / name).write_bytes(content)
        return str(tmp_path)

    model = fb.BlackoutModel(fb.models.small((1, 8, 8), channels=8), SCHEDULE, 16)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="push_to_hub: repo_id: needs huggingface_hub, got none .*fastblackout.hub."):
        model.push_to_hub("me/model")
    with pytest.raises(ValueError, match="got me/model: there is no such folder .to read it from .*pip install"):
        fb.BlackoutModel.from_pretrained("me/model")
    stand_in = SimpleNamespace(HfApi=HfApi, snapshot_download=snapshot_download)
    monkeypatch.setitem(sys.modules, "huggingface_hub", stand_in)
    assert model.push_to_hub("me/model", private=True) == "https://hub/me/model"
    again = fb.BlackoutModel.from_pretrained("me/model")
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), again.parameters(), strict=True))
    with pytest.raises(ValueError, match="got you/nothing: no 'you/nothing'"):
        fb.BlackoutModel.from_pretrained("you/nothing")
