"""Wrong arguments of the methods of processes: the error's type, and a text with method, argument, rule and value."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.helpers import assert_named

torch.set_num_threads(1)

NAN, INF = float("nan"), float("inf")
WALK = fb.RandomWalk(5)
DEATH = fb.PureDeath(4)
HALF = np.array([0.5, 0.5])
SPREAD = np.full((2, 5), 0.2)
X = np.array([1, 2])

CASES = {
    "t negative": (
        lambda: WALK.transition_matrix(-1e-9),
        ValueError,
        "RandomWalk.transition_matrix: t: must be",
        "-1e-09",
    ),
    "t NaN": (lambda: DEATH.transition_matrix(NAN), ValueError, "t: must be finite and at least 0", "nan"),
    "t infinite": (lambda: WALK.evaluation(np.array([1.0, INF])), ValueError, "evaluation: t: must be finite", "inf"),
    "t a matrix": (
        lambda: WALK.transition_matrix(np.ones((2, 2))),
        ValueError,
        "t: shape must be () or (B,)",
        "(2, 2)",
    ),
    "t text": (lambda: WALK.transition_matrix("1"), TypeError, "transition_matrix: t: must be", "str"),
    "t complex": (lambda: WALK.transition_matrix(1j), TypeError, "t: must be real numbers", "complex"),
    "t of another batch": (
        lambda: WALK.log_prob(X, X, np.ones(3)),
        ValueError,
        "log_prob: t: shape must be () or (2,)",
        "(3,)",
    ),
    "t of another batch, drawn": (
        lambda: WALK.sample_forward(X, np.ones(3)),
        ValueError,
        "sample_forward: t: shape must be",
        "(3,)",
    ),
    "t of another batch, death": (
        lambda: DEATH.log_prob(X, X, np.ones(3)),
        ValueError,
        "log_prob: t: shape must be",
        "(3,)",
    ),
    "state too large": (
        lambda: WALK.log_prob(np.array([5, 1]), X, 1.0),
        ValueError,
        "log_prob: x_t: must be in 0..4",
        "5",
    ),
    "state negative": (
        lambda: DEATH.log_prob(X, np.array([2, -1]), 1.0),
        ValueError,
        "log_prob: x_0: must be in 0..4",
        "-1",
    ),
    "state in a tensor": (lambda: WALK.cdf(torch.tensor([9]), 0, 1.0), ValueError, "cdf: x_t: must be in 0..4", "9"),
    "state too large, drawn": (
        lambda: WALK.sample_forward(np.array([5]), 1.0),
        ValueError,
        "categorical: state: ",
        "5",
    ),
    "float states": (
        lambda: WALK.log_prob(HALF, X, 1.0),
        TypeError,
        "log_prob: x_t: dtype must be one of uint8",
        "float64",
    ),
    "shapes": (lambda: WALK.log_prob(X, X[:1], 1.0), ValueError, "log_prob: x_0: shape must be (2,)", "(1,)"),
    "s after t": (
        lambda: WALK.bridge(X, X, 2.0, 1.0),
        ValueError,
        "RandomWalk.bridge: s: must be at most t",
        "1.0 more",
    ),
    "s negative": (
        lambda: WALK.bridge(X, X, -0.5, 1.0),
        ValueError,
        "bridge: s: must be finite and at least 0",
        "-0.5",
    ),
    "s of another batch": (
        lambda: WALK.bridge(X, X, np.ones(3), np.ones(2)),
        ValueError,
        "bridge: s: shape must be",
        "(3,)",
    ),
    "s after t, drawn": (
        lambda: DEATH.sample_bridge(X, X, 2.0, 1.0),
        ValueError,
        "PureDeath.sample_bridge: s: must",
        "1.0",
    ),
    "no way": (
        lambda: fb.Absorbing(3).bridge(0, 2, 0.5, 1.0),
        ValueError,
        "bridge: x_t: must be reachable",
        "x_t = 0 and x_0 = 2",
    ),
    "no way up": (
        lambda: DEATH.bridge(3, 2, 0.5, 1.0),
        ValueError,
        "PureDeath.bridge: x_t: must be reachable",
        "x_t = 3 and x_0 = 2",
    ),
    "no way up, drawn": (
        lambda: DEATH.sample_bridge(X + 1, X, 0.5, 1.0),
        ValueError,
        "sample_bridge: x_t: must be reachable",
        "x_t = 2",
    ),
    "no way, rate": (
        lambda: fb.Absorbing(3).reverse_rate(0, 1, 1.0),
        ValueError,
        "reverse_rate: x_t: must be reachable",
        "x_0 = 1",
    ),
    "too soon": (
        lambda: WALK.reverse_rate(4, 0, 1e-200),
        ValueError,
        "must have a probability above 0 in float64",
        "x_t = 4",
    ),
    "not yet": (
        lambda: WALK.bridge(4, 0, 0.0, 0.0),
        ValueError,
        "must have a probability above 0 in float64",
        "x_t = 4",
    ),
    "posterior sum": (lambda: WALK.score(X, SPREAD * 1.01, 1.0), ValueError, "score: posterior: must sum to 1", "1.01"),
    "posterior sum, float32": (
        lambda: WALK.score(X, (SPREAD * 1.001).astype(np.float32), 1.0),
        ValueError,
        "score: posterior: must sum to 1",
        "1.00",
    ),
    "posterior negative": (
        lambda: WALK.score(X, SPREAD + np.array([0.3, -0.3, 0, 0, 0]), 1.0),
        ValueError,
        "score: posterior: must be at least 0",
        "-0.09",
    ),
    "posterior NaN": (lambda: WALK.score(X, SPREAD * NAN, 1.0), ValueError, "posterior: must be at least 0", "nan"),
    "posterior shape": (
        lambda: WALK.score(X, SPREAD[:1], 1.0),
        ValueError,
        "posterior: shape must be (2, 5)",
        "(1, 5)",
    ),
    "posterior states": (
        lambda: WALK.score(X, HALF, 1.0),
        ValueError,
        "posterior: shape must be (2, 5)",
        "(2,)",
    ),
    "posterior integers": (
        lambda: WALK.score(X, SPREAD > 1, 1.0),
        TypeError,
        "posterior: must be floating point",
        "bool",
    ),
    "posterior where no path": (
        lambda: DEATH.score(X, SPREAD, 1.0),
        ValueError,
        "posterior: must be 0 where P(t)[x_0, x_t] is 0",
        "weight",
    ),
    "score below": (
        lambda: DEATH.score(2, np.eye(5)[4], 1.0, states=1),
        ValueError,
        "PureDeath.score: states: must be i with Q[i, x_t] > 0",
        "Q[i, x_t] = 0",
    ),
    "score states": (lambda: WALK.score(X, SPREAD, 1.0, states=5), ValueError, "score: states: must be in 0..4", "5"),
    "prior": (lambda: WALK.posterior(X, HALF, 1.0), ValueError, "posterior: prior: the last dimension", "(2,)"),
    "prior shape": (
        lambda: WALK.posterior(X, SPREAD, 1.0),
        ValueError,
        "posterior: prior: shape must be (5,)",
        "(2, 5)",
    ),
    "impossible x_t": (
        lambda: DEATH.posterior(3, np.eye(5)[1], 1.0),
        ValueError,
        "posterior: x_t: must have a probability",
        "3",
    ),
    "two closed classes": (
        lambda: fb.MarkovProcess(np.zeros((2, 2))).stationary(),
        ValueError,
        "MarkovProcess.stationary: Q: must have one closed class of states",
        "2: [0], [1]",
    ),
    "beta": (
        lambda: WALK.time_change(-1.0),
        ValueError,
        "RandomWalk.time_change: beta: must be finite and at least 0",
        "-1.0",
    ),
    "beta text": (lambda: WALK.time_change("x"), TypeError, "time_change: beta: must be a number", "'x'"),
    "speed alone": (
        lambda: WALK.time_change(2.0, lambda t: 2.0),
        TypeError,
        "speed: goes with an integral only",
        "2.0",
    ),
    "speed no function": (
        lambda: WALK.time_change(lambda t: t, 1.0),
        TypeError,
        "speed: must be a function of t",
        "1.0",
    ),
    "speed missing": (
        lambda: WALK.time_change(lambda t: t).reverse_rate(X, X, 1.0),
        ValueError,
        "RandomWalk.reverse_rate: speed: must have been given",
        "None",
    ),
    "clock NaN": (
        lambda: WALK.time_change(lambda t: NAN).cdf(X, X, 1.0),
        ValueError,
        "cdf: t: the integral of beta must be",
        "nan",
    ),
    "clock backwards": (
        lambda: WALK.time_change(lambda t: 2 - t).bridge(X, X, 0.5, 1.0),
        ValueError,
        "bridge: t: the integral of beta must not fall",
        "0.5 less",
    ),
    "open tail, drawn": (
        lambda: fb.ImmigrationDeath(3.0, 4, "open").sample_forward(X, 1.0),
        ValueError,
        "categorical: probs: ",
        "sum to 1",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_arguments_are_named(case):
    assert_named(*CASES[case])
