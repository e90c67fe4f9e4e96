"""The loss of jump rates: a bound of the likelihood, equal to it where the rates are true."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from fastblackout import processes as loss
from fastblackout.processes import conversion as to
from support.small_processes import LAW, PROCESSES, data_law

torch.set_num_threads(1)


def exact_rates(process, factor=1.0):
    """beta Q times the ratio of marginals, which needs no posterior; 0 / 0 is never visited."""
    law = data_law(process, LAW)

    def rates(x_t, t):
        x_0, at = (np.broadcast_to(np.arange(process.states), (len(t), *[process.states] * 2)) for _ in range(2))
        chances = np.exp(process.log_prob(at, x_0.swapaxes(1, 2), t))  # transition_matrix has no accurate small entries
        p_t = (law @ chances)[..., None, :]
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(p_t.swapaxes(-1, -2) > 0, p_t / p_t.swapaxes(-1, -2), 0.0)
        return factor * to.jumps_into(process, x_t, t) * ratio

    return rates


@pytest.mark.parametrize("end", [0.5, 4.0])
@pytest.mark.parametrize("name", PROCESSES)
def test_exact_rates_give_the_information_of_every_state(name, end):
    process = PROCESSES[name]
    law = data_law(process, LAW)
    prior = law @ process.transition_matrix(end)
    bound = loss.exact_rate_bound(process, exact_rates(process), end, prior)
    np.testing.assert_allclose(bound[law > 0], -np.log(law[law > 0]), atol=3e-10)
    worse = loss.exact_rate_bound(process, exact_rates(process, 1.1), end, prior)
    assert law @ np.where(law > 0, worse, 0) > law @ np.where(law > 0, bound, 0) + 1e-4
    other = 0.9 * prior + 0.1 * np.arange(process.states) / np.arange(process.states).sum()
    off = loss.exact_rate_bound(process, exact_rates(process), end, other)
    assert law @ np.where(law > 0, off, 0) > law @ np.where(law > 0, bound, 0) + 1e-4


@pytest.mark.parametrize("name", PROCESSES)
def test_the_loss_is_the_sum_over_the_jumps(name):
    process = PROCESSES[name]
    generator = np.random.default_rng(2)
    t = np.array([0.1, 0.6, 3.0])
    chances = process.transition_matrix(t)
    x_0 = generator.choice(process.states, size=(3, 4))
    x_t = np.array([[generator.choice(process.states, p=chances[b, o]) for o in row] for b, row in enumerate(x_0)])
    scores = generator.gamma(1.0, size=(3, 4, process.states))
    expected = np.zeros(3)
    for b in range(3):
        for e in range(4):
            j, o = x_t[b, e], x_0[b, e]
            for i in range(process.states):
                rate = process.generator()[i, j] * float(process.beta(t[b]))
                if i == j or rate == 0:
                    continue
                ratio = chances[b, o, i] / chances[b, o, j]
                s = scores[b, e, i]
                known = ratio * (math.log(ratio) - 1) if ratio > 0 else 0.0
                expected[b] += rate * (s - ratio * math.log(s) + known)  # the score entropy, as SEDD writes it
    jumps = to.jumps_into(process, x_t, t)
    hidden = np.where(jumps > 0, scores, np.nan)  # what cannot be jumped to is not read
    np.testing.assert_allclose(
        loss.score_entropy(process, x_t, x_0, t, np.log(hidden)), expected, rtol=1e-9, atol=1e-12
    )
    np.testing.assert_allclose(loss.rate_loss(process, x_t, x_0, t, jumps * hidden), expected, rtol=1e-9, atol=1e-12)
    tensors = [torch.from_numpy(value) for value in (x_t, x_0, t, np.log(hidden))]
    found = loss.score_entropy(process, *tensors)
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", ["pure death", "immigration-death", "Ehrenfest", "random walk"])
def test_births_and_deaths_alone(name):
    process = PROCESSES[name].time_change(0.5)
    generator = np.random.default_rng(3)
    x_0 = torch.from_numpy(generator.integers(0, 6, (5, 4)))
    t = torch.tensor([0.05, 0.3, 1.0, 2.0, 6.0], dtype=torch.float64)
    x_t = torch.minimum(x_0, torch.from_numpy(generator.integers(0, 6, (5, 4))))
    up, down = (torch.from_numpy(generator.normal(size=(5, 4))).requires_grad_() for _ in range(2))
    rates = torch.full((5, 4, 6), math.nan, dtype=torch.float64)
    rates = rates.scatter(2, (x_t + 1).clamp(max=5)[..., None], torch.exp(up)[..., None])
    rates = rates.scatter(2, (x_t - 1).clamp(min=0)[..., None], torch.exp(down)[..., None])
    rates = torch.where(torch.from_numpy(to.jumps_into(process, x_t.numpy(), t.numpy())) > 0, rates, math.nan)
    # At 0 and 5 a clamped index wrote x_t's own entry, which is not read.
    expected = loss.rate_loss(process, x_t, x_0, t, rates)
    found = loss.birth_death_loss(process, x_t, x_0, t, up, down)
    np.testing.assert_allclose(found.detach().numpy(), expected.detach().numpy(), rtol=1e-9)
    ours, theirs = (torch.autograd.grad(value.sum(), (up, down)) for value in (found, expected))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", PROCESSES)
def test_gradients_and_where_they_vanish(name):
    process, t = PROCESSES[name], 0.8
    law = data_law(process, LAW)
    chances = process.transition_matrix(t)
    x_0, x_t = np.nonzero((law[:, None] * chances) > 0)
    weight = torch.from_numpy((law[:, None] * chances)[x_0, x_t])
    seen = np.flatnonzero(law @ chances > 0)
    log_score = np.full((process.states, process.states), np.nan)
    with np.errstate(divide="ignore"):
        log_score[seen] = np.log(process.score(seen, process.posterior(seen, law, t), t))
    exact = torch.from_numpy(np.nan_to_num(log_score, neginf=-50.0)).requires_grad_()

    def mean_loss(values):
        each = loss.score_entropy(process, torch.from_numpy(x_t), torch.from_numpy(x_0), t, values[x_t])
        return (weight * each).sum()

    (gradient,) = torch.autograd.grad(mean_loss(exact), exact)
    assert gradient.abs().max() < 1e-12  # the exact score is where the expected loss is least
    shifted = (exact.detach() + 0.3).requires_grad_()
    assert torch.autograd.gradcheck(mean_loss, shifted)
    assert mean_loss(shifted) > mean_loss(exact) + 1e-4


def test_prior_divergence():
    process, prior = PROCESSES["random walk"], np.full(6, 1 / 6)
    x_0 = torch.tensor([[0, 3], [5, 5]])
    rows = [stats.entropy(process.transition_matrix(0.4)[o], prior) for o in range(6)]
    found = loss.prior_divergence(process, x_0, 0.4, prior)
    np.testing.assert_allclose(found.numpy(), [rows[0] + rows[3], 2 * rows[5]], rtol=1e-12)
    assert loss.prior_divergence(PROCESSES["pure death"], np.array([[0]]), 3.0, np.eye(6)[0])[0] == 0
    assert loss.prior_divergence(PROCESSES["pure death"], np.array([[2]]), 3.0, np.eye(6)[0])[0] == math.inf


def test_rate_divergence():
    a, b = np.array([0.0, 1.0, 2.5, 3.0, 0.0]), np.array([0.7, 2.0, 2.5, 0.0, 0.0])
    expected = [0.7, 1 - math.log(2), 0.0, math.inf, 0.0]
    np.testing.assert_allclose(loss.rate_divergence(a, b), expected, rtol=1e-15, atol=1e-15)
    log_b = np.log(np.array([0.7, 2.0, 2.5]))
    np.testing.assert_allclose(loss.rate_divergence(a[:3], log_model_rate=log_b), expected[:3], rtol=1e-15, atol=1e-15)
    assert loss.rate_divergence(1.0, log_model_rate=-1e5) == 1e5 - 1
    np.testing.assert_allclose(loss.rate_divergence(torch.tensor(a), torch.tensor(b)), expected, rtol=1e-15, atol=1e-15)
    model = torch.tensor([0.7, 2.0, 2.5, 0.0]).double().requires_grad_()
    loss.rate_divergence(torch.tensor([0.0, 1.0, 2.5, 0.0]).double(), model).sum().backward()
    np.testing.assert_allclose(model.grad.numpy(), [1.0, 0.5, 0.0, 1.0], rtol=1e-15)  # 1 - a / b, and 1 where a = 0
    assert loss.rate_divergence(torch.tensor([3]), torch.tensor([1.5])).dtype == torch.float32
