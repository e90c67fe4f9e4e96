"""Tau-leaping of reverse rates: wrong arguments, named with argument, rule and value, and arguments at the edges."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout import processes as on
from support.helpers import assert_named

torch.set_num_threads(1)
X = np.array([1, 2])
RATES = np.array([[0.3, 0, 0, 0, 1.0]] * 2)


def changed(value, **entries):
    """A copy with a[i][j] set, given as a12=value."""
    value = value.copy()
    for name, entry in entries.items():
        value[tuple(map(int, name[1:]))] = entry
    return value


CASES = {
    "leap, float states": (
        lambda: on.tau_leap_reverse(X * 1.0, RATES, 0.1),
        TypeError,
        "tau_leap_reverse: x_t: dtype must be one of uint8",
        "float64",
    ),
    "leap, state": (
        lambda: on.tau_leap_reverse(X + 4, RATES, 0.1),
        ValueError,
        "tau_leap_reverse: x_t: must be in 0..4",
        "5",
    ),
    "leap, dtype": (
        lambda: on.tau_leap_reverse(X.astype(np.uint8), np.zeros((2, 1)), 0.1, targets=np.array([0]), states=300),
        TypeError,
        "tau_leap_reverse: x_t: dtype must hold states up to 299",
        "uint8",
    ),
    "leap, library": (
        lambda: on.tau_leap_reverse(torch.from_numpy(X), RATES, 0.1),
        TypeError,
        "tau_leap_reverse: rates: must be of the library of x_t",
        "ndarray",
    ),
    "leap, integer rates": (
        lambda: on.tau_leap_reverse(X, RATES.astype(int), 0.1),
        TypeError,
        "tau_leap_reverse: rates: dtype must be one of float64",
        "int64",
    ),
    "leap, negative rate": (
        lambda: on.tau_leap_reverse(X, changed(RATES, a12=-0.5), 0.1),
        ValueError,
        "tau_leap_reverse: rates: must be finite and at least 0",
        "-0.5",
    ),
    "leap, infinite rate": (
        lambda: on.tau_leap_reverse(X, changed(RATES, a14=np.inf), 0.1),
        ValueError,
        "tau_leap_reverse: rates: must be finite and at least 0",
        "inf",
    ),
    "leap, to itself": (
        lambda: on.tau_leap_reverse(X, changed(RATES, a12=0.25), 0.1),
        ValueError,
        "tau_leap_reverse: rates: must be 0 from x_t to itself",
        "0.25",
    ),
    "leap, target": (
        lambda: on.tau_leap_reverse(X, RATES[:, :2], 0.1, targets=np.array([5, 1]), states=5),
        ValueError,
        "tau_leap_reverse: targets: must be in 0..4 where rates are above 0",
        "5",
    ),
    "leap, float targets": (
        lambda: on.tau_leap_reverse(X, RATES[:, :2], 0.1, targets=np.array([3.0, 1.0]), states=5),
        TypeError,
        "tau_leap_reverse: targets: dtype must be one of uint8",
        "float64",
    ),
    "leap, targets' shape": (
        lambda: on.tau_leap_reverse(X, RATES[:, :2], 0.1, targets=np.zeros((3, 2), int), states=5),
        ValueError,
        "tau_leap_reverse: targets: must broadcast to the rates' (2, 2)",
        "(3, 2)",
    ),
    "leap, states": (
        lambda: on.tau_leap_reverse(X, RATES, 0.1, targets=np.arange(5), states=5.0),
        TypeError,
        "tau_leap_reverse: states: must be an integer",
        "5.0",
    ),
    "leap, duration": (
        lambda: on.tau_leap_reverse(X, RATES, float("nan")),
        ValueError,
        "tau_leap_reverse: duration: must be finite and at least 0",
        "nan",
    ),
    "leap, durations": (
        lambda: on.tau_leap_reverse(X, RATES, X),
        TypeError,
        "tau_leap_reverse: duration: must be a number",
        "array",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_arguments_are_named(case):
    assert_named(*CASES[case])


def test_what_a_leap_takes_at_the_edges():
    # The neighbour beyond the last state, at rate 0, is no error; nor is nothing at all.
    x_t = np.array([4, 0], np.uint8)
    targets = np.stack([x_t.astype(int) + 1, x_t.astype(int) - 1], -1)
    found = on.tau_leap_reverse(
        x_t, np.array([[0.0, 1e3], [1e3, 0.0]]), 1.0, targets=targets, states=5, rng=fb.Philox(0)
    )
    assert found.dtype == np.uint8 and found.tolist() == [0, 4]
    assert on.tau_leap_reverse(x_t[:0], np.zeros((0, 5)), 1.0).shape == (0,)
