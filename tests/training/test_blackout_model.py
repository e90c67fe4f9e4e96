"""BlackoutModel: its formulas, configuration and loss, what it learns of data, folders, samples and imputation."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import fastblackout as fb
from fastblackout.blackout.losses import blackout_loss, loss_unit
from fastblackout.heads import HEADS, head_named
from fastblackout.heads.head import Predicted
from fastblackout.models import NCSNpp, NetworkConfig, register_network, small
from fastblackout.models.interface import model_and_head
from fastblackout.schedule.tables import early_times
from fastblackout.schedule.times import draw_indices_by_tensor
from fastblackout.training.config import preset
from support import ROOT
from support.forks import Fork
from support.helpers import assert_named, by_day
from support.new_heads import add_heads
from support.own_models import SCHEDULE, Cut, Flat, X, made, trained

torch.set_num_threads(1)
LOGIT = fb.Schedule.logit(steps=100, t_end=10.0)


def wrapped(**kwargs):
    torch.manual_seed(0)
    network = small((2, 8, 8), channels=8)
    with torch.no_grad():
        for parameter in network.parameters():  # the last convolution begins at zero and would hide the rest
            parameter += 0.1 * torch.randn_like(parameter)
    return fb.BlackoutModel(network, LOGIT, **{"max_count": 255, **kwargs})


@pytest.mark.parametrize("kind", ["reference", "unit", "normalized"])
def test_centre_scale_and_gain_follow_their_formulas(kind):
    model = wrapped(max_count=16, input=kind, data_mean=4.9, data_std=6.0)
    for k in (0, 1, 37, 100):
        p = float(LOGIT.p[k])
        if kind == "normalized":
            center, scale = 4.9 * p, 1 / math.sqrt(max(p * p * 36.0 + p * (1 - p) * 4.9, 0.01))
        else:
            center, scale = 8 * p, {"reference": 1.0, "unit": 0.125}[kind]
        assert model.center(k) == pytest.approx(center, rel=1e-14)
        assert model.scale(k) == pytest.approx(scale, rel=1e-12)
        assert model.gain(k) == pytest.approx(4.0 * float(LOGIT.q[k]), rel=1e-14)
        assert wrapped(parametrization="paper").gain(k) == 1.0


def test_values_follow_the_library_of_k_bit_for_bit():
    model = wrapped(input="normalized", data_mean=100.0, data_std=60.0)
    k = np.array([0, 1, 50, 100])
    for method in (model.center, model.scale, model.gain):
        array, tensor = method(k), method(torch.from_numpy(k))
        assert array.dtype == np.float64 and tensor.dtype == torch.float64
        assert array.tolist() == tensor.tolist() == [method(int(i)) for i in k]
        assert isinstance(method(3), float)
        with pytest.raises(ValueError, match=r"k: must be in 0..100, got 101"):
            method(101)
        with pytest.raises(TypeError, match="integer"):
            method(torch.tensor([0.5]))
    model.half()  # must not round the tables
    assert model.gain(torch.tensor([1]))[0].item() == model.gain(1)


def test_tables_made_while_sampling_take_part_in_training():
    model = wrapped()
    with torch.inference_mode():
        model.gain(torch.tensor([1, 2]))
    logits = torch.zeros(2, requires_grad=True)
    (model.gain(torch.tensor([1, 2])) * torch.nn.functional.softplus(logits)).sum().backward()
    assert torch.isfinite(logits.grad).all()


def test_network_sees_k_minus_one():
    model = wrapped().eval()
    x = torch.randn(3, 2, 8, 8)
    assert torch.equal(model(x, 7), model.network(x, torch.tensor([6, 6, 6])))
    assert torch.equal(model(x, torch.tensor([1, 50, 100])), model.network(x, torch.tensor([0, 49, 99])))
    for k in (0, 101, torch.tensor([1, 2, 0])):
        with pytest.raises(ValueError, match=r"k: must be in 1..100"):
            model(x, k)
    with pytest.raises(ValueError, match="k: must be an int or have shape"):
        model(x, torch.tensor([1, 2]))


def test_config_rebuilds_the_model():
    network = small((1, 8, 8), num_classes=10, channels=8)
    model = fb.BlackoutModel(network, LOGIT, 16, "normalized", "paper", data_mean=4.884, data_std=6.017)
    config = json.loads(json.dumps(model.to_config()))
    again = fb.BlackoutModel.from_config(config)
    assert again.to_config() == config
    again.load_state_dict(model.state_dict())
    x = torch.randn(2, 1, 8, 8)
    k, labels = torch.tensor([1, 100]), torch.tensor([3, 10])
    assert torch.equal(again.eval()(x, k, labels), model.eval()(x, k, labels))
    assert again.scale(50) == model.scale(50)
    described = NetworkConfig("small", {"shape": [1, 8, 8], "num_classes": 10, "channels": 8})
    assert described.build().config == network.config  # the class and its full arguments, whatever the preset becomes
    for wrong in ({**config, "extra": 1}, {k: v for k, v in config.items() if k != "input"}):
        with pytest.raises(ValueError, match="must have exactly the keys"):
            fb.BlackoutModel.from_config(wrong)
    gone = r"head: must be one of this version's \(the last commit that reads it is ee522888\), got .?bayes-categorical"
    with pytest.raises(ValueError, match=gone):
        fb.BlackoutModel.from_config({**config, "head": "bayes-categorical"})
    with pytest.raises(ValueError, match=gone):
        preset("digits", head="bayes-categorical")
    with pytest.raises(ValueError, match="kwargs"):
        NetworkConfig("small", {"shape": [1, 8, 8], "depth": 3}).build()
    with pytest.raises(ValueError, match="name: must be one of"):
        NetworkConfig("unet").build()
    with pytest.raises(ValueError, match="must have exactly the keys"):
        NetworkConfig.from_dict({"name": "small"})
    with pytest.raises(ValueError, match="name: must be new"):
        register_network("small", NCSNpp)
    nameless = fb.BlackoutModel(torch.nn.Identity(), LOGIT, 255).to_config()
    assert nameless["network"] is None
    with pytest.raises(ValueError, match="from_config: network: must be given, as config describes none, got None"):
        fb.BlackoutModel.from_config(nameless)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"network": 3}, TypeError, "network"),
        ({"max_count": 0}, ValueError, "max_count"),
        ({"max_count": 2.5}, ValueError, "max_count"),
        ({"max_count": None}, ValueError, "max_count: must be an integer .* 'mean' .None is for head negative"),
        ({"max_count": None, "head": "negative-binomial"}, ValueError, "input: must be normalized or log1p where"),
        ({"weight": "early"}, ValueError, "weight: must be one of likelihood, "),
        ({"times": "late"}, ValueError, "times: must be one of uniform, early, got 'late'"),
        ({"input": "raw"}, ValueError, "input"),
        ({"parametrization": "log"}, ValueError, "parametrization"),
        ({"input": "normalized", "data_mean": 3.0}, ValueError, "data_std: must be given"),
        ({"data_mean": float("nan")}, ValueError, "data_mean"),
        ({"data_std": -1.0}, ValueError, "data_std"),
    ],
)
def test_bad_wrapper_arguments_are_named(arguments, error, message):
    with pytest.raises(error, match=f"BlackoutModel: {message}"):
        fb.BlackoutModel(**{"network": torch.nn.Identity(), "schedule": LOGIT, "max_count": 255, **arguments})


@pytest.mark.parametrize(
    ("wrong", "got"), [(torch.tensor(3.0), r"shape \(\)"), (torch.ones(2), r"shape \(2,\)"), ([1.0], "list")]
)
def test_the_input_has_samples_and_channels(wrong, got):
    with pytest.raises(TypeError, match=rf"^BlackoutModel: model_input: must be a tensor \(B, C, ...\), got {got}$"):
        fb.BlackoutModel(torch.nn.Identity(), LOGIT, 255)(wrong, 3)


@pytest.mark.parametrize(
    ("outputs", "head", "max_count", "others"),
    [
        (2, "mean", 16, "'beta-binomial' or 'bayes-logistic' or 'negative-binomial'"),
        (1, "beta-binomial", 16, "'mean'"),
        (3, "mean", 16, ""),
        (3, "bayes-logistic", 16, ""),
        (1, "negative-binomial", None, ""),  # "mean" needs a bound
    ],
)
def test_heads_that_the_outputs_suit_are_named(outputs, head, max_count, others):
    class Repeated(torch.nn.Module):
        def forward(self, x, time):
            return x.repeat(1, outputs, 1, 1)

    model = fb.BlackoutModel(Repeated(), LOGIT, max_count, input="normalized", head=head)
    x_0 = torch.arange(32, dtype=torch.int32).reshape(2, 1, 4, 4) % 16
    model.fit_input(x_0)
    shapes = " or ".join(rf"\(2, {n}, 4, 4\)" for n in head_named(head).numbers_per_count(16))
    rule = f"network's output: must have shape {shapes} for head '{head}', got .2, {outputs}, 4, 4."
    with pytest.raises(ValueError, match=rule) as raised:
        model.loss(x_0, rng=1)
    assert str(raised.value).partition(", which suits head=")[2] == others


# --- what it learns of data


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
    limit = 0.1 if head == "bayes-logistic" else 1e-5
    torch.testing.assert_close(mean, X.double().mean(0), rtol=limit, atol=0)


@pytest.mark.parametrize("head", ["beta-binomial", "negative-binomial", "bayes-logistic"])
def test_a_law_begins_with_the_variance_of_every_feature(head):
    wide = {"max_count": 1000} if head == "negative-binomial" else {}  # not cut off
    model, black = made(head, **wide).fit_input(X), torch.zeros(1, 2, 3, 1, dtype=torch.float64)
    law, most = head_named(head), model.max_count
    arrays = [array.reshape(-1, 1).double() for array in law.arrays(model(black.float(), 100), black)]
    offset = torch.full((6, 1), model.offset(100), dtype=torch.float64)
    p = law.log_law(arrays, torch.full((6, 1), float(most), dtype=torch.float64), offset, most).exp()
    n = torch.arange(most + 1, dtype=torch.float64)
    variance = p @ n**2 - (p @ n) ** 2
    limit = 0.25 if head == "bayes-logistic" else 0.001  # a symmetric law, cut at 0, is not the law of these counts
    torch.testing.assert_close(variance, X.double().var(0, correction=0).flatten(), rtol=limit, atol=0)


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
        ({}, {"outputs": 3}, ValueError, "outputs: must be one of 2, got 3"),
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
    model = made("bayes-logistic", network=Flat(5)).fit_input(X)
    with pytest.raises(
        ValueError, match="network's output: must have the 2 numbers a count that fit_input was told of .* got 5"
    ):
        model(X[:2].float(), 3)
    assert model.fit_input(X, outputs=5)(X[:2].float(), 3).shape == (2, 10, 3, 1)


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


# --- the loss


@pytest.mark.parametrize("head", [name for name in HEADS if name != "implicit"])
def test_the_loss_is_that_of_the_head_in_its_unit(head):
    model, key = trained(made(head).fit_input(X)), fb.Philox(5, first_sample=3, call=2)
    k = SCHEDULE.draw(4, rng=fb.Philox(5, first_sample=0, call=2), times="early", max_count=40)
    expected = blackout_loss(model, SCHEDULE, X[:4], k, key, model.weight) * loss_unit(
        SCHEDULE, model.weight, 40, 6, head
    )
    assert torch.equal(fb.loss(model, X[:4], k=k, rng=key), expected)
    again = {name: fb.loss(model, X[:4], rng=rng) for name, rng in (("int", 7), ("key", fb.Philox(7)))}
    again["tensor"], again["method"] = fb.loss(model, X[:4], rng=fb.Philox(7).tensor("cpu")), model.loss(X[:4], rng=7)
    assert all(torch.equal(each, again["int"]) for each in again.values())
    generator = torch.Generator().manual_seed(1)
    one, other = (fb.loss(model, X[:4], generator=generator) for _ in range(2))
    assert not torch.equal(one, other)


LAWS = [name for name in HEADS if head_named(name).gives_law]


@pytest.mark.parametrize("head", [*LAWS, "states"])
def test_a_mask_says_where_the_loss_counts(head, monkeypatch):
    """Two masks that are each other's rest have the whole loss together, and outputs elsewhere have no slope."""
    add_heads(monkeypatch)
    model, key = trained(made(head).fit_input(X)), fb.Philox(5)
    mask = torch.rand(X[:6].shape, generator=torch.Generator().manual_seed(1)) < 0.5
    whole, one, rest = (fb.loss(model, X[:6], rng=key, mask=each) for each in (None, mask, ~mask))
    assert torch.allclose(one + rest, whole, rtol=1e-5, atol=1e-5)
    assert torch.equal(fb.loss(model, X[:6], rng=key, mask=torch.ones_like(mask)), whole)
    kept = []
    hook = model.register_forward_hook(lambda model, given, output: (output.retain_grad(), kept.append(output))[0])
    fb.loss(model, X[:6], rng=key, mask=mask).sum().backward()
    hook.remove()
    slopes = kept[0].grad.unflatten(1, (-1, X.shape[1]))  # numbers of a count, counts
    seen = mask[:, None].expand(slopes.shape)
    assert (slopes[~seen] == 0).all() and slopes[seen].abs().sum() > 0


def test_wrong_masks_are_named():
    model = made("negative-binomial").fit_input(X)
    for mask, error, rule, value in (
        (torch.ones(X[:2].shape), TypeError, "mask: must be a bool tensor", "torch.float32"),
        ([True], TypeError, "mask: must be a bool tensor", "list"),
        (torch.ones(3, 1, 1, 1, dtype=torch.bool), ValueError, "mask: must broadcast to", "(3, 1, 1, 1)"),
    ):
        assert_named(lambda: fb.loss(model, X[:2], mask=mask), error, rule, value)  # noqa: B023
    every = torch.ones(X[:2].shape, dtype=torch.bool)
    assert_named(
        lambda: fb.loss(made("mean"), X[:2], mask=every), ValueError, "mask: must be None for head 'mean'", "a"
    )


@pytest.mark.parametrize("batch,total,first", [(1, 1, 0), (7, 7, 0), (5, 64, 11), (3, 1 << 31, (1 << 31) - 3)])
@pytest.mark.parametrize("steps", [1, 100, 5_000])
def test_times_by_operations_of_torch_are_those_of_the_host(batch, total, first, steps):
    schedule = fb.Schedule.logit(steps)
    table = torch.from_numpy(early_times(schedule.p, 300))
    for seed in (0, 1, 2**64 - 1, 0x1234_5678_9ABC_DEF0):
        key = fb.Philox(seed, first_sample=first, call=seed % 5)
        how = {"rng": key, "global_batch": total}
        tensor = key.tensor("cpu")
        assert torch.equal(draw_indices_by_tensor(steps, batch, tensor, total, None), schedule.draw(batch, **how))
        early = schedule.draw(batch, times="early", max_count=300, **how)
        assert torch.equal(draw_indices_by_tensor(steps, batch, tensor, total, table.__getitem__), early)


@pytest.mark.parametrize("head", by_day(["mean", "implicit", "beta-binomial"], "beta-binomial"))
def test_a_step_compiles_to_one_graph_for_all_steps(head):
    model = trained(made(head, Cut() if head == "implicit" else None, input="unit"))
    graphs = []

    def backend(graph, inputs):
        graphs.append(graph)
        return graph

    torch._dynamo.reset()
    part = {"global_batch": 16}
    step = torch.compile(lambda x, key: fb.loss(model, x, rng=key, **part), backend=backend, fullgraph=True)
    wrapped = torch.compile(model, backend=backend)
    for call in range(20):
        key = fb.Philox(3, first_sample=5, call=call)
        expected = fb.loss(model, X[:4], rng=key, **part)
        torch.testing.assert_close(step(X[:4], key.tensor("cpu")), expected, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(fb.loss(wrapped, X[:4], rng=key, **part), expected, rtol=1e-5, atol=1e-6)
    assert len(graphs) == 2
    torch._dynamo.reset()


RANK = """
import sys, torch, fastblackout as fb
sys.path.insert(0, {tests!r})
from support.own_models import X, made, trained
rank, store = int(sys.argv[1]), sys.argv[2]
torch.distributed.init_process_group("gloo", init_method=f"file://{{store}}", rank=rank, world_size=2)
model = trained(made().fit_input(X))
if {wrap!r} == "DistributedDataParallel":
    replica = torch.nn.parallel.DistributedDataParallel(model)
else:
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard
    replica = fully_shard(model, mesh=init_device_mesh("cpu", (2,))) or model
part = X[:8][4 * rank : 4 * rank + 4]
fb.loss(replica, part, rng=fb.Philox(9, first_sample=4 * rank), global_batch=8).mean().backward()
gradients = [p.grad.full_tensor() if hasattr(p.grad, "full_tensor") else p.grad for p in model.parameters()]
if rank == 0:
    torch.save(gradients, store + ".grads")
torch.distributed.destroy_process_group()
"""


@pytest.mark.parametrize("wrap", by_day(["DistributedDataParallel", "FSDP"], "DistributedDataParallel"))
def test_two_processes_have_the_gradients_of_one(tmp_path, wrap):
    store, code = str(tmp_path / "store"), RANK.format(tests=str(ROOT / "tests"), wrap=wrap)
    ranks = [Fork(code, rank, store) for rank in range(2)]
    said = [rank.communicate() for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], said
    model = trained(made().fit_input(X))
    fb.loss(model, X[:8], rng=fb.Philox(9)).mean().backward()
    for parameter, got in zip(model.parameters(), torch.load(store + ".grads", weights_only=True), strict=True):
        torch.testing.assert_close(got, parameter.grad, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"x_0": [[1.0]]}, TypeError, "x_0: must be a tensor of counts .B, C, ...., got list"),
        ({"x_0": X[:0]}, TypeError, r"x_0: must be a tensor of counts .B, C, ...., got shape \(0, 2, 3, 1\)"),
        ({"x_0": X[:, :, :0]}, TypeError, r"x_0: must be a tensor of counts .B, C, ...., got shape \(300, 2, 0, 1\)"),
        ({"model": nn.Identity()}, TypeError, "model: must be a BlackoutModel, or have max_count"),
        ({"draws": 1}, ValueError, "draws: must be in 2..1024, got 1"),
        ({"global_batch": 3}, ValueError, "global_batch: must be in 4..2147483648, got 3"),
        ({"k": 3}, TypeError, r"k: must be a tensor of integers .4,., got int"),
        ({"k": torch.ones(3)}, TypeError, r"k: must be a tensor of integers .4,., got .3,."),
        ({"k": torch.tensor([0, 1, 2, 3])}, ValueError, "k: must be in 1..100, got 0"),
        ({"labels": [1.0, 2, 3, 4]}, TypeError, "labels: must be an integer, or integers of shape .4,., got torch.fl"),
        ({"rng": "3"}, TypeError, "rng: must be a fastblackout.Philox or its seed .*, got str"),
        ({"rng": -3}, ValueError, r"rng: must be in 0..18446744073709551615, got -3"),
        ({"rng": 3, "generator": torch.Generator()}, ValueError, "rng: must not be given together with generator"),
        ({"conditions": torch.ones(4)}, ValueError, r"conditions: must have shape \(4, D\), got \(4,\)"),
        ({"conditions": torch.full((4, 1), torch.nan)}, ValueError, r"conditions: must be finite, got .nan. in row 0"),
        ({"conditions": torch.ones(4, 1, dtype=torch.int64)}, TypeError, "conditions: must be a tensor of floats"),
    ],
)
def test_wrong_arguments_of_the_loss_are_named(given, error, message):
    with pytest.raises(error, match=f"^loss: {message}"):
        fb.loss(**{"model": made().fit_input(X), "x_0": X[:4], **given})


# --- samples, bounds and imputation


def test_methods_are_the_functions():
    model = trained(made().fit_input(X)).eval()
    x_0, shape = X[:4], (4, 2, 3, 1)
    drawn = fb.sample(model, SCHEDULE, shape, 4, rng=fb.Philox(3), grid="early")
    assert torch.equal(model.sample(shape, 4, rng=3, grid="early"), drawn)
    how = {"rng": fb.Philox(3), "draws": 2, "repeats": 2}
    bits, again = fb.bits_per_dim(model, SCHEDULE, x_0, **how), model.bits_per_dim(x_0, **{**how, "rng": 3})
    assert bits.discrete.bits == again.discrete.bits
    one, other = (model.sample(shape, 4, generator=torch.Generator().manual_seed(5)) for _ in range(2))
    assert torch.equal(one, other)


def test_outputs_of_diffusers_are_unwrapped():
    class Output(nn.Module):
        def forward(self, x, time):
            return SimpleNamespace(sample=x.repeat(1, 2, 1, 1))

    class Nothing(nn.Module):
        def forward(self, x, time):
            return None

    plain = made(network=Output(), data_mean=8.0, data_std=7.0)
    assert plain(torch.ones(1, 2, 3, 1), 3).shape == (1, 4, 3, 1)
    with pytest.raises(TypeError, match="network's output: must be a tensor, or an object .* got NoneType"):
        made(network=Nothing(), data_mean=8.0, data_std=7.0)(torch.ones(1, 2, 3, 1), 3)


class Conditioned(Flat):
    num_classes = 3

    def __init__(self):
        super().__init__(2, conditions=2)

    def forward(self, x, time, labels=None, conditions=None):
        self.seen = labels, conditions
        shift = 0 if labels is None else labels.view(-1, 1, 1, 1)
        return super().forward(x, time, labels, conditions) + shift


def test_conditions_reach_the_network_with_labels_and_without():
    model = trained(made(network=Conditioned()).fit_input(X)).eval()
    labels, numbers = torch.tensor([0, 1, 2, 0]), torch.arange(8.0).view(4, 2)
    how = {"labels": labels, "conditions": numbers, "guidance": 0.5}
    whole = model.sample((4, 2, 3, 1), 3, rng=1, **how)
    assert model.network.seen[0].tolist() == [3] * 4  # the guided part of a step: no class
    assert torch.equal(model.network.seen[1], numbers)
    parts = list(fb.sampling.sample_in_batches(model, SCHEDULE, (4, 2, 3, 1), 3, 1, steps=3, **how))
    assert torch.equal(torch.cat(parts), whole)
    assert not torch.equal(model.sample((4, 2, 3, 1), 3, rng=1, labels=labels, conditions=numbers + 5), whole)
    double = model.sample((4, 2, 3, 1), 3, rng=1, **{**how, "conditions": numbers.double()})
    assert torch.equal(double, whole)
    for wrong in (numbers[:3], numbers.repeat(2, 1)):
        with pytest.raises(ValueError, match=r"^sample: conditions: must have shape \(4, D\), got"):
            next(fb.sampling.sample_in_batches(model, SCHEDULE, (4, 2, 3, 1), 2, 1, steps=3, conditions=wrong))
    bits = [model.bits_per_dim(X[:4], rng=1, draws=2, repeats=2, batch=n, conditions=numbers) for n in (2, 256)]
    assert bits[0].discrete.bits == pytest.approx(bits[1].discrete.bits, rel=1e-6)
    wrapped = model_and_head("loss", nn.DataParallel(model))[0]
    for each in (model, nn.DataParallel(model), wrapped):
        fb.loss(each, X[:4], labels, conditions=numbers, rng=1)
        assert torch.equal(model.network.seen[0], labels) and torch.equal(model.network.seen[1], numbers)


class Classes(Flat):
    """It must be given labels."""

    num_classes = 3

    def __init__(self):
        super().__init__(2)
        self.shift, self.seen = nn.Embedding(4, 1), []

    def forward(self, x, time, labels):
        self.seen.append(labels)
        return super().forward(x, time) + self.shift(labels).view(-1, 1, 1, 1)


@pytest.mark.parametrize("around", [lambda network: network, nn.DataParallel], ids=["bare", "wrapped"])
def test_a_network_with_classes_always_gets_labels(around):
    network = Classes()
    model = trained(made(network=around(network)).fit_input(X)).eval()
    bridge = fb.CountBridge(around(network), high=40, head="beta-binomial")
    shape, how = (4, 2, 3, 1), {"steps": 2, "rng": 1}

    def seen(call):
        network.seen.clear()
        call()
        assert all(each.dtype == torch.int64 for each in network.seen)
        return [each.tolist() for each in network.seen]

    without = {
        "loss": lambda: fb.loss(model, X[:4], rng=1), "sample": lambda: model.sample(shape, **how),
        "graph": lambda: model.sample(shape, cuda_graph=True, **how), "bridge": lambda: bridge.sample(X[:4], **how),
        "bits": lambda: model.bits_per_dim(X[:4], draws=2, repeats=2, rng=1),
        "impute": lambda: model.impute(X[:4], X[:4] > 9, runs=1, **how), "forward": lambda: model(X[:4].float(), 3),
        "bridge loss": lambda: bridge.loss(X[:4], X[4:8], rng=1),
    }  # fmt: skip
    for name, call in without.items():
        assert (found := seen(call)) and all(set(each) == {3} for each in found), name
    mine = [0, 1, 2, 0]
    for more in ({}, {"cuda_graph": True}):
        guided = seen(lambda more=more: model.sample(shape, labels=torch.tensor(mine), guidance=0.5, **how, **more))
        assert guided == [mine, [3] * 4] * 2
    none = model.sample(shape, labels=torch.full((4,), 3), **how)
    assert torch.equal(model.sample(shape, **how), none)


@pytest.mark.parametrize(
    "given", [[2, 2, 2, 2], (2, 2, 2, 2), np.full(4, 2, np.uint8), 2, np.int16(2), torch.tensor(2)]
)
def test_labels_are_one_number_or_one_for_each(given):
    model = trained(made(network=Classes()).fit_input(X)).eval()
    labels, shape, how = torch.full((4,), 2), (4, 2, 3, 1), {"steps": 2, "rng": 1}
    wanted = model.sample(shape, labels=labels, **how)
    assert torch.equal(model.sample(shape, labels=given, **how), wanted)
    assert torch.equal(torch.cat([*fb.sampling.sample_in_batches(model, SCHEDULE, shape, 3, 1, given, 2)]), wanted)
    assert torch.equal(fb.loss(model, X[:4], given, rng=1), fb.loss(model, X[:4], labels, rng=1))


def test_what_was_not_observed_has_the_mean_of_its_law():
    """By a model that knows no more than each feature's own law, whose mean the mean of the data is."""
    model = made("negative-binomial", max_count=1000).fit_input(X)
    observed = torch.tensor([True, False]).view(2, 1, 1)
    x = X[:40]
    mean = model.impute(x, observed, runs=8, steps=4, rng=1)
    assert mean.dtype == torch.float32 and torch.equal(mean[:, 0], x[:, 0].float())
    draws = model.impute(x, observed, draws=8, steps=4, rng=1)
    assert draws.shape == (8, 40, 2, 3, 1) and draws.dtype == torch.int16
    assert torch.equal(draws[:, :, 0], x[:, 0].expand(8, -1, -1, -1).to(draws.dtype))
    wanted, error = X[:, 1].double().mean(0), X[:, 1].double().std(0) / (8 * 40) ** 0.5
    for found in (mean[:, 1].double().mean(0), draws[:, :, 1].double().mean((0, 1))):
        assert ((found - wanted).abs() < 5 * error).all()  # a false alarm in 1e6 for each of 6 numbers
    at_once = model.impute(x, observed, runs=1, steps=1, rng=1)[:, 1].double()  # nothing is drawn
    torch.testing.assert_close(at_once, wanted.expand(40, -1, -1), rtol=1e-4, atol=0)
    assert torch.equal(model.impute(x, observed, draws=8, steps=4, rng=1, batch=7), draws)
    large = made("negative-binomial", max_count=1 << 20).fit_input(X)
    exact = large.impute(torch.full((2, 2, 3, 1), 65_537), torch.tensor(True), runs=7, steps=1, rng=1)
    assert (exact == 65_537).all()  # what is known is not averaged
    unbounded = made("negative-binomial", max_count=None).fit_input(X)
    exact = unbounded.impute(torch.full((2, 2, 3, 1), (1 << 24) + 1), torch.tensor(True), runs=3, steps=1, rng=1)
    assert exact.dtype == torch.float64 and (exact == (1 << 24) + 1).all()
    with pytest.raises(ValueError, match="x_0: must hold integers for a model without a max_count, got torch.fl"):
        unbounded.loss(X[:4].float(), rng=1)
    key = fb.Philox(1, first_sample=3 * 40)
    again = model.sample(tuple(x.shape), 4, rng=key, known=x, mask=observed)
    assert torch.equal(again, draws[3])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ({"x": X.float()}, TypeError, "x: must be a tensor of integer counts, got torch.float32"),
        ({"x": X + 40}, ValueError, "x: counts must lie in 0..40, got 80"),
        ({"observed": torch.ones(2)}, TypeError, "observed: must be a bool tensor, got torch.float32"),
        ({"observed": torch.ones(5, dtype=torch.bool)}, ValueError, r"observed: must broadcast to \(300, 2, 3, 1\)"),
        ({"draws": 0}, ValueError, "draws: must be in 1..1048576, got 0"),
        ({"steps": 0}, ValueError, "steps: must be in 1..100, got 0"),
        ({"runs": 0}, ValueError, "runs: must be in 1..1048576, got 0"),
    ],
)
def test_wrong_arguments_of_impute_are_named(given, error, message):
    observed = torch.ones(1, dtype=torch.bool)
    with pytest.raises(error, match=f"^impute: {message}"):
        made().fit_input(X).impute(**{"x": X, "observed": observed, **given})
