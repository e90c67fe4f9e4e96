"""Every converter there and back, and against what it says it is, written out."""

import math

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.processes import conversion as to
from support import small_processes
from support.small_processes import data_law
from support.toy_data import LAW

torch.set_num_threads(1)
STATES = np.arange(6)
T = 0.7
PROCESSES = {name: process for name, process in small_processes.PROCESSES.items() if name != "any"}


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_logits_and_probabilities(library):
    logits = np.random.default_rng(0).normal(size=(4, 3, 6)) * 30
    logits[0, 0, 2] = -math.inf
    given = logits if library == "numpy" else torch.from_numpy(logits)
    probs = to.probs_from_logits(given)
    expected = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(np.asarray(probs), expected, rtol=1e-12)
    back = np.asarray(to.logits_from_probs(probs))
    shift = logits.max(-1, keepdims=True) - back.max(-1, keepdims=True)
    np.testing.assert_allclose(back + shift, logits, rtol=1e-12, atol=1e-12)
    reachable = np.arange(6) >= np.array([0, 3, 5])[:, None]
    some = np.asarray(to.probs_from_logits(given, reachable if library == "numpy" else torch.from_numpy(reachable)))
    cut = expected * reachable
    np.testing.assert_allclose(some, cut / cut.sum(-1, keepdims=True), rtol=1e-10)
    assert (some[:, 2] == [0, 0, 0, 0, 0, 1]).all()
    for wrong in (np.full(3, -math.inf), np.array([0.0, math.nan]), torch.full((3,), math.inf)):
        with pytest.raises(ValueError, match="probs_from_logits: logits: each row must have a finite largest"):
            to.probs_from_logits(wrong)


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_births_and_logits(library):
    births = np.array([0.0, 1e-300, 1e-12, 0.3, 5.0, 700.0, 1e6])
    given = births if library == "numpy" else torch.from_numpy(births)
    logits = to.logits_from_births(given, gain=2.5)
    np.testing.assert_allclose(np.asarray(to.births_from_logits(logits, gain=2.5)), births, rtol=1e-13)
    assert logits[0] == -math.inf
    assert float(logits[3]) == pytest.approx(math.log(math.exp(0.3 / 2.5) - 1), rel=1e-13)


def test_births_rates_and_scores_of_pure_death_are_those_of_the_process():
    process = PROCESSES["pure death"]
    alive = fb.Prob(math.exp(-T), -math.expm1(-T))
    probs = process.posterior(STATES, LAW, T)
    births = to.births_from_probs(probs, STATES)
    expected = [sum(probs[j, o] * (o - j) for o in range(j, 6)) for j in range(6)]
    np.testing.assert_allclose(births, expected, rtol=1e-13)
    rate = to.rate_from_births(births, alive)
    all_rates = to.rates_from_score(process, STATES, to.score_from_probs(process, STATES, probs, T), T)
    assert np.count_nonzero(all_rates) == 5
    np.testing.assert_allclose(rate[:5], all_rates[STATES[:5], STATES[1:]], rtol=1e-12)
    np.testing.assert_allclose(to.births_from_rate(rate, alive), births, rtol=1e-14)
    score = to.score_from_births(births, STATES, alive)
    p_t = LAW @ process.transition_matrix(T)
    np.testing.assert_allclose(score[:5], p_t[1:] / p_t[:5], rtol=1e-12)
    np.testing.assert_allclose(to.births_from_score(score, STATES, alive), births, rtol=1e-14)


@pytest.mark.parametrize("name", PROCESSES)
def test_score_is_the_ratio_of_marginals_and_rates_are_the_reversed_ones(name):
    process = PROCESSES[name]
    law = data_law(process, LAW)
    p_t = law @ process.transition_matrix(T)
    x_t = np.flatnonzero(p_t > 0)
    probs = process.posterior(x_t, law, T)
    score = to.score_from_probs(process, x_t, probs, T)
    np.testing.assert_allclose(score, process.score(x_t, probs, T), rtol=1e-12)
    jumps = process.generator() * process.beta(T)
    np.fill_diagonal(jumps, 0.0)
    for j, row in zip(x_t, score, strict=True):
        defined = jumps[:, j] > 0
        assert row[j] == pytest.approx(1, rel=1e-13)
        assert np.isnan(row[~defined & (np.arange(process.states) != j)]).all()
        np.testing.assert_allclose(row[defined], p_t[defined] / p_t[j], rtol=1e-11)
    rates = to.rates_from_score(process, x_t, score, T)
    reversed_rates = (jumps * p_t[:, None]).T[x_t] / p_t[x_t, None]
    np.testing.assert_allclose(rates, reversed_rates, rtol=1e-11)
    np.testing.assert_allclose(to.score_from_rates(process, x_t, rates, T), score, rtol=1e-14)
    mean = sum(  # of the rates given x_0, over the posterior
        probs[:, [o]] * np.nan_to_num(process.reverse_rate(x_t, np.full_like(x_t, o), T))
        for o in np.flatnonzero(law)
        if (process.transition_matrix(T)[o, x_t] > 0).all()
    )
    if name not in ("pure death", "absorbing"):
        np.testing.assert_allclose(rates, mean, rtol=1e-11)


@pytest.mark.parametrize("name", ["uniform", "absorbing", "sped up"])
def test_probabilities_from_the_score_and_back(name):
    process = PROCESSES[name]
    law = data_law(process, LAW)
    x_t = np.flatnonzero(law @ process.transition_matrix(T) > 0).reshape(-1, 1)
    probs = process.posterior(x_t, law, T)
    score = to.score_from_probs(process, x_t, probs, T)
    np.testing.assert_allclose(to.probs_from_score(process, x_t, score, T), probs, atol=1e-13)


def test_what_a_score_does_not_determine_is_refused():
    for name in ("random walk", "Ehrenfest", "pure death"):
        process = PROCESSES[name]
        score = process.score(STATES, process.posterior(STATES, LAW, T), T)
        with pytest.raises(ValueError, match="probs_from_score: score: must determine the law of x_0, got 2 ratios"):
            to.probs_from_score(process, STATES, score, T)
    uniform = PROCESSES["uniform"]
    score = uniform.score(STATES, uniform.posterior(STATES, LAW, 40.0), 40.0)
    with pytest.raises(ValueError, match="must determine the law of x_0"):
        to.probs_from_score(uniform, STATES, score, 40.0)  # by then all x_0 look alike


def test_weight_on_what_cannot_be_is_refused():
    process = PROCESSES["pure death"]
    with pytest.raises(ValueError, match="score_from_probs: probs: must be 0"):
        to.score_from_probs(process, STATES, np.full((6, 6), 1 / 6), T)
    x_t = STATES.reshape(2, 3)
    reachable = to.reachable_from(process, x_t, T)
    np.testing.assert_array_equal(reachable, np.arange(6) >= x_t[..., None])


@pytest.mark.parametrize("name", PROCESSES)
def test_gradients_of_rates_in_logits(name):
    process = PROCESSES[name]
    law = data_law(process, LAW)
    possible = np.flatnonzero(law @ process.transition_matrix(T) > 0)
    x_t = torch.from_numpy(np.random.default_rng(1).choice(possible, size=(3, 2)))
    t = torch.tensor([0.2, 0.7, 2.0], dtype=torch.float64)
    reachable = to.reachable_from(process, x_t, t)

    def rates(logits):
        probs = to.probs_from_logits(logits, reachable)
        return to.rates_from_score(process, x_t, to.score_from_probs(process, x_t, probs, t), t)

    logits = torch.randn(3, 2, process.states, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert torch.autograd.gradcheck(rates, logits.requires_grad_())
