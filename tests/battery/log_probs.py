"""Every log-probability beside 50 digits of mpmath, in units of the error that its docstring allows.

Of a probability the smaller of p and q is given, and the other one is 1 less that. Arguments are log-uniform.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
from mpmath import log, log1p, loggamma, mpf

import fastblackout as fb
from battery.draws import seed_of
from battery.results import Greatest, Row

Numbers = tuple[float, ...]


class LogProb(NamedTuple):
    """given(random): arguments of one call. call: the function under test, of arrays (BATCH,) of them. truth: of one,
    to all digits. bound(*given, truth): the error that is allowed."""

    name: str
    given: Callable[[np.random.Generator], Numbers]
    call: Callable[..., np.ndarray]
    truth: Callable[..., Any]
    bound: Callable[..., float]


def logs(*values: float) -> float:
    return float(sum(abs(log(mpf(value))) for value in values if value))


def power(random: np.random.Generator, low: float, high: float) -> float:
    """Log-uniform between 10^low and 10^high."""
    return float(10.0 ** random.uniform(low, high))


def some_shape(random: np.random.Generator, high: float) -> float:
    """Any, a usual one, or one where Stirling's series does not hold yet."""
    kind = random.random()
    return power(random, *((-300, high) if kind < 0.3 else (-3, 6) if kind < 0.6 else (-1, 1.5)))


def whole(random: np.random.Generator, high: float = 15.95) -> int:
    return int(power(random, 0, high)) - 1


def near(random: np.random.Generator, mean: float, deviation: float, high: float, low: float = 0) -> int:
    """A whole number near the middle, far out, or at an end."""
    kind = random.integers(6)
    if kind < 4 and np.isfinite(deviation):
        found = mean + deviation * random.normal() * (1, 1, 5, 40)[kind]
    elif kind < 5 or not np.isfinite(high):
        found = whole(random) * (1 if low == 0 else random.choice((-1, 1)))
    else:
        found = random.choice((low, high))
    return int(min(max(round(found), low), high, 2**53))


def binomial_truth(x: float, n: float, small: float, mirrored: bool) -> Any:
    k = n - x if mirrored else x
    if not 0 <= k <= n:
        return -mpmath.inf
    chosen = loggamma(mpf(n) + 1) - loggamma(mpf(x) + 1) - loggamma(mpf(n) - x + 1)
    up = k * log(mpf(small)) if k else 0
    return chosen + up + ((n - k) * log1p(-mpf(small)) if n - k else 0)


def binomial_bound(x: float, n: float, small: float, mirrored: bool, truth: Any) -> float:
    k = n - x if mirrored else x
    return 4e-15 * max(1.0, abs(float(truth))) + 2.0**-51 * float(abs(k - n * mpf(small)))


def binomial_given(random: np.random.Generator) -> Numbers:
    n, small = whole(random), min(power(random, -300 if random.random() < 0.2 else -16, 0), 0.5)
    k = near(random, n * small, np.sqrt(n * small * (1 - small)), n)
    mirrored = bool(random.random() < 0.5)
    return n - k if mirrored else k, n, small, mirrored


def pair(small: np.ndarray, mirrored: np.ndarray) -> fb.Prob:
    return fb.Prob(np.where(mirrored, 1 - small, small), np.where(mirrored, small, 1 - small))


def one(prob: fb.Prob) -> fb.Prob:
    return fb.Prob(prob.p[:, None], prob.q[:, None])


def by_thin(x: np.ndarray, n: np.ndarray, small: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    x, n = (each.astype(np.int64)[:, None] for each in (x, n))
    return fb.thin_log_prob(x, n, one(pair(small, mirrored)))[:, 0]


def by_bridge(x: np.ndarray, n: np.ndarray, small: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    x, n = (each.astype(np.int64)[:, None] for each in (x, n))
    x_t = np.minimum(2**53 - n, 1000)
    return fb.bridge_log_prob(x + x_t, x_t, n + x_t, one(pair(small, mirrored)))[:, 0]


def hypergeometric_given(random: np.random.Generator) -> Numbers:
    good, bad = whole(random, 15.6), whole(random, 15.6)
    draws = min(whole(random), good + bad)
    balls = max(good + bad, 1)
    mean, least = draws * good / balls, max(0, draws - bad)
    deviation = np.sqrt(mean * (bad / balls) * max(balls - draws, 0) / max(balls - 1, 1))
    return near(random, mean, deviation, min(good, draws), least), good, bad, draws


def choose(n: float, k: float) -> Any:
    return loggamma(mpf(n) + 1) - loggamma(mpf(k) + 1) - loggamma(mpf(n) - k + 1)


def hypergeometric_truth(x: float, good: float, bad: float, draws: float) -> Any:
    if not max(0, draws - bad) <= x <= min(good, draws):
        return -mpmath.inf
    return choose(good, x) + choose(bad, draws - x) - choose(good + bad, draws)


def hypergeometric_bound(x: float, good: float, bad: float, draws: float, truth: Any) -> float:
    """Three binomials of one probability, the smaller side of which is taken."""
    small, mirrored = draws / max(good + bad, 1), False
    if small > 0.5:
        small, mirrored = (good + bad - draws) / (good + bad), True
    if small == 0:
        return 1.2e-14
    total = 0.0
    for k, n in ((x, good), (draws - x, bad), (draws, good + bad)):
        total += binomial_bound(k, n, small, mirrored, binomial_truth(k, n, small, mirrored))
    return total


CATEGORIES = 6


def multinomial_given(random: np.random.Generator) -> Numbers:
    weights = [power(random, *((-280, 280) if random.random() < 0.1 else (-3, 3))) for _ in range(CATEGORIES)]
    counts = [float(whole(random, random.uniform(0, 15))) for _ in range(CATEGORIES)]
    if random.random() < 0.5:  # near the mean
        total = sum(counts)
        counts = [float(int(total * (w / sum(weights)) * random.uniform(0.9, 1.1))) for w in weights]
    return *counts, *weights


def multinomial_call(*columns: np.ndarray) -> np.ndarray:
    given = np.stack(columns, -1)
    return fb.multinomial_log_prob(given[:, :CATEGORIES], given[:, CATEGORIES:])


def multinomial_truth(*given: float) -> Any:
    counts, weights = (list(map(mpf, part)) for part in (given[:CATEGORIES], given[CATEGORIES:]))
    chosen = loggamma(mpmath.fsum(counts) + 1) - mpmath.fsum(loggamma(k + 1) for k in counts)
    total = mpmath.fsum(weights)
    return chosen + mpmath.fsum(k * log(w / total) for k, w in zip(counts, weights, strict=True) if k)


def multinomial_bound(*given: Any) -> float:
    """The bound of the binomials by which pairs of neighbours, and pairs of pairs, are divided."""
    counts, weights = (list(map(mpf, part)) for part in (given[:CATEGORIES], given[CATEGORIES:-1]))
    bound, level = 0.0, 0
    while len(counts) > 1:
        for at in range(0, len(counts) - 1, 2):
            n, total = counts[at] + counts[at + 1], weights[at] + weights[at + 1]
            small = int(weights[at] > weights[at + 1])
            k, p = counts[at + small], weights[at + small] / total
            truth = binomial_truth(k, n, p, False)
            bound += 4e-15 * max(1.0, abs(float(truth))) + (level + 2) * 2.0**-51 * float(abs(k - n * p))
        level += 1
        counts, weights = ([sum(part[at : at + 2]) for at in range(0, len(part), 2)] for part in (counts, weights))
    return bound


def rows_given(random: np.random.Generator) -> Numbers:
    small = min(power(random, -12, 0), 0.5)
    n = int(random.integers(512))
    return int(random.integers(n + 1)), n, small, bool(random.random() < 0.5)


def rows_call(x: np.ndarray, n: np.ndarray, small: np.ndarray, mirrored: np.ndarray) -> np.ndarray:
    found = fb.transition_rows(pair(small, mirrored), 511)
    return found[np.arange(len(x)), n.astype(int), x.astype(int)]


BINOMIALS = [
    LogProb(
        "binomial_log_prob", binomial_given, lambda x, n, small, m: fb.binomial_log_prob(x, n, pair(small, m)),
        binomial_truth, binomial_bound,
    ),
    LogProb("thin_log_prob", binomial_given, by_thin, binomial_truth, binomial_bound),
    LogProb("bridge_log_prob", binomial_given, by_bridge, binomial_truth, binomial_bound),
    LogProb(
        "transition_rows", rows_given, rows_call, lambda *given: mpmath.exp(binomial_truth(*given)),
        lambda *_: 1e-13,
    ),
    LogProb("multinomial_log_prob", multinomial_given, multinomial_call, multinomial_truth, multinomial_bound),
    LogProb(
        "hypergeometric_log_prob", hypergeometric_given, fb.hypergeometric_log_prob, hypergeometric_truth,
        hypergeometric_bound,
    ),
]  # fmt: skip


BATCH = 50


def beta_binomial_given(random: np.random.Generator) -> Numbers:
    n = whole(random, random.choice((1, 15.95)))
    a, b = (some_shape(random, 15.9) for _ in range(2))
    mean = n * (a / (a + b))
    deviation = np.sqrt(mean * (b / (a + b)) * ((a + b + n) / (a + b + 1)))
    return near(random, mean, deviation, n), n, a, b


def beta_binomial_truth(x: float, n: float, a: float, b: float) -> Any:
    x, n, a, b = map(mpf, (x, n, a, b))
    rising = loggamma(x + a) - loggamma(a) + loggamma(n - x + b) - loggamma(b) - loggamma(n + a + b) + loggamma(a + b)
    return choose(n, x) + rising


def beta_binomial_bound(x: float, n: float, a: float, b: float, truth: Any) -> float:
    sizes = 1 + logs(a, b, 1 + n) + abs(float(truth))
    return 5e-15 * sizes + 2e-15 * float(abs(x - mpf(n) * a / (mpf(a) + b)))


def negative_binomial_given(random: np.random.Generator) -> Numbers:
    r = some_shape(random, 15.6)
    mean = power(random, *((-300, 15.6) if random.random() < 0.2 else (-3, 9)))
    return near(random, mean, np.sqrt(mean + mean * (mean / r)) if mean / r < 1e300 else mean, 2**53), r, mean


def negative_binomial_truth(x: float, r: float, mean: float) -> Any:
    x, r, mean = map(mpf, (x, r, mean))
    chosen = loggamma(x + r) - loggamma(x + 1) - loggamma(r)
    return chosen - r * log1p(mean / r) - (x * log1p(r / mean) if x else 0)


def negative_binomial_bound(x: float, r: float, mean: float, truth: Any) -> float:
    sizes = 1 + logs(x, r, mean) + abs(float(truth))
    return 5e-15 * sizes + 1e-15 * float(abs(x - mpf(mean)) * r / (mpf(r) + mean))


def gamma_given(random: np.random.Generator) -> Numbers:
    shape, scale = some_shape(random, 15.9), power(random, -30, 30)
    x = power(random, -300, 300) if random.random() < 0.3 else abs(shape + random.normal() * np.sqrt(shape)) * scale
    return min(max(x, 5e-324), 1e308), shape, scale


def gamma_truth(x: float, shape: float, scale: float) -> Any:
    x, shape, scale = map(mpf, (x, shape, scale))
    return (shape - 1) * log(x / scale) - x / scale - loggamma(shape) - log(scale)


def gamma_bound(x: float, shape: float, scale: float, truth: Any) -> float:
    return 5e-15 * (1 + logs(x, shape, scale) + abs(float(truth))) + 2e-16 * float(abs(shape - mpf(x) / mpf(scale)))


def beta_given(random: np.random.Generator) -> Numbers:
    a, b = (some_shape(random, 15.6) for _ in range(2))
    share = a / (a + b)
    typical = share + random.normal() * np.sqrt(share * (b / (a + b)) / (a + b + 1))
    small = typical if random.random() < 0.6 else power(random, -300, -0.1)
    small = min(max(small, 1e-300), 1 - 2.0**-53)
    mirrored = bool(random.random() < 0.5)
    if small > 0.5:
        small, mirrored = 1 - small, True  # exact
    return small, mirrored, a, b


def beta_truth(small: float, mirrored: bool, a: float, b: float) -> Any:
    small, a, b = map(mpf, (small, a, b))
    up, down = (b, a) if mirrored else (a, b)
    return (up - 1) * log(small) + (down - 1) * log1p(-small) - loggamma(a) - loggamma(b) + loggamma(a + b)


def beta_bound(small: float, mirrored: bool, a: float, b: float, truth: Any) -> float:
    up, down = (b, a) if mirrored else (a, b)
    sizes = 1 + logs(small, a, b) + float(abs(log1p(-mpf(small)))) + abs(float(truth))
    return 5e-15 * sizes + 1e-15 * float(abs(up * (1 - mpf(small)) - down * mpf(small)))


def log_bessel(order: int, argument: float) -> Any:
    """log I_order(argument) by its series, whose terms make a bell. Where the bell is wide, the sum of terms a third
    of a deviation apart is the same to 50 digits (Poisson's summation formula)."""
    half, root = mpf(argument) / 2, mpmath.sqrt(mpf(order) ** 2 + mpf(argument) ** 2)
    if argument == 0:
        return mpf(0) if order == 0 else -mpmath.inf
    middle = 2 * half * half / (order + root)
    if middle < 3000:
        term = total = mpf(1)
        k = 0
        while term > total * mpf(10) ** -55 or k < middle:
            k += 1
            term *= half * half / (k * (k + order))
            total += term
        return order * log(half) - loggamma(mpf(order) + 1) + log(total)
    deviation = half / mpmath.sqrt(root)
    step = deviation / 3

    def level(k: Any) -> Any:
        return (2 * k + order) * log(half) - loggamma(k + 1) - loggamma(k + order + 1)

    top = level(middle)
    return top + log(step * mpmath.fsum(mpmath.exp(level(middle + j * step) - top) for j in range(-54, 55)))


def bessel_given(random: np.random.Generator) -> Numbers:
    order = whole(random, 15.6 if random.random() < 0.3 else 4)
    argument = power(random, *((-300, 15.6) if random.random() < 0.3 else (-2, 6)))
    mean = argument * (argument / (2 * (order + np.hypot(order, argument))))
    return near(random, mean, argument / 2 / np.sqrt(np.hypot(order, argument)), np.inf), order, argument


def bessel_truth(x: float, order: float, argument: float) -> Any:
    up = (2 * mpf(x) + order) * log(mpf(argument) / 2)
    return up - loggamma(mpf(x) + 1) - loggamma(mpf(x) + order + 1) - log_bessel(int(order), argument)


def bessel_bound(x: float, order: float, argument: float, truth: Any) -> float:
    sizes = 1 + logs(argument, 1 + x + order) + abs(float(truth))
    square = mpf(argument) ** 2
    mean = square / (2 * (order + mpmath.sqrt(mpf(order) ** 2 + square)))
    return 2e-14 * sizes + 2e-15 * float(abs(x - mean))


def skellam_given(random: np.random.Generator) -> Numbers:
    rates = [power(random, *((-300, 15.6) if random.random() < 0.2 else (-3, 6))) for _ in range(2)]
    return near(random, rates[0] - rates[1], np.sqrt(sum(rates)), np.inf, -(2**53)), *rates


def skellam_truth(x: float, rate_1: float, rate_2: float) -> Any:
    a, b = mpf(rate_1), mpf(rate_2)
    return -(a + b) + mpf(x) / 2 * log(a / b) + log_bessel(int(abs(x)), 2 * mpmath.sqrt(a * b))


def skellam_bound(x: float, rate_1: float, rate_2: float, truth: Any) -> float:
    sizes = 1 + logs(rate_1, rate_2, 1 + abs(x)) + abs(float(truth))
    return 5e-15 * sizes + 1e-15 * float(abs(x - mpf(rate_1) + mpf(rate_2)))


LOG_PROBS = [
    *BINOMIALS,
    LogProb(
        "beta_binomial_log_prob", beta_binomial_given, fb.beta_binomial_log_prob, beta_binomial_truth,
        beta_binomial_bound,
    ),
    LogProb(
        "negative_binomial_log_prob", negative_binomial_given, fb.negative_binomial_log_prob, negative_binomial_truth,
        negative_binomial_bound,
    ),
    LogProb("gamma_log_prob", gamma_given, fb.gamma_log_prob, gamma_truth, gamma_bound),
    LogProb(
        "beta_log_prob", beta_given, lambda small, m, a, b: fb.beta_log_prob(pair(small, m), a, b), beta_truth,
        beta_bound,
    ),
    LogProb("skellam_log_prob", skellam_given, fb.skellam_log_prob, skellam_truth, skellam_bound),
    LogProb("bessel_log_prob", bessel_given, fb.bessel_log_prob, bessel_truth, bessel_bound),
]  # fmt: skip


class Measured(Greatest):
    def __init__(self, of: LogProb, seed: int) -> None:
        super().__init__(of.name)
        self.of, self.random = of, np.random.default_rng(seed_of(seed, of.name))

    def more(self) -> None:
        started = time.monotonic()
        given = [self.of.given(self.random) for _ in range(BATCH)]
        found = self.of.call(*(np.array(column) for column in zip(*given, strict=True)))
        with mpmath.workdps(50):
            for case, got in zip(given, found.tolist(), strict=True):
                truth = self.of.truth(*case)
                self.add(got, truth, self.of.bound(*case, truth), case)
        self.seconds += time.monotonic() - started


def check(functions: list[LogProb], seed: int, cases: int, deadline: float) -> list[Row]:
    measured = [Measured(each, seed) for each in functions]
    for _ in range(-(-cases // BATCH)):
        for one_of in measured:
            if one_of.cases == 0 or time.monotonic() < deadline:
                one_of.more()
    return [each.row() for each in measured]
