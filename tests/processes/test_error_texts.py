"""Wrong arguments of processes: error_texts.txt holds the calls, and what each is told."""

from pathlib import Path

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout import processes as on
from fastblackout.processes import conversion as to
from support.error_texts import compare_expressions
from support.toy_data import toy_data

THREE = np.array([[-3.0, 2, 1], [0, -1, 1], [5, 0, -5]])
NAMES = {
    "fb": fb, "np": np, "on": on, "to": to, "torch": torch, "NAN": float("nan"), "INF": float("inf"), "THREE": THREE,
    "WALK": fb.RandomWalk(5), "DEATH": fb.PureDeath(4), "UNIFORM": fb.Uniform(5), "BIG": fb.PureDeath(1000),
    "X": np.array([1, 2]), "T": np.array([0.5, 1.0]), "XT": torch.tensor([1, 2]), "KEY": fb.Philox(0),
    "HALF": np.array([0.5, 0.5]), "SPREAD": np.full((2, 5), 0.2), "GENERATOR": torch.Generator(),
    "SIX": fb.Uniform(6), "ONES": np.ones((2, 1), int), "LAW": np.array([0.1, 0.4, 0.3, 0.0, 0.05, 0.15]),
    "MASKED": fb.Absorbing(5), "WORDS": fb.Uniform(50_258), "RATES": np.array([[0.3, 0, 0, 0, 1.0]] * 2),
    "TWO": np.array([[-1.0, 1.0], [2.0, -2.0]]), "IMAGES": toy_data(4)[0],
}  # fmt: skip


def changed(row, column, value):
    """THREE with another entry."""
    generator = THREE.copy()
    generator[row, column] = value
    return generator


def test_every_wrong_call_is_told_so():
    compare_expressions(Path(__file__).with_name("error_texts.txt"), NAMES | {"changed": changed})


def test_expm_says_that_it_needs_scipy(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="MarkovProcess: method: expm: needs scipy"):
        fb.MarkovProcess(THREE, method="expm")


def test_the_bridge_of_counts_that_fit_is_taken():
    # The dtype of x_t must hold what x_0's may be, not what the process may be elsewhere.
    big, key = NAMES["BIG"], NAMES["KEY"]
    x_s = big.sample_bridge(np.array([100], np.uint8), np.array([250], np.uint8), 1e-9, 0.2, rng=key)
    assert x_s.dtype == np.uint8 and x_s[0] == 250
    x_s = big.sample_bridge(np.array([250], np.int16), np.array([1000], np.int32), 1e-9, 0.2, rng=key)
    assert x_s.dtype == np.int16 and x_s[0] == 1000
