"""Likelihood bounds of any process: with the exact model they are the information of each image, else more."""

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.processes import conversion
from fastblackout.processes.rate_loss import exact_rate_bound
from support.helpers import by_day
from support.small_processes import data_law
from support.toy_data import LAW, toy_data

torch.set_num_threads(1)


def ring(states):
    """One way around at rate 2, and a jump home from everywhere."""
    rates = 2.0 * np.roll(np.eye(states), 1, axis=1)
    rates[1:, 0] += 0.5
    return rates - np.diag(rates.sum(1))


PROCESSES = {
    "pure death": fb.PureDeath(5),
    "immigration-death": fb.ImmigrationDeath(1.5, max_count=5),
    "Ehrenfest": fb.Ehrenfest(5, up=0.6, down=0.9),
    "random walk": fb.RandomWalk(6),
    "uniform": fb.Uniform(6),
    "absorbing": fb.Absorbing(7),
    "sped up": fb.Uniform(6).time_change(lambda t: t * t, lambda t: 2 * t),
    "any": fb.MarkovProcess(ring(6)),
}


@pytest.mark.parametrize("name", by_day(PROCESSES, "immigration-death", "any"))
def test_bits_of_any_process(name):
    process, end = PROCESSES[name], 1.0
    law = data_law(process, LAW)
    x_0, information = toy_data(150, seed=1)
    prior = law @ process.transition_matrix(end)

    def rates(x_t, t, factor=1.0):
        at, start = np.broadcast_arrays(np.arange(process.states), np.arange(process.states)[:, None])
        pairs = (np.broadcast_to(states, (len(t), *at.shape)) for states in (at, start))
        chances = np.exp(process.log_prob(*pairs, t.numpy()))  # small entries of transition_matrix are not accurate
        p_t = torch.from_numpy(law @ chances).reshape(len(t), *(1 for _ in x_t.shape[1:]), -1)
        here = p_t.expand(*x_t.shape, -1).gather(-1, x_t.long()[..., None])
        return factor * conversion.jumps_into(process, x_t, t) * p_t / here

    how = {"end": end, "prior": prior, "rng": fb.Philox(1)}
    found = fb.process_bits_per_dim(process, rates, x_0, batch=5000, **how)
    # 5 errors from 8 repeats: t with 7 degrees of freedom, false alarm 2e-3 a case.
    assert abs(found.bits - information.mean()) < 5 * found.monte_carlo_error
    assert found.monte_carlo_error < 0.05
    assert np.corrcoef(found.per_image, information)[0, 1] > 0.6
    worse = fb.process_bits_per_dim(process, lambda x, t: rates(x, t, 2.0), x_0, batch=777, **how)
    assert worse.bits > found.bits + 0.05
    exact = exact_rate_bound(process, lambda x, t: rates(*map(torch.tensor, (x, t)), 2.0).numpy(), end, prior)
    assert abs(worse.bits - exact[x_0].mean() / np.log(2)) < 5 * worse.monte_carlo_error < 0.25


def posterior(process, x_t, t):
    """p(x_0 | x_t) of every x_t by Bayes from P(t), with no weight on what cannot be."""
    joint = data_law(process, LAW)[:, None] * process.transition_matrix(t)
    total = joint.sum(0)
    return np.divide(joint, total, out=np.zeros_like(joint), where=total > 0).T[x_t]


@pytest.mark.parametrize("name", PROCESSES)
def test_the_law_of_a_step_is_the_sum_over_the_data(name):
    process = PROCESSES[name]
    times = ((0.0, 0.8), (0.3, 0.8), (0.8, 0.8), (1e-3, 4.0))
    for s, t in times:
        seen = np.flatnonzero(data_law(process, LAW) @ process.transition_matrix(t) > 0)
        probs = posterior(process, seen, t)
        expected = np.zeros((len(seen), process.states))
        for n, x_0 in zip(*np.nonzero(probs), strict=True):
            expected[n] += probs[n, x_0] * process.bridge(int(seen[n]), int(x_0), s, t)
        found = process.reverse_law(seen, probs, s, t)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-15)
        np.testing.assert_allclose(found.sum(-1), 1.0, rtol=1e-13)
    many = np.broadcast_to(seen, (2, len(seen)))
    probs = np.stack([posterior(process, seen, t) for t in (0.8, 4.0)])
    both = process.reverse_law(many, probs, np.array([0.3, 1e-3]), np.array([0.8, 4.0]))
    np.testing.assert_allclose(both[1], found, rtol=1e-10, atol=1e-15)


def test_an_open_boundary_leaves_no_probability_out():
    process = fb.ImmigrationDeath(1.0, max_count=6, boundary="open")
    probs = np.full((7, 7), 1 / 7)
    found = process.reverse_law(np.arange(7), probs, 0.4, 1.1)
    bridges = process.bridge(*np.broadcast_arrays(np.arange(7)[:, None], np.arange(7)), 0.4, 1.1)
    np.testing.assert_allclose(found, bridges.mean(1), rtol=1e-10)


def test_the_law_of_a_step_needs_no_array_of_pairs_of_states():
    process, shape = fb.Uniform(64).time_change(2.0), (64, 64)
    general = fb.MarkovProcess(process.generator())
    x_t, probs = np.zeros(shape, int), np.full((*shape, 64), 1 / 64)
    for one in (process, general):
        one.reverse_law(x_t, probs, 0.2, 0.7)
        tracemalloc.start()
        one.reverse_law(x_t, probs, 0.2, 0.7)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 10 * probs.nbytes  # of pairs: 64 times


def exact_step_bound(process, model, times, prior):
    """The bound of sampler_bits_per_dim for each x_0 of one variable, in nats, by sums over all states."""
    size = process.states
    start = process.transition_matrix(times[0])
    with np.errstate(divide="ignore", invalid="ignore"):
        total = np.where(start > 0, start * (np.log(start) - np.log(prior)), 0.0).sum(1)
        for t, s in pairwise(times):
            chance = process.transition_matrix(t)
            seen = np.flatnonzero(data_law(process, LAW) @ chance > 0)
            found = np.full((size, size), np.nan)
            found[seen] = process.reverse_law(seen, model(seen, t), s, t)
            for x_0, x_t in zip(*np.nonzero(chance * (data_law(process, LAW) > 0)[:, None]), strict=True):
                true = process.bridge(int(x_t), int(x_0), s, t)
                kl = np.where(true > 0, true * (np.log(true) - np.log(found[x_t])), 0.0).sum()
                total[x_0] += chance[x_0, x_t] * kl
    return np.where(data_law(process, LAW) > 0, total, 0.0)


@pytest.mark.parametrize("times", [[1.0, 0.0], [1.0, 0.7, 0.25, 0.03, 0.0]])
@pytest.mark.parametrize("name", by_day(PROCESSES, "pure death", "any"))
def test_the_exact_model_gives_the_information_in_any_number_of_steps(name, times):
    process, law = PROCESSES[name], data_law(PROCESSES[name], LAW)
    prior = law @ process.transition_matrix(times[0])
    bound = exact_step_bound(process, lambda x, t: posterior(process, x, t), times, prior)
    np.testing.assert_allclose(bound[law > 0], -np.log(law[law > 0]), atol=1e-11)

    def worse(x, t):
        probs = posterior(process, x, t) ** 1.2
        return probs / probs.sum(-1, keepdims=True)

    assert law @ exact_step_bound(process, worse, times, prior) > law @ bound + 1e-4


@pytest.mark.parametrize(("name", "kind"), zip(PROCESSES, ["logits", "probs"] * 4, strict=True))
def test_the_bound_of_a_sampler(name, kind):
    process, law, times = PROCESSES[name], data_law(PROCESSES[name], LAW), [1.0, 0.5, 0.2, 0.0]
    x_0, information = toy_data(150, seed=2)
    tables = {t: torch.from_numpy(posterior(process, np.arange(process.states), t)) for t in times[:-1]}

    def model(x_t, t, power=1.0):
        probs = torch.stack([tables[now][x.long()] for x, now in zip(x_t, t.tolist(), strict=True)]) ** power
        return probs / probs.sum(-1, keepdim=True) if kind == "probs" else torch.log(probs)

    how = {"times": times, "kind": kind, "prior": law @ process.transition_matrix(1.0), "rng": fb.Philox(1)}
    found = fb.sampler_bits_per_dim(process, model, x_0, draws=12, batch=1000, **how)
    # 5 errors from 8 repeats: t with 7 degrees of freedom, false alarm 2e-3 a case.
    assert abs(found.bits - information.mean()) < 5 * found.monte_carlo_error
    assert found.monte_carlo_error < 0.05
    assert np.corrcoef(found.per_image, information)[0, 1] > 0.6
    worse = fb.sampler_bits_per_dim(process, lambda x, t: model(x, t, 0.5), x_0, draws=12, batch=777, **how)
    assert worse.bits > found.bits + 0.01
    half = {t: (table**0.5 / (table**0.5).sum(-1, keepdim=True)).numpy() for t, table in tables.items()}
    exact = exact_step_bound(process, lambda x, t: half[t][x], times, how["prior"])
    assert abs(worse.bits - exact[x_0].mean() / np.log(2)) < 5 * worse.monte_carlo_error < 0.25
    again = fb.sampler_bits_per_dim(process, model, x_0, draws=12, batch=333, **how)
    np.testing.assert_allclose(again.per_image, found.per_image, rtol=1e-10)
