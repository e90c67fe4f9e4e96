"""The log-probabilities that are made of binomial ones, beside mpmath.

Of a probability the smaller of p and q is given, and the other one is 1 less that.
"""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
from mpmath import log, log1p, loggamma, mpf

import fastblackout as fb
from battery.arguments import LogProb, Numbers, near, power, whole


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
