"""Wrong arguments of draws, laws, converters and losses of processes: function, argument, rule and value."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout import processes as on
from fastblackout.processes import conversion as to
from support.helpers import assert_named

torch.set_num_threads(1)
WALK, DEATH, UNIFORM = fb.RandomWalk(5), fb.PureDeath(4), fb.Uniform(5)
BIG = fb.PureDeath(1000)
X, T = np.array([1, 2]), np.array([0.5, 1.0])
XT, KEY = torch.tensor([1, 2]), fb.Philox(0)
SPREAD = np.full((2, 5), 0.2)


def generator():
    return torch.Generator().manual_seed(0)


CASES = {
    "dtype of a bridge": (
        lambda: BIG.sample_bridge(np.array([250], np.uint8), np.array([1000], np.int16), 0.1, 0.2),
        TypeError,
        "PureDeath.sample_bridge: x_t: dtype must hold states up to 1000",
        "uint8",
    ),
    "dtype of a bridge, any process": (
        lambda: fb.Ehrenfest(1000).sample_bridge(np.array([250], np.uint8), np.array([251], np.uint8), 0.1, 0.2),
        TypeError,
        "x_t: dtype must hold states up to 1000",
        "uint8",
    ),
    "no array drawn": (
        lambda: DEATH.sample_forward(3, 0.3),
        TypeError,
        "PureDeath.sample_forward: x_0: must be",
        "int",
    ),
    "no array drawn, any process": (
        lambda: WALK.sample_forward(3, 0.3),
        TypeError,
        "RandomWalk.sample_forward: x_0: must be",
        "int",
    ),
    "no array in a bridge": (
        lambda: DEATH.sample_bridge(3, 4, 0.1, 0.3),
        TypeError,
        "PureDeath.sample_bridge: x_t: must be",
        "int",
    ),
    "libraries of a bridge": (
        lambda: DEATH.sample_bridge(XT, X, 0.1, 0.3),
        TypeError,
        "PureDeath.sample_bridge: x_0: must be of the library of x_t",
        "ndarray",
    ),
    "libraries of a bridge, any process": (
        lambda: WALK.sample_bridge(X, XT, 0.1, T),
        TypeError,
        "RandomWalk.sample_bridge: x_0: must be of the library of x_t",
        "Tensor",
    ),
    "shapes of a bridge, times apart": (
        lambda: WALK.sample_bridge(X, np.ones(4, int), 0.1, T),
        ValueError,
        "RandomWalk.sample_bridge: x_0: shape must be that of x_t",
        "(4,)",
    ),
    "times of a bridge": (
        lambda: DEATH.sample_bridge(X, X, 0.1, np.ones(3)),
        ValueError,
        "PureDeath.sample_bridge: t: shape must be () or (2,)",
        "(3,)",
    ),
    "times of a death": (
        lambda: DEATH.sample_forward(X, np.ones(3)),
        ValueError,
        "PureDeath.sample_forward: t: shape must be () or (2,)",
        "(3,)",
    ),
    "rng": (lambda: WALK.sample_forward(X, T, rng=3), TypeError, "sample_forward: rng: must be a fastblackout", "int"),
    "rng tensor": (
        lambda: WALK.sample_forward(X, T, rng=torch.zeros(2)),
        TypeError,
        "sample_forward: rng: a key tensor must be int64 (3,)",
        "float32 (2,)",
    ),
    "rng and generator": (
        lambda: WALK.sample_forward(X, T, rng=KEY, generator=generator()),
        ValueError,
        "sample_forward: rng: must not be given together with generator",
        "both",
    ),
    "rng tensor and generator": (
        lambda: WALK.sample_bridge(X, X, 0.1, T, rng=KEY.tensor(), generator=generator()),
        ValueError,
        "sample_bridge: rng: must not be given together with generator",
        "both",
    ),
    "too soon to have died": (
        lambda: DEATH.reverse_rate(2, 3, 0.0),
        ValueError,
        "PureDeath.reverse_rate: x_t: must have a probability above 0 in float64",
        "x_t = 2 and x_0 = 3",
    ),
    "too soon for some": (
        lambda: DEATH.reverse_rate(torch.tensor([2, 2]), 3, np.array([0.5, 0.0])),
        ValueError,
        "PureDeath.reverse_rate: x_t: must have a probability above 0 in float64",
        "x_t = 2 and x_0 = 3",
    ),
    "law of a step, sum": (
        lambda: WALK.reverse_law(X, SPREAD * 2, 0.1, T),
        ValueError,
        "RandomWalk.reverse_law: posterior: must sum to 1",
        "2.0",
    ),
    "law of a step, no path": (
        lambda: DEATH.reverse_law(X, SPREAD, 0.1, T),
        ValueError,
        "PureDeath.reverse_law: posterior: must be 0 where P(t)[x_0, x_t] is 0",
        "weight",
    ),
    "law of a step, times": (
        lambda: WALK.reverse_law(X, SPREAD, 0.6, T),
        ValueError,
        "RandomWalk.reverse_law: s: must be at most t",
        "more",
    ),
    "one sum, of a number": (
        lambda: WALK.score(3, SPREAD[0] * 2, 0.5),
        ValueError,
        "RandomWalk.score: posterior: must sum to 1",
        "2.0",
    ),
    "births": (lambda: to.logits_from_births(-1.0), ValueError, "logits_from_births: births: must be at least 0", "-1"),
    "births of many": (
        lambda: to.logits_from_births(torch.tensor([1.0, -0.5]), gain=2.0),
        ValueError,
        "logits_from_births: births: must be at least 0",
        "-0.5",
    ),
    "probs": (
        lambda: to.score_from_probs(WALK, X, SPREAD * 0.9, 0.5),
        ValueError,
        "score_from_probs: probs: must sum to 1",
        "0.9",
    ),
    "probs, shape": (
        lambda: to.score_from_probs(WALK, X, SPREAD[0], 0.5),
        ValueError,
        "score_from_probs: probs: shape must be (2, 5)",
        "(5,)",
    ),
    "probs of a vector of times": (
        lambda: to.probs_from_score(UNIFORM, X, SPREAD, T),
        ValueError,
        "probs_from_score: t: must be a number",
        "(2,)",
    ),
    "probs, score shape": (
        lambda: to.probs_from_score(UNIFORM, X, SPREAD[0], 0.5),
        ValueError,
        "probs_from_score: score: shape must be (2, 5)",
        "(5,)",
    ),
    "jumps": (
        lambda: to.jumps_into(WALK, X, np.ones(3)),
        ValueError,
        "jumps_into: t: shape must be () or (2,)",
        "(3,)",
    ),
    "jumps of one": (lambda: to.jumps_into(WALK, 2, T), ValueError, "jumps_into: t: shape must be ()", "(2,)"),
    "rates, shape": (
        lambda: to.rates_from_score(WALK, X, SPREAD[0], 0.5),
        ValueError,
        "rates_from_score: score: shape must be (2, 5)",
        "(5,)",
    ),
    "score, shape": (
        lambda: to.score_from_rates(WALK, X, SPREAD[:1], 0.5),
        ValueError,
        "score_from_rates: rates: shape must be (2, 5)",
        "(1, 5)",
    ),
    "reachable": (
        lambda: to.reachable_from(WALK, X, np.ones(3)),
        ValueError,
        "reachable_from: t: shape must be () or (2,)",
        "(3,)",
    ),
    "loss, rates of one": (
        lambda: on.rate_loss(WALK, X, X, T, SPREAD[0]),
        ValueError,
        "rate_loss: rates: shape must be (2, 5)",
        "(5,)",
    ),
    "loss, no rates": (lambda: on.rate_loss(WALK, X, X, T, 1.0), TypeError, "rate_loss: rates: must be", "float"),
    "entropy, shape": (
        lambda: on.score_entropy(WALK, X, X, T, SPREAD[:, :4]),
        ValueError,
        "score_entropy: log_score: shape must be (2, 5)",
        "(2, 4)",
    ),
    "births and deaths": (
        lambda: on.birth_death_loss(WALK, X, X, T, np.zeros(2), np.zeros((2, 1))),
        ValueError,
        "birth_death_loss: log_deaths: shape must be (2,)",
        "(2, 1)",
    ),
    "prior": (
        lambda: on.prior_divergence(WALK, X, 1.0, SPREAD),
        ValueError,
        "prior_divergence: prior: shape must be (5,)",
        "(2, 5)",
    ),
    "prior of a bound": (
        lambda: on.exact_rate_bound(WALK, None, 1.0, SPREAD),
        ValueError,
        "exact_rate_bound: prior: shape must be (5,)",
        "(2, 5)",
    ),
    "end": (
        lambda: on.prior_divergence(WALK, X, T, SPREAD[0]),
        ValueError,
        "prior_divergence: end: must be a number",
        "(2,)",
    ),
    "start": (
        lambda: on.sample_reverse(WALK, None, (2,), [1.0, 0.0], start=X * 1.0),
        TypeError,
        "sample_reverse: start: dtype must be one of uint8",
        "float64",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_arguments_are_named(case):
    assert_named(*CASES[case])


def test_the_bridge_of_counts_that_fit_is_taken():
    # The dtype of x_t must hold what x_0's may be, not what the process may be elsewhere.
    x_s = BIG.sample_bridge(np.array([100], np.uint8), np.array([250], np.uint8), 1e-9, 0.2, rng=KEY)
    assert x_s.dtype == np.uint8 and x_s[0] == 250
    x_s = BIG.sample_bridge(np.array([250], np.int16), np.array([1000], np.int32), 1e-9, 0.2, rng=KEY)
    assert x_s.dtype == np.int16 and x_s[0] == 1000
