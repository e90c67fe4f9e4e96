"""The reverse process, run from where the forward process ended, gives the data back, to the last joint cell."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from fastblackout.processes import conversion as to
from fastblackout.processes import sample_reverse, simulate_reverse, tau_leap_reverse
from support.helpers import by_day, chi_square_counts

torch.set_num_threads(1)
LAW = np.array([0.1, 0.4, 0.3, 0.0, 0.05, 0.15])
PROCESSES = {
    "pure death": (fb.PureDeath(5), 1.0),
    "immigration-death": (fb.ImmigrationDeath(1.0, max_count=5), 0.7),
    "Ehrenfest": (fb.Ehrenfest(5, up=0.6, down=0.9), 0.7),
    "random walk": (fb.RandomWalk(6), 1.0),
    "uniform": (fb.Uniform(6), 1.0),
    "absorbing": (fb.Absorbing(7), 1.0),
    "any": (fb.MarkovProcess(np.array([[-1.0, 0.7, 0.3], [0.0, -0.5, 0.5], [2.0, 0.0, -2.0]])), 0.8),
    "sped up": (fb.Uniform(6).time_change(lambda t: t * t, lambda t: 2 * t), 1.0),
}
PATHS = 250_000


def data_law(process):
    law = {6: LAW, 7: np.concatenate([LAW, [0.0]]), 3: np.array([0.5, 0.5, 0.0])}
    return law[process.states]


def forward(process, law, t, count, seed=0):
    """(x_0, x_t) by inverse CDF with NumPy's generator, nothing of the package but P(t)."""
    generator = np.random.default_rng(seed)
    x_0 = generator.choice(process.states, p=law, size=count)
    below = process.transition_matrix(t).cumsum(1)[x_0] <= generator.uniform(size=(count, 1))
    return x_0, below.sum(1).clip(max=process.states - 1)


@pytest.mark.parametrize("name", by_day(PROCESSES, "immigration-death", "any"))
def test_exact_reverse_paths_recover_the_data(name):
    # Two chi-squares a process, each rejected below 1e-6: false alarm 2e-5 over all of them. Of paths that begin at
    # 1.05 t the second gives 1e-26 and less.
    process, t = PROCESSES[name]
    law = data_law(process)
    _, x_t = forward(process, law, t, PATHS)
    found = simulate_reverse(process, x_t.astype(np.uint8), law, t, rng=fb.Philox(11))
    assert found.dtype == np.uint8
    seen = np.bincount(found, minlength=process.states)
    assert (seen[law == 0] == 0).all()
    assert chi_square_counts(seen[law > 0], PATHS * law[law > 0]) > 1e-6
    joint = np.bincount(found * process.states + x_t, minlength=process.states**2)
    expected = (law[:, None] * process.transition_matrix(t)).ravel()
    assert (joint[expected == 0] == 0).all()
    assert chi_square_counts(joint[expected > 0], PATHS * expected[expected > 0]) > 1e-6
    blind = np.bincount(
        found[np.argsort(x_t, kind="stable")][::-1] * process.states + np.sort(x_t), minlength=len(joint)
    )
    if name != "absorbing":  # the same marginals paired wrongly do not pass; a mask knows nothing of x_0
        assert chi_square_counts(blind[expected > 0], PATHS * expected[expected > 0]) < 1e-12


@pytest.mark.parametrize("name", ["immigration-death", "uniform"])
def test_a_path_may_stop_halfway(name):
    process, t = PROCESSES[name]
    law = data_law(process)
    _, x_t = forward(process, law, t, 200_000, seed=1)
    half = simulate_reverse(process, x_t, law, t, 0.4 * t, rng=fb.Philox(1))
    expected = 200_000 * (law @ process.transition_matrix(0.4 * t))
    assert chi_square_counts(np.bincount(half, minlength=process.states), expected) > 1e-6
    rest = simulate_reverse(process, half, law, 0.4 * t, rng=fb.Philox(2))
    assert chi_square_counts(np.bincount(rest, minlength=6)[law > 0], 200_000 * law[law > 0]) > 1e-6


def test_paths_are_keyed_by_sample_and_element():
    process, law = fb.Ehrenfest(5), LAW
    x_t = np.random.default_rng(0).integers(0, 6, (50, 3, 2))
    rng = fb.Philox(5, first_sample=7, call=3)
    whole = simulate_reverse(process, x_t, law, 1.0, rng=rng)
    parts = [
        simulate_reverse(process, x_t[a:b], law, 1.0, rng=rng.at(first_sample=7 + a)) for a, b in ((0, 13), (13, 50))
    ]
    assert np.array_equal(np.concatenate(parts), whole)
    assert np.array_equal(
        simulate_reverse(process, x_t[:, :1], law, 1.0, rng=rng)[:, :, 0], whole[:, 0, :1].reshape(50, 1)
    )
    tensor = simulate_reverse(process, torch.from_numpy(x_t).to(torch.int16), law, 1.0, rng=rng)
    assert tensor.dtype == torch.int16
    assert np.array_equal(tensor.numpy(), whole)
    for other in (rng.at(call=4), fb.Philox(6, first_sample=7, call=3)):
        assert not np.array_equal(simulate_reverse(process, x_t, law, 1.0, rng=other), whole)
    generator = torch.Generator().manual_seed(1)
    first = simulate_reverse(process, x_t, law, 1.0, generator=generator)
    assert not np.array_equal(simulate_reverse(process, x_t, law, 1.0, generator=generator), first)


def test_waiting_times_of_a_single_death():
    # Law all 1, x_t = 0: the one birth falls before s with the chance that the particle lives to s, given dead by t.
    process, t = fb.PureDeath(1), 2.0
    x_t = np.zeros(300_000, dtype=np.int64)
    for s in (0.01, 0.5, 1.9):
        born = simulate_reverse(process, x_t, np.array([0.0, 1.0]), t, s, rng=fb.Philox(3)).sum()
        chance = (math.exp(-s) - math.exp(-t)) / (1 - math.exp(-t))
        assert stats.binomtest(int(born), len(x_t), chance).pvalue > 1e-6


def test_tau_leaping_is_a_poisson_number_of_jumps():
    x_t = np.full((100_000, 1), 3, dtype=np.uint8)
    rates = np.zeros((100_000, 1, 9))
    rates[..., 4], rates[..., 2] = 2.0, 0.5
    found = tau_leap_reverse(x_t, rates, 0.4, rng=fb.Philox(1))
    assert found.dtype == np.uint8
    change = stats.skellam(0.8, 0.2)
    law = np.array([change.cdf(-3), *change.pmf(np.arange(-2, 5)), change.sf(4)])  # clamped to 0..8
    assert chi_square_counts(np.bincount(found.ravel(), minlength=9), 100_000 * law) > 1e-6
    alone = tau_leap_reverse(x_t, rates, 0.4, ordered=False, rng=fb.Philox(1))
    once = math.exp(-1.0) * np.array([0.2, 0.8])
    counts = np.bincount(alone.ravel(), minlength=9)
    assert chi_square_counts(counts[[2, 4, 3]], 100_000 * np.array([*once, 1 - once.sum()])) > 1e-6
    assert counts[[2, 3, 4]].sum() == 100_000
    pair = torch.tensor([2.0, 0.5], dtype=torch.float64).expand(100_000, 1, 2).contiguous()
    tensor = torch.from_numpy(x_t)
    targets = torch.stack([tensor.long() + 1, tensor.long() - 1], -1)
    by_targets = tau_leap_reverse(tensor, pair, 0.4, targets=targets, states=9, rng=fb.Philox(1))
    assert by_targets.dtype == torch.uint8
    assert chi_square_counts(np.bincount(by_targets.numpy().ravel(), minlength=9), 100_000 * law) > 1e-6


@pytest.mark.parametrize("name", ["pure death", "random walk", "uniform"])
def test_tau_leaping_tends_to_the_data_as_the_step_shrinks(name):
    process, t = PROCESSES[name]
    law = data_law(process)
    _, x_t = forward(process, law, t, 20_000)
    distances = []
    for steps in (4, 16, 64):
        x = x_t[:, None]
        times = t * (1 - np.arange(steps + 1) / steps) ** 2  # rates grow as 1 / t: finer steps near 0
        table = np.zeros((process.states, process.states))
        for n, (now, then) in enumerate(zip(times[:-1], times[1:], strict=True)):
            p_t = law @ process.transition_matrix(now)
            known = np.flatnonzero(p_t > 0)
            table[known] = to.rates_from_score(process, known, p_t / p_t[known, None], now)
            x = tau_leap_reverse(x, table[x], now - then, ordered=name != "uniform", rng=fb.Philox(4, call=n))
        distances.append(np.abs(np.bincount(x.ravel(), minlength=process.states) / 20_000 - law).sum() / 2)
    # 20,000 draws of 6 cells have a total variation of 0.007 from their law, 0.014 with a false alarm below 1e-6.
    assert distances[0] > 0.03
    assert distances[1] < 0.45 * distances[0] + 0.014
    assert distances[2] < 0.45 * distances[1] + 0.014


@pytest.mark.parametrize("name", PROCESSES)
@pytest.mark.parametrize("kind", ["logits", "probs"])
def test_the_driver_with_the_exact_posterior_recovers_the_data(name, kind):
    # From the true law of x_t, the exact map is exact for any steps: false alarm 2e-5 over all cases.
    process, t = PROCESSES[name]
    law = data_law(process)
    _, x_t = forward(process, law, t, 100_000)

    def model(x, time):
        table = np.full((process.states, process.states), 1 / process.states)
        seen = np.flatnonzero(law @ process.transition_matrix(time) > 0)
        table[seen] = process.posterior(seen, law, time)
        probs = table[x]
        with np.errstate(divide="ignore"):
            return probs if kind == "probs" else np.log(probs)

    times = [t, 0.6 * t, 0.1 * t, 0.0]
    found = sample_reverse(process, model, (100_000, 1), times, kind=kind, start=x_t[:, None], rng=fb.Philox(8))
    seen = np.bincount(found.ravel(), minlength=process.states)
    assert (seen[law == 0] == 0).all()
    assert chi_square_counts(seen[law > 0], 100_000 * law[law > 0]) > 1e-6

    def of_tensors(x, time):
        return torch.from_numpy(model(x.numpy(), time))

    start = torch.from_numpy(x_t[:, None])
    with_tensors = sample_reverse(process, of_tensors, (100_000, 1), times, kind=kind, start=start, rng=fb.Philox(8))
    assert np.array_equal(with_tensors.numpy(), found)


def test_the_driver_starts_at_the_stationary_law():
    process = fb.Ehrenfest(5, up=0.6, down=0.9)
    seen = []

    def model(x, time):
        seen.append(x)
        return torch.zeros(*x.shape, 6)

    found = sample_reverse(process, model, (20_000, 2), [3.0, 0.0], device="cpu", rng=fb.Philox(2))
    assert isinstance(found, torch.Tensor) and found.shape == (20_000, 2)
    counts = np.bincount(seen[0].numpy().ravel(), minlength=6)
    assert chi_square_counts(counts, 40_000 * stats.binom.pmf(np.arange(6), 5, 0.4)) > 1e-6
    by_numpy = sample_reverse(
        process, lambda x, time: np.zeros((*x.shape, 6)), (20_000, 2), [3.0, 0.0], rng=fb.Philox(2)
    )
    assert np.array_equal(by_numpy, found.numpy())
    black = []
    sample_reverse(fb.PureDeath(3), lambda x, t: black.append(x) or np.zeros((5, 2, 4)), (5, 2), [2.0, 0.0])
    assert (black[0] == 0).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p, x: simulate_reverse(p, x, np.full(6, 0.2), 1.0), "data_law: must sum to 1"),
        (lambda p, x: simulate_reverse(p, x, np.full((2, 6), 1 / 6), 1.0), r"data_law: shape must be \(6,\)"),
        (lambda p, x: simulate_reverse(p, x, LAW, 1.0, 1.0), "s: must be before t"),
        (lambda p, x: simulate_reverse(p, x, LAW, np.ones(2)), "t: must be a number"),
        (lambda p, x: simulate_reverse(p, x, LAW, -1.0), "t: must be finite and at least 0"),
        (lambda p, x: simulate_reverse(p, x + 5, LAW, 1.0), "x_t: must be in 0..5, got 6"),
        (lambda p, x: simulate_reverse(fb.PureDeath(5), x + 4, np.eye(6)[2], 1.0), "x_t: must have a probability"),
        (
            lambda p, x: simulate_reverse(fb.ImmigrationDeath(1.0, 5, "open"), x, LAW, 1.0),
            "process: must stay in its states, rows of Q summing to 0, got ImmigrationDeath",
        ),
        (lambda p, x: tau_leap_reverse(x, np.zeros((2, 6)), 0.1), r"rates: shape must be \(2, 1\) and the jumps"),
        (
            lambda p, x: tau_leap_reverse(x, np.zeros((2, 1, 6)), -0.1),
            "duration: must be finite and at least 0, got -0.1",
        ),
        (lambda p, x: tau_leap_reverse(x, np.zeros((2, 1, 6)), 1.0, states=6), "targets, states: must come together"),
        (lambda p, x: sample_reverse(p, None, (2, 1), [0.0, 1.0]), "times: must be two or more, falling"),
        (lambda p, x: sample_reverse(p, None, (2, 1), [1.0, 0.0], kind="births"), "kind: must be logits or probs"),
        (lambda p, x: sample_reverse(p, None, (3, 1), [1.0, 0.0], start=x), r"start: shape must be \(3, 1\)"),
    ],
)
def test_errors(call, words):
    with pytest.raises(ValueError, match=words):
        call(fb.Uniform(6), np.ones((2, 1), dtype=np.int64))
