"""Every log-probability beside 50 digits of mpmath, in units of the error that its docstring allows."""

from __future__ import annotations

import time
from typing import Any

import mpmath
import numpy as np
from mpmath import log, log1p, loggamma, mpf

import fastblackout as fb
from battery.arguments import LogProb, Numbers, logs, near, power, some_shape, whole
from battery.binomial_log_probs import BINOMIALS, choose, pair
from battery.draws import seed_of
from battery.results import Greatest, Row

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
