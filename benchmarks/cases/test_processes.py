"""Exact P(t) of every process at 1,000 times in one call, against matrix exponentials of t Q."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases import peers

STATES, TIMES = 256, 1000
EVERY = 50  # the peers make one matrix in so many: they take minutes for all
T = np.geomspace(1e-3, 20.0, TIMES)


def dense() -> Any:
    """A Q without any structure."""
    rates = np.random.default_rng(8).random((STATES, STATES)) / STATES
    np.fill_diagonal(rates, 0.0)
    return fb.MarkovProcess(rates - np.diag(rates.sum(1)))


PROCESSES: dict[str, Callable[[], Any]] = {
    "PureDeath": lambda: fb.PureDeath(STATES - 1),
    "ImmigrationDeath": lambda: fb.ImmigrationDeath(20.0, max_count=STATES - 1),
    "Ehrenfest": lambda: fb.Ehrenfest(STATES - 1),
    "RandomWalk": lambda: fb.RandomWalk(STATES),
    "Uniform": lambda: fb.Uniform(STATES),
    "Absorbing": lambda: fb.Absorbing(STATES),
    "Ehrenfest as a plain Q": lambda: fb.MarkovProcess(fb.Ehrenfest(STATES - 1).generator()),
    "a dense Q": dense,
}
QUICK = ("PureDeath", "Uniform", "a dense Q")


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.long) for n in PROCESSES])
def test_transition_matrices(bench: Any, name: str) -> None:
    process = PROCESSES[name]()
    rates = process.generator()
    some = T[EVERY // 2 :: EVERY]
    exponents = torch.from_numpy(some[:, None, None] * rates)

    def check() -> None:
        found = process.transition_matrix(some[::5])
        expected = torch.linalg.matrix_exp(exponents[::5]).numpy()
        assert np.abs(found - expected).max() < 1e-9, "P(t) is not expm(t Q): not timed"

    part = f", every {EVERY}th"
    others: peers.Calls = {f"torch.linalg.matrix_exp{part}": lambda _: torch.linalg.matrix_exp(exponents)}
    if not isinstance(peers.load("scipy"), str):
        from scipy.linalg import expm

        others[f"scipy.linalg.expm{part}"] = lambda _: [expm(t * rates) for t in some]
    shares = dict.fromkeys(others, 1 / EVERY)
    case = f"1,000 P(t) of {STATES} states, {name}"
    bench(case, TIMES * STATES**2, lambda _: process.transition_matrix(T), others, check, shares=shares)
