"""Processes at the ends of float64 and of memory: the law within its stated bound, or a named error; never NaN."""

import math

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import expm_multiply

import fastblackout as fb
from support.helpers import by_day

torch.set_num_threads(1)

TWO = np.array([[-1.0, 1.0], [2.0, -2.0]])
TIMES = [0.0, 5e-324, 1e-300, 1e-20, 0.3, 7.0, 1e3, 1e8, 1e12, 1e16, 1e18, 1e30, 1e100, 1e200, 1e300]
METHODS = ("auto", "eigendecomposition", "uniformization", "expm")


def law_of_two(scale, t):
    """P(t) of scale * TWO in closed form."""
    gone = -math.expm1(-3 * (scale * t)) / 3
    return np.eye(2) + gone * TWO


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-308, 1e-200, 1e-100, 1.0, 1e100, 4e199])
@pytest.mark.parametrize("method", METHODS)
def test_any_rate_and_time(method, scale):
    process = fb.MarkovProcess(scale * TWO, method=method)
    assert np.abs(process.stationary() - [2 / 3, 1 / 3]).max() < 1e-15
    done = 0
    for t in (time / scale for time in TIMES if 0 < 4 * time <= 1e308 * min(scale, 1.0)):
        try:
            matrix, (_, bound) = process.transition_matrix(t), process.evaluation(t)
        except ValueError as error:
            assert method == "expm" and t * scale > 1e15  # what SciPy cannot do
            assert str(error).startswith("MarkovProcess: t: must be short enough for expm")
            continue
        assert np.abs(matrix - law_of_two(scale, t)).max() <= bound
        done += 1
    assert done > 1


WALK = fb.RandomWalk(5, 3.0).generator()
KINDS = {
    "pure death": lambda: fb.PureDeath(4),
    "Ehrenfest": lambda: fb.Ehrenfest(4, 0.3, 2.0),
    "Ehrenfest, far apart": lambda: fb.Ehrenfest(4, 1e-150, 1e150),
    "random walk": lambda: fb.RandomWalk(5, 3.0),
    "uniform": lambda: fb.Uniform(5),
    "absorbing": lambda: fb.Absorbing(5),
    "immigration-death": lambda: fb.ImmigrationDeath(2.0, 4),
    "immigration-death, open": lambda: fb.ImmigrationDeath(2.0, 40, "open"),
    "symmetric": lambda: fb.MarkovProcess(WALK),
    "cycle": lambda: fb.MarkovProcess(np.roll(np.eye(5), 1, 1) - np.eye(5)),
    "modes": lambda: fb.MarkovProcess(fb.Ehrenfest(80).generator()),
    "slow": lambda: fb.MarkovProcess(WALK * 1e-308),
    "fast": lambda: fb.MarkovProcess(WALK * 1e190),
}


@pytest.mark.parametrize("kind", KINDS)
def test_late_times_have_the_stationary_law(kind):
    process = KINDS[kind]()
    times = np.array([1e18, 1e100] if kind == "fast" else [1e308] if kind == "slow" else [1e18, 1e100, 1e305])
    law = process.stationary()
    matrices = process.transition_matrix(times)
    assert (matrices >= 0).all()
    if kind != "slow":  # where t times the spectral gap is about 1
        assert np.abs(matrices - law).max() <= min(2 * process.evaluation(times).error, 1e-12)
    x = np.arange(process.states)
    for t in times:
        assert not np.isnan(process.log_prob(x, x[::-1], t)).any()
        reached = np.flatnonzero(law > 0)
        bridge = process.bridge(reached, np.full_like(reached, process.states - 1), t / 2, t)
        assert np.abs(bridge.sum(-1) - 1).max() <= 1e-12
        assert process.sample_forward(x[:, None].copy(), t, rng=fb.Philox(0)).max() < process.states


def test_rates_and_times_far_apart():
    wide = fb.MarkovProcess(np.array([[-1e-200, 1e-200], [1e199, -1e199]]))
    assert wide.transition_matrix(1.0)[1, 0] == 1.0
    with pytest.raises(ValueError, match="^simulate_reverse: t: the laws of .* windows: must fit the .* memory"):
        fb.processes.simulate_reverse(fb.MarkovProcess(TWO), np.zeros((2, 2), int), np.array([0.5, 0.5]), 1e18)


LARGE = 1_000_000
SIZES = {
    "scipy": lambda: sparse.coo_array((LARGE, LARGE)),
    "csr": lambda: sparse.csr_array((40_000, 40_000)),
    "torch": lambda: torch.sparse_coo_tensor(torch.zeros((2, 0), dtype=int), [], (LARGE, LARGE), check_invariants=True),
    "repeated": lambda: np.broadcast_to(0.0, (LARGE, LARGE)),
    "repeated, torch": lambda: torch.zeros(1).expand(LARGE, LARGE),
    "4097": lambda: np.broadcast_to(0.0, (4097, 4097)),
    "not square": lambda: sparse.coo_array((3, LARGE)),
}


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # some versions of torch warn at every sparse tensor
@pytest.mark.parametrize("name", SIZES)
def test_sizes_are_checked_before_anything_is_made_dense(name):
    with pytest.raises(ValueError, match=r"^MarkovProcess: Q: must be \(S, S\) with S in 1..4096, got shape \("):
        fb.MarkovProcess(SIZES[name]())


MOST = 4096


def banded():
    up, down = np.full(MOST - 1, 2.0), np.arange(1.0, MOST) / 50
    out = np.append(up, 0) + np.insert(down, 0, 0)
    return fb.MarkovProcess(sparse.diags_array([up, down, -out], offsets=[1, -1, 0], format="csr"))


SMALL_AND_LARGE = {
    "pure death": (lambda s: fb.PureDeath(s - 1), 0.5),
    "Ehrenfest": (lambda s: fb.Ehrenfest(s - 1, 2.0, 0.5), 0.5),
    "random walk": (fb.RandomWalk, 100.0),
    "uniform": (fb.Uniform, 0.5),
    "absorbing": (fb.Absorbing, 0.5),
    "immigration-death, open": (lambda s: fb.ImmigrationDeath(0.6 * s, s - 1, "open"), 0.5),
    "immigration-death": (lambda s: fb.ImmigrationDeath(0.6 * s, s - 1), 1e-3),
    "any": (lambda s: banded() if s == MOST else fb.MarkovProcess(np.array([[-1.0, 1.0], [3.0, -3.0]])), 1e-2),
}


@pytest.mark.parametrize("kind", SMALL_AND_LARGE)
def test_two_states(kind):
    process = SMALL_AND_LARGE[kind][0](2)
    generator = process.generator()
    assert generator.shape == (2, 2)
    a, b = generator[0, 1], generator[1, 0]
    t = np.array([0.0, 1e-3, 0.7, 9.0])
    if kind != "immigration-death, open":
        gone = -np.expm1(-(a + b) * t) / (a + b)
        expected = np.eye(2) + gone[:, None, None] * np.array([[-a, a], [b, -b]])
        np.testing.assert_allclose(process.transition_matrix(t), expected, atol=1e-15)
        np.testing.assert_allclose(process.stationary(), np.array([b, a]) / (a + b), atol=1e-15)
        x = process.sample_forward(np.array([[1, 0], [1, 1]]), 0.7, rng=fb.Philox(0))
        assert ((x == 0) | (x == 1)).all()


@pytest.mark.parametrize("kind", by_day(SMALL_AND_LARGE, "immigration-death", "any"))
def test_4096_states(kind):
    make, t = SMALL_AND_LARGE[kind]
    process = make(MOST)
    matrix = process.transition_matrix(t)
    assert matrix.shape == (MOST, MOST)
    assert matrix.min() >= 0
    lacking = process.tail(t) if kind == "immigration-death, open" else 0.0
    assert np.abs(matrix.sum(1) + lacking - 1).max() <= 1e-14 * (1 if kind != "immigration-death, open" else 100)
    law = process.stationary()
    assert law.min() >= 0
    assert abs(law.sum() - 1) <= 1e-12
    step = np.abs(law @ matrix - law).sum()  # a law that stays
    assert step <= (1e-9 if kind == "immigration-death, open" else 1e-10)
    start = np.zeros(MOST)
    start[MOST // 2] = 1.0
    expected = expm_multiply(t * sparse.csr_array(process.generator()).T, start)  # Taylor polynomials of vectors
    assert np.abs(matrix[MOST // 2] - expected).max() <= 2e-13
    mean = matrix @ np.arange(MOST)
    x = process.sample_forward(np.full((4, 2000), MOST // 2), t, rng=fb.Philox(0))
    spread = float(matrix[MOST // 2] @ (np.arange(MOST) - mean[MOST // 2]) ** 2)
    assert abs(x.mean() - mean[MOST // 2]) <= 5 * (spread / x.size) ** 0.5 + 1e-6
