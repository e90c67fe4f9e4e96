"""The Bayes head, "bayes-logistic": its law in training, in sampling and in the likelihood bounds."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.blackout import BlackoutModel
from fastblackout.blackout.losses import blackout_loss
from fastblackout.cli.command_line import main
from fastblackout.heads import head_named
from fastblackout.heads.head import Predicted
from fastblackout.models import small
from fastblackout.training.config import TrainConfig, preset
from fastblackout.training.trained_model import load_run
from support import bayes_law
from support.helpers import chi_square_counts
from support.squares import squares

torch.set_num_threads(1)
SCHEDULE = fb.Schedule.cosine(50)
SHAPE = (5, 1, 4, 4)
RNG = fb.Philox(2**40, first_sample=2, call=9)
FALSE_ALARM = 1e-6  # of each statistical check, at fixed seeds; 3 of them
NUMBERS = ((0.1, -0.5), (0.2, -0.4, -1.0, 0.5, 0.3), (0.2, 0.0, -0.4, -1.0, 0.5, 0.0, 0.3, -0.2))
TINY = {"steps": 6, "batch": 4, "channels": 8, "threads": 1, "warmup": 2, "schedule_steps": 50, "log_every": 2}
TINY |= {"held_out_every": 3, "sample_every": 0, "checkpoint_every": 3, "head": "bayes-logistic"}


class Fixed(torch.nn.Module):
    """The numbers of each pixel, a little of its input added to each."""

    def __init__(self, numbers, slope=0.0):
        super().__init__()
        self.numbers, self.slope = numbers, slope

    def forward(self, x, time, labels=None):
        return torch.cat([x * self.slope + each for each in self.numbers], 1)


def bayes_model(numbers=NUMBERS[0], max_count=20, slope=0.0):
    return BlackoutModel(Fixed(numbers, slope), SCHEDULE, max_count, input="unit", head="bayes-logistic")


def counts(seed=1):
    return torch.randint(0, 21, SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("numbers", NUMBERS)
def test_the_loss_is_minus_the_logarithm_of_the_law(numbers):
    model, k, x_0 = bayes_model(numbers, slope=0.3), torch.tensor([1, 3, 17, 44, 50]), counts()
    loss = blackout_loss(model, SCHEDULE, x_0, k, RNG, "uniform")
    noised = fb.thin(x_0, SCHEDULE.survival(k), rng=RNG, max_count=20, center=model.center(k), scale=model.scale(k))
    head = [each.double() for each in model(noised.model_input, k).chunk(len(numbers), 1)]
    offset = torch.from_numpy(np.log(SCHEDULE.q[k.numpy()]))
    wanted = bayes_law.losses(head, noised.x_t, noised.births, offset, 20).flatten(1).sum(1)
    np.testing.assert_allclose(loss.numpy(), wanted.numpy(), rtol=1e-5)


@pytest.mark.parametrize("numbers", NUMBERS)
def test_one_step_from_black_draws_the_prior(numbers):
    """At p = 0 the births are x_0, and their law is pi, which nothing is multiplied to."""
    drawn = fb.sample(bayes_model(numbers), SCHEDULE, (20000, 1, 1, 2), steps=1, rng=RNG).long().view(-1, 2)
    head = [torch.tensor(float(np.float32(each)), dtype=torch.float64) for each in numbers]
    q = torch.tensor(np.log(SCHEDULE.q[50]))
    law = torch.softmax(bayes_law.log_weights(head, torch.tensor(0), q, 20), 0).numpy()
    for pixel in drawn.T.numpy():
        assert chi_square_counts(np.bincount(pixel, minlength=21), 20000 * law) > FALSE_ALARM


def test_steps_are_those_of_posterior_step():
    model, x = bayes_model(NUMBERS[1], slope=0.7), torch.zeros(SHAPE, dtype=torch.uint8)
    times = [int(k) for k in SCHEDULE.grid(3)]
    seen = fb.thin(x, 1.0, rng=RNG, max_count=20, center=model.center(50), scale=model.scale(50)).model_input
    for n, (k_t, k_s) in enumerate(zip(times, times[1:], strict=False)):
        how = {"family": "bayes-logistic", "offset": model.offset(k_t), "max_count": 20}
        how |= {"center": model.center(k_s), "scale": model.scale(k_s), "rng": RNG.at(call=n)}
        x, seen = fb.posterior_step(x, model(seen, k_t).chunk(5, 1), SCHEDULE.bridge(k_t, k_s), **how)
    assert torch.equal(fb.sample(model, SCHEDULE, SHAPE, steps=3, grid="cosine", rng=RNG), x)
    assert torch.equal(fb.sample(model, SCHEDULE, SHAPE, steps=3, grid="cosine", rng=RNG, cuda_graph=True), x)


@pytest.mark.parametrize("numbers", NUMBERS)
def test_the_laws_of_the_bounds_are_finite_sums(numbers):
    """The mean, and a step's law, against sums written out."""
    x_t, most = counts(3), 20
    outputs = torch.cat([torch.full(SHAPE, each, dtype=torch.float64) for each in numbers], 1)
    offset, room, n = torch.linspace(-3, 0, 5, dtype=torch.float64), (most - counts(3)).double(), torch.arange(21.0)
    logs = bayes_law.log_weights(list(outputs.chunk(len(numbers), 1)), x_t, offset, most)
    law = torch.softmax(logs, -1)  # of x_0
    mean = (law * torch.arange(21, dtype=torch.float64)).sum(-1) - x_t
    head, at = head_named("bayes-logistic"), Predicted(room, room, outputs, offset, most)
    got = head.log_mean(at)
    torch.testing.assert_close(torch.exp(got), mean, rtol=1e-10, atol=1e-12)
    step = fb.Prob(
        torch.full((5, 1, 1, 1), 0.3, dtype=torch.float64), torch.full((5, 1, 1, 1), 0.7, dtype=torch.float64)
    )
    total = torch.zeros(SHAPE, dtype=torch.float64)
    for born in range(21):
        got = head.log_law_of_step(at, torch.full_like(room, born), step)
        thinned = torch.distributions.Binomial(n.double(), torch.tensor(0.3).double(), validate_args=False)
        chance = torch.where(n >= born, thinned.log_prob(torch.tensor(float(born)).double()).exp(), 0.0)
        wanted = torch.stack([law.gather(-1, (x_t.long() + b).clamp(max=20)[..., None])[..., 0] * chance[b]
                              * (x_t.long() + b <= 20) for b in range(21)]).sum(0)  # fmt: skip
        torch.testing.assert_close(torch.exp(got), wanted, rtol=2e-6, atol=1e-9)
        total += torch.exp(got)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-10, atol=0)


def test_one_step_of_the_bound_is_the_law_of_the_image():
    """The step from black to the image: -log of the law, summed over pixels; no draw takes part."""
    model, x_0 = bayes_model(NUMBERS[1], slope=0.7), counts(2)
    bits = fb.bits_per_dim(model, SCHEDULE, x_0, rng=RNG, steps=1, draws=4, repeats=2).discrete
    seen = (torch.zeros(SHAPE).double() - model.center(50)) * model.scale(50)
    head = [each.double() for each in model(seen.float(), 50).chunk(5, 1)]
    offset = torch.tensor(np.log(SCHEDULE.q[50]))
    wanted = bayes_law.losses(head, torch.zeros(SHAPE, dtype=torch.uint8), x_0, offset, 20).mean((1, 2, 3))
    np.testing.assert_allclose(bits.per_image, wanted / np.log(2), rtol=1e-6)
    assert bits.monte_carlo_error < 1e-9


@pytest.mark.parametrize("components", [1, 2])
def test_a_run_learns_resumes_and_samples(components, tmp_path):
    data, options = squares(tmp_path / "squares.npz"), preset("array", **TINY, components=components)
    assert (options.weight, options.schedule) == ("uniform", "cosine")
    fb.train(data, tmp_path / "run", preset("array", **TINY | {"steps": 3}, components=components), progress=False)
    fb.train(data, tmp_path / "run", options, resume=True, progress=False)
    run = load_run(tmp_path / "run")
    assert run.model.head == "bayes-logistic" and run.model.network.out_channels == 3 * components - 1
    drawn = fb.sample(run.model, run.schedule, (3, *run.shape), steps=2, rng=RNG)
    assert drawn.shape == (3, 1, 4, 4) and int(drawn.max()) <= 20


def test_the_command_line_trains_and_evaluates_it(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    squares(tmp_path / "squares.npz")
    run, given = str(tmp_path / "run"), ["--data", str(tmp_path / "squares.npz")]
    options = ["--steps=4", "--batch=8", "--channels=8", "--threads=1", "--schedule-steps=50", "--components=3"]
    assert main(["train", "array", *given, "--out", run, "--head=bayes-logistic", *options]) == 0
    capsys.readouterr()
    assert main(["evaluate", run, *given, "--num=30", "--seeds=1", "--steps=5", "--bits=2", "--quiet"]) == 0
    assert "5 steps of its law, at the times above" in capsys.readouterr().out


def test_wrong_networks_and_options_are_refused():
    with pytest.raises(ValueError, match=r"must have shape \(5, 2, 4, 4\) or \(5, 5, 4, 4\) or \(5, 8, 4, 4\) for"):
        bayes_model((0.0, 0.0, 0.0))(torch.zeros(SHAPE), 3)
    with pytest.raises(ValueError, match="components: must be in 1..3, got 4"):
        TrainConfig(head="bayes-logistic", weight="uniform", components=4)
    with pytest.raises(ValueError, match="components: belongs to head bayes-logistic, here head mean, got 2"):
        TrainConfig(components=2)
    old = {name: value for name, value in TrainConfig().to_dict().items() if name != "components"}
    assert TrainConfig.from_dict(old) == TrainConfig()
    network = small((1, 8, 8), channels=8, outputs=8)
    assert network(torch.zeros(1, 1, 8, 8), torch.zeros(1, dtype=torch.int64)).shape == (1, 8, 8, 8)
