"""Uniform and Absorbing without a matrix: as a MarkovProcess of their generator says, and of a vocabulary of words."""

import tracemalloc

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout import processes as on
from fastblackout.processes import conversion as to
from support.helpers import assert_named, chi_square_counts

torch.set_num_threads(1)

PROCESSES = {
    "uniform": fb.Uniform(6),
    "absorbing": fb.Absorbing(6, 2),
    "any": fb.Redraw(np.array([0.1, 0.0, 0.2, 0.3, 0.0, 0.4])),
    "sped up": fb.Uniform(5).time_change(lambda t: t * t, lambda t: 2 * t),
}
every = pytest.mark.parametrize("name", PROCESSES)
VOCABULARY = 50_258


def arguments(process, t):
    """x_0, a possible x_t, a law of x_0 for each element that is 0 where x_t is out of reach, and a score."""
    random = np.random.default_rng(0)
    x_0 = random.integers(0, process.states, (4, 3))
    x_t = process.sample_forward(x_0, t, rng=fb.Philox(1))
    probs = random.random((4, 3, process.states)) * to.reachable_from(process, x_t, t)
    return x_0, x_t, probs / probs.sum(-1, keepdims=True), random.normal(size=probs.shape)


def results(process, t, x_0, x_t, probs, log_score):
    s = t * 0.3
    prior = np.full(process.states, 1 / process.states)
    jumps = to.jumps_into(process, x_t, t)
    return {
        "log_prob": process.log_prob(x_t, x_0, t),
        "cdf": process.cdf(x_t, x_0, t),
        "bridge": process.bridge(x_t, x_0, s, t),
        "reverse_rate": process.reverse_rate(x_t, x_0, t),
        "score": process.score(x_t, probs, t),
        "reverse_law": process.reverse_law(x_t, probs, s, t),
        "posterior": process.posterior(x_t, prior, t),
        "jumps": jumps,
        "reachable": to.reachable_from(process, x_t, t),
        "rates": to.rates_from_score(process, x_t, np.exp(log_score), t),
        "ratios": to.score_from_rates(process, x_t, jumps * np.exp(log_score), t),
        "rate_loss": on.rate_loss(process, x_t, x_0, t, np.exp(log_score)),
        "score_entropy": on.score_entropy(process, x_t, x_0, t, log_score),
    }


@every
def test_equals_the_matrices_of_its_generator(name):
    process = PROCESSES[name]
    dense = fb.MarkovProcess(process.generator())
    if name == "sped up":
        dense = dense.time_change(lambda t: t * t, lambda t: 2 * t)
    for t in (np.array([0.05, 0.4, 1.3, 3.0]), 0.7):
        given = arguments(process, t)
        expected = results(dense, t, *given)
        for key, found in results(process, t, *given).items():
            np.testing.assert_allclose(found, expected[key], rtol=2e-10, atol=1e-13, err_msg=key)
    for end, law in ((1.7, np.array([0.4, 0.1, 0.3, 0.05, 0.15, 0.0])), (2.0, process.stationary())):
        law = law[: process.states] / law[: process.states].sum()
        found, expected = (on.prior_divergence(p, np.arange(process.states), end, law) for p in (process, dense))
        np.testing.assert_allclose(found, expected, rtol=1e-11)


@every
def test_times_of_elements_are_those_of_samples_of_one_element(name):
    process = PROCESSES[name]
    t = np.random.default_rng(3).random((4, 3)) + 0.2
    given = arguments(process, t)
    apart = [x.reshape(12, 1, *x.shape[2:]) for x in given]
    single = results(process, t.reshape(12), *apart)
    for key, found in results(process, t, *given).items():
        expected = single[key]
        expected = expected.reshape(4, 3).sum(1) if key in ("rate_loss", "score_entropy") else expected
        np.testing.assert_allclose(found, expected.reshape(found.shape), rtol=1e-13, err_msg=key)
    column = np.random.default_rng(4).random((4, 1)) + 0.2
    for key, found in results(process, column, *given).items():
        np.testing.assert_array_equal(found, results(process, column[:, 0], *given)[key], err_msg=key)
    tensors = [torch.from_numpy(x) for x in (given[1], given[0])]
    found = process.log_prob(*tensors, torch.from_numpy(t))
    np.testing.assert_allclose(found.numpy(), process.log_prob(given[1], given[0], t), rtol=1e-13)


@pytest.mark.parametrize("process", [fb.Uniform(VOCABULARY), fb.Absorbing(VOCABULARY)], ids=["uniform", "absorbing"])
def test_words_take_no_memory_of_pairs(process):
    """All results of 6 tokens, of 2.4 MB each, within 60 MB; a matrix would take 20 GB."""
    t = np.array([0.4, 1.3])
    tracemalloc.start()
    try:
        random = np.random.default_rng(0)
        x_0 = random.integers(0, VOCABULARY - 1, (2, 3))
        x_t = process.sample_forward(x_0, t, rng=fb.Philox(1))
        x_s = process.sample_bridge(x_t, x_0, t / 2, t, rng=fb.Philox(2))
        probs = random.random((2, 3, VOCABULARY)) * to.reachable_from(process, x_t, t)
        probs /= probs.sum(-1, keepdims=True)
        for key, found in results(process, t, x_0, x_t, probs, np.log(probs + 1e-9)).items():
            assert np.isfinite(found[found == found]).all() or key == "log_prob"
        np.testing.assert_allclose(process.bridge(x_t, x_0, t / 2, t).sum(-1), 1.0, rtol=1e-9)
        assert (process.bridge(x_t, x_0, t / 2, t)[np.arange(2)[:, None], np.arange(3), x_s] > 0).all()
        on.prior_divergence(process, x_0, 9.0, process.stationary())
        model = {"model": lambda x, now: probs, "shape": (2, 3), "times": [40.0, 1.0, 0.0], "kind": "probs"}
        start = None if isinstance(process, fb.Absorbing) else x_t
        if start is None:  # at a mask every word is possible
            probs = np.full((2, 3, VOCABULARY), 1 / VOCABULARY)
            model["times"] = [40.0, 0.0]
        drawn = on.sample_reverse(process, **model, start=start, rng=fb.Philox(3))
        assert drawn.shape == (2, 3) and len(np.unique(drawn)) > 1
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 60e6


@pytest.mark.parametrize("process", [fb.Uniform(5), fb.Absorbing(5)], ids=["uniform", "absorbing"])
def test_sample_reverse_gives_the_law_of_the_data(process):
    """One variable of a known law, exactly, in four steps: by probabilities and by logits. 2 tests at 1e-6."""
    law, count = np.array([0.1, 0.4, 0.0, 0.3, 0.2]), 40_000
    if isinstance(process, fb.Absorbing):
        law = np.array([0.1, 0.4, 0.2, 0.3, 0.0])  # no mask

    def model(x, t):
        return process.posterior(x, law, t)

    def logits(x, t):
        with np.errstate(divide="ignore"):
            return np.log(model(x, t)) + 3.0

    for kind, rule in (("probs", model), ("logits", logits)):
        x = on.sample_reverse(process, rule, (4, count // 4), [30.0, 1.5, 0.6, 0.2, 0.0], kind=kind, rng=fb.Philox(2))
        seen = np.bincount(x.ravel(), minlength=5)
        assert (seen[law == 0] == 0).all()
        assert chi_square_counts(seen[law > 0], law[law > 0] * count) > 1e-6


X, SMALL = np.array([[1, 2]]), fb.Absorbing(5)
OUTSIDE = "must be whole numbers in 0..4"
NO_WAY = "sample_bridge: x_t: must be reachable from x_0 at these times"
ERRORS = {
    "dtype": (lambda: fb.Uniform(300).sample_forward(X.astype(np.uint8), 1.0), "x_0: dtype must hold states", "uint8"),
    "state": (lambda: SMALL.sample_forward(X + 3, 1.0), f"Absorbing.sample_forward: x_0: {OUTSIDE}", "5"),
    "state below": (lambda: SMALL.sample_forward(X - 2, 1.0), f"x_0: {OUTSIDE}", "-1"),
    "x_t": (lambda: SMALL.sample_bridge(X + 3, X, 0.5, 1.0), f"Absorbing.sample_bridge: x_t: {OUTSIDE}", "5"),
    "no way": (lambda: SMALL.sample_bridge(X + 1, X + 2, 0.5, 1.0), f"Absorbing.{NO_WAY}", "x_t = 2 and x_0 = 3"),
    "no time": (lambda: fb.Uniform(3).sample_bridge(X, X - 1, 0.0, 0.0), f"Uniform.{NO_WAY}", "x_t = 1 and x_0 = 0"),
    "backend": (lambda: SMALL.sample_forward(X, 1.0, backend="cuda"), "sample_forward: backend: ", "cuda"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_named(case, backend):
    call, text, value = ERRORS[case]
    assert_named(call, TypeError if case == "dtype" else ValueError, text, value)
