"""P(t) by each way it is computed, row by row against uniformization with 190 bits, and over all times."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from support import process_laws as laws
from support.helpers import by_day

torch.set_num_threads(1)


def within_the_claim(process, t, starts, truth):
    """Rows `starts` of P(t) are `truth` within 1e-12 and the bound, and P(t) is a transition matrix."""
    matrix, (_, bound) = process.transition_matrix(t), process.evaluation(t)
    error = np.abs(matrix[starts] - truth).max()
    assert error <= min(1e-12, bound), (t, error, bound)
    assert (matrix >= 0).all()
    assert np.abs(matrix.sum(1) - 1).max() <= 1e-14


BLOCKED = {"12": (3.0, 12), "20": (20.0, 20), "120": (60.0, 120), "255": (20.0, 255)}


@pytest.mark.parametrize("name", by_day(BLOCKED, "12", "120"))
def test_blocked_immigration_death_is_expm_of_its_generator(name):
    rate, top = BLOCKED[name]
    process = fb.ImmigrationDeath(rate, top)
    rates = process.generator()
    np.fill_diagonal(rates, 0.0)
    starts = [0, top // 2, top] if top < 100 else [top * 3 // 4 + 1, top]
    for t in (1e-9, 1e-3, 0.06, 0.7, 0.74, 3.0, 10.0) + ((40.0, 200.0) if top < 100 else ()):
        within_the_claim(process, t, starts, laws.rows(rates, starts, t))


def test_plain_ehrenfest_over_twelve_decades():
    process = fb.MarkovProcess(fb.Ehrenfest(255).generator())
    for t in np.geomspace(1e-9, 1e3, 49):
        within_the_claim(process, t, [0, 255], np.stack([laws.ehrenfest(n, t, 255) for n in (0, 255)]))


@pytest.mark.slow
def test_the_eigendecomposition_at_96_states():
    rng, size = np.random.default_rng(3), 96
    rates = rng.exponential(size=(size, size)) ** 3
    rates = (rates + rates.T) / (rng.random(size) + 0.1)[:, None]
    np.fill_diagonal(rates, 0.0)
    rates /= rates.sum(1).max()
    process = fb.MarkovProcess(rates - np.diag(rates.sum(1)), method="eigendecomposition")
    for t in (1e-9, 0.05, 1.0, 10.0, 40.0):
        within_the_claim(process, t, [50], laws.rows(rates, [50], t))


def test_jumps_by_two_states():
    """A few diagonals that are not reversible, and times on both sides of each change of the way they are taken."""
    rng, size = np.random.default_rng(4), 60
    rates = sum(
        np.diag(w * (0.5 + rng.random(size - abs(o))), o) for o, w in ((1, 1.0), (2, 0.3), (-1, 0.4), (-2, 1.0))
    )
    process = fb.MarkovProcess(rates - np.diag(rates.sum(1)))
    for t in (3.0, 8.1, 39.9, 64.0, 150.0):
        within_the_claim(process, t, [0, 33, 59], laws.rows(rates, [0, 33, 59], t))
        assert process.evaluation(t).method == "uniformization"


@pytest.mark.parametrize("pull", [0.03, 0.1])
def test_the_modes_of_a_wide_law(pull):
    """What is left of P(t) at late times is few modes, from a time on that is found by trial."""
    rng, size = np.random.default_rng(5), 90
    n = np.arange(1, size)
    up, down = 0.3 + rng.random(size - 1), pull * n * (0.5 + rng.random(size - 1))
    rates = np.diag(up, 1) + np.diag(down, -1)
    process = fb.MarkovProcess(rates - np.diag(rates.sum(1)))
    methods = []
    for t in np.geomspace(1.0, 150.0, 6):
        within_the_claim(process, t, [20, 89], laws.rows(rates, [20, 89], t))
        methods.append(process.evaluation(t).method)
    assert methods == sorted(methods, reverse=True) and set(methods) == {"uniformization", "modes"}


SEMIGROUP = {  # with the time in which they forget where they started: where P(t) still changes, and by each method
    "pure death": (fb.PureDeath(511), 1.0),
    "Ehrenfest": (fb.Ehrenfest(255), 0.5),
    "random walk": (fb.RandomWalk(200), 4000.0),
    "immigration-death": (fb.ImmigrationDeath(20.0, 90), 1.0),
    "any, modes": (fb.MarkovProcess(fb.Ehrenfest(255).generator()), 0.5),
    "any, eigendecomposition": (fb.MarkovProcess(fb.RandomWalk(200).generator()), 4000.0),
}


@pytest.mark.parametrize("s, t", [(1e-9, 1e-6), (2e-3, 3e-3), (0.37, 0.41), (1.2, 1.1), (2.3, 0.09)])
@pytest.mark.parametrize("name", SEMIGROUP)
def test_semigroup(name, s, t):
    process, unit = SEMIGROUP[name]
    s, t = s * unit, t * unit
    product = process.transition_matrix(s) @ process.transition_matrix(t)
    assert np.abs(product - process.transition_matrix(s + t)).max() <= 2e-13
