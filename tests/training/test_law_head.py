"""The beta-binomial head: its law in training, in sampling and in the likelihood bounds."""

import itertools
import re

import numpy as np
import pytest
import scipy.stats
import torch
from scipy.special import betaln, gammaln, logsumexp

import fastblackout as fb
from fastblackout.blackout import BlackoutModel
from fastblackout.blackout.losses import blackout_loss, loss_unit
from fastblackout.cli.command_line import main
from fastblackout.heads import head_named
from fastblackout.models import small
from fastblackout.reference import portfloat
from fastblackout.sampling.sampler import sample_in_batches
from fastblackout.training import trainer
from fastblackout.training.checkpoint import EMA, NETWORK, OPTIMIZER, load_checkpoint
from fastblackout.training.config import preset
from fastblackout.training.held_out import HeldOut
from fastblackout.training.trained_model import load_run
from fastblackout.tuning.even import Errors
from support.helpers import by_day, chi_square_counts
from support.squares import squares

torch.set_num_threads(1)
SCHEDULE = fb.Schedule.cosine(50)
SHAPE = (5, 1, 4, 4)
RNG = fb.Philox(2**40, first_sample=2, call=9)
FALSE_ALARM = 1e-6  # of each statistical check, at fixed seeds
TINY = {"steps": 6, "batch": 4, "channels": 8, "threads": 1, "warmup": 2, "schedule_steps": 50, "log_every": 2}
TINY |= {"held_out_every": 3, "sample_every": 0, "checkpoint_every": 3, "head": "beta-binomial"}


class Two(torch.nn.Module):
    """Both numbers of each pixel, single float operations of it, so that batching cannot change a bit."""

    def __init__(self, first=-0.4, second=0.3, slope=0.0):
        super().__init__()
        self.first, self.second, self.slope = first, second, slope

    def forward(self, x, time, labels=None):
        shift = 0.0 if labels is None else labels.view(-1, 1, 1, 1).float() * 0.25
        seen = x * self.slope
        return torch.cat((seen + self.first + shift, seen * 0.5 + self.second - shift), 1)


def law_model(network=None, max_count=20, schedule=SCHEDULE):
    return BlackoutModel(network or Two(), schedule, max_count, input="unit", head="beta-binomial")


def shapes_of(first, second, log_q):
    mean, size = 1 / (1 + np.exp(-(first + log_q))), np.exp(np.clip(second + 1, -5, 7))
    return mean * size, (1 - mean) * size


def log_law(n, room, a, b):
    choose = gammaln(room + 1) - gammaln(n + 1) - gammaln(room - n + 1)
    return choose + betaln(n + a, room - n + b) - betaln(a, b)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return squares(tmp_path_factory.mktemp("data") / "squares.npz")


@pytest.mark.parametrize("weight", ["uniform", "likelihood"])
def test_the_loss_is_minus_the_logarithm_of_the_law(weight):
    model, k = law_model(Two(slope=0.7)), torch.tensor([1, 3, 17, 44, 50])
    x_0 = torch.randint(0, 21, SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    loss = blackout_loss(model, SCHEDULE, x_0, k, RNG, weight, labels=torch.arange(5) % 2)
    noised = fb.thin(x_0, SCHEDULE.survival(k), rng=RNG, max_count=20, center=model.center(k), scale=model.scale(k))
    first, second = model(noised.model_input, k, torch.arange(5) % 2).double().chunk(2, 1)
    a, b = shapes_of(first.numpy(), second.numpy(), np.log(SCHEDULE.q[k.numpy()])[:, None, None, None])
    wanted = -log_law(noised.births.double().numpy(), 20 - noised.x_t.double().numpy(), a, b).sum((1, 2, 3))
    np.testing.assert_allclose(loss.numpy(), wanted * SCHEDULE.weight(weight, k).numpy(), rtol=1e-5)
    steps = SCHEDULE.weight(weight, np.arange(1, 51))
    assert loss_unit(SCHEDULE, weight, 20, 16, "beta-binomial") == pytest.approx(1 / (16 * steps.mean()))


def test_one_step_from_black_draws_the_law_itself():
    """And several pixels' births are drawn apart; by chi-square."""
    first, second = -0.4, 0.3
    drawn = fb.sample(law_model(), SCHEDULE, (20000, 1, 2, 2), steps=1, rng=RNG).long().view(-1, 4).numpy()
    a, b = shapes_of(first, second, np.log(SCHEDULE.q[50]))
    law = np.exp(log_law(np.arange(21), 20, a, b))
    for pixel in drawn.T:
        assert chi_square_counts(np.bincount(pixel, minlength=21), 20000 * law) > FALSE_ALARM
    pairs = np.bincount((drawn[:, 0] > 5) * 2 + (drawn[:, 3] > 5), minlength=4)
    high = law[6:].sum()
    both = np.outer((1 - high, high), (1 - high, high)).ravel()
    assert chi_square_counts(pairs, 20000 * both) > FALSE_ALARM


def test_steps_are_those_of_posterior_step():
    model, labels, x = law_model(Two(slope=0.7)), torch.arange(5) % 2, torch.zeros(SHAPE, dtype=torch.uint8)
    times = [int(k) for k in SCHEDULE.grid(3)]
    seen = fb.thin(x, 1.0, rng=RNG, max_count=20, center=model.center(50), scale=model.scale(50)).model_input
    for n, (k_t, k_s) in enumerate(zip(times, times[1:], strict=False)):
        outputs = 1.5 * model(seen, k_t, labels) - 0.5 * model(seen, k_t)
        how = {"family": "beta-binomial", "offset": model.offset(k_t), "max_count": 20}
        how |= {"center": model.center(k_s), "scale": model.scale(k_s), "rng": RNG.at(call=n)}
        x, seen = fb.posterior_step(x, outputs.chunk(2, 1), SCHEDULE.bridge(k_t, k_s), **how)
    drawn = fb.sample(model, SCHEDULE, SHAPE, steps=3, grid="cosine", rng=RNG, labels=labels, guidance=0.5)
    assert torch.equal(drawn, x)
    parts = sample_in_batches(model, SCHEDULE, SHAPE, 2, RNG, labels, steps=3, grid="cosine", guidance=0.5)
    assert torch.equal(torch.cat(list(parts)), x)
    graph = fb.sample(
        model, SCHEDULE, SHAPE, steps=3, grid="cosine", rng=RNG, labels=labels, guidance=0.5, cuda_graph=True
    )
    assert torch.equal(graph, x)


def test_imputation_keeps_what_is_known():
    known = torch.full(SHAPE, 13, dtype=torch.uint8)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[..., :2] = True
    drawn = fb.sample(law_model(Two(slope=0.7)), SCHEDULE, SHAPE, steps=4, rng=RNG, known=known, mask=mask)
    assert (drawn[mask] == 13).all() and (drawn[~mask] != 13).any()


def test_one_step_of_the_bound_is_the_law_of_the_image():
    """The step from black to the image: -log of the law, summed over pixels; no draw takes part."""
    model = law_model(Two(slope=0.7))
    x_0 = torch.randint(0, 21, SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    bits = fb.bits_per_dim(model, SCHEDULE, x_0, rng=RNG, steps=1, draws=4, repeats=2).discrete
    seen = (torch.zeros(SHAPE).double() - model.center(50)) * model.scale(50)
    first, second = model(seen.float(), 50).double().chunk(2, 1)
    a, b = shapes_of(first.numpy(), second.numpy(), np.log(SCHEDULE.q[50]))
    wanted = -log_law(x_0.double().numpy(), 20.0, a, b).mean((1, 2, 3)) / np.log(2)
    np.testing.assert_allclose(bits.per_image, wanted, rtol=1e-9)
    assert bits.monte_carlo_error < 1e-9


def test_the_bound_of_a_step_is_the_exact_divergence():
    """Two steps about a pixel whose law is known, against sums over x_t and the births of both steps."""
    first, second, most, times = 0.2, 1.0, 6, (50, 25, 0)
    assert tuple(map(int, SCHEDULE.grid(2, kind="index"))) == times
    model = law_model(Two(first, second), most)
    x_0 = torch.full((1, 1, 40, 40), 4, dtype=torch.uint8)
    got = fb.bits_per_dim(model, SCHEDULE, x_0, rng=RNG, steps=2, grid="index", draws=8, repeats=4).discrete
    total, births = 0.0, np.arange(most + 1)
    for n, (k_t, k_s) in enumerate(zip(times, times[1:], strict=False)):
        alive = 0.0 if n == 0 else SCHEDULE.p[k_t]
        true = SCHEDULE.survival(k_s) if n == 0 else SCHEDULE.bridge(k_t, k_s)
        a, b = shapes_of(first, second, np.log(SCHEDULE.q[k_t]))
        for x_t, weight in enumerate(scipy.stats.binom.pmf(np.arange(5), 4, alive)):
            room = np.arange(most - x_t + 1)
            assumed = SCHEDULE.bridge(k_t, k_s).p
            thinned = scipy.stats.binom.logpmf(births[:, None], room, assumed) + log_law(room, most - x_t, a, b)
            step = logsumexp(thinned, axis=1)
            real = scipy.stats.binom.pmf(births, 4 - x_t, float(true.p))
            total += weight * (scipy.special.xlogy(real, real) - real * np.where(real > 0, step, 0)).sum()
    assert abs(got.bits - total / np.log(2)) < 5 * got.monte_carlo_error + 1e-9
    assert got.monte_carlo_error < 0.005 * got.bits


@pytest.mark.parametrize("most", [1, 255, 3000])
def test_the_law_by_ratios_is_the_op(most):
    """Also where all is at an end, or the widest and narrowest."""
    room = torch.tensor([0, 1, most // 2, most]).double()[:, None]
    n, offset = torch.arange(most + 1).double(), torch.full_like(room, -0.7)
    for first, second in itertools.product((-2000.0, -40.0, 0.5, 40.0, 2000.0), (-30.0, 0.3, 30.0)):
        size = np.exp(np.clip(second + 1, -5, 7))
        a, b = (max(scipy.special.expit(side * (first - 0.7)) * size, 1e-300) for side in (1, -1))
        arrays = [torch.full_like(room, first), torch.full_like(room, second)]
        got = head_named("beta-binomial").log_law(arrays, room, offset, most)
        torch.testing.assert_close(got, fb.beta_binomial_log_prob(n, room, a, b), rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("head", ["beta-binomial", "negative-binomial"])
def test_a_bound_takes_no_log_gamma_for_every_count(head, monkeypatch):
    """The logarithms of the NumPy reference, each a thousand times as slow as a term of a sum by ratios."""
    model = BlackoutModel(Two(slope=0.7), SCHEDULE, 255, input="unit", head=head)
    x_0 = torch.randint(0, 256, SHAPE, generator=torch.Generator().manual_seed(3))
    asked, log = [], portfloat.log

    def counted(x):
        asked.append(np.size(x))
        return log(x)

    monkeypatch.setattr(portfloat, "log", counted)
    fb.bits_per_dim(model, SCHEDULE, x_0, rng=RNG, steps=5, draws=1, repeats=2)
    assert sum(asked) < 255 * 2 * x_0.numel()


def test_the_continuous_bound_is_the_entropy_where_the_mean_is_exact():
    """A pixel of Binomial(8, 0.3): its posterior is binomial with logit(f) = logit(0.3) + log q, at every p."""
    f = 0.3
    model = law_model(Two(np.log(f / (1 - f)), 5.0), 8)
    x_0 = torch.from_numpy(scipy.stats.binom.rvs(8, f, size=(16, 1, 8, 8), random_state=1).astype(np.uint8))
    bound = fb.bits_per_dim(model, SCHEDULE, x_0, rng=RNG, steps=5, draws=32, repeats=4).continuous
    wanted = -scipy.stats.binom.logpmf(x_0.numpy(), 8, f).mean() / np.log(2)
    assert bound.monte_carlo_error < 0.01 * wanted
    assert abs(bound.bits - wanted) < 5 * bound.monte_carlo_error + 0.01 * wanted


def test_a_run_learns_resumes_and_samples(data, tmp_path):
    options = preset("array", **TINY)
    assert (options.weight, options.schedule) == ("uniform", "cosine")
    fb.train(data, tmp_path / "whole", options, progress=False)
    fb.train(data, tmp_path / "parts", preset("array", **TINY | {"steps": 3}), progress=False)
    fb.train(data, tmp_path / "parts", options, resume=True, progress=False)
    files = [load_checkpoint(tmp_path / name).path for name in ("whole", "parts")]
    for name in (NETWORK, EMA, OPTIMIZER):
        assert (files[0] / name).read_bytes() == (files[1] / name).read_bytes()
    run = load_run(tmp_path / "whole")
    assert run.model.head == "beta-binomial" and run.model.network.out_channels == 2
    drawn = fb.sample(run.model, run.schedule, (3, *run.shape), steps=2, rng=RNG)
    assert drawn.shape == (3, 1, 4, 4) and int(drawn.max()) <= 20


@pytest.mark.parametrize("head", by_day(["beta-binomial", "mean", "implicit"], "beta-binomial"))
def test_a_training_ends_with_times_of_few_steps(data, tmp_path, monkeypatch, head):
    """The times of Errors.even for the weights that are kept, where it costs at most a twentieth of the training."""
    monkeypatch.setattr(trainer, "NUMBER", 4)
    options = TINY | {"steps": 20, "checkpoint_every": 20, "held_out_every": 0, "head": head}
    for name, batch in (("long", 128), ("short", 127)):
        fb.train(data, tmp_path / name, preset("array", **options | {"batch": batch}), progress=False)
    run = load_run(tmp_path / "long")
    found = run.model.tuned
    assert list(found) == [2, 3, 5, 10, 20] * (head != "implicit") and load_run(tmp_path / "short").model.tuned == {}
    errors = Errors(run.model, run.schedule, torch.from_numpy(data.held_out[:4]), None, fb.Philox(0))
    for steps, one in found.items():
        assert one.times == tuple(errors.even(steps)) and one.distance is None and not any(one.guidance)


def test_the_held_out_constant_is_a_binomial_for_each_pixel(data):
    model = law_model(small((1, 4, 4), channels=8, outputs=2))
    held = HeldOut(data, model, 1.0, torch.device("cpu"), 64)
    most, count = data.max_count, len(data.train)
    share = np.clip(np.maximum(data.train.mean(0), 0.5 / count) / most, 0, 1 - 0.5 / (most * count))
    alive = SCHEDULE.survival(held.k)
    noised = fb.thin(held.x_0, alive, rng=fb.Philox(297), max_count=most, outputs=("x_t", "births"))
    q = alive.q.view(-1, 1, 1, 1).numpy()
    law = scipy.stats.binom(most - noised.x_t.numpy().astype(int), share * q / (share * q + 1 - share))
    wanted = -law.logpmf(noised.births.numpy()).sum((1, 2, 3)).mean()
    assert held.constant_loss == pytest.approx(wanted, rel=1e-9) and held.describe().endswith(
        f"; {wanted:.4f} without a network, by one binomial law for each pixel"
    )


def test_the_command_line_trains_samples_and_evaluates_it(data, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    squares(tmp_path / "squares.npz")
    run, given = str(tmp_path / "run"), ["--data", str(tmp_path / "squares.npz")]
    options = ["--steps=4", "--batch=8", "--channels=8", "--threads=1", "--schedule-steps=50", "--sample-every=4"]
    assert main(["train", "array", *given, "--out", run, "--head=beta-binomial", *options]) == 0
    assert main(["sample", run, "--num=3", "--steps=5", "--quiet"]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, *given, "--num=30", "--seeds=1", "--steps=5", "--bits=2"]) == 0
    said, told = capsys.readouterr()
    assert re.search(r"^Bits of 2 held-out images take about \d+:\d\d ", told, re.MULTILINE)
    assert "bits of held-out images: 512/512 draws, " in told  # 16 draws, 8 repeats, two bounds
    assert "bridge, 5 steps" in said and "5 steps of its law, at the times above" in said
    assert main(["sample", run, "--sampler=tau-leap", "--out", str(tmp_path / "other.npz")]) == 1
    assert "sampler: must be bridge" in capsys.readouterr().err


@pytest.mark.parametrize("given", [{"sampler": "tau-leap"}, {"attrition": 0.1}, {"rounding": "nearest"}])
def test_other_samplers_are_refused(given):
    ((name, got),) = given.items()
    with pytest.raises(ValueError, match=f"^sample: {name}: must be .* for head 'beta-binomial', .*, got {got}$"):
        fb.sample(law_model(), SCHEDULE, SHAPE, 2, **given)


def test_wrong_networks_and_noise_are_refused():
    with pytest.raises(ValueError, match=r"must have shape \(5, 2, 4, 4\) for head 'beta-binomial', got \(5, 1, 4,"):
        law_model(small((1, 8, 8), channels=8))(torch.zeros(SHAPE), 3)
    with pytest.raises(ValueError, match="noise: must be None for head 'beta-binomial'"):
        law_model()(torch.zeros(SHAPE), 3, noise=torch.zeros(SHAPE))
    with pytest.raises(ValueError, match="noise_channels: must be 0 for head 'beta-binomial', got 2"):
        BlackoutModel(Two(), SCHEDULE, 255, head="beta-binomial", noise_channels=2)


def test_networks_keep_their_descriptions():
    plain, two = small((1, 8, 8), channels=8), small((1, 8, 8), channels=8, outputs=2)
    assert "out_channels" not in plain.config.kwargs and two.config.kwargs["out_channels"] == 2
    assert two(torch.zeros(3, 1, 8, 8), torch.zeros(3, dtype=torch.int64)).shape == (3, 2, 8, 8)
