"""Sums of powers of a matrix with few diagonals: the bits of every instruction set, and what they are sums of."""

import numpy as np
import pytest

import fastblackout as fb
from fastblackout.backends import available
from fastblackout.processes.matrices.uniformization import diagonals_of
from fastblackout.reference import power_series as reference
from support.helpers import BACKENDS, ISAS, using

_cpu = available.load("_cpu")

# (states, offsets): less than a vector, a tile more and less, more than one block of sums; jumps one way, far jumps,
# and the most diagonals, without the main one.
CASES = [
    (2, (-1, 0, 1)),
    (31, (0, 1)),
    (33, (-1, 0, 1)),
    (129, (-2, -1, 0, 1, 2)),
    (300, (0, -50, 50)),
    (300, (-299, -20, -3, -1, 1, 2, 7, 150)),
    (640, (-1,)),
]


def a_case(states, offsets, times, terms, whole):
    rng = np.random.default_rng(states + times)
    jumps = sum(np.diag(rng.random(states - abs(o)), o) for o in offsets)
    jumps /= jumps.sum(1).max()
    start = None
    if whole:
        start = rng.random((states, states)) * (rng.random((states, states)) < 0.1)
        start[0] = start[-1] = 0.0
    needed = np.sort(rng.integers(1, terms + 1, times))
    needed[-1] = terms
    weights = rng.random((times, terms)) * (np.arange(terms) < needed[:, None])
    return jumps, start, weights, needed, rng.permutation(times + 1)[:times]


def by_kernel(jumps, start, weights, needed, places, isa, threads):
    states = len(jumps)
    out, sums = np.full((len(places) + 1, states, states), np.nan), np.full((len(places), states), np.nan)
    size, level = (len(places), states), ISAS.index(isa)
    diagonals = diagonals_of(jumps)
    counts = weights.shape[1], len(diagonals[0])
    _cpu.power_series(size, threads, level, *counts, *diagonals, start, weights, needed, places, out, sums)
    return out, sums


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize(("states", "offsets"), CASES)
@pytest.mark.parametrize("whole", [False, True], ids=["I", "X"])
def test_bits_are_those_of_the_reference(states, offsets, whole, isa):
    for times, terms, threads in ((1, 1, 1), (3, 9, 1), (9, 20, 3)):
        case = a_case(states, offsets, times, terms, whole)
        jumps, start, weights, _, places = case
        expected = np.full((times + 1, states, states), np.nan)
        sums = reference.power_series(*diagonals_of(jumps), start, weights, places, expected)
        out, found = by_kernel(*case, isa, threads)
        assert np.array_equal(out.view(np.int64), expected.view(np.int64))
        assert np.array_equal(found, sums)


@pytest.mark.parametrize(("states", "offsets"), CASES)
def test_they_are_sums_of_powers(states, offsets):
    for whole in (False, True):
        jumps, start, weights, _, places = a_case(states, offsets, 3, 12, whole)
        out = np.zeros((4, states, states))
        sums = reference.power_series(*diagonals_of(jumps), start, weights, places, out)
        power = np.eye(states) if start is None else start
        expected = np.zeros((3, states, states))
        for k in range(12):
            expected += weights[:, k, None, None] * power
            power = power @ jumps
        np.testing.assert_allclose(out[places], expected, rtol=1e-13, atol=0)
        np.testing.assert_allclose(sums, expected.sum(2), rtol=1e-13, atol=0)


def test_a_process_has_the_same_bits_by_every_backend():
    t = np.geomspace(0.01, 5.0, 7)
    found = []
    for name in BACKENDS:
        process = fb.ImmigrationDeath(3.0, 100)  # nothing made before
        with using(name, threads=2):
            found.append((process.transition_matrix(t), process.evaluation(t)))
    for matrices, evaluation in found[1:]:
        assert (matrices == found[0][0]).all() and evaluation == found[0][1]
