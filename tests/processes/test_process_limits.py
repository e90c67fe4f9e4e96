"""How the processes are related: limits of one another and of Gaussian diffusion, and the formulas of other papers."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from fastblackout import processes as loss
from fastblackout.processes import conversion as to
from support import small_processes
from support.helpers import load_example
from support.small_processes import LAW, data_law

torch.set_num_threads(1)
RELATIONS = load_example("relations")  # which has the formulas of D3PM and SEDD
PROCESSES = {name: process for name, process in small_processes.PROCESSES.items() if name != "sped up"}


@pytest.mark.parametrize("name", PROCESSES)
def test_bridges_over_a_grid_compose_to_one_bridge(name):
    process = PROCESSES[name]
    times = [1.7, 1.1, 0.4, 0.15]
    for x_0 in range(process.states):
        reached = np.flatnonzero(process.transition_matrix(times[0])[x_0] > 0)
        law = np.eye(process.states)[reached]
        for t, s in zip(times[:-1], times[1:], strict=True):
            step = np.zeros((process.states, process.states))
            possible = np.flatnonzero(process.transition_matrix(t)[x_0] > 0)
            step[possible] = process.bridge(possible, np.full_like(possible, x_0), s, t)
            law = law @ step
        whole = process.bridge(reached, np.full_like(reached, x_0), times[-1], times[0])
        np.testing.assert_allclose(law, whole, atol=1e-13)


@pytest.mark.parametrize("name", PROCESSES)
def test_the_discrete_map_tends_to_the_reverse_generator(name):
    process, t = PROCESSES[name], 0.8
    law = data_law(process, LAW)
    seen = np.flatnonzero(law @ process.transition_matrix(t) > 0)
    posterior = process.posterior(seen, law, t)
    rates = to.rates_from_score(process, seen, process.score(seen, posterior, t), t)
    generator = rates - rates.sum(1)[:, None] * np.eye(process.states)[seen]
    errors = []
    for step in (0.02, 0.01, 0.005):
        x_0, x_t = np.nonzero(posterior.T > 0)
        bridges = process.bridge(seen[x_t], x_0, t - step, t)
        mapped = np.zeros((len(seen), process.states))
        np.add.at(mapped, x_t, posterior[x_t, x_0][:, None] * bridges)
        errors.append(np.abs((mapped - np.eye(process.states)[seen]) / step - generator).max())
    assert errors[2] < 0.03 * np.abs(generator).max()
    for coarse, fine in zip(errors[:-1], errors[1:], strict=True):  # of first order: half the step, half the error
        assert 1.85 < coarse / fine < 2.15


def test_blackout_is_immigration_death_without_immigration():
    pure, t, s = fb.PureDeath(12), 0.9, 0.3
    x_0, x_t = np.array([12, 12, 7, 3, 0]), np.array([12, 4, 5, 0, 0])
    for boundary in ("blocked", "open"):
        errors = []
        for a in (1e-2, 1e-3, 1e-4):
            process = fb.ImmigrationDeath(a, max_count=12, boundary=boundary)
            pairs = (
                (process.transition_matrix(t), pure.transition_matrix(t)),
                (process.bridge(x_t, x_0, s, t), pure.bridge(x_t, x_0, s, t)),
                (process.reverse_rate(x_t, x_0, t), pure.reverse_rate(x_t, x_0, t)),
            )
            errors.append([np.abs(ours - theirs).max() for ours, theirs in pairs])
        assert (np.array(errors[2]) < 2e-3).all()
        ratios = np.array(errors[:-1]) / np.array(errors[1:])
        assert (ratios > 8.5).all() and (ratios < 11.5).all()  # linear in a


def ornstein_uhlenbeck_errors(process, rate, mean, sd, t=0.6, z_0=1.3):
    """Largest errors of (law, score, reverse drift, reverse diffusion) against dz = -rate z dt + sqrt(2 rate) dW.

    z = (x - mean) / sd. The law within everything, the rest within one standard deviation of the mean of z_t.
    """
    x_0 = round(mean + z_0 * sd)
    z_0 = (x_0 - mean) / sd  # where it really starts, on the lattice
    center, variance = z_0 * math.exp(-rate * t), -math.expm1(-2 * rate * t)
    x = np.arange(process.states)
    log_law = process.log_prob(x, x_0, t)
    cdf = stats.norm.cdf((x + 0.5 - mean) / sd, center, math.sqrt(variance))
    near = x[np.abs((x - mean) / sd - center) < math.sqrt(variance)]
    z = (near - mean) / sd
    score = -(z - center) / variance
    above, below = (np.exp(log_law[near + i] - log_law[near]) for i in (1, -1))
    generator = process.generator()
    births, deaths = generator[near + 1, near] * above, generator[near - 1, near] * below
    return np.array(
        [
            np.abs(np.cumsum(np.exp(log_law)) - cdf).max(),
            np.abs((above - below) / 2 * sd - score).max(),  # (ratio - 1) / step, the mean of both sides
            np.abs((births - deaths) / sd - (rate * z + 2 * rate * score)).max(),
            np.abs((births + deaths) / sd**2 - 2 * rate).max(),
        ]
    )


@pytest.mark.parametrize("up", [0.4, 0.9])
def test_ehrenfest_tends_to_gaussian_diffusion(up):
    errors = []
    for balls in (64, 256, 1024):
        share = up / (up + 0.9)
        scale = math.sqrt(balls * share * (1 - share))
        process = fb.Ehrenfest(balls, up=up, down=0.9)
        errors.append(ornstein_uhlenbeck_errors(process, up + 0.9, balls * share, scale))
    assert (errors[-1] < np.array([0.06, 0.6, 0.3, 1.7]) / math.sqrt(1024)).all()
    # Four times the balls: half the error, and a quarter for up = down, where no skewness is left.
    assert (errors[2] < (0.57 if up < 0.9 else 0.28) * errors[1] + 1e-12).all()


def test_immigration_death_tends_to_gaussian_diffusion():
    errors = []
    for rate in (25.0, 100.0, 400.0):
        errors.append(ornstein_uhlenbeck_errors(fb.ImmigrationDeath(rate), 1.0, rate, math.sqrt(rate)))
    assert (errors[-1] < np.array([0.08, 0.7, 0.3, 1.6]) / math.sqrt(400)).all()
    assert (errors[2] < 0.54 * errors[1]).all()


@pytest.mark.parametrize("kind", ["uniform", "absorbing"])
def test_uniform_and_absorbing_are_those_of_d3pm(kind):
    process = PROCESSES[kind]
    size, s, t = process.states, 0.35, 1.2
    np.testing.assert_allclose(process.transition_matrix(t), RELATIONS.d3pm(kind, size, math.exp(-t)), atol=1e-15)
    whole = RELATIONS.d3pm(kind, size, math.exp(-s)) @ RELATIONS.d3pm(kind, size, math.exp(-(t - s)))
    np.testing.assert_allclose(whole, RELATIONS.d3pm(kind, size, math.exp(-t)), atol=1e-15)
    x_0, x_t = np.nonzero(whole > 0)
    expected = RELATIONS.d3pm_posterior(kind, size, s, t, x_t, x_0)
    np.testing.assert_allclose(process.bridge(x_t, x_0, s, t), expected, atol=1e-14)
    if kind == "absorbing":  # a masked token stays masked with (1 - alpha_s) / (1 - alpha_t), else it is x_0
        law = process.bridge(size - 1, 2, s, t)
        assert law[2] == pytest.approx((math.exp(-s) - math.exp(-t)) / (1 - math.exp(-t)), rel=1e-13)
        assert law[-1] == pytest.approx((1 - math.exp(-s)) / (1 - math.exp(-t)), rel=1e-13)
        assert law.sum() == pytest.approx(1, rel=1e-14)


@pytest.mark.parametrize("kind", ["uniform", "absorbing"])
def test_the_score_entropy_is_that_of_sedd(kind):
    process = PROCESSES[kind]
    size = process.states
    generator = torch.Generator().manual_seed(0)
    x_0 = torch.randint(0, size - 1, (40, 3), generator=generator)
    other = torch.randint(0, size, (40, 3), generator=generator)
    x = torch.where(torch.rand(40, 3, generator=generator) < 0.5, x_0, size - 1 if kind == "absorbing" else other)
    log_score = torch.randn(40, 3, size, generator=generator, dtype=torch.float64)
    sigma = torch.rand(40, 1, generator=generator, dtype=torch.float64) * 3 + 0.01
    theirs = RELATIONS.sedd(kind, *(value.numpy() for value in (log_score, sigma, x, x_0))).sum(1)
    ours = loss.score_entropy(process, x, x_0, sigma[:, 0], log_score)
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-10)


def test_the_score_of_a_mask_is_sedds_scaled_prediction():
    # SEDD's absorbing score at the mask: p(x_0 | mask) alpha / (1 - alpha).
    process, t = PROCESSES["absorbing"], 0.9
    posterior = process.posterior(6, np.concatenate([LAW, [0.0]]), t)
    np.testing.assert_allclose(posterior[:6], LAW, atol=1e-15)
    np.testing.assert_allclose(process.score(6, posterior, t)[:6], LAW / math.expm1(t), rtol=1e-13, atol=1e-15)
