"""Every head in runs and on the command line, the implicit head's draws, loss and bound, and a new head.

A new head is one file with its class, one line in HEADS and its name in typing.py; all else asks them.
"""

import json
import re

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from fastblackout import heads
from fastblackout.blackout import BlackoutModel
from fastblackout.blackout.losses import blackout_loss, loss_unit
from fastblackout.cli.command_line import build_parser, main
from fastblackout.heads import HEADS, head_named
from fastblackout.heads.head import Predicted
from fastblackout.models import small
from fastblackout.sampling.sampler import sample_in_batches
from fastblackout.training.checkpoint import EMA, NETWORK, OPTIMIZER, load_checkpoint
from fastblackout.training.config import TrainConfig, preset
from fastblackout.training.trained_model import load_run
from support.squares import squares

torch.set_num_threads(1)
SCHEDULE = fb.Schedule.cosine(50)
SHAPE = (5, 1, 4, 4)
RNG = fb.Philox(2**40, first_sample=2, call=9)
TINY = {"steps": 4, "batch": 4, "channels": 8, "threads": 1, "warmup": 2, "schedule_steps": 50, "log_every": 2}
TINY |= {"held_out_every": 3, "sample_every": 0, "checkpoint_every": 2}
FEW, OF_LAW = ["--steps=5", "--bits=2"], "5 steps of its law, at the times above"


class Pixels(torch.nn.Module):
    """Single float operations on each pixel, so that batching cannot change a bit: image, noise, time and label."""

    def forward(self, x, time, labels=None):
        shift = 0.0 if labels is None else labels.view(-1, 1, 1, 1).float() * 0.25
        return x[:, :1] * 0.5 + x[:, 1:2] - x[:, 2:3] * 0.25 + time.view(-1, 1, 1, 1) * 0.01 + shift


class Scaled(torch.nn.Module):
    """The image times a factor, as often as there are outputs, whatever the noise."""

    def __init__(self, *factors):
        super().__init__()
        self.factors = factors

    def forward(self, x, time, labels=None):
        return torch.cat([factor * x[:, :1] for factor in self.factors], 1)


def implicit(network=None, max_count=40, noise_channels=2):
    network = network or Pixels()
    return BlackoutModel(network, SCHEDULE, max_count, input="unit", head="implicit", noise_channels=noise_channels)


@pytest.fixture
def log_mean(monkeypatch):
    """The name of a head that is there as long as the test."""
    monkeypatch.setitem(heads.HEADS, "log-mean", heads.Listed("support.new_heads:LogMean", {"schedule": "cosine"}))
    yield "log-mean"
    heads._MADE.pop("log-mean", None)


# --- every head


@pytest.mark.parametrize(
    ("head", "more", "outputs"),
    [
        ("implicit", {"draws": 3}, 1),
        ("beta-binomial", {}, 2),
        ("bayes-logistic", {"components": 1}, 2),
        ("bayes-logistic", {"components": 2}, 5),
        ("negative-binomial", {}, 2),
    ],
)
def test_a_run_learns_resumes_and_samples(tmp_path, head, more, outputs):
    """Stopped after two steps and resumed it has the bytes of a run in one go; its samples are its own."""
    data, options = squares(tmp_path / "squares.npz"), {**TINY, "head": head, **more}
    config = preset("array", **options)
    assert (config.weight, config.schedule) == ("energy" if head == "implicit" else "uniform", "cosine")
    assert preset("array", schedule="logit", **options).schedule == "logit"
    fb.train(data, tmp_path / "whole", config, progress=False)
    fb.train(data, tmp_path / "parts", preset("array", **options | {"steps": 2}), progress=False)
    fb.train(data, tmp_path / "parts", config, resume=True, progress=False)
    files = [load_checkpoint(tmp_path / name).path for name in ("whole", "parts")]
    for name in (NETWORK, EMA, OPTIMIZER):
        assert (files[0] / name).read_bytes() == (files[1] / name).read_bytes()
    run = load_run(tmp_path / "whole")
    noise = 4 if head == "implicit" else 0
    assert (run.model.head, run.model.noise_channels, run.model.network.in_channels) == (head, noise, 1 + noise)
    assert run.model.network.out_channels == outputs
    drawn = fb.sample(run.model, run.schedule, (3, *run.shape), steps=2, rng=RNG)
    assert drawn.shape == (3, 1, 4, 4) and int(drawn.max()) <= 20


@pytest.mark.parametrize(
    ("head", "more", "how", "said"),
    [
        ("implicit", ["--draws=2", "--sample-every=4"], [], "bridge, 10 steps;continuous time, the mean of 8 draws"),
        ("beta-binomial", ["--sample-every=4"], FEW, f"bridge, 5 steps;{OF_LAW}"),
        ("bayes-logistic", ["--components=3"], FEW, OF_LAW),
        pytest.param("negative-binomial", [], FEW, OF_LAW, marks=pytest.mark.slow),
        ("log-mean", ["--bits-every=4"], FEW, "5 tau-leaping steps, at the times above"),
    ],
    ids=["implicit", "beta-binomial", "bayes-logistic", "negative-binomial", "log-mean"],
)
def test_the_command_line_trains_samples_and_evaluates_it(
    head, more, how, said, log_mean, tmp_path, capsys, monkeypatch
):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    squares(tmp_path / "squares.npz")
    run, given = str(tmp_path / "run"), ["--data", str(tmp_path / "squares.npz")]
    options = ["--steps=4", "--batch=8", "--channels=8", "--threads=1", "--schedule-steps=50", *more]
    assert main(["train", "array", *given, "--out", run, f"--head={head}", *options, "--quiet"]) == 0
    config = json.loads(next((tmp_path / "run").rglob("config.json")).read_text())["config"]
    assert (config["model"]["head"], config["train"]["schedule"]) == (head, "cosine")
    assert main(["sample", run, "--num=3", *how[:1], "--quiet"]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, *given, "--num=30", "--seeds=1", *how]) == 0
    out, told = capsys.readouterr()
    assert all(text in out for text in said.split(";")) and ("tau-leaping" in out) == (head == "log-mean")
    if head == "beta-binomial":
        assert re.search(r"^Bits of 2 held-out images take about \d+:\d\d ", told, re.MULTILINE)
        assert "bits of held-out images: 512/512 draws, " in told  # 16 draws, 8 repeats, two bounds
        assert main(["sample", run, "--sampler=tau-leap", "--out", str(tmp_path / "other.npz")]) == 1
        assert "sampler: must be bridge" in capsys.readouterr().err
    if head == "log-mean":
        assert main(["plot", run, *given, "--steps=3", "--quiet"]) == 0
        assert "laws.png: head log-mean gives one number of births" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"head": "median"}, "head: must be one of .*, got 'median'"),
        ({"head": "implicit"}, "noise_channels: must be an integer of at least 1 for head 'implicit', got 0"),
        ({"head": "implicit", "noise_channels": True}, "noise_channels: must be an integer of at least 1"),
        ({"noise_channels": 2}, "noise_channels: must be 0 for head 'mean', got 2"),
        ({"head": "beta-binomial", "noise_channels": 2}, "noise_channels: must be 0 for head 'beta-binomial', got 2"),
    ],
)
def test_a_wrong_head_is_refused(given, message):
    with pytest.raises(ValueError, match=f"^BlackoutModel: {message}"):
        BlackoutModel(Pixels(), SCHEDULE, 255, **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"head": "implicit", "weight": "likelihood"}, "weight: of head implicit must be energy or uniform, got likel"),
        ({"weight": "energy"}, "weight: energy belongs to head implicit, here head mean, got energy"),
        ({"draws": 1}, "draws: must be in 2..8, got 1"),
        ({"draws": 4}, "draws: belongs to head implicit, here head mean, got 4"),
        ({"head": "log-mean", "draws": 4}, "draws: belongs to head implicit, here head log-mean, got 4"),
        ({"head": "beta-binomial", "parametrization": "paper"}, "parametrization: belongs to head mean, .*, got paper"),
        ({"noise_channels": 0}, "noise_channels: must be in 1..64, got 0"),
        ({"head": "none"}, f"head: must be one of {', '.join(HEADS)}, log-mean, got 'none'"),
        ({"head": "bayes-logistic", "weight": "uniform", "components": 4}, "components: must be in 1..3, got 4"),
        ({"components": 2}, "components: belongs to head bayes-logistic, here head mean, got 2"),
    ],
)
def test_wrong_options_of_heads_are_refused(given, message, log_mean):
    with pytest.raises(ValueError, match=f"^train: {message}"):
        TrainConfig(**given)


def test_options_of_a_new_head_are_known(log_mean, capsys):
    assert preset("array", head=log_mean).schedule == "cosine" != preset("array").schedule
    with pytest.raises(SystemExit):
        build_parser().parse_args(["train", "array", "--help-all"])
    assert "head log-mean" in " ".join(capsys.readouterr().out.split())


def test_configurations_of_before_heads_and_times_still_load():
    new = ("head", "noise_channels", "draws", "times", "components")
    old = {name: value for name, value in TrainConfig().to_dict().items() if name not in new}
    assert TrainConfig.from_dict(old) == TrainConfig(times="uniform") != TrainConfig()
    model = BlackoutModel(small((1, 8, 8), channels=8), SCHEDULE, 16)
    described = model.to_config()
    assert not {"head", "noise_channels"} & set(described) and "out_channels" not in described["network"]["kwargs"]
    assert BlackoutModel.from_config(described).head == "mean"
    again = implicit(small((1, 8, 8), channels=8, noise_channels=2), 16)
    assert BlackoutModel.from_config(again.to_config()).to_config() == again.to_config()


def test_of_poisson_counts_samples_and_bound_of_a_new_head_are_exact(log_mean):
    """Births of a mean 1 - p, whatever was seen, are the births of Poisson counts of mean 1."""
    model = BlackoutModel(Scaled(0.0), SCHEDULE, 30, head=log_mean)
    draw = {"steps": 5, "sampler": "tau-leap", "rng": RNG}
    drawn = fb.sample(model, SCHEDULE, (40, 1, 32, 32), **draw)
    counts = np.bincount(drawn.flatten().numpy(), minlength=8)
    chance = stats.poisson.pmf(np.arange(7), 1.0)
    observed, wanted = [*counts[:7], counts[7:].sum()], np.append(chance, 1 - chance.sum()) * drawn.numel()
    assert stats.chisquare(observed, wanted).pvalue > 1e-6
    assert torch.equal(fb.sample(model, SCHEDULE, drawn.shape, cuda_graph=True, **draw), drawn)
    bound = fb.bits_per_dim(model, SCHEDULE, drawn, rng=RNG, steps=50, draws=16, repeats=4)
    entropy = -stats.poisson.logpmf(drawn.numpy(), 1.0).mean() / np.log(2)
    for each in bound:
        assert abs(each.bits - entropy) < 5 * each.monte_carlo_error + 1e-3


def test_what_a_model_needs_depends_on_its_head():
    class Own(torch.nn.Module):
        max_count = 40

        def __init__(self, head):
            super().__init__()
            self.head = head
            self.center, self.scale, self.gain = lambda k: 0.0, lambda k: 1.0, lambda k: 1.0

        def forward(self, x, k, labels=None):
            return x * 0

    drawn = fb.sample(Own(torch.nn.Linear(1, 1)), SCHEDULE, SHAPE, 2, rng=RNG)  # a head of another kind
    assert drawn.shape == SHAPE
    with pytest.raises(TypeError, match="^sample: model: must .* have max_count, .*, offset, draw_noise and a call"):
        fb.sample(Own("implicit"), SCHEDULE, SHAPE, 2, rng=RNG)


# --- the implicit head


def test_a_step_is_the_bridge_of_a_joint_draw():
    """Against the formula: y = (max_count - x) sigmoid(2 logits + log(1 - p)), rounded, thinned by the step."""
    model, x = implicit(), torch.zeros(SHAPE, dtype=torch.uint8)
    for n, (k_t, k_s) in enumerate(zip(*(SCHEDULE.grid(4)[i:][:4] for i in (0, 1)), strict=True)):
        k_t, k_s, key = int(k_t), int(k_s), RNG.at(call=n)
        noise = fb.normal(torch.zeros(5, 2, 4, 4), 1.0, rng=key)
        seen = (x.float() - 20 * SCHEDULE.p[k_t]) * (2 / 40)
        logits = Pixels()(torch.cat((seen.float(), noise), 1), torch.full((5,), k_t - 1))
        y = (40 - x.float()) * torch.sigmoid(2 * logits + float(np.log(SCHEDULE.q[k_t])))
        x = fb.bridge_step(x, births=y, step=SCHEDULE.bridge(k_t, k_s), rng=key, max_count=40).x_s
    drawn = fb.sample(model, SCHEDULE, SHAPE, steps=4, grid="cosine", rng=RNG)
    assert (drawn.int() - x.int()).abs().max() <= 1 and (drawn != x).float().mean() < 0.05  # the input's last bits
    assert drawn.dtype == torch.uint8 and int(drawn.max()) <= 40 and drawn.float().std() > 1


@pytest.mark.parametrize("steps", [1, 3])
@pytest.mark.parametrize("sampler", ["bridge", "tau-leap"])
def test_samples_do_not_depend_on_the_split_or_the_loop(steps, sampler):
    model, labels, options = implicit(), torch.arange(5) % 3, {"steps": steps, "sampler": sampler}
    known, mask = torch.full(SHAPE[1:], 7), torch.arange(16).view(1, 4, 4) < 8
    for more in ({}, {"labels": labels, "guidance": 0.7}, {"known": known, "mask": mask}):
        whole = fb.sample(model, SCHEDULE, SHAPE, rng=RNG, **options, **more)
        assert torch.equal(fb.sample(model, SCHEDULE, SHAPE, rng=RNG, cuda_graph=True, **options, **more), whole)
        parts = sample_in_batches(model, SCHEDULE, SHAPE, 2, RNG, **options, **more)
        assert torch.equal(torch.cat(list(parts)), whole)
    assert bool((whole[:, mask] == 7).all())


def test_guidance_moves_the_logits_at_one_noise():
    model, labels = implicit(), torch.full((5,), 2)
    given = ((None, 0), (labels, 0), (labels, 8.0))
    none, plain, more = (fb.sample(model, SCHEDULE, SHAPE, 1, rng=RNG, labels=of, guidance=w) for of, w in given)
    assert none.float().mean() < plain.float().mean() < more.float().mean()


@pytest.mark.parametrize("draws", [2, 3])
def test_the_loss_is_the_energy_score_of_draws_with_other_noise(draws):
    torch.manual_seed(0)
    model = implicit(small((1, 8, 8), channels=8, noise_channels=2), 16)
    with torch.no_grad():
        for parameter in model.parameters():  # the last convolution begins at zero and would hide the rest
            parameter += 0.1 * torch.randn_like(parameter)
    x_0 = torch.randint(0, 17, (4, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    k = torch.tensor([1, 10, 30, 50])
    loss = blackout_loss(model, SCHEDULE, x_0, k, RNG, "energy", draws=draws)
    noised = fb.thin(x_0, SCHEDULE.survival(k), rng=RNG, max_count=16, center=model.center(k), scale=model.scale(k))
    q = torch.from_numpy(SCHEDULE.q[k.numpy()]).view(-1, 1, 1, 1)
    y = []
    for s in range(draws):
        key = fb.Philox(RNG.seed + s * 2**56, first_sample=RNG.first_sample, call=RNG.call)
        noise = fb.normal(torch.zeros(4, 2, 8, 8), 1.0, rng=key)
        logits = model(noised.model_input, k, noise=noise).double()
        y.append(((16 - noised.x_t.double()) * torch.sigmoid(2 * logits + q.log())).flatten(1))
    fit = torch.stack([(each - noised.births.flatten(1)).norm(dim=1) for each in y]).mean(0)
    pairs = torch.stack([(y[i] - y[j]).norm(dim=1) for i in range(draws) for j in range(i)]).mean(0)
    torch.testing.assert_close(loss.double(), (fit - 0.5 * pairs) / q.flatten().sqrt(), rtol=1e-5, atol=1e-6)
    loss.mean().backward()
    assert all(each.grad is not None and torch.isfinite(each.grad).all() for each in model.parameters())


@pytest.mark.parametrize("weight", ["energy", "uniform"])
def test_the_unit_of_an_energy_score_is_its_norm_at_a_quarter_of_the_counts(weight):
    """The births of a pixel at a quarter of max_count have the size sqrt(1 - p) max_count / 4, in the mean over k."""
    q = SCHEDULE.q[1:]
    norms = (1 / np.sqrt(q) if weight == "energy" else 1.0) * np.sqrt(q * 64) * 16 / 4
    assert loss_unit(SCHEDULE, weight, 16, 64, "implicit") == pytest.approx(1 / norms.mean(), rel=1e-12)


def test_its_likelihood_bound_is_that_of_the_mean_of_its_draws():
    """Where the noise changes nothing: the bound of a beta-binomial head whose first output is twice as large."""
    x_0 = torch.from_numpy(np.random.default_rng(1).integers(0, 41, (6, 1, 4, 4)))
    how = {"rng": RNG, "steps": 3, "draws": 4, "repeats": 2}
    model = implicit(Scaled(0.3))
    law = BlackoutModel(Scaled(0.6, 0.0), SCHEDULE, 40, input="unit", head="beta-binomial")
    plain = fb.bits_per_dim(law, SCHEDULE, x_0, **how).continuous
    for noises in (1, 3):
        got = fb.bits_per_dim(model, SCHEDULE, x_0, noises=noises, **how).continuous
        np.testing.assert_allclose(got.per_image, plain.per_image, rtol=1e-6)
    with pytest.raises(ValueError, match=r"^bits_per_dim: noises: must be in 1\.\.256, got 0$"):
        fb.bits_per_dim(model, SCHEDULE, x_0, noises=0, **how)


def test_the_mean_is_over_draws_not_over_outputs():
    random = np.random.default_rng(2)
    outputs, room, offset = random.normal(0, 3, (3, 2, 1, 4)), random.integers(1, 9, (2, 1, 4)), [-0.5, -3.0]
    shares = 1 / (1 + np.exp(-2 * outputs - np.reshape(offset, (2, 1, 1))))
    outputs, left, offset = (torch.from_numpy(value) for value in (outputs, room.astype(float), np.array(offset)))
    got = head_named("implicit").log_mean(Predicted(left, left, outputs, offset, 9))
    np.testing.assert_allclose(got.exp(), room * shares.mean(0), rtol=1e-12)


def test_more_noises_give_a_lower_bound():
    """The cost of a mean of draws is at most the mean of their costs; of 24 images with other noise at every pixel."""
    x_0 = torch.from_numpy(np.random.default_rng(3).integers(10, 31, (24, 1, 4, 4)))
    how = {"rng": RNG, "steps": 3, "draws": 8, "repeats": 4}
    one, many = (fb.bits_per_dim(implicit(), SCHEDULE, x_0, noises=noises, **how) for noises in (1, 16))
    for few, bound in zip(one, many, strict=True):  # differences of 14 and 11 bits, with errors of up to 0.45
        assert few.monte_carlo_error + bound.monte_carlo_error < 1 and few.bits > bound.bits + 5


def test_wrong_noise_is_refused():
    x, noise = torch.zeros(SHAPE), torch.zeros(5, 2, 4, 4)
    for model, given, got in (
        (implicit(), None, "got None"),
        (implicit(), noise[:, :1], r"got \(5, 1, 4, 4\)"),
        (BlackoutModel(Pixels(), SCHEDULE, 255), noise, "must be None for head 'mean'"),
    ):
        with pytest.raises(ValueError, match=f"^BlackoutModel: noise: .*{got}"):
            model(x, 3, noise=given)
