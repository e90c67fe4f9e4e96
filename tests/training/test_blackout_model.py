"""The wrapper against its formulas and by enumeration, its configuration, and the moving average."""

import copy
import json
import math

import numpy as np
import pytest
import torch

from fastblackout.blackout import BlackoutModel
from fastblackout.models import NCSNpp, NetworkConfig, ema_decay, ema_of, register_network, small
from fastblackout.schedule.schedule import Schedule
from fastblackout.training.config import preset

torch.set_num_threads(1)
SCHEDULE = Schedule.logit(steps=100, t_end=10.0)


def wrapped(**kwargs):
    torch.manual_seed(0)
    network = small((2, 8, 8), channels=8)
    with torch.no_grad():
        for parameter in network.parameters():  # the last convolution begins at zero and would hide the rest
            parameter += 0.1 * torch.randn_like(parameter)
    return BlackoutModel(network, SCHEDULE, **{"max_count": 255, **kwargs})


@pytest.mark.parametrize("kind", ["reference", "unit", "normalized"])
def test_centre_scale_and_gain_follow_their_formulas(kind):
    model = wrapped(max_count=16, input=kind, data_mean=4.9, data_std=6.0)
    for k in (0, 1, 37, 100):
        p = float(SCHEDULE.p[k])
        if kind == "normalized":
            center, scale = 4.9 * p, 1 / math.sqrt(max(p * p * 36.0 + p * (1 - p) * 4.9, 0.01))
        else:
            center, scale = 8 * p, {"reference": 1.0, "unit": 0.125}[kind]
        assert model.center(k) == pytest.approx(center, rel=1e-14)
        assert model.scale(k) == pytest.approx(scale, rel=1e-12)
        assert model.gain(k) == pytest.approx(4.0 * float(SCHEDULE.q[k]), rel=1e-14)
        assert wrapped(parametrization="paper").gain(k) == 1.0


def test_normalized_input_has_unit_variance_over_data_and_thinning():
    data = np.array([0, 0, 3, 16, 9])
    model = wrapped(max_count=16, input="normalized", data_mean=data.mean(), data_std=data.std())
    counts = np.arange(17)
    for k in (10, 50, 80):
        p = float(SCHEDULE.p[k])
        law = np.mean([[math.comb(n, x) * p**x * (1 - p) ** (n - x) for x in counts] for n in data], axis=0)
        value = (counts - model.center(k)) * model.scale(k)
        assert law @ value == pytest.approx(0.0, abs=1e-12)
        if model.scale(k) < 10:  # else the floor holds
            assert law @ value**2 == pytest.approx(1.0, rel=1e-12)


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
    model = BlackoutModel(network, SCHEDULE, 16, "normalized", "paper", data_mean=4.884, data_std=6.017)
    config = json.loads(json.dumps(model.to_config()))
    again = BlackoutModel.from_config(config)
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
            BlackoutModel.from_config(wrong)
    gone = (
        r"head: must be one of this version's \(the last commit that reads all earlier ones is ee522888\), got .?bayes-"
    )
    with pytest.raises(ValueError, match=gone):
        BlackoutModel.from_config({**config, "head": "bayes-logistic"})
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
    nameless = BlackoutModel(torch.nn.Identity(), SCHEDULE, 255).to_config()
    assert nameless["network"] is None
    with pytest.raises(ValueError, match="from_config: network: must be given, as config describes none, got None"):
        BlackoutModel.from_config(nameless)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"network": 3}, TypeError, "network"),
        ({"max_count": 0}, ValueError, "max_count"),
        ({"max_count": 2.5}, ValueError, "max_count"),
        (
            {"max_count": None},
            ValueError,
            "max_count: must be an integer .* for head 'mean' .None is for head negative",
        ),
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
        BlackoutModel(**{"network": torch.nn.Identity(), "schedule": SCHEDULE, "max_count": 255, **arguments})


@pytest.mark.parametrize(
    ("wrong", "got"), [(torch.tensor(3.0), r"shape \(\)"), (torch.ones(2), r"shape \(2,\)"), ([1.0], "list")]
)
def test_the_input_has_samples_and_channels(wrong, got):
    with pytest.raises(TypeError, match=rf"^BlackoutModel: model_input: must be a tensor \(B, C, ...\), got {got}$"):
        BlackoutModel(torch.nn.Identity(), SCHEDULE, 255)(wrong, 3)


def test_network_must_return_logits_of_the_inputs_shape():
    class Flat(torch.nn.Module):
        def forward(self, x, time):
            return x.flatten(1)

    with pytest.raises(
        ValueError, match=r"network's output: must have shape \(2, 1, 4, 4\) for head 'mean', got \(2, 16\)"
    ):
        BlackoutModel(Flat(), SCHEDULE, 255)(torch.zeros(2, 1, 4, 4), 3)


@pytest.mark.parametrize(
    ("outputs", "head", "max_count", "others"),
    [
        (2, "mean", 16, "'beta-binomial' or 'negative-binomial'"),
        (1, "beta-binomial", 16, "'mean'"),
        (3, "mean", 16, ""),
        (1, "negative-binomial", None, ""),  # "mean" needs a bound
    ],
)
def test_heads_that_the_outputs_suit_are_named(outputs, head, max_count, others):
    class Repeated(torch.nn.Module):
        def forward(self, x, time):
            return x.repeat(1, outputs, 1, 1)

    model = BlackoutModel(Repeated(), SCHEDULE, max_count, input="normalized", head=head)
    x_0 = torch.arange(32, dtype=torch.int32).reshape(2, 1, 4, 4) % 16
    model.fit_input(x_0)
    with pytest.raises(ValueError, match=f"for head '{head}', got ") as raised:
        model.loss(x_0, rng=1)
    assert str(raised.value).partition(", which suits head=")[2] == others


# --- the moving average


def walk(model, ema, steps, seed):
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter += torch.randn(parameter.shape, generator=generator)
        ema.update(model)


def test_ema_follows_the_reference_rule():
    model = torch.nn.Linear(3, 2).double()
    expected, ema = copy.deepcopy(model), ema_of(model, max_decay=0.3)
    generator = torch.Generator().manual_seed(5)
    for n in range(1, 8):  # decays 2/11, 3/12, then the cap 0.3
        walk(model, ema, 1, seed=int(torch.randint(1000, (1,), generator=generator)))
        decay = min(0.3, (1 + n) / (10 + n))
        assert ema_decay(n, 0.3) == decay
        with torch.no_grad():
            for average, current in zip(expected.parameters(), model.parameters(), strict=True):
                average.copy_(decay * average + (1 - decay) * current)
        for average, got in zip(expected.parameters(), ema.model.parameters(), strict=True):
            assert torch.allclose(average, got, rtol=1e-13, atol=1e-13)
    assert ema.updates == 7 and ema_decay(10**6) == 0.9999
    assert not ema.model.training and not any(p.requires_grad for p in ema.parameters())
    with pytest.raises(ValueError, match="max_decay"):
        ema_of(model, 1.0)


def test_ema_resumes_to_the_bit():
    model = wrapped()
    ema = ema_of(model)
    walk(model, ema, 3, seed=0)
    saved, resumed_model = copy.deepcopy(ema.state_dict()), copy.deepcopy(model)
    walk(model, ema, 3, seed=1)
    resumed = ema_of(resumed_model)
    resumed.load_state_dict(saved)
    assert resumed.updates == 3
    walk(resumed_model, resumed, 3, seed=1)
    for name, value in ema.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert torch.equal(model.network.all_modules[0].weight, resumed_model.network.all_modules[0].weight)
