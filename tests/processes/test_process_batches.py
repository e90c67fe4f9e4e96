"""P(t), its bound and its method are functions of Q and t alone: neither of the batch nor of what was asked before."""

import copy

import numpy as np
import pytest
import torch

import fastblackout as fb

torch.set_num_threads(1)


def plain(rates, **how):
    return fb.MarkovProcess(rates - np.diag(rates.sum(1)), **how)


def slow_blocks(size):
    """Dense, not symmetrizable, and mixed late: halves that hardly exchange."""
    far = np.arange(size) < size // 2
    rates = np.random.default_rng(2).random((size, size)) * np.where(far[:, None] == far, 1.0, 1e-3)
    np.fill_diagonal(rates, 0.0)
    return plain(rates)


def wide_chain(size):
    """Few modes are left only after many squarings."""
    rng = np.random.default_rng(5)
    up, down = 0.3 + rng.random(size - 1), 0.1 * np.arange(1, size) * (0.5 + rng.random(size - 1))
    return plain(np.diag(up, 1) + np.diag(down, -1))


def two_ends(size):
    rates = np.diag(np.full(size - 1, 1.0), 1) + np.diag(np.full(size - 1, 1.0), -1)
    rates[[0, -1]] = 0.0
    return plain(rates)


SERIES = "uniformization"
ANY = {  # with the method of time 150; of time 0.3 it is uniformization, or expm
    "modes": (fb.MarkovProcess(fb.Ehrenfest(90).generator()), "modes"),
    "late modes": (wide_chain(90), "modes"),
    "blocked": (fb.ImmigrationDeath(10.0, 90), "modes"),
    "narrow": (fb.MarkovProcess(fb.RandomWalk(90).generator()), "eigendecomposition"),
    "narrow and dense": (fb.MarkovProcess(2 * fb.Uniform(40).generator(), tolerance=1e-3), "eigendecomposition"),
    "dense": (slow_blocks(40), SERIES),
    "two ends": (two_ends(20), SERIES),
    "three states": (plain(np.array([[0.0, 2, 1], [0, 0, 1], [5, 0, 0]])), SERIES),
    # Rows of P(1) differ by 1e-14, 2.5 times what counts as mixed.
    "nearly mixed": (fb.MarkovProcess(16.4646 * np.array([[-1.0, 1], [1, -1]]), method=SERIES), SERIES),
    "truncated": (fb.MarkovProcess(fb.RandomWalk(30).generator(), method=SERIES, tolerance=1e-3), SERIES),
    "expm": (fb.MarkovProcess(fb.RandomWalk(9).generator(), method="expm"), "expm"),
}
CLOSED = {
    "pure death": fb.PureDeath(90),
    "Ehrenfest": fb.Ehrenfest(90, 2.0, 0.5),
    "even Ehrenfest": fb.Ehrenfest(90),
    "random walk": fb.RandomWalk(90),
    "uniform": fb.Uniform(8),
    "absorbing": fb.Absorbing(7, 2),
    "open": fb.ImmigrationDeath(200.0, 100, "open"),  # most of the law of those who came is above
}


@pytest.mark.parametrize("name", [*ANY, *CLOSED])
def test_a_matrix_depends_on_its_time_alone(name):
    process = CLOSED[name] if name in CLOSED else ANY[name][0]
    rng = np.random.default_rng(7)
    t = np.concatenate([np.geomspace(1e-3, 100.0, 90), [0.0, 0.0], 20 * rng.random(7)])
    fresh, used = copy.deepcopy(process), copy.deepcopy(process)
    first = fresh.transition_matrix(t[:1]), fresh.evaluation(t[40])
    whole = used.transition_matrix(t)
    assert (first[0] == whole[:1]).all()
    assert used.evaluation(t[40]) == first[1]
    order = rng.permutation(len(t))
    assert (used.transition_matrix(t[order]) == whole[order]).all()
    for part in (slice(0), slice(0, 1), slice(3, 10), slice(20, 61), slice(80, None)):
        assert (copy.deepcopy(process).transition_matrix(t[part]) == whole[part]).all()
    assert (np.stack([used.transition_matrix(time) for time in t[::9]]) == whole[::9]).all()
    # What divides by small entries makes them by itself.
    x_0 = rng.integers(0, process.states, (len(t), 3))
    x_t = x_0 // 2
    log_prob = used.log_prob(x_t, x_0, t)
    assert np.isfinite(log_prob).any()
    assert (np.stack([used.log_prob(x_t[b], x_0[b], t[b]) for b in range(len(t))]) == log_prob).all()
    assert used.log_prob(x_t[:0], x_0[:0], t[:0]).shape == (0, 3)
    assert used.score(x_t[:0], np.zeros((0, 3, process.states)), t[:0]).shape == (0, 3, process.states)
    if name == "open":
        assert (np.stack([process.tail(time) for time in t]) == process.tail(t)).all()


@pytest.mark.parametrize("name", ANY)
def test_what_was_asked_before_changes_neither_method_nor_bits(name):
    """Squares, modes and limits that are made for some times are kept for others."""
    process, late = ANY[name]
    times = (0.3, 2.0, 5.5, 17.0, 150.0, 1e4)
    alone = {}
    for t in times:
        one = copy.deepcopy(process)
        alone[t] = one.transition_matrix(t), one.evaluation(t)
    assert alone[0.3][1].method == (late if late == "expm" else SERIES) and alone[150.0][1].method == late
    histories = [times, times[::-1], (150.0, 0.3, 1e4, 2.0, 17.0, 5.5), (17.0, 150.0, 5.5, 0.3, 2.0, 1e4)]
    for history in histories:
        used = copy.deepcopy(process)
        for t in history:
            assert (used.transition_matrix(t) == alone[t][0]).all(), (history, t)
            assert used.evaluation(t) == alone[t][1], (history, t)
    for count in range(1, len(times) + 1):
        together = copy.deepcopy(process)
        assert (together.transition_matrix(np.array(times[:count])) == [alone[t][0] for t in times[:count]]).all()
        found = together.evaluation(np.array(times[:count]))
        assert found.error == max(alone[t][1].error for t in times[:count])
        assert found.method == alone[times[count - 1]][1].method


def test_powers_that_do_not_fit_are_made_in_parts(monkeypatch):
    process = slow_blocks(40)
    t = np.geomspace(0.01, 100.0, 30)
    whole = process.transition_matrix(t)
    monkeypatch.setattr("fastblackout.processes.matrices.uniformization._POWERS_BYTES", 200_000)
    parts = copy.deepcopy(process)
    found = parts.transition_matrix(t)
    assert 1 < parts._evaluator.uniformization.series.block < 20
    assert np.abs(found - whole).max() <= 1e-15
    assert (np.stack([parts.transition_matrix(time) for time in t]) == found).all()


def test_equal_times_of_many_states_are_made_once(monkeypatch):
    """A part of the batch is as large as the matrices of it may be: not one sample."""
    process, made = wide_chain(64), []
    small = type(process)._small
    monkeypatch.setattr(type(process), "_small", lambda self, times: made.append(times.size) or small(self, times))
    states, times = np.arange(64)[:, None], np.linspace(0.1, 2.0, 64)
    chance = process.log_prob(states, states, times)
    assert made == [64] and chance[7] == process.log_prob(states[7], states[7], times[7])


@pytest.mark.parametrize("name", ["score", "reverse_law"])
def test_slopes_where_a_probability_is_0(name):
    """In a direction that enters the simplex, by differences."""
    process, x_t, inwards = fb.Uniform(3), torch.tensor([0]), torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)

    def first(step):
        posterior = torch.tensor([0.5, 0.5, 0.0], dtype=torch.float64) + step * inwards
        made = process.score(x_t, posterior[None], 0.7) if name == "score" else None
        return (process.reverse_law(x_t, posterior[None], 0.3, 0.7) if made is None else made)[0, 1]

    step = torch.tensor(0.0, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(first(step), step)
    assert float(slope) == pytest.approx(float(first(1e-6) - first(0.0)) / 1e-6, rel=1e-4)
