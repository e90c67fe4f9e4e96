"""The reverse process, run from where the forward process ended, gives the data back, to the last joint cell."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.linalg import expm
from scipy.optimize import brentq

import fastblackout as fb
from fastblackout.processes import conversion as to
from fastblackout.processes import sample_reverse, simulate_reverse, tau_leap_reverse
from fastblackout.reference.philox import Stream, philox4x32
from support import small_processes
from support.helpers import by_day, chi_square_counts
from support.small_processes import LAW, data_law

torch.set_num_threads(1)
PROCESSES = {  # with the times that their reverse starts at
    name: (process, {"immigration-death": 0.7, "Ehrenfest": 0.7, "any": 0.8}.get(name, 1.0))
    for name, process in small_processes.PROCESSES.items()
}
PATHS = 250_000


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
    law = data_law(process, LAW)
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


def uniform_of(high, low):
    return ((high << 32 | low) >> 11) * 2.0**-53 + 2.0**-54


def followed(rates, law, x, t, s, key, sample, i):
    """x_s by the chance of staying, whose root is found by bisection and whose laws are SciPy's matrix exponentials."""
    jumps = 0

    def law_at(time):
        return law @ expm(rates * time)

    while True:
        words = philox4x32(i, key.first_sample + sample, key.call, Stream.REVERSE_PATH.word(jumps), *key.key)
        first, second, third, fourth = map(int, words)
        goal, choice = uniform_of(first, second), uniform_of(third, fourth)

        def excess(time, x=x, now=t, goal=goal):
            return law_at(time)[x] / law_at(now)[x] * np.exp(rates[x, x] * (now - time)) - goal

        if excess(s) > 0:
            return x
        t = brentq(excess, s, t, xtol=1e-14)
        weights = law_at(t) * rates[:, x]
        weights[x] = 0.0
        x = int((weights.cumsum() <= choice * weights.sum()).sum())
        jumps += 1


@pytest.mark.parametrize("name", [name for name in PROCESSES if name != "sped up"])  # whose rates depend on time
def test_a_path_is_the_one_that_its_words_say(name):
    process, t, s = PROCESSES[name][0], 0.9, 0.05
    law, generator = data_law(process, LAW), np.random.default_rng(1)
    p_t = law @ process.transition_matrix(t)
    x_t = generator.choice(process.states, p=p_t / p_t.sum(), size=(5, 8))
    key = fb.Philox(0x0123456789ABCDEF, first_sample=2, call=3)
    found = simulate_reverse(process, x_t, law, t, s, rng=key)
    rates = process.generator()
    wanted = [followed(rates, law, int(x), t, s, key, *place) for place, x in np.ndenumerate(x_t)]
    assert found.reshape(-1).tolist() == wanted
    assert (found != x_t).any()


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


def test_what_a_leap_takes_at_the_edges():
    """The neighbour beyond the last state, at rate 0, is no error; nor is nothing at all."""
    x_t, rates = np.array([4, 0], np.uint8), np.array([[0.0, 1e3], [1e3, 0.0]])
    targets = x_t[:, None].astype(int) + np.array([1, -1])
    found = tau_leap_reverse(x_t, rates, 1.0, targets=targets, states=5, rng=fb.Philox(0))
    assert found.dtype == np.uint8 and found.tolist() == [0, 4]
    assert tau_leap_reverse(x_t[:0], np.zeros((0, 5)), 1.0).shape == (0,)


@pytest.mark.parametrize("name", ["pure death", "random walk", "uniform"])
def test_tau_leaping_tends_to_the_data_as_the_step_shrinks(name):
    process, t = PROCESSES[name]
    law = data_law(process, LAW)
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
    law = data_law(process, LAW)
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
