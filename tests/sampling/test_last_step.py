"""sample(last_step="mean"): a last step that takes the mean of the births that are left, by any head and sampler."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.blackout import BlackoutModel
from fastblackout.call.head import FAMILIES
from fastblackout.heads import head_named
from fastblackout.sampling.sampler import sample
from support.pixel_model import OPTIONS, SCHEDULE, PixelModel

RNG = fb.Philox(5, first_sample=2)
SHAPE = (3, 1, 4, 4)
MOST = 200
STATES = torch.tensor([0, 1, 40, 150, 199, 200])


class Constant(torch.nn.Module):
    """The same outputs in every pixel, so many that a head of `number` has enough."""

    def __init__(self, number):
        super().__init__()
        self.outputs = 0.7 * torch.randn(number, generator=torch.Generator().manual_seed(3))

    def forward(self, x, time, labels=None):
        return self.outputs.view(1, -1, 1, 1).expand(len(x), -1, *x.shape[2:])


def model_of(head):
    return BlackoutModel(Constant(head_named(head).numbers_per_count(MOST)), SCHEDULE, MOST, head=head)


@pytest.mark.parametrize("head", [*FAMILIES, "mean"])
def test_the_mean_is_that_of_what_is_drawn(head):
    """Of 4,000 draws of one step to time 0: within the half that rounding takes and 5 standard errors, so that a right
    mean is refused with a probability below 1e-5 for all heads together."""
    number = 4000
    start = STATES.view(1, 1, 1, -1).expand(number, 1, 1, -1)
    model, shape = model_of(head), (number, 1, 1, len(STATES))
    sampler = "tau-leap" if head == "mean" else "bridge"  # the bridge draws nothing in its last step but the rounding
    drawn = sample(model, SCHEDULE, shape, 1, start=start, rng=RNG, sampler=sampler).double().view(number, -1)
    mean = sample(model, SCHEDULE, shape, 1, start=start, rng=RNG, sampler=sampler, last_step="mean").view(number, -1)
    assert (mean == mean[0]).all()
    cut = (drawn == MOST).double().mean(0) > 1e-3 if head in ("mean", "negative-binomial") else torch.zeros(len(STATES))
    gap = (mean[0] - drawn.mean(0)).abs()
    assert cut.sum() <= 4 and ((gap <= 0.5 + 5 * drawn.std(0) / number**0.5) | cut.bool()).all(), gap


def test_the_mean_of_a_beta_binomial_law_to_the_last_digit():
    outputs = model_of("beta-binomial").network.outputs.double()
    k = SCHEDULE.steps
    births = (MOST - STATES) * torch.sigmoid(outputs[0] + np.log(SCHEDULE.q[k]))
    start = STATES.view(1, 1, 1, -1)
    got = sample(model_of("beta-binomial"), SCHEDULE, start.shape, 1, start=start, rng=RNG, last_step="mean")
    assert torch.equal(got, (start + torch.floor(births + 0.5)).to(torch.uint8))


@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_the_steps_before_it_draw_what_they_drew(options):
    films = {}
    for last_step in ("draw", "mean"):
        film = films[last_step] = []
        how = {"callback": lambda n, k, x, film=film: film.append((n, k, x.clone())), "last_step": last_step}
        sample(PixelModel(), SCHEDULE, SHAPE, 7, rng=RNG, **how, **options)
    assert [row[:2] for row in films["draw"]] == [row[:2] for row in films["mean"]] and len(films["mean"]) == 8
    for drawn, mean in zip(films["draw"][:-1], films["mean"][:-1], strict=True):
        assert torch.equal(drawn[2], mean[2])
    before, after = films["mean"][-2][2], films["mean"][-1][2]
    model, k = PixelModel(), films["mean"][-2][1]
    logits = model((before.float() - model.center(k)) * model.scale(k), k).double()
    births = model.gain(k) * torch.nn.functional.softplus(logits)
    assert (after - (before + births).clamp(max=255)).abs().max() <= 0.5 + 1e-4


@pytest.mark.parametrize("steps", [1, 6])
@pytest.mark.parametrize("head", ["mean", "beta-binomial"])
def test_a_table_of_steps_draws_the_same(head, steps):
    model = model_of(head)
    mask = torch.zeros(SHAPE, dtype=torch.bool)
    mask[..., 1] = True
    for how in ({}, {"known": torch.tensor(9), "mask": mask}):
        one, other = (
            sample(model, SCHEDULE, SHAPE, steps, rng=RNG, last_step="mean", cuda_graph=graph, **how)
            for graph in (False, True)
        )
        assert torch.equal(one, other) and (not how or (one[mask] == 9).all())


@pytest.mark.parametrize("value", ["median", 1])
def test_what_is_no_last_step_is_refused(value):
    with pytest.raises((TypeError, ValueError), match="^sample: last_step: must be one of draw, mean, got "):
        sample(PixelModel(), SCHEDULE, SHAPE, 3, rng=RNG, last_step=value)
