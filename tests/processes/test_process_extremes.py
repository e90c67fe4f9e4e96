"""Processes at the ends of float64 and of memory: the law within its stated bound, or a named error; never NaN."""

import math

import numpy as np
import pytest
import torch
from scipy import sparse

import fastblackout as fb

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


def test_times_that_are_beyond_float64_are_named():
    for call in ("transition_matrix", "evaluation"):
        with pytest.raises(ValueError, match="^MarkovProcess: t: must be finite times the largest rate .*, got 1e"):
            getattr(fb.MarkovProcess(TWO * 1e190), call)(np.array([1.0, 1e150]))
    with pytest.raises(ValueError, match="got 1e.300"):
        fb.MarkovProcess(TWO * 1e190).log_prob(0, 1, 1e300)
    with pytest.raises(
        ValueError, match="^simulate_reverse: t: the laws of .* windows: must fit the .* bytes of memory"
    ):
        fb.processes.simulate_reverse(fb.MarkovProcess(TWO), np.zeros((2, 2), int), np.array([0.5, 0.5]), 1e18)


def test_rates_that_are_beyond_float64_are_named():
    wide = np.array([[-1e-200, 1e-200], [1e199, -1e199]])
    assert fb.MarkovProcess(wide).transition_matrix(1.0)[1, 0] == 1.0
    with pytest.raises(ValueError, match=r"stationary: Q: quotients of rates must be .* from 1e-200 to 1e\+199"):
        fb.MarkovProcess(wide[::-1, ::-1].copy()).stationary()
    for up, down in ((1e-151, 1.0), (1.0, 1e151)):
        with pytest.raises(ValueError, match=r"^Ehrenfest: (up|down): must be in 1e-150..1e150, got 1e"):
            fb.Ehrenfest(4, up, down)
    with pytest.raises(ValueError, match="^RandomWalk: rate: must be finite and above 0, got inf"):
        fb.RandomWalk(4, 10**400)


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


@pytest.mark.parametrize("make", [fb.PureDeath, fb.Ehrenfest, fb.RandomWalk, fb.Uniform, fb.Absorbing])
def test_many_states_are_refused(make):
    with pytest.raises(
        ValueError, match=rf"^{make.__name__}: .*: must be in ., got 10000000000".replace(".,", r"\d\.\.\d+,")
    ):
        make(10**10)
    with pytest.raises(ValueError, match="^ImmigrationDeath: max_count: must be in 1..4095, got 10000000000"):
        fb.ImmigrationDeath(1.0, 10**10)
