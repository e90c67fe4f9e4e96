"""Bits per dimension on tiny state spaces beside what they estimate, which is enumerated."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from scipy import integrate, linalg, special, stats

import fastblackout as fb
from battery import birth_laws
from battery.draws import seed_of
from battery.results import Row

MOST = 4
REPEATS = 32
GAIN = 1.5


class Tiny:
    """A model that knows its outputs for every time and count: table (steps, MOST + 1, numbers of the head)."""

    max_count = MOST

    def __init__(self, schedule: fb.Schedule, head: str, table: np.ndarray) -> None:
        self.schedule, self.head, self.table = schedule, head, torch.from_numpy(table)

    def center(self, k: Any) -> float:
        return 0.0

    def scale(self, k: Any) -> float:
        return 1.0

    def gain(self, k: Any) -> Any:
        return torch.full(k.shape, GAIN, dtype=torch.float64)

    def offset(self, k: Any) -> Any:
        return torch.log(self.schedule.survival(k).q)

    def __call__(self, model_input: torch.Tensor, k: Any, labels: Any = None) -> torch.Tensor:
        return self.table[k - 1, model_input.long().flatten()][:, :, None, None]


def survivors(x_0: int, p: float, q: float) -> np.ndarray:
    """Pr(x_t = 0..x_0)."""
    x_t = np.arange(x_0 + 1)
    return stats.binom.pmf(x_t, x_0, p) if p < 0.5 else stats.binom.pmf(x_0 - x_t, x_0, q)


def divergence(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return b - a + special.xlogy(a, a) - special.xlogy(a, b)


def relative_entropy(true: np.ndarray, found: np.ndarray) -> float:
    return float((special.xlogy(true, true) - special.xlogy(true, found)).sum())


def expected_births(head: str, outputs: np.ndarray, x_t: int, q: float, q_k: float) -> float:
    """Of the model's law at 1 - p = q, or its mean, which was given at q_k and is held relative to that."""
    numbers = outputs.tolist()
    if head == "mean":
        return GAIN * float(np.logaddexp(0, numbers[0])) * q / q_k
    if x_t == MOST:
        return 0.0
    if head == "negative-binomial":
        return birth_laws.negative_binomial_numbers(numbers, x_t, MOST, np.log(q))[1]
    law = birth_laws.FAMILIES[head](numbers, x_t, MOST, np.log(q))
    return float(law @ np.arange(len(law)))


def continuous(model: Tiny, x_0: int) -> float:
    """The integral over logit p, in nats."""
    p_k, q_k = model.schedule.p[1:], model.schedule.q[1:]
    angles = np.arctan2(np.sqrt(q_k), np.sqrt(p_k))

    def integrand(lam: float, k: int) -> float:
        p, q = float(special.expit(lam)), float(special.expit(-lam))
        given = [expected_births(model.head, model.table[k, x].numpy(), x, q, q_k[k]) for x in range(x_0 + 1)]
        cost = divergence(x_0 - np.arange(x_0 + 1.0), np.array(given))
        return p * float(survivors(x_0, p, q) @ cost)

    middles = (angles[1:] + angles[:-1]) / 2
    ends = [-60.0, *np.sort(-2 * np.log(np.tan(middles))), 60.0]
    total = 0.0
    for at, (low, high) in enumerate(pairwise(ends)):
        k = len(p_k) - 1 - at
        places = [x for x in (-20.0, -8.0, 0.0, 8.0, 20.0) if low < x < high]
        for start, end in pairwise([low, *places, high]):
            total += integrate.quad(integrand, start, end, args=(k,), epsabs=1e-11, epsrel=1e-10, limit=200)[0]
    return total


def discrete(model: Tiny, x_0: int, times: list[int]) -> float:
    """The sum over the sampler's steps, the first of which begins at black."""
    schedule, total = model.schedule, 0.0
    for k_t, k_s in pairwise(times):
        assumed, first = schedule.bridge(k_t, k_s).p, k_t == times[0]
        step = schedule.p[k_s] if first else assumed
        chances = [1.0] if first else survivors(x_0, schedule.p[k_t], schedule.q[k_t])
        for x_t, chance in enumerate(chances):
            outputs, room = model.table[k_t - 1, x_t].numpy(), MOST - x_t
            true = stats.binom.pmf(np.arange(x_0 - x_t + 1), x_0 - x_t, step)
            q = schedule.q[k_t]
            if model.head == "mean":
                y = expected_births("mean", outputs, x_t, q, q)
                found = stats.poisson.pmf(np.arange(len(true)), assumed * y)
            else:
                given = outputs.tolist(), x_t, MOST, np.log(q), assumed
                found = birth_laws.births_of_step(model.head, *given) if room else np.ones(1)
            total += chance * relative_entropy(true, found[: len(true)])
    return total


def compared(bound: Any, exact: np.ndarray) -> float:
    """The p value of an estimate from REPEATS independent ones."""
    z = (bound.bits - exact.mean() / np.log(2)) / bound.monte_carlo_error
    return float(2 * stats.t.sf(abs(z), REPEATS - 1))


def of_head(head: str, random: np.random.Generator, draws: int) -> list[float]:
    schedule = fb.Schedule.logit(6, 2.0) if random.random() < 0.5 else fb.Schedule.cosine(5)
    count = {"mean": 1, "beta-binomial": 2, "negative-binomial": 2, "bayes-logistic": 5}.get(head, MOST + 1)
    model = Tiny(schedule, head, random.normal(size=(schedule.steps, MOST + 1, count)))
    x_0, steps = torch.arange(MOST + 1).repeat(2)[:, None, None, None], schedule.steps
    key = fb.Philox(int(random.integers(1 << 62)))
    how = {"steps": steps, "grid": "index", "draws": draws * steps, "repeats": REPEATS, "batch": 1 << 16}
    found = fb.bits_per_dim(model, schedule, x_0, rng=key, **how)
    times = [int(k) for k in schedule.grid(steps, "index")]
    exact = [[continuous(model, x), discrete(model, x, times)] for x in range(MOST + 1)]
    return [compared(bound, np.array(exact)[:, at]) for at, bound in enumerate(found)]


def of_process(random: np.random.Generator, draws: int) -> list[float]:
    """Continuous and discrete bounds of a process with any rates."""
    states, end, times = 4, 1.25, [1.25, 0.7, 0.3, 0.0]
    rates = random.exponential(size=(states, states)) + 0.1
    np.fill_diagonal(rates, 0)
    np.fill_diagonal(rates, -rates.sum(1))
    process = fb.MarkovProcess(rates)
    back, logits = random.exponential(size=(states, states)) + 0.2, random.normal(size=(states, states))
    prior = special.softmax(random.normal(size=states))
    x_0 = torch.arange(states).repeat(2)[:, None]
    key = fb.Philox(int(random.integers(1 << 62)))

    def model_rates(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(back)[x_t]

    def model_logits(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.from_numpy(logits)[x_t]

    how = {"prior": prior, "rng": key, "repeats": REPEATS, "batch": 1 << 16}
    first = fb.process_bits_per_dim(process, model_rates, x_0, end=end, draws=draws * 3, **how)
    second = fb.sampler_bits_per_dim(process, model_logits, x_0, times=times, draws=draws * 3, **how)

    def integrand(t: float) -> float:
        """Summed over x_0; rates[i, x] takes i to x."""
        chances = linalg.expm(rates * t)
        total = 0.0
        for x in range(states):
            others = np.arange(states) != x
            a = rates[others, x] * chances[:, others] / chances[:, [x]]
            total += (chances[:, x] * divergence(a, back[x, others]).sum(1)).sum()
        return total

    known = sum(relative_entropy(row, prior) for row in linalg.expm(rates * end))
    whole = integrate.quad(lambda u: 2 * end * u * integrand(end * u * u), 0, 1, epsabs=1e-10, limit=200)[0] + known
    steps, predicted = known, special.softmax(logits, axis=1)  # of x_0, a row for each x_t
    for t, s in pairwise(times):
        until, after, both = (linalg.expm(rates * time) for time in (s, t - s, t))
        bridges = until[:, None, :] * after.T[None] / both[:, :, None]  # x_0, x_t, x_s
        found = np.einsum("yx,xys->ys", predicted, bridges)
        for x in range(states):
            steps += sum(both[x, y] * relative_entropy(bridges[x, y], found[y]) for y in range(states))
    return [compared(first, np.full(1, whole / states)), compared(second, np.full(1, steps / states))]


def check(heads: list[str], seed: int, rounds: int, deadline: float, draws: int = 64) -> list[Row]:
    """A row for each head, or for "processes" of any kind."""
    random, done = np.random.default_rng(seed_of(seed, "bits")), 0
    chances: dict[str, list[float]] = {head: [] for head in heads}
    seconds = dict.fromkeys(heads, 0.0)
    while done < rounds and (done == 0 or time.monotonic() < deadline):
        for head in heads:
            started = time.monotonic()
            chances[head] += of_process(random, draws) if head == "processes" else of_head(head, random, draws)
            seconds[head] += time.monotonic() - started
        done += 1
    return [Row(f"bits per dim, {head}", 0, len(found), seconds[head], found) for head, found in chances.items()]


LAWS = ["beta-binomial", "bayes-logistic", "negative-binomial"]
HEADS = ["mean", *LAWS, "processes"]
