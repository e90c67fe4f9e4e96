"""The head "negative-binomial": its law in training, in sampling and in the likelihood bounds."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from fastblackout.blackout import BlackoutModel
from fastblackout.blackout.losses import blackout_loss
from fastblackout.cli.command_line import main
from fastblackout.heads import head_named
from fastblackout.heads.head import Predicted
from fastblackout.heads.negative_binomial import log_mass, size_and_mean
from fastblackout.heads.poisson_births import StepProbs
from fastblackout.training.config import preset
from fastblackout.training.trained_model import load_run
from support.helpers import chi_square_counts
from support.negative_binomial_law import losses, numbers_of
from support.squares import squares

torch.set_num_threads(1)
HEAD, MOST = "negative-binomial", 20
SCHEDULE = fb.Schedule.cosine(50)
SHAPE = (5, 1, 4, 4)
RNG = fb.Philox(2**40, first_sample=2, call=9)
FALSE_ALARM = 1e-6  # of each statistical check, at fixed seeds; 2 of them
TINY = {"steps": 4, "batch": 4, "channels": 8, "threads": 1, "warmup": 2, "schedule_steps": 50, "log_every": 2}
TINY |= {"held_out_every": 0, "sample_every": 0, "checkpoint_every": 2, "head": HEAD}


class Fixed(torch.nn.Module):
    """The numbers of each pixel, a little of its input added to each."""

    def __init__(self, numbers, slope=0.0):
        super().__init__()
        self.numbers, self.slope = numbers, slope

    def forward(self, x, time, labels=None):
        return torch.cat([x * self.slope + each for each in self.numbers], 1)


def model_of(numbers=(0.4, -0.5), most=MOST, slope=0.0):
    return BlackoutModel(Fixed(numbers, slope), SCHEDULE, most, input="unit", head=HEAD)


def counts(seed=1):
    return torch.randint(0, MOST + 1, SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_minus_the_logarithm_of_the_law():
    model, k, x_0 = model_of(slope=0.3), torch.tensor([1, 3, 17, 44, 50]), counts()
    loss = blackout_loss(model, SCHEDULE, x_0, k, RNG, "uniform")
    noised = fb.thin(x_0, SCHEDULE.survival(k), rng=RNG, max_count=MOST, center=model.center(k), scale=model.scale(k))
    head = [each.double() for each in model(noised.model_input, k).chunk(2, 1)]
    offset = torch.from_numpy(np.log(SCHEDULE.q[k.numpy()])).view(-1, 1, 1, 1)
    wanted = losses(head, noised.x_t.double(), noised.births.double(), offset, MOST).flatten(1).sum(1)
    np.testing.assert_allclose(loss.numpy(), wanted.numpy(), rtol=1e-5)


def test_one_step_from_black_draws_the_prior_cut_at_the_bound():
    """At p = 0 the births are x_0, negative binomial, all above max_count taken for it."""
    numbers = 1.2, -0.5
    drawn = fb.sample(model_of(numbers), SCHEDULE, (20000, 1, 1, 2), steps=1, rng=RNG).long().view(-1, 2)
    m, r = numbers_of(numbers, MOST)
    gone = SCHEDULE.q[50]  # of an alive particle the schedule keeps none, or nearly none
    law = stats.nbinom.pmf(np.arange(MOST), r, 1 / (1 + gone / (r / m + SCHEDULE.p[50])))
    law = np.append(law, 1 - law.sum())
    assert law[-1] > 0.1
    for pixel in drawn.T.numpy():
        assert chi_square_counts(np.bincount(pixel, minlength=MOST + 1), 20000 * law) > FALSE_ALARM


def test_steps_are_those_of_posterior_step():
    model, x = model_of(slope=0.7), torch.zeros(SHAPE, dtype=torch.uint8)
    times = [int(k) for k in SCHEDULE.grid(3)]
    seen = fb.thin(x, 1.0, rng=RNG, max_count=MOST, center=model.center(50), scale=model.scale(50)).model_input
    for n, (k_t, k_s) in enumerate(zip(times, times[1:], strict=False)):
        how = {"family": HEAD, "offset": model.offset(k_t), "max_count": MOST}
        how |= {"center": model.center(k_s), "scale": model.scale(k_s), "rng": RNG.at(call=n)}
        x, seen = fb.posterior_step(x, model(seen, k_t).chunk(2, 1), SCHEDULE.bridge(k_t, k_s), **how)
    assert torch.equal(fb.sample(model, SCHEDULE, SHAPE, steps=3, grid="cosine", rng=RNG), x)
    assert torch.equal(fb.sample(model, SCHEDULE, SHAPE, steps=3, grid="cosine", rng=RNG, cuda_graph=True), x)


def test_the_law_cut_at_the_room_has_the_tail_there():
    """Against scipy's distribution functions, for rooms far below and far above the mean."""
    random = np.random.default_rng(4)
    room = np.floor(np.exp(random.uniform(0, 9, 400)))
    size, mean = np.exp(random.uniform(-7, 16, 400)), np.exp(random.uniform(-6, 12, 400))
    got = log_mass(*(torch.from_numpy(each) for each in (room, size, mean, room))).numpy()
    wanted = stats.nbinom.logsf(room - 1, size, size / (size + mean))
    likely = wanted > -600
    assert likely.sum() > 200
    np.testing.assert_allclose(got[likely], wanted[likely], rtol=1e-7, atol=1e-9)
    births = torch.arange(MOST + 1, dtype=torch.float64)
    for scale in (0.1, 5.0, 1e3):
        law = log_mass(births, *(torch.full_like(births, each) for each in (1.5, scale, MOST)))
        assert torch.exp(law).sum().item() == pytest.approx(1, abs=1e-12)
    none = torch.zeros(3, dtype=torch.float64)
    assert not log_mass(none, none + 2, none + 7, none).any()


def test_the_bounds_are_by_the_law_of_the_step_that_is_drawn():
    """The mean of all births, and KL of a step, against sums written out over the births and the cut law."""
    x_t = counts(3).double()
    outputs = torch.cat([torch.full(SHAPE, each, dtype=torch.float64) for each in (0.7, -0.5)], 1)
    offset, room = torch.linspace(-3, 0, 5, dtype=torch.float64), MOST - x_t
    arrays, shift = outputs.chunk(2, 1), offset.view(-1, 1, 1, 1)
    size, mean = size_and_mean(arrays, room, shift, MOST)
    n = torch.arange(20_000)
    known = np.vectorize(lambda s, m: (stats.nbinom.pmf(n, s, s / (s + m)) * n.numpy()).sum())(
        size[:, :, :2], mean[:, :, :2]
    )
    got = torch.exp(head_named(HEAD).log_expected(arrays, room, offset, MOST))
    np.testing.assert_allclose(got[:, :, :2], np.where(room[:, :, :2] > 0, known, 0), rtol=1e-9)
    births = torch.floor(room * torch.rand(SHAPE, generator=torch.Generator().manual_seed(2)).double())
    births[:, :, 0] = room[:, :, 0]  # up to the bound
    true, assumed = (fb.Prob(*torch.tensor([[p], [1 - p]], dtype=torch.float64)) for p in (0.3, 0.35))
    step = StepProbs(torch.zeros(5, dtype=torch.int64), true, assumed)
    got = head_named(HEAD).step_divergence(Predicted(births, room, outputs, offset, MOST), step, RNG)
    wanted = torch.zeros(SHAPE).double()
    for at in np.ndindex(SHAPE):
        b, left = np.arange(int(births[at]) + 1), int(room[at])
        of_step = stats.nbinom(float(size[at]), float(1 / (1 + 0.35 * mean[at] / size[at])))
        law = np.append(of_step.pmf(np.arange(left)), of_step.sf(left - 1))[: len(b)]
        chance = stats.binom.pmf(b, int(births[at]), 0.3)
        wanted[at] = (chance * np.log(chance / law)).sum()
    torch.testing.assert_close(got, wanted, rtol=1e-7, atol=1e-10)


def test_one_step_of_the_bound_is_the_law_of_the_image():
    """The step from black to the image: -log of the law, cut at the bound; no draw takes part."""
    model, x_0 = model_of(slope=0.7), counts(2)
    bits = fb.bits_per_dim(model, SCHEDULE, x_0, rng=RNG, steps=1, draws=4, repeats=2).discrete
    seen = (torch.zeros(SHAPE).double() - model.center(50)) * model.scale(50)
    head = [each.double() for each in model(seen.float(), 50).chunk(2, 1)]
    offset = torch.tensor(math.log(SCHEDULE.q[50]))
    wanted = losses(head, torch.zeros(SHAPE), x_0.double(), offset, MOST)
    assert (full := x_0 == MOST).any()
    size, mean = size_and_mean(head, torch.full(SHAPE, float(MOST)).double(), offset, MOST)
    wanted[full] = -torch.from_numpy(stats.nbinom.logsf(MOST - 1, size, size / (size + mean)))[full]
    np.testing.assert_allclose(bits.per_image, wanted.mean((1, 2, 3)) / np.log(2), rtol=1e-6)
    assert bits.monte_carlo_error < 1e-9


def test_the_bounds_of_the_true_head_are_the_entropy_of_the_data():
    """Pixels that are negative binomial themselves: both bounds are their entropy, the head being their posterior."""
    numbers, most = (-1.0, 0.5), 255
    m, r = numbers_of(numbers, most)
    x_0 = stats.nbinom(r, r / (r + m)).rvs((4, 1, 8, 8), random_state=np.random.default_rng(1)).clip(0, most)
    entropy = -stats.nbinom.logpmf(x_0, r, r / (r + m)).mean((1, 2, 3)) / np.log(2)
    bits = fb.bits_per_dim(
        model_of(numbers, most), SCHEDULE, torch.from_numpy(x_0), rng=RNG, steps=4, draws=8, repeats=4
    )
    for bound in bits:  # 6 standard errors, and what the schedule's last p > 0 takes
        assert abs(bound.bits - entropy.mean()) < 6 * bound.monte_carlo_error + 1e-3


def test_a_run_learns_resumes_samples_and_has_bits(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    data, options = squares(tmp_path / "squares.npz"), preset("array", **TINY)
    assert (options.weight, options.schedule) == ("uniform", "cosine")
    fb.train(data, tmp_path / "run", preset("array", **TINY | {"steps": 2}), progress=False)
    fb.train(data, tmp_path / "run", options, resume=True, progress=False)
    run = load_run(tmp_path / "run")
    assert run.model.head == HEAD and run.model.network.out_channels == 2
    drawn = fb.sample(run.model, run.schedule, (3, *run.shape), steps=2, rng=RNG)
    assert drawn.shape == (3, 1, 4, 4) and int(drawn.max()) <= 20
    bits = fb.bits_per_dim(run.model, run.schedule, drawn, rng=RNG, steps=3, draws=3, repeats=2)
    assert all(math.isfinite(bound.bits) for bound in bits)


@pytest.mark.slow
def test_the_command_line_trains_and_evaluates_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    squares(tmp_path / "squares.npz")
    run, given = str(tmp_path / "run"), ["--data", str(tmp_path / "squares.npz")]
    options = ["--steps=4", "--batch=8", "--channels=8", "--threads=1", "--schedule-steps=50"]
    assert main(["train", "array", *given, "--out", run, f"--head={HEAD}", *options]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, *given, "--num=30", "--seeds=1", "--steps=5", "--bits=2", "--quiet"]) == 0
    assert "5 steps of its law, at the times above" in capsys.readouterr().out


def test_wrong_networks_are_refused():
    with pytest.raises(ValueError, match=r"must have shape \(5, 2, 4, 4\) for head 'negative-binomial', got \(5, 3,"):
        model_of((0.0, 0.0, 0.0))(torch.zeros(SHAPE), 3)
