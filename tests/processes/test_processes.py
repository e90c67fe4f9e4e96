"""Processes: laws against transition matrices by plain loops, draws against laws, time changes, libraries."""

import subprocess
import sys

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.helpers import chi_square_counts
from support.subprocesses import elsewhere

torch.set_num_threads(1)

THREE = np.array([[-3.0, 2, 1], [0, -1, 1], [5, 0, -5]])
PROCESSES = [
    fb.PureDeath(12),
    fb.Ehrenfest(11, 2.0, 0.5),
    fb.RandomWalk(9, 1.5),
    fb.Uniform(8),
    fb.Absorbing(7, 2),
    fb.Redraw(np.array([0.4, 0.1, 0.0, 0.3, 0.2])),
    fb.ImmigrationDeath(2.0, 12),
    fb.ImmigrationDeath(0.5, 20, "open"),
    fb.MarkovProcess(THREE),
    fb.MarkovProcess(fb.RandomWalk(9, 1.5).generator()),
]
NAMES = [f"{type(process).__name__}-{process.states}" for process in PROCESSES]
every = pytest.mark.parametrize("process", PROCESSES, ids=NAMES)


def a_batch(process, samples=4, elements=(2, 3)):
    """(x_t, x_0, s, t), x_t drawn so that it is possible."""
    rng = np.random.default_rng(0)
    x_0 = rng.integers(0, min(process.states, 13), (samples, *elements)).astype(np.uint8)
    t = rng.random(samples) + 0.2
    return process.sample_forward(x_0, t, rng=fb.Philox(1)), x_0, t * rng.random(samples), t


@every
def test_laws_are_what_the_matrices_say(process):
    x_t, x_0, s, t = a_batch(process)
    size, q = process.states, process.generator()
    p_s, p_gap, p_t = (process.transition_matrix(times) for times in (s, t - s, t))
    prior = np.random.default_rng(1).random(size) + 0.1
    prior /= prior.sum()
    log_prob, cdf, rate = (f(x_t, x_0, t) for f in (process.log_prob, process.cdf, process.reverse_rate))
    bridge, posterior = process.bridge(x_t, x_0, s, t), process.posterior(x_t, prior, t)
    score = process.score(x_t, posterior, t)
    for n in np.ndindex(x_0.shape):
        i, j, k = x_0[n], x_t[n], n[0]
        np.testing.assert_allclose(log_prob[n], np.log(p_t[k, i, j]), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(cdf[n], p_t[k, i, : j + 1].sum(), rtol=1e-11)
        law = p_s[k, i] * p_gap[k, :, j]
        np.testing.assert_allclose(bridge[n], law / law.sum(), rtol=1e-9, atol=1e-13)
        expected = q[:, j] * p_t[k, i] / p_t[k, i, j]
        expected[j] = 0.0
        np.testing.assert_allclose(rate[n], expected, rtol=1e-9, atol=1e-9 * np.abs(q).max())
        joint = prior * p_t[k, :, j]
        np.testing.assert_allclose(posterior[n], joint / joint.sum(), rtol=1e-9, atol=1e-13)
        marginal = prior @ p_t[k]
        allowed = (q[:, j] > 0) | (np.arange(size) == j)
        assert (np.isnan(score[n]) == ~allowed).all()
        np.testing.assert_allclose(score[n][allowed], (marginal / marginal[j])[allowed], rtol=1e-9)
    assert {each.dtype for each in (log_prob, cdf, rate, bridge, score)} == {np.dtype(np.float64)}


@every
def test_scalar_times_numbers_and_zero(process):
    x_t, x_0, _, _ = a_batch(process)
    t = 0.8
    x_t = process.sample_forward(x_0, t, rng=fb.Philox(2))
    many = np.full(4, t)
    apart = process.bridge(x_t, x_0, 0.3 + 0 * many, many)
    np.testing.assert_allclose(process.bridge(x_t, x_0, 0.3, t), apart, rtol=1e-12)
    np.testing.assert_allclose(process.log_prob(x_t, x_0, t), process.log_prob(x_t, x_0, many), rtol=1e-12)
    one = process.log_prob(int(x_t[0, 0, 0]), int(x_0[0, 0, 0]), t)
    np.testing.assert_allclose(one, process.log_prob(x_t, x_0, t)[0, 0, 0], rtol=1e-12)
    states = np.eye(process.states)
    assert (process.transition_matrix(0.0) == states).all()
    assert (process.bridge(x_0, x_0, 0.0, 0.0) == states[x_0]).all()
    assert (process.bridge(x_t, x_0, 0.0, t) == states[x_0]).all()
    np.testing.assert_allclose(process.bridge(x_t, x_0, t, t), states[x_t], atol=1e-15)
    assert (process.sample_forward(x_0, 0.0, rng=fb.Philox(3)) == x_0).all()
    assert (process.sample_bridge(x_t, x_0, 0.0, t, rng=fb.Philox(3)) == x_0).all()
    assert (process.sample_bridge(x_t, x_0, t, t, rng=fb.Philox(3)) == x_t).all()


@every
def test_draws_follow_the_laws(process):
    """False alarms: 2 tests a process at 1e-6."""
    count, s, t = 20_000, 0.3, 0.9
    start = 0 if process.states == 7 else min(process.states - 1, 12)  # not the mask; far from the open boundary
    x_0 = np.full((2, count // 2), start, np.uint8)
    x_t = process.sample_forward(x_0, np.array([t, t]), rng=fb.Philox(5))
    law, seen = process.transition_matrix(t)[start], np.bincount(x_t.ravel(), minlength=process.states)
    assert (seen[law == 0] == 0).all()
    assert chi_square_counts(seen[law > 0], law[law > 0] * count) > 1e-6
    end = int(np.bincount(x_t.ravel()).argmax())
    ends = np.full_like(x_0, end)
    x_s = process.sample_bridge(ends, x_0, s, t, rng=fb.Philox(6))
    law, seen = process.bridge(end, start, s, t), np.bincount(x_s.ravel(), minlength=process.states)
    assert (seen[law == 0] == 0).all()
    assert chi_square_counts(seen[law > 0], law[law > 0] * count) > 1e-6


def test_draws_do_not_depend_on_the_batch_split():
    for process in (fb.Ehrenfest(11), fb.PureDeath(12), fb.RandomWalk(9), fb.ImmigrationDeath(2.0, 12), PROCESSES[-2]):
        x_t, x_0, s, t = a_batch(process, samples=6)
        rng = fb.Philox(9)
        whole = process.sample_forward(x_0, t, rng=rng), process.sample_bridge(x_t, x_0, s, t, rng=rng)
        later = rng.at(first_sample=4)
        assert (process.sample_forward(x_0[4:], t[4:], rng=later) == whole[0][4:]).all()
        assert (process.sample_bridge(x_t[4:], x_0[4:], s[4:], t[4:], rng=later) == whole[1][4:]).all()
        a, b, early, late = map(torch.from_numpy, (x_t, x_0, s, t))
        assert (process.sample_forward(b, late, rng=rng.tensor()).numpy() == whole[0]).all()
        assert (process.sample_bridge(a, b, early, late, rng=rng.tensor()).numpy() == whole[1]).all()


def test_parts_of_a_batch_give_what_the_whole_gives(monkeypatch):
    process = fb.Ehrenfest(11)
    x_t, x_0, s, t = a_batch(process, samples=6)

    def results():
        yield process.sample_forward(x_0, t, rng=fb.Philox(3))
        yield process.sample_forward(torch.from_numpy(x_0), t, rng=fb.Philox(3).tensor()).numpy()
        yield process.sample_bridge(x_t, x_0, s, t, rng=fb.Philox(3))
        yield process.bridge(x_t, x_0, s, t)

    whole = list(results())
    monkeypatch.setattr("fastblackout.processes.matrices.lookup.ENTRIES", 600)
    for part, expected in zip(results(), whole, strict=True):
        np.testing.assert_allclose(part, expected, rtol=1e-12)


def test_repeated_times_make_one_matrix(monkeypatch):
    process, x, t = fb.Ehrenfest(11), np.array([[3], [4], [5], [9]]), np.array([1.0, 0.5, 1.0, 0.5])
    apart = [process.log_prob(x[[n]], 4, t[n]) for n in range(4)]
    made, whole = [], process._small_entries
    monkeypatch.setattr(process, "_small_entries", lambda times: made.append(len(times)) or whole(times))
    np.testing.assert_allclose(process.log_prob(x, 4, t), np.concatenate(apart), rtol=1e-12)
    assert made == [2]


def test_pure_death_is_thin_and_bridge_step():
    process = fb.PureDeath(255)
    x_0 = np.random.default_rng(3).integers(0, 256, (5, 40)).astype(np.uint8)
    t = np.array([1e-6, 0.1, 0.7, 3.0, 40.0])
    rng = fb.Philox(7)
    alive = fb.Prob(np.exp(-t), -np.expm1(-t))
    x_t = process.sample_forward(x_0, t, rng=rng)
    assert (x_t == fb.thin(x_0, alive, rng=rng, outputs=("x_t",)).x_t).all()
    s = t / 3
    step = fb.Prob((np.exp(-s) - np.exp(-t)) / -np.expm1(-t), np.expm1(-s) / np.expm1(-t))
    x_s = process.sample_bridge(x_t, x_0, s, t, rng=rng)
    births = (x_0 - x_t).astype(np.float32)
    assert (x_s != fb.bridge_step(x_t, births=births, step=step, rng=rng).x_s).mean() < 0.01  # p rounds otherwise
    assert ((x_t <= x_s) & (x_s <= x_0)).all()
    np.testing.assert_allclose(process.transition_matrix(t), fb.transition_rows(alive, 255), rtol=0, atol=0)
    # A state that thinning reaches once in e^-2000: the ratio is known all the same.
    assert process.reverse_rate(0, 200, 1e-9)[1] == pytest.approx(200e9)
    np.testing.assert_allclose(process.bridge(0, 200, 5e-10, 1e-9).argmax(), 100, atol=1)


@every
def test_time_changes(process):
    x_t, x_0, s, t = a_batch(process)
    double = process.time_change(2.0)
    np.testing.assert_allclose(double.transition_matrix(t), process.transition_matrix(2 * t), atol=1e-13)
    np.testing.assert_allclose(double.reverse_rate(x_t, x_0, t), 2 * process.reverse_rate(x_t, x_0, 2 * t), rtol=1e-9)
    curved = process.time_change(lambda t: t * t, lambda t: 2 * t)
    twice = curved.time_change(lambda t: t + t**3, lambda t: 1 + 3 * t**2)
    clock = (t + t**3) ** 2
    slow = process.time_change(lambda t: t * t).time_change(lambda t: t + t**3)  # without the derivatives
    assert (slow.transition_matrix(t) == twice.transition_matrix(t)).all()
    np.testing.assert_allclose(twice.beta(t), 2 * (t + t**3) * (1 + 3 * t**2), rtol=1e-14)
    np.testing.assert_allclose(twice.transition_matrix(t), process.transition_matrix(clock), atol=1e-12)
    scaled = twice.beta(t)[:, None, None, None] * process.reverse_rate(x_t, x_0, clock)
    np.testing.assert_allclose(twice.reverse_rate(x_t, x_0, t), scaled, rtol=1e-9)
    np.testing.assert_allclose(
        curved.bridge(x_t, x_0, s, t), process.bridge(x_t, x_0, s * s, t * t), rtol=1e-9, atol=1e-13
    )
    assert (curved.generator() == process.generator()).all()
    assert (process.beta(t) == 1).all()


def test_stationary_laws():
    from scipy.stats import binom, poisson

    n = np.arange(128)
    plain = fb.MarkovProcess(fb.Ehrenfest(127, 1.0, 3.0).generator())
    for process in (plain, fb.Ehrenfest(127, 1.0, 3.0)):
        np.testing.assert_allclose(process.stationary(), binom.pmf(n, 127, 0.25), rtol=1e-11)
    truncated = poisson.pmf(np.arange(31), 9.0) / poisson.cdf(30, 9.0)
    np.testing.assert_allclose(fb.ImmigrationDeath(9.0, 30).stationary(), truncated, rtol=1e-12)
    transient = np.array([[-1.0, 1, 0], [0, -2, 2], [0, 4, -4]])  # 0 is left for good
    np.testing.assert_allclose(fb.MarkovProcess(transient).stationary(), [0, 2 / 3, 1 / 3], rtol=1e-15)


def test_narrow_scalar_and_no_times():
    process = fb.Uniform(4)
    assert process.transition_matrix(torch.tensor([0.1, 0.2])).dtype == torch.float64
    assert process.transition_matrix(torch.tensor(0.1)).shape == process.transition_matrix(0.1).shape == (4, 4)
    assert process.transition_matrix(np.zeros(0)).shape == (0, 4, 4)
    assert isinstance(process.log_prob(torch.zeros(2, 3, dtype=torch.int64), 1, 0.5), torch.Tensor)


def test_score_at_chosen_states():
    process = fb.RandomWalk(6)
    x = np.array([[0, 3], [5, 2]])
    posterior = np.full((2, 2, 6), 1 / 6)
    t = np.array([0.5, 1.0])
    whole = process.score(x, posterior, t)
    there = np.array([[1, 2], [5, 3]])
    assert (
        process.score(x, posterior, t, states=there) == np.take_along_axis(whole, there[..., None], -1)[..., 0]
    ).all()
    single = process.score(torch.from_numpy(x[:, 1]), torch.from_numpy(posterior[:, 1]), t, states=2)
    assert (single.numpy() == whole[:, 1, 2]).all()


def test_pure_death_scores_refuse_what_is_not_identifiable():
    process = fb.PureDeath(4)
    x = np.array([2])
    posterior = np.array([[0, 0, 0.2, 0.3, 0.5]])
    score = process.score(x, posterior, 0.5)[0]
    assert np.isnan(score[[0, 1, 4]]).all() and score[2] == 1
    odds = np.exp(-0.5) / -np.expm1(-0.5)  # P[n, 3] / P[n, 2] = (n - 2) / 3 odds
    np.testing.assert_allclose(score[3], (0.3 * 1 + 0.5 * 2) / 3 * odds, rtol=1e-12)


def test_processes_work_without_torch(tmp_path):
    code = """
import sys
sys.modules["torch"] = None
import fastblackout as fb, numpy as np
p = fb.MarkovProcess(np.array([[-1.0, 1.0], [2.0, -2.0]]))
print(round(float(p.transition_matrix(1e3)[0, 0]), 12), fb.PureDeath(3).log_prob(1, 3, 0.5).shape)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=elsewhere(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["0.666666666667", "()"]
