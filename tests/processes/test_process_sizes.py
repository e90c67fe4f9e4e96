"""Every process at its smallest and at its largest number of states: what needs no power of a matrix takes seconds."""

import numpy as np
import pytest
import torch
from scipy import sparse
from scipy.sparse.linalg import expm_multiply

import fastblackout as fb
from support.helpers import by_day

torch.set_num_threads(1)
MOST = 4096


def banded():
    up, down = np.full(MOST - 1, 2.0), np.arange(1.0, MOST) / 50
    out = np.append(up, 0) + np.insert(down, 0, 0)
    return fb.MarkovProcess(sparse.diags_array([up, down, -out], offsets=[1, -1, 0], format="csr"))


KINDS = {
    "pure death": (lambda s: fb.PureDeath(s - 1), 0.5),
    "Ehrenfest": (lambda s: fb.Ehrenfest(s - 1, 2.0, 0.5), 0.5),
    "random walk": (fb.RandomWalk, 100.0),
    "uniform": (fb.Uniform, 0.5),
    "absorbing": (fb.Absorbing, 0.5),
    "immigration-death, open": (lambda s: fb.ImmigrationDeath(0.6 * s, s - 1, "open"), 0.5),
    "immigration-death": (lambda s: fb.ImmigrationDeath(0.6 * s, s - 1), 1e-3),
    "any": (lambda s: banded() if s == MOST else fb.MarkovProcess(np.array([[-1.0, 1.0], [3.0, -3.0]])), 1e-2),
}


@pytest.mark.parametrize("kind", KINDS)
def test_two_states(kind):
    process = KINDS[kind][0](2)
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


@pytest.mark.parametrize("kind", by_day(KINDS, "immigration-death", "any"))
def test_4096_states(kind):
    make, t = KINDS[kind]
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
