"""P(t) of many states: kept for the times that come again, and shown while it is made."""

import io
import pickle

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.processes.matrices import cache

torch.set_num_threads(1)
SIZE = 12


@pytest.fixture
def few(monkeypatch):
    """12 states count as many."""
    monkeypatch.setattr(cache, "FEWEST", SIZE)
    monkeypatch.setattr("fastblackout.processes.base.FEWEST", SIZE)


def dense():
    rates = np.random.default_rng(0).random((SIZE, SIZE))
    np.fill_diagonal(rates, 0.0)
    return fb.MarkovProcess(rates - np.diag(rates.sum(1)))


def counted(process, name="_matrices"):
    """The times that a process makes matrices for from here on."""
    made, whole = [], getattr(process, name)
    setattr(process, name, lambda t: made.extend(t.tolist()) or whole(t))
    return made


def test_a_time_that_comes_again_is_made_once(few):
    process, x = dense(), np.arange(SIZE).reshape(4, 3)
    made = counted(process)
    first = process.transition_matrix(0.7)
    again = process.transition_matrix(np.array([0.7, 1.5, 0.7]))
    assert made == [0.7, 1.5]
    assert (again[0] == first).all() and (again[2] == first).all() and (again[1] != first).any()
    assert (process.transition_matrix(np.array([1.5, 0.7])) == again[[1, 0]]).all()
    drawn = process.sample_forward(x, np.array([0.7, 1.5, 1.5, 0.2]), rng=fb.Philox(1))
    assert made == [0.7, 1.5, 0.2]
    assert (drawn == dense().sample_forward(x, np.array([0.7, 1.5, 1.5, 0.2]), rng=fb.Philox(1))).all()
    assert process.transition_matrix(np.zeros(0)).shape == (0, SIZE, SIZE)


def test_small_entries_are_kept_apart(few):
    process = dense()
    made, small = counted(process), counted(process, "_small_entries")
    bridge = process.bridge(np.array([1]), np.array([2]), 0.3, 0.7)
    assert sorted(small) == [0.3, 0.7 - 0.3, 0.7] and made == []
    assert (process.bridge(np.array([1]), np.array([2]), 0.3, 0.7) == bridge).all()
    process.transition_matrix(0.7)
    assert len(small) == 3 and made == [0.7]
    walk = fb.Ehrenfest(SIZE - 1)  # whose matrices are as exact as matrices of small entries
    made = counted(walk)
    walk.transition_matrix(0.7)
    walk.log_prob(np.array([1]), np.array([2]), 0.7)
    assert made == [0.7]


def test_what_is_given_may_be_written_to(few):
    process = dense()
    for t in (0.7, np.array([0.7, 0.9]), 0.9, torch.tensor(0.9)):
        process.transition_matrix(t)[...] = 0.0
    assert (process.transition_matrix(0.7) == dense().transition_matrix(0.7)).all()
    assert (process.transition_matrix(0.9) == dense().transition_matrix(0.9)).all()


def test_the_oldest_leave_first(few, monkeypatch):
    monkeypatch.setattr(cache, "MOST_BYTES", 3 * 8 * SIZE**2)
    process = dense()
    made = counted(process)
    for t in (0.1, 0.2, 0.3, 0.1, 0.4, 0.1, 0.2):
        process.transition_matrix(t)
    assert made == [0.1, 0.2, 0.3, 0.4, 0.2]
    process.transition_matrix(np.linspace(1, 2, 20))
    assert len(process._kept._made) == 3
    assert all(matrix.base is None or matrix.base.nbytes == matrix.nbytes for matrix in process._kept._made.values())
    monkeypatch.setattr(cache, "MOST_BYTES", 8)
    process.transition_matrix(5.0)
    assert len(process._kept._made) == 1  # the last one, however large


def test_changed_and_pickled_processes(few):
    process = dense()
    made = counted(process)
    process.transition_matrix(0.6)
    double = process.time_change(2.0)
    assert (double.transition_matrix(0.3) == process.transition_matrix(0.6)).all() and made == [0.6]
    del process.__dict__["_matrices"]
    other = pickle.loads(pickle.dumps(process))
    assert not other._kept._made and process._kept._made
    assert (other.transition_matrix(0.6) == process.transition_matrix(0.6)).all()


def test_few_states_are_not_kept():
    process = dense()
    process.transition_matrix(0.7)
    assert not process._kept._made


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_products_are_shown_on_a_terminal_alone(few, monkeypatch, terminal):
    monkeypatch.setattr(cache, "SILENCE", 0.0)
    shown = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", shown)
    found = dense().transition_matrix(np.array([3.0, 40.0]))
    text = shown.getvalue()
    assert ("P(t), 12 states: " in text and " products [" in text) == terminal
    assert terminal or text == ""
    monkeypatch.undo()
    assert (dense().transition_matrix(np.array([3.0, 40.0])) == found).all()


def test_a_bar_ends_full(few, monkeypatch):
    """What was expected is what was done, but for squares that are not needed once the start is forgotten."""
    totals = []

    class Bar:
        def __init__(self, **how):
            self.total, self.n = how["total"], 0.0

        def __enter__(self):
            return self

        def __exit__(self, *exception):
            totals.append((self.total, self.n))

        def update(self, products):
            self.n += products

    monkeypatch.setattr("tqdm.tqdm", Bar)
    monkeypatch.setattr("sys.stderr", Terminal())
    for t in (0.1, 3.0, 40.0, 1e4):
        dense().transition_matrix(t)
        dense().bridge(np.array([1]), np.array([2]), t / 2, t)
    assert all(total == pytest.approx(n) for total, n in totals) and min(totals[:5])[1] > 10


def test_matrices_are_made_on_the_host_whatever_the_backend_of_draws():
    process, t = fb.PureDeath(7), np.array([0.3, 1.1])
    expected = process.transition_matrix(t)
    for backend in ("triton", "cuda"):
        with fb.use_backend(backend):
            assert np.array_equal(process.transition_matrix(t), expected)
