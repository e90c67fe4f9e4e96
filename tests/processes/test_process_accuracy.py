"""Transition matrices by each way they are computed, against laws of 40 digits: the promised accuracy and the bound."""

import mpmath as mp
import numpy as np
import pytest
import torch

import fastblackout as fb
from support import process_laws as laws
from support.helpers import by_day

torch.set_num_threads(1)

TIMES = np.array([0.0, 1e-9, 1e-3, 0.06, 0.7, 3.0, 10.0, 40.0, 200.0, 1e3])
UNIT = 2.0**-53


def within_the_claim(process, t, rows, truth, most=1e-12, columns=slice(None), whole=True):
    """Rows of P(t) are `truth` within `most` and the bound, which is returned; P(t) is a transition matrix."""
    matrix, (_, bound) = process.transition_matrix(t), process.evaluation(t)
    error = np.abs(matrix[list(rows)][:, columns] - truth).max() - 1e-38  # the digits of `truth`
    assert error <= min(most, bound), (t, error, bound)
    assert (matrix >= 0).all()
    assert not whole or np.abs(matrix.sum(1) - 1).max() <= 1e-14
    return bound


LAW = np.random.default_rng(4).dirichlet(np.ones(40))
SOME = [0, 1, 3, 500]
CLOSED = {
    "pure death": (fb.PureDeath(255), lambda n, t: laws.pure_death(n, t, 256), (1, 100, 255)),
    "pure death, 512": (fb.PureDeath(511), lambda n, t: laws.pure_death(n, t, 512), (300, 511)),
    "Ehrenfest": (fb.Ehrenfest(63), lambda n, t: laws.ehrenfest(n, t, 63), (0, 20, 63)),
    "Ehrenfest, uneven": (fb.Ehrenfest(100, 0.3, 2.0), lambda n, t: laws.ehrenfest(n, t, 100, 0.3, 2.0), (10, 100)),
    "Ehrenfest, 512": (fb.Ehrenfest(511), lambda n, t: laws.ehrenfest(n, t, 511), (0, 60, 511)),
    "open": (fb.ImmigrationDeath(40.0, 200, "open"), lambda n, t: laws.immigration_death(n, t, 40, 201), (0, 50, 200)),
    "open, 512": (
        fb.ImmigrationDeath(200.0, 511, "open"), lambda n, t: laws.immigration_death(n, t, 200, 512), (0, 30, 511)
    ),
    "random walk": (fb.RandomWalk(64, 3.0), lambda n, t: laws.random_walk(n, t, 64, 3.0), (0, 20)),
    "random walk, 512": (fb.RandomWalk(512), lambda n, t: laws.random_walk(n, t, 512, 1.0, SOME), (0, 2, 255, 511)),
    "uniform, 512": (fb.Uniform(512), lambda n, t: laws.redraw(n, t, np.full(512, 1 / 512)), (0, 511)),
    "absorbing, 512": (fb.Absorbing(512), lambda n, t: laws.redraw(n, t, np.eye(512)[511]), (0, 200, 511)),
    "any law": (fb.Redraw(LAW), lambda n, t: laws.redraw(n, t, LAW), (0, 7, 39)),
    "uniform": (fb.Uniform(300), lambda n, t: laws.redraw(n, t, np.full(300, 1 / 300)), (5,)),
    "absorbing": (fb.Absorbing(40, 3), lambda n, t: laws.redraw(n, t, np.eye(40)[3]), (0, 3, 39)),
}  # fmt: skip


@pytest.mark.parametrize("name", by_day(CLOSED, *(name for name in CLOSED if "512" not in name)))
def test_closed_forms_are_within_1e_13_and_their_bound(name):
    process, law, rows = CLOSED[name]
    columns, whole = SOME if name == "random walk, 512" else slice(None), not name.startswith("open")
    for t in TIMES:
        within_the_claim(process, t, rows, np.stack([law(n, t) for n in rows]), 1e-13, columns, whole)
        assert process.evaluation(t).method == "closed form"
    assert (process.transition_matrix(0.0) == np.eye(process.states)).all()


@pytest.mark.parametrize("method", ["auto", "uniformization"])
@pytest.mark.parametrize("name", ["Ehrenfest", "pure death, 512", "random walk, 512"])
def test_plain_generators_are_within_1e_12_and_their_bound(name, method):
    known, law, rows = (fb.Ehrenfest(255), lambda n, t: laws.ehrenfest(n, t, 255), (100,))
    if name != "Ehrenfest":
        known, law, rows = CLOSED[name]
    process, columns = fb.MarkovProcess(known.generator(), method=method), SOME if "walk" in name else slice(None)
    for t in TIMES:
        truth = np.stack([law(n, t) for n in rows[-2:]])
        assert within_the_claim(process, t, rows[-2:], truth, columns=columns) <= 5e-11
        # All rows, by the closed form of the named process.
        assert np.abs(process.transition_matrix(t) - known.transition_matrix(t)).max() <= 1e-12
    assert (process.transition_matrix(0.0) == np.eye(process.states)).all()


def random_rates(kind, size, rng):
    rates = rng.exponential(size=(size, size)) ** 3
    if kind == "sparse":
        rates *= rng.random((size, size)) < 0.2
    elif kind == "reversible":
        law = rng.random(size) + 0.1
        rates = (rates + rates.T) / law[:, None]
    elif kind == "symmetric":
        rates = rates + rates.T
    elif kind == "two absorbing states":
        rates[:2] = 0
    elif kind == "stiff":
        rates *= np.where(rng.random((size, size)) < 0.5, 1e-4, 300.0)
    elif kind == "two blocks":  # exchange between halves is slow
        far = np.arange(size) < size // 2
        rates *= np.where(far[:, None] == far, 1.0, 1e-5)
    elif kind == "cycle":
        rates = np.roll(np.eye(size), 1, 1) * 5
    np.fill_diagonal(rates, 0)
    return rates


KINDS = ("dense", "sparse", "reversible", "symmetric", "two absorbing states", "stiff", "two blocks", "cycle")


@pytest.mark.parametrize("kind", KINDS)
def test_any_generator_is_within_the_bound_of_every_method(kind):
    rng = np.random.default_rng(KINDS.index(kind))
    rates = random_rates(kind, 9, rng)
    generator = rates - np.diag(rates.sum(1))
    methods = ["auto", "uniformization", "expm"]
    if kind in ("reversible", "symmetric"):
        methods.append("eigendecomposition")
    processes = [fb.MarkovProcess(generator, method=method) for method in methods]
    for t in (1e-9, 0.02, 1.0, 7.3, 1e3):
        truth = laws.matrix(rates, t)
        for method, process in zip(methods, processes, strict=True):
            within_the_claim(process, t, range(9), truth, 1.0 if method == "expm" else 1e-12)
            assert process.evaluation(t).method == method or method == "auto"


def test_nothing_jumps_where_a_process_is_taken_for_mixed():
    times = np.linspace(1.0, 400.0, 300)
    process = fb.MarkovProcess(fb.RandomWalk(8).generator(), method="uniformization")
    error = np.abs(process.transition_matrix(times) - fb.RandomWalk(8).transition_matrix(times)).max((1, 2))
    assert error.max() <= 1e-12
    assert (error <= [process.evaluation(t).error for t in times]).all()


@pytest.mark.parametrize("t", [1e4, 1e15, 1e300])
def test_long_times_with_two_absorbing_ends(t):
    size = 12  # Q = 0 at both ends, a fair walk between: from i the upper end is reached with probability i / 11
    generator = fb.RandomWalk(size).generator()
    generator[[0, -1]] = 0.0
    process = fb.MarkovProcess(generator)
    expected = np.zeros((size, size))
    expected[:, -1] = np.arange(size) / (size - 1)
    expected[:, 0] = 1 - expected[:, -1]
    bound = process.evaluation(t).error
    assert np.abs(process.transition_matrix(t) - expected).max() <= min(bound, 1e-12)
    assert bound <= 1e-10


@pytest.mark.parametrize("tolerance", [1e-3, 1e-6, 1e-12, 1e-100])
def test_truncation_is_within_the_tolerance_and_shows_in_the_bound(tolerance):
    known = fb.Ehrenfest(40)
    process = fb.MarkovProcess(known.generator(), method="uniformization", tolerance=tolerance)
    errors = []
    for t in (0.01, 0.3, 0.5, 2.0, 100.0):
        truth = np.stack([laws.ehrenfest(n, t, 40) for n in (0, 17)])
        error = np.abs(process.transition_matrix(t)[[0, 17]] - truth).max()
        errors.append(error)
        assert error <= tolerance + 1e-13
        assert error <= process.evaluation(t).error
    # 64 products of truncated matrices, far from mixed: the truncations add up, and stay within the tolerance.
    walk = fb.MarkovProcess(fb.RandomWalk(60).generator(), method="uniformization", tolerance=tolerance)
    apart = np.abs(walk.transition_matrix(500.0) - fb.RandomWalk(60).transition_matrix(500.0)).max()
    assert apart <= tolerance * 0.1 + 1e-13
    if tolerance == 1e-3:
        assert max(errors) > 1e-9  # the caller's tolerance is what truncates


def test_small_entries_keep_their_relative_accuracy_where_laws_divide_by_them():
    t = 0.02
    row = laws.ehrenfest(3, t, 100)
    plain = fb.MarkovProcess(fb.Ehrenfest(100).generator())
    for process in (fb.Ehrenfest(100), plain):
        got = process.log_prob(np.arange(101), np.full(101, 3), t)
        assert np.abs(got - np.log(row)).max() <= 1e-11
    with mp.workdps(260):  # the sum cancels to 1e-200
        walk = laws.random_walk(0, 0.01, 60, 1.0)
    assert walk[-1] < 1e-150
    assert np.abs(fb.RandomWalk(60).log_prob(np.arange(60), np.zeros(60, int), 0.01) - np.log(walk)).max() <= 1e-11


@pytest.mark.parametrize(
    "process",
    [
        fb.PureDeath(60),
        fb.Ehrenfest(60, 2.0, 0.5),
        fb.RandomWalk(50),
        fb.Uniform(20),
        fb.Absorbing(20),
        fb.ImmigrationDeath(5.0),
        fb.MarkovProcess(np.array([[-3.0, 2, 1], [0, -1, 1], [5, 0, -5]])),
    ],
    ids=lambda process: type(process).__name__,
)
def test_chapman_kolmogorov_and_the_generator(process):
    s, t = 0.37, 1.91
    product = process.transition_matrix(s) @ process.transition_matrix(t)
    bound = 3 * process.evaluation(s + t).error + 2 * process.states * UNIT
    assert np.abs(product - process.transition_matrix(s + t)).max() <= max(bound, 1e-13)
    h = 1e-7  # P(h) = I + h Q + O(h^2 |Q|^2)
    slope = (process.transition_matrix(h) - np.eye(process.states)) / h
    rate = np.abs(process.generator()).max()
    assert np.abs(slope - process.generator()).max() <= h * 4 * rate**2 + 1e-6
    assert np.abs(process.generator().sum(1)).max() <= 1e-12
    assert np.abs(process.stationary() @ process.generator()).max() <= 1e-12
    # Far beyond the slowest of the relaxations, every row is the stationary law.
    assert np.abs(process.transition_matrix(1e5) - process.stationary()).max() <= 1e-12


def test_the_open_boundary_loses_the_tail_and_no_more():
    process = fb.ImmigrationDeath(30.0, 40, "open")
    t = np.array([0.0, 1e-6, 0.3, 50.0])
    tail = process.tail(t)
    assert np.abs(process.transition_matrix(t).sum(2) + tail - 1).max() <= 1e-13
    assert (tail[0] == 0).all()
    above = 1 - mp.fsum(laws.poisson_row(mp.mpf(30), 41))  # at stationarity
    assert np.abs(tail[3] / float(above) - 1).max() <= 1e-12
    early = mp.mpf(30) * 1e-6  # from 40: one arrival before any death, to first order
    assert abs(tail[1, 40] / float(early) - 1) <= 1e-4
    assert (fb.ImmigrationDeath(30.0, 40).tail(t) == 0).all()
    assert fb.ImmigrationDeath(30.0).max_count == 76  # Pr(Poisson(30) > 76) = 5.7e-13, > 75: 1.5e-12


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
