"""`--compat lanl-2023`: the numbers of every step, computed here as the authors' notebooks do."""

from itertools import pairwise

import mpmath
import numpy as np
import pytest
import torch
from scipy.special import expit, logit

from fastblackout.blackout import BlackoutModel
from fastblackout.cli.command_line import main
from fastblackout.models import NCSNpp
from fastblackout.philox import Philox
from fastblackout.sampling import rules
from fastblackout.sampling.sampler import sample, sample_in_batches
from fastblackout.schedule.schedule import Schedule
from support.pixel_model import PixelModel

T, T_END = 20, 15.0
OBSERVED = np.append(0.0, -np.log(expit(np.linspace(-logit(np.exp(-T_END)), logit(np.exp(-T_END)), T))))  # their times
SHAPE = (6, 1, 8, 8)
LANL = {"steps": T, "grid": "index", "sampler": "lanl-2023"}


def model_of(max_count=255, dropout=0.1):
    torch.manual_seed(0)
    network = NCSNpp(in_channels=1, channels=8, channel_mult=(1, 1), blocks=1, attention_levels=(), dropout=dropout)
    with torch.no_grad():  # or all outputs would be the same before a training
        network.all_modules[-1].weight.normal_(std=0.4)
        for module in network.modules():
            if hasattr(module, "Conv_1"):
                module.Conv_1.weight.normal_(std=0.3)
    how = {"max_count": max_count, "input": "reference", "parametrization": "paper"}
    return BlackoutModel(network, Schedule.logit(T, T_END), **how).eval()


@pytest.mark.parametrize("max_count", [255, 1])
def test_the_numbers_of_every_step(monkeypatch, max_count):
    model, seen, stepped, dropped, states = model_of(max_count), [], [], [], []
    model.network.register_forward_hook(lambda module, given, logits: seen.append((*given, logits)))
    bridge_step = rules.bridge_step

    def watched(x, **arguments):
        stepped.append(arguments)
        return bridge_step(x, **arguments)

    def watch(n, k, x):
        if n == 0:  # the hooks of the sampling are there already, and these come after them
            for layer in model.modules():
                if isinstance(layer, torch.nn.Dropout):
                    layer.register_forward_hook(lambda module, given, out: dropped.append((given[0], out)))
        states.append(x.clone())

    monkeypatch.setattr(rules, "bridge_step", watched)
    sample(model, model.schedule, SHAPE, rng=Philox(3), callback=watch, **LANL)
    assert len(seen) == len(stepped) == T and states[0].max() == 0
    for step, i in enumerate(range(T - 1, -1, -1)):
        t, s, x = OBSERVED[i + 1], OBSERVED[i], states[step].numpy().astype(float)
        given, time, logits = seen[step]
        assert time.tolist() == [i] * len(given)
        np.testing.assert_allclose(given.numpy(), x - max_count / 2 * np.exp(-t), rtol=1e-6, atol=1e-6)
        rounded = np.round(torch.nn.functional.softplus(logits).numpy()).astype(int)
        births, q = stepped[step]["births"].numpy(), stepped[step]["step"]
        most = max_count - x
        assert np.array_equal(np.clip(rounded, 0, most), np.minimum(births, most))  # bridge_step takes this minimum
        np.testing.assert_allclose(q.p, (np.exp(-s) - np.exp(-t)) / (1 - np.exp(-t)), rtol=1e-8)
        born = states[step + 1].numpy() - x
        assert (born >= 0).all() and (born <= np.clip(rounded, 0, most)).all()
    assert np.array_equal(states[-1], x + np.clip(rounded, 0, most))  # q is 1 at last
    blocks = sum(isinstance(layer, torch.nn.Dropout) for layer in model.modules())
    assert len(dropped) == T * blocks and blocks > 4
    for before, after in dropped:
        kept = after != 0
        torch.testing.assert_close(after[kept], before[kept] / 0.9)
    share = np.mean([float((after == 0).float().mean()) for _, after in dropped])
    assert abs(share - 0.1) < 0.01
    masks = [(after == 0).flatten() for _, after in dropped if after.shape == dropped[0][1].shape]
    assert all(not torch.equal(masks[0], other) for other in masks[1:])


def test_q_and_halves():
    rule, schedule = rules.load_rule("lanl-2023")(), Schedule.logit(1000, T_END)
    end = logit(np.exp(-T_END))
    observed = np.append(0.0, -np.log(expit(np.linspace(-end, end, 1000))))
    p = np.exp(-observed)
    q = (p[:-1] - p[1:]) / (1 - p[1:])
    assert rule.dropout and not rules.load_rule("bridge").dropout
    found = [rule.numbers(schedule, k, k - 1)[0] for k in range(1, 1001)]
    np.testing.assert_allclose(found, q, rtol=5e-8)  # their difference of exponentials has lost digits near p = 1
    with mpmath.workdps(40):  # the same, with none lost
        last = mpmath.log(mpmath.exp(-T_END) / (1 - mpmath.exp(-T_END)))
        p = [mpmath.mpf(1), *(1 / (1 + mpmath.exp(last * (1 - mpmath.mpf(2 * i) / 999))) for i in range(1000))]
        exact = [float((p_s - p_t) / (1 - p_t)) for p_s, p_t in pairwise(p)]
    np.testing.assert_allclose(found, exact, rtol=1e-13)
    y = torch.tensor([[0.5, 1.5, 2.5, 0.49, 300.0]])
    x = torch.zeros(1, 5, dtype=torch.uint8)
    how = {"rng": Philox(1), "max_count": 200, "center": 0.0, "scale": 1.0}
    assert rule.step(x, (1.0, 0.0), None, births=y, **how).x_s.tolist() == [[0, 2, 2, 0, 200]]
    logits = torch.log(torch.expm1(torch.tensor([[1.26, 3.0, 0.6, 1.2, 9.0]])))
    for gain in (2.0, torch.tensor([2.0])):
        assert rule.step(x, (1.0, 0.0), None, logits=logits, gain=gain, **how).x_s.tolist() == [[3, 6, 1, 2, 18]]


def test_dropout_is_seeded_and_leaves_the_model_alone():
    model = model_of()
    before = torch.random.get_rng_state()
    whole = sample(model, model.schedule, SHAPE, rng=Philox(3, first_sample=2), **LANL)
    assert torch.equal(before, torch.random.get_rng_state())
    parts = sample_in_batches(model, model.schedule, SHAPE, 3, Philox(3, first_sample=2), **LANL)
    assert torch.equal(torch.cat(list(parts)), whole)
    assert torch.equal(
        sample(model, model.schedule, SHAPE, rng=Philox(3, first_sample=2), cuda_graph=True, **LANL), whole
    )
    assert not torch.equal(sample(model, model.schedule, SHAPE, rng=Philox(4, first_sample=2), **LANL), whole)
    without = model_of(dropout=0.0)
    without.load_state_dict(model.state_dict())
    assert not torch.equal(sample(without, model.schedule, SHAPE, rng=Philox(3, first_sample=2), **LANL), whole)
    plain = {"steps": T, "grid": "index", "rounding": "nearest", "rng": Philox(3, first_sample=2)}
    expected = sample(without, model.schedule, SHAPE, **plain)
    assert torch.equal(sample(model, model.schedule, SHAPE, **plain), expected)  # no hook is left, and none was there


def test_other_kinds_of_dropout_are_refused():
    model = model_of()
    model.network.other = torch.nn.Dropout2d(0.2)
    with pytest.raises(ValueError, match="must be nn.Dropout with p below 1 to be left on, got Dropout2d"):
        sample(model, model.schedule, SHAPE, rng=Philox(1), **LANL)
    with pytest.raises(
        ValueError, match="rounding: must be left at the default but with sampler bridge, got nearest with lanl-2023"
    ):
        sample(PixelModel(), model.schedule, SHAPE, sampler="lanl-2023", rounding="nearest")


def test_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    np.savez("counts.npz", images=rng.integers(0, 9, (30, 8, 8)))
    tiny = [
        "--steps=3",
        "--batch=8",
        "--channels=8",
        "--threads=1",
        "--sample-every=0",
        "--quiet",
        "--schedule-steps=12",
    ]
    assert main(["train", "array", "--data=counts.npz", "--dropout=0.3", *tiny]) == 0
    assert main(["train", "array", "--data=counts.npz", "--out=law", "--head=implicit", *tiny]) == 0
    how = ["--quiet", "--threads=1", "--num=3"]
    for name, more in (("a", ["--compat=lanl-2023"]), ("b", ["--sampler=lanl-2023", "--steps=12", "--grid=index"])):
        capsys.readouterr()
        assert main(["sample", "runs/array", f"--out={name}.npz", *how, *more]) == 0
        assert "12 network calls each" in capsys.readouterr().out
    assert np.array_equal(np.load("a.npz")["images"], np.load("b.npz")["images"])
    assert main(["sample", "runs/array", "--compat=lanl-2023", "--steps=4", *how]) == 0
    assert main(["evaluate", "runs/array", "--compat=lanl-2023", "--data=counts.npz", "--bits=0", *how]) == 0
    assert "lanl-2023, 12 steps (index grid)" in capsys.readouterr().out
    for arguments, words in (
        (["runs/array", "--grid=early"], "sample: grid: must be left out with --compat lanl-2023, got early"),
        (["runs/array", "--attrition=0"], "sample: attrition: must be left out with --compat lanl-2023, got 0.0"),
        (["runs/array", "--steps=5"], "steps: must divide the 12 times of the schedule"),
        (["law"], "compat: lanl-2023 needs a run of head mean, got implicit"),
    ):
        assert main(["sample", *arguments, "--compat=lanl-2023", "--out=c.npz", *how]) == 1
        assert words in capsys.readouterr().err.replace("fastblackout sample: ", "sample: ")
