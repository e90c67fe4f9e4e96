"""RedrawScheduler beside DiscreteDDIMScheduler of diffusers: the law of every step, and the runs of sample_reverse."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb

diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed: pip install 'fastblackout[diffusers]'")
from fastblackout.diffusers import RedrawScheduler  # noqa: E402

STATES, STEPS, DRAWS = 4, 5, 20_000
LOGITS = torch.tensor([0.3, -1.0, 1.2, 0.0])


def law_of_step(process, x_t, n):
    """p(x_s | x_t) by enumeration: from n / STEPS alive to (n + 1) / STEPS."""
    s, t = (-math.log(alive) if alive else 1e3 for alive in ((n + 1) / STEPS, n / STEPS))
    from_0, between = process.transition_matrix(s), process.transition_matrix(t - s)
    law = np.zeros(STATES)
    for x_0, chance in enumerate(torch.softmax(LOGITS.double(), 0).tolist()):
        joint = from_0[x_0] * between[:, x_t]
        law += chance * joint / joint.sum()
    return law


def follows(drawn, law):
    return stats.chisquare(np.bincount(drawn.flatten().numpy(), minlength=STATES), law * DRAWS).pvalue > 1e-6


@pytest.mark.parametrize("n", [0, 1, 3, STEPS - 1])
@pytest.mark.parametrize("x_t", [1, 3])
def test_a_step_has_the_law_of_diffusers(n, x_t):
    state, logits = torch.full((DRAWS, 1), x_t), LOGITS.expand(DRAWS, 1, STATES)
    law = law_of_step(fb.Uniform(STATES), x_t, n)
    ours = RedrawScheduler(states=STATES, num_inference_steps=STEPS)
    assert follows(ours.step(logits, n, state, generator=1).prev_sample, law)
    theirs = getattr(diffusers, "DiscreteDDIMScheduler", None)
    if theirs is None:
        pytest.skip("diffusers has no DiscreteDDIMScheduler before 0.42")
    how = {"temperature": 1.0, "generator": torch.Generator().manual_seed(1)}
    assert follows(theirs(num_inference_steps=STEPS).step(logits, n, state, **how).prev_sample, law)


@pytest.mark.parametrize("process", ["uniform", "absorbing"])
def test_a_run_is_that_of_sample_reverse(process):
    scheduler = RedrawScheduler(states=STATES, process=process, num_inference_steps=STEPS)
    again = RedrawScheduler.from_config(scheduler.config)
    assert again.process.__class__ is scheduler.process.__class__ and again.timesteps.tolist() == [*range(STEPS)]

    def network(x, t=None):  # it knows what is no mask
        logits = (torch.arange(12.0) * 1.7 % 2.3).view(3, STATES)[torch.arange(x.shape[1]) % 3].expand(*x.shape, STATES)
        known = torch.where(torch.nn.functional.one_hot(x, STATES) > 0, 0.0, -math.inf)
        mask = torch.tensor([0.0, 0.0, 0.0, -math.inf])
        return logits if process == "uniform" else torch.where((x == 3)[..., None], logits + mask, known)

    key = fb.Philox(7, first_sample=2)
    x = start = scheduler.initial_sample((40, 6), generator=key)
    for n in scheduler.timesteps:
        x = scheduler.step(network(x), n, x, generator=key).prev_sample
    times = [1e3, *(-math.log(n / STEPS) for n in range(1, STEPS + 1))]
    how = {"start": start, "rng": key}
    assert torch.equal(x, fb.processes.sample_reverse(scheduler.process, network, start.shape, times, **how))
    assert x.unique().numel() >= 3 and (process == "uniform" or (x < 3).all())


def test_the_output_has_the_fields_of_diffusers():
    scheduler, x = RedrawScheduler(states=STATES), torch.tensor([[1, 3]])
    logits = LOGITS.expand(1, 2, STATES)
    made = scheduler.step(logits, 31, x, temperature=0.0)
    assert made.sampled_tokens.tolist() == made.prev_sample.tolist() == [[2, 2]]
    torch.testing.assert_close(made.sampled_probs, torch.softmax(LOGITS, 0)[2].expand(1, 2))
    assert made.pred_logits is logits and len(scheduler.step(logits, 31, x, return_dict=False)) == 4


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ("made(process='gaussian')", ValueError, "RedrawScheduler: process: must be one of uniform, absorbing, got"),
        ("made(mask=2)", ValueError, "RedrawScheduler: mask: must be None for process 'uniform', got 2"),
        ("made(num_inference_steps=0)", ValueError, "set_timesteps: num_inference_steps: must be in 1.*, got 0"),
        ("made().step(L, 32, X)", ValueError, "RedrawScheduler.step: timestep: must be in 0..31, got 32"),
        ("made().step(L[:, :1], 3, X)", ValueError, r"model_output: must have shape \(1, 2, 4\), got \(1, 1, 4\)"),
        ("made().step(L, 3, X, temperature=-1)", ValueError, "temperature: must be a number of at least 0, got -1"),
        ("made().step(L, 3, X, generator=1.5)", TypeError, "generator: must be a torch.Generator, .*, got float"),
        ("made().step(L, 3, X + 3)", ValueError, "x_t: .*, got"),
    ],
)
def test_wrong_arguments_are_named(call, error, message):
    names = {"made": lambda **how: RedrawScheduler(**{"states": STATES, **how}), "X": torch.tensor([[1, 3]])}
    with pytest.raises(error, match=message):
        eval(call, {**names, "L": LOGITS.expand(1, 2, STATES)})
