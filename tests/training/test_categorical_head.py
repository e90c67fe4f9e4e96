"""The heads with a logit for every state: their laws in training, in sampling and in the likelihood bounds."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.blackout import BlackoutModel
from fastblackout.blackout.losses import blackout_loss
from fastblackout.data import load
from fastblackout.heads import head_named
from fastblackout.heads.head import Predicted
from fastblackout.models import presets
from fastblackout.training.config import preset
from fastblackout.training.trained_model import load_run
from support import state_law

torch.set_num_threads(1)
SCHEDULE = fb.Schedule.cosine(50)
SHAPE, MOST = (5, 2, 4, 4), 6
RNG = fb.Philox(2**40, first_sample=2, call=9)
every_family = pytest.mark.parametrize("family", ["categorical", "bayes-categorical"])
NUMBERS = torch.randn(MOST + 1, 2, generator=torch.Generator().manual_seed(3))


class Fixed(torch.nn.Module):
    """Logits of both channels of state 0, then of state 1, and so on, a little of the input added to each."""

    def forward(self, x, time, labels=None):
        logits = NUMBERS[:, :, None, None] + 0.3 * x[:, None] * torch.arange(MOST + 1.0)[:, None, None, None]
        return logits.flatten(1, 2)


def model_of(family):
    return BlackoutModel(Fixed(), SCHEDULE, MOST, input="unit", head=family)


def counts(seed=1):
    return torch.randint(0, MOST + 1, SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def logits_of(outputs):
    """(B, C, H, W, states), as one would take them out one by one."""
    return torch.stack([outputs[:, 2 * v : 2 * v + 2] for v in range(MOST + 1)], -1).double()


@every_family
def test_the_loss_is_minus_the_logarithm_of_the_law(family):
    model, k, x_0 = model_of(family), torch.tensor([1, 3, 17, 44, 50]), counts()
    loss = blackout_loss(model, SCHEDULE, x_0, k, RNG, "uniform")
    noised = fb.thin(x_0, SCHEDULE.survival(k), rng=RNG, max_count=MOST, center=model.center(k), scale=model.scale(k))
    logits, offset = logits_of(model(noised.model_input, k)), torch.from_numpy(np.log(SCHEDULE.q[k.numpy()]))
    wanted = state_law.losses(logits, noised.x_t, noised.births, offset, family).flatten(1).sum(1)
    np.testing.assert_allclose(loss.numpy(), wanted.numpy(), rtol=1e-5)


@every_family
def test_steps_are_those_of_posterior_step(family):
    model, x = model_of(family), torch.zeros(SHAPE, dtype=torch.uint8)
    times = [int(k) for k in SCHEDULE.grid(3)]
    seen = fb.thin(x, 1.0, rng=RNG, max_count=MOST, center=model.center(50), scale=model.scale(50)).model_input
    for n, (k_t, k_s) in enumerate(zip(times, times[1:], strict=False)):
        how = {"family": family, "offset": model.offset(k_t), "max_count": MOST}
        how |= {"center": model.center(k_s), "scale": model.scale(k_s), "rng": RNG.at(call=n)}
        x, seen = fb.posterior_step(x, logits_of(model(seen, k_t)).float(), SCHEDULE.bridge(k_t, k_s), **how)
    assert torch.equal(fb.sample(model, SCHEDULE, SHAPE, steps=3, grid="cosine", rng=RNG), x)
    assert torch.equal(fb.sample(model, SCHEDULE, SHAPE, steps=3, grid="cosine", rng=RNG, cuda_graph=True), x)


@every_family
def test_the_laws_of_the_bounds_are_finite_sums(family):
    """The mean, and a step's law, against sums written out; and one step of the bound, in which no draw takes part."""
    x_t, model = counts(3), model_of(family)
    outputs = model(counts(4).float(), 7).double()
    offset, room = torch.linspace(-3, 0, 5).double(), (MOST - x_t).double()
    law = torch.softmax(state_law.log_weights(logits_of(outputs), x_t, offset, family), -1)  # of x_0
    mean = (law * torch.arange(MOST + 1.0)).sum(-1) - x_t
    head, at = head_named(family), Predicted(room, room, outputs, offset, MOST)
    got = head.log_mean(at)
    torch.testing.assert_close(torch.exp(got), mean, rtol=1e-7, atol=1e-12)
    # Next to p = 1 the births vanish, by the law or because y / (1 - p) is held: else the bound were infinite.
    gone = torch.full_like(offset, 1e-9)
    assert torch.exp(head.log_mean(at, (gone, torch.exp(offset)))).max() < 1e-4
    step, total = fb.Prob(*(torch.full((5, 1, 1, 1), p, dtype=torch.float64) for p in (0.3, 0.7))), 0.0
    for born in range(MOST + 1):
        got = head.log_law_of_step(at, torch.full_like(room, born), step)
        n = torch.arange(MOST + 1.0).double() - x_t[..., None]
        binomial = torch.distributions.Binomial(
            n.clamp(min=born), torch.tensor(0.3, dtype=torch.float64), validate_args=False
        )
        chance = torch.where(n >= born, binomial.log_prob(torch.tensor(born).double()).exp(), 0.0)
        torch.testing.assert_close(torch.exp(got), (law * chance).sum(-1), rtol=1e-7, atol=1e-12)
        total = total + torch.exp(got)
    torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-10, atol=0)
    x_0, black = counts(2), torch.zeros(SHAPE, dtype=torch.uint8)
    made = fb.bits_per_dim(model, SCHEDULE, x_0, rng=RNG, steps=1, draws=4, repeats=2).discrete
    seen = (black.double() - model.center(50)) * model.scale(50)
    logits, log_q = logits_of(model(seen.float(), 50)), torch.tensor(np.log(SCHEDULE.q[50]))
    wanted = state_law.losses(logits, black, x_0, log_q, family).mean((1, 2, 3))
    np.testing.assert_allclose(made.per_image, wanted / np.log(2), rtol=1e-6)
    assert made.monte_carlo_error < 1e-9


def test_a_network_of_another_size_is_refused():
    model = BlackoutModel(Fixed(), SCHEDULE, MOST + 1, input="unit", head="categorical")
    with pytest.raises(ValueError, match=r"must have shape \(5, 16, 4, 4\) for head 'categorical', got \(5, 14, 4, 4"):
        model(torch.zeros(SHAPE), 3)


TINY = {"batch": 32, "channels": 8, "threads": 1, "warmup": 2, "schedule_steps": 50, "log_every": 10, "keep": 1}
TINY |= {"held_out_every": 0, "sample_every": 0, "checkpoint_every": 100, "learning_rate": 3e-3, "ema": 0.9}


@pytest.mark.parametrize("family", [pytest.param("categorical", marks=pytest.mark.slow), "bayes-categorical"])
def test_digits_from_training_to_samples_and_bits(family, tmp_path):
    """Samples are of the set's counts, and the bound of their law is below log2 17, the bound of no knowledge."""
    config = preset("digits", **TINY, head=family, steps=40)
    assert (config.weight, config.schedule) == ("uniform", "cosine")
    data = load("digits")
    fb.train(data, tmp_path / "run", config, progress=False)
    run = load_run(tmp_path / "run")
    assert run.model.head == family and run.model.network.out_channels == 17
    drawn = fb.sample(run.model, run.schedule, (3, *run.shape), steps=3, rng=RNG)
    assert drawn.shape == (3, 1, 8, 8) and int(drawn.max()) <= 16
    held_out = torch.from_numpy(data.held_out[:8])
    bits = fb.bits_per_dim(run.model, run.schedule, held_out, rng=RNG, steps=3, draws=2, repeats=2)
    assert 0.5 < bits.discrete.bits < np.log2(17)


def test_counts_too_large_for_the_sums_are_refused_before_any_training():
    network = presets.small((1, 8, 8), channels=8, outputs=4097)
    with pytest.raises(ValueError, match="^BlackoutModel: max_count: must be at most 4095 for head 'categorical', got"):
        BlackoutModel(network, SCHEDULE, 4096, head="categorical")
