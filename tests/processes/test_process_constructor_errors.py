"""Wrong arguments of the constructors of processes: the error's type, and a text with argument, rule and value."""

import numpy as np
import pytest

import fastblackout as fb
from support.helpers import assert_named

NAN, INF = float("nan"), float("inf")
THREE = np.array([[-3.0, 2, 1], [0, -1, 1], [5, 0, -5]])


def changed(row, column, value):
    generator = THREE.copy()
    generator[row, column] = value
    return generator


CASES = {
    "Q not square": (lambda: fb.MarkovProcess(THREE[:2]), ValueError, "MarkovProcess: Q: must be (S, S)", "(2, 3)"),
    "Q a vector": (lambda: fb.MarkovProcess(THREE[0]), ValueError, "MarkovProcess: Q: must be (S, S)", "(3,)"),
    "Q empty": (lambda: fb.MarkovProcess(np.zeros((0, 0))), ValueError, "MarkovProcess: Q: must be (S, S)", "(0, 0)"),
    "Q row sum": (lambda: fb.MarkovProcess(changed(1, 1, -1.1)), ValueError, "Q: rows must sum to 0", "row 1"),
    "Q columns, not rows": (lambda: fb.MarkovProcess(THREE.T), ValueError, "Q: rows must sum to 0", "row 0"),
    "Q negative": (lambda: fb.MarkovProcess(changed(2, 1, -0.5)), ValueError, "at least 0 off the diagonal", "(2, 1)"),
    "Q NaN": (lambda: fb.MarkovProcess(changed(0, 1, NAN)), ValueError, "Q: must be finite", "nan"),
    "Q infinite": (lambda: fb.MarkovProcess(changed(0, 1, INF)), ValueError, "Q: must be finite", "inf"),
    "Q huge": (lambda: fb.MarkovProcess(THREE * 1e250), ValueError, "must be at most 1e200", "e+250"),
    "Q complex": (lambda: fb.MarkovProcess(THREE * 1j), TypeError, "Q: must be real numbers", "complex128"),
    "Q no array": (lambda: fb.MarkovProcess("Q"), TypeError, "MarkovProcess: Q: must be", "str"),
    "method": (lambda: fb.MarkovProcess(THREE, method="pade"), ValueError, "method: must be one of auto", "pade"),
    "method that cannot": (
        lambda: fb.MarkovProcess(THREE, method="eigendecomposition"),
        ValueError,
        "method: eigendecomposition needs an irreducible, symmetrizable Q",
        "eigendecomposition",
    ),
    "law too wide": (
        lambda: fb.MarkovProcess(fb.Ehrenfest(63).generator(), method="eigendecomposition"),
        ValueError,
        "stationary law spans",
        "eigendecomposition",
    ),
    "absorbing state": (
        lambda: fb.MarkovProcess(fb.Absorbing(3).generator(), method="eigendecomposition"),
        ValueError,
        "needs an irreducible",
        "eigendecomposition",
    ),
    "tolerance 0": (
        lambda: fb.MarkovProcess(THREE, tolerance=0.0),
        ValueError,
        "tolerance: must be finite and above 0",
        "0",
    ),
    "tolerance large": (
        lambda: fb.MarkovProcess(THREE, tolerance=0.1),
        ValueError,
        "tolerance: must be at most",
        "0.1",
    ),
    "max_count": (lambda: fb.PureDeath(0), ValueError, "PureDeath: max_count: must be in 1..4095", "0"),
    "max_count float": (lambda: fb.PureDeath(255.0), TypeError, "PureDeath: max_count: must be an integer", "255.0"),
    "balls": (lambda: fb.Ehrenfest(5000), ValueError, "Ehrenfest: balls: must be in 1..4095", "5000"),
    "up": (lambda: fb.Ehrenfest(5, up=-1.0), ValueError, "Ehrenfest: up: must be finite and above 0", "-1.0"),
    "down": (lambda: fb.Ehrenfest(5, down=NAN), ValueError, "Ehrenfest: down: must be finite and above 0", "nan"),
    "rate": (lambda: fb.ImmigrationDeath(0.0), ValueError, "ImmigrationDeath: rate: must be finite and above 0", "0.0"),
    "rate too large": (lambda: fb.ImmigrationDeath(5e3), ValueError, "ImmigrationDeath: rate: must leave", "5000.0"),
    "rate beyond use": (lambda: fb.ImmigrationDeath(1e5, 9), ValueError, "rate: must be at most 10000", "100000.0"),
    "boundary": (
        lambda: fb.ImmigrationDeath(1.0, boundary="periodic"),
        ValueError,
        "ImmigrationDeath: boundary: must be one of blocked, open",
        "periodic",
    ),
    "walk states": (lambda: fb.RandomWalk(1), ValueError, "RandomWalk: states: must be in 2..4096", "1"),
    "walk rate": (lambda: fb.RandomWalk(4, "1"), TypeError, "RandomWalk: rate: must be a number", "'1'"),
    "uniform": (lambda: fb.Uniform(True), TypeError, "Uniform: states: must be an integer", "True"),
    "mask": (lambda: fb.Absorbing(4, 4), ValueError, "Absorbing: mask: must be in 0..3", "4"),
}


@pytest.mark.parametrize("case", CASES)
def test_wrong_arguments_are_named(case):
    assert_named(*CASES[case])


def test_expm_says_that_it_needs_scipy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"MarkovProcess: method: expm needs SciPy .*, got 'expm'"):
        fb.MarkovProcess(THREE, method="expm")
