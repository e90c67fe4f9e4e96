"""The draws with parameters for every element, and the exact law of each of their cases."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import mpmath
import numpy as np
from mpmath import loggamma
from scipy import special

import fastblackout as fb
from battery.cells import TAILS, Cells, around, by_quadrature, by_ratio, of_masses, of_reals, spread


class Draw(NamedTuple):
    """draw(key, m): m draws of every case, (m, cases). laws: makes their cells, which may take seconds."""

    name: str
    draw: Callable[[fb.Philox, int], np.ndarray]
    laws: Callable[[], list[Cells]]


ROWS = 8  # samples of a call


def columns(op: Callable[..., Any], *parameters: Any) -> Callable[[fb.Philox, int], np.ndarray]:
    """A draw whose cases are neighbouring elements, so that a vector of lanes holds several of them."""

    def draw(key: fb.Philox, m: int) -> np.ndarray:
        shape = ROWS, max(1, m // ROWS), len(parameters[0])
        given = [np.broadcast_to(each, shape) for each in parameters]
        return np.asarray(op(*given, rng=key)).reshape(-1, shape[-1])

    return draw


def element_draw(name: str, law: Callable[..., Cells], cases: list[tuple[float, ...]], kinds: str) -> Draw:
    """kinds: of each parameter, i for an integer and f for a float."""
    types = {"i": np.int64, "f": np.float64}
    columns_of = zip(zip(*cases, strict=True), kinds, strict=True)
    parameters = [np.array(values, dtype=types[kind]) for values, kind in columns_of]
    op = getattr(fb, name)
    names = list(inspect.signature(op).parameters)[: len(kinds)]

    def draw(*given: Any, rng: fb.Philox) -> Any:
        return op(**dict(zip(names, given, strict=True)), rng=rng)

    return Draw(name, columns(draw, *parameters), lambda: [law(*case) for case in cases])


def binomial(n: int, p: float, q: float | None = None) -> Cells:
    q = 1 - p if q is None else q
    if p == 0 or q == 0:
        return of_masses(0 if p == 0 else n, [1.0])
    deviation = np.sqrt(n * p * q)
    if deviation > 2e5:
        exact_p, exact_q = (mpmath.mpf(p), 1 - mpmath.mpf(p)) if p < 0.5 else (1 - mpmath.mpf(q), mpmath.mpf(q))
        odds = mpmath.log(exact_p / exact_q)
        whole = mpmath.mpf(n)
        return by_quadrature(
            lambda k: k * odds - loggamma(k + 1) - loggamma(whole - k + 1), around(n * p, deviation, 0, n)
        )
    return by_ratio(lambda k: (n - k) / (k + 1) * (p / q), int(n * p), 0, n)


def poisson(rate: float) -> Cells:
    if rate > 1e10:
        log_rate = mpmath.log(rate)
        return by_quadrature(lambda k: k * log_rate - loggamma(k + 1), around(rate, np.sqrt(rate), 0, 1 << 60))
    return by_ratio(lambda k: rate / (k + 1), int(rate), 0, 1 << 60)


def negative_binomial(r: float, mean: float) -> Cells:
    deviation = np.sqrt(mean + mean * mean / r)
    if deviation > 2e4:
        log_share = -mpmath.log1p(mpmath.mpf(r) / mpmath.mpf(mean))
        size = mpmath.mpf(r)
        edges = around(mean, deviation, 0, 1 << 60) if r > 1e3 else spread(0, mean / min(r, 1))
        return by_quadrature(lambda k: loggamma(k + size) - loggamma(k + 1) + k * log_share, edges)
    mode = max(int((r - 1) / r * mean), 0)
    return by_ratio(lambda k: (k + r) / (r + mean) * (mean / (k + 1)), mode, 0, 1 << 60)


def beta_binomial(n: int, a: float, b: float) -> Cells:
    if n > 1 << 21 and a + b < 1e3:
        size, first, second = map(mpmath.mpf, (n, a, b))
        left = spread(0, n)
        edges = [k for k in left if k < n // 2]
        edges += [n + 1 - k for k in left if k <= n // 2]
        return by_quadrature(
            lambda k: loggamma(k + first) - loggamma(k + 1) + loggamma(size - k + second) - loggamma(size - k + 1),
            edges,
        )
    mode = int(n * ((a - 1) / (a + b - 2))) if a > 1 and b > 1 else 0
    return by_ratio(lambda k: (n - k) / (k + 1) * ((k + a) / (n - k - 1 + b)), mode, 0, n)


def hypergeometric(good: int, bad: int, draws: int) -> Cells:
    mode = int((good + 1.0) * (draws + 1.0) / (good + bad + 2.0))
    low, high = max(0, draws - bad), min(good, draws)
    return by_ratio(lambda k: (good - k) / (k + 1) * ((draws - k) / (bad - draws + k + 1)), mode, low, high)


def bessel(order: int, argument: float) -> Cells:
    square = argument * argument / 4
    mode = int(2 * square / (order + np.hypot(order, argument)))
    return by_ratio(lambda k: square / (k + 1) / (k + 1 + order), mode, 0, 1 << 60)


def skellam(rate_1: float, rate_2: float) -> Cells:
    """By quotients of Bessel functions, I_(k + 1) / I_k, whose recurrence is stable downwards."""
    argument = 2 * np.sqrt(rate_1 * rate_2)
    reach = int(abs(rate_1 - rate_2) + 14 * np.sqrt(rate_1 + rate_2) + 60)
    top = 2 * reach
    quotient = argument / (top + 1 + np.hypot(top + 1, argument))
    quotients = np.empty(top)
    for k in range(top, 0, -1):
        quotients[k - 1] = quotient = argument / (2 * k + argument * quotient)
    logs = np.concatenate([[0.0], np.cumsum(np.log(quotients[:reach]))])
    logs = np.concatenate([logs[:0:-1], logs]) + np.arange(-reach, reach + 1) * (np.log(rate_1 / rate_2) / 2)
    return of_masses(-reach, np.exp(logs - logs.max()))


def normal(mean: float, deviation: float) -> Cells:
    places = mean + deviation * np.concatenate([special.ndtri(TAILS), -special.ndtri(TAILS)])

    def below(x: np.ndarray) -> np.ndarray:
        return special.ndtr((x - mean) / deviation)

    return of_reals(below, lambda x: special.ndtr((mean - x) / deviation), places)


def gamma(shape: float, scale: float) -> Cells:
    with np.errstate(all="ignore"):
        places = scale * np.concatenate([special.gammaincinv(shape, TAILS), special.gammainccinv(shape, TAILS)])
    places = places[places > 1e-305]  # what is smaller may have been rounded to 0
    return of_reals(lambda x: special.gammainc(shape, x / scale), lambda x: special.gammaincc(shape, x / scale), places)


def beta(a: float, b: float) -> Cells:
    places = np.concatenate([special.betaincinv(a, b, TAILS), special.betainccinv(a, b, TAILS)])
    # Nearer to 1 a draw was rounded to one of few floats, and next to 0 it may be 0.
    places = places[(places > 1e-290) & (places < 1 - 1e-6)]
    return of_reals(lambda x: special.betainc(a, b, x), lambda x: special.betaincc(a, b, x), places)


N31 = 2**31 - 1
BINOMIALS = [
    (1, 1e-8), (1, 0.5), (1, 1 - 2.0**-53), (255, 1e-3), (255, 0.5), (255, 1 - 1e-8), (256, 0.3), (256, 0.9999),
    (10_000, 9.99e-4), (10_000, 1.001e-3), (10**6, 1e-8), (10**6, 1e-5), (10**6, 0.3), (10**6, 0.999999), (N31, 1e-9),
    (N31, 0.5), (N31, 1 - 1e-9), (2**53, 1e-15), (2**53, 0.3),
]  # fmt: skip
RATES = [1e-8, 1e-3, 0.5, 3.0, 9.999, 10.0, 10.001, 31.0, 100.0, 1e4, 1e6, 1e9, 2.0**31, 2.0**52]
NEGATIVE_BINOMIALS = [
    (0.01, 1.0), (0.01, 1e9), (0.5, 1e-8), (0.5, 3.0), (1.0, 100.0), (2.0, 1e9), (3.7, 50.0), (100.0, 20.0),
    (1e6, 20.0), (1e6, 1e6), (1e9, 1e9), (1e300, 5.0),
]  # fmt: skip
BETA_BINOMIALS = [
    (1, 0.01, 0.02), (255, 0.5, 0.5), (255, 0.01, 2.0), (255, 1e-300, 1e-300), (256, 50.0, 150.0), (10_000, 0.3, 7.0),
    (10**6, 1.0, 1.0), (10**6, 0.01, 0.01), (10**6, 1e6, 2e6), (N31, 0.5, 0.5), (N31, 0.01, 3.0), (N31, 1e8, 1e8),
]  # fmt: skip
HYPERGEOMETRICS = [
    (1, 1, 1), (5, 5, 4), (255, 1, 128), (255, 256, 100), (255, 256, 400), (10_000, 10**6, 500), (10**6, 10**6, 10**6),
    (N31, 10, 2**30), (N31, N31, 2**20), (N31, N31, N31), (1000, 2**40, 2**32), (2**40, 2**40, 2**31),
]  # fmt: skip
BESSELS = [
    (0, 1e-8), (0, 0.3), (0, 3.0), (3, 50.0), (255, 20.0), (256, 1e3), (10**6, 1e6), (0, 1e9), (N31, 2.0**31),
    (2**40, 2.0**30),
]  # fmt: skip
SKELLAMS = [(3.0, 5.0), (1e-3, 1e-8), (20.0, 0.1), (1e4, 1e4), (1e6, 1e6), (1e6, 1e-8), (1e9, 1e9)]
GAMMAS = [
    (0.01, 1.0), (0.1, 1e-3), (0.5, 2.0), (1.0, 1.0), (1.5, 1e9), (3.0, 1e-8), (30.0, 1.0), (1e3, 1.0), (1e6, 3.0),
    (1e12, 1.0),
]  # fmt: skip
BETAS = [(0.01, 0.01), (0.5, 0.5), (1.0, 1.0), (0.3, 7.0), (0.01, 1e6), (20.0, 2.0), (1e4, 3.0), (1e6, 1e6)]
NORMALS = [(0.0, 1.0), (-5.0, 2.0), (1e3, 1e-3), (1.0, 1e6)]


def element_draws() -> list[Draw]:
    return [
        element_draw("binomial", binomial, BINOMIALS, "if"),
        element_draw("poisson", poisson, [(rate,) for rate in RATES], "f"),
        element_draw("negative_binomial", negative_binomial, NEGATIVE_BINOMIALS, "ff"),
        element_draw("beta_binomial", beta_binomial, BETA_BINOMIALS, "iff"),
        element_draw("hypergeometric", hypergeometric, HYPERGEOMETRICS, "iii"),
        element_draw("bessel", bessel, BESSELS, "if"),
        element_draw("skellam", skellam, SKELLAMS, "ff"),
        element_draw("normal", normal, NORMALS, "ff"),
        element_draw("gamma", gamma, GAMMAS, "ff"),
        element_draw("beta", beta, BETAS, "ff"),
    ]
