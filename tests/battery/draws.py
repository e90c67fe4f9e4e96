"""Every draw against the exact law of each of its cases.

Draws with parameters for every element; thinning and the reverse steps, whose probabilities belong to samples; draws
of states: from rows of matrices, their bridges, rows of a network, and the processes that redraw.
"""

from __future__ import annotations

import inspect
import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import mpmath
import numpy as np
import torch
from mpmath import loggamma
from scipy import special, stats

import fastblackout as fb
from battery import birth_laws
from battery.cells import TAILS, Cells, around, by_quadrature, by_ratio, g_test, of_masses, of_reals, spread, tail_test
from battery.results import Row


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
    (1, 1e-8), (1, 0.5), (1, 1 - 2.0**-53), (6, 0.45), (255, 1e-3), (255, 0.5), (255, 1 - 1e-8), (256, 0.3),
    (256, 0.9999), (700, 0.75), (1459, 0.1), (10_000, 9.99e-4), (10_000, 1.001e-3), (10**6, 1e-8), (10**6, 1e-5),
    (10**6, 0.3), (10**6, 0.999999), (N31, 1e-9), (N31, 0.5), (N31, 1 - 1e-9), (2**53, 1e-15), (2**53, 0.3),
]  # fmt: skip
RATES = [1e-8, 1e-3, 0.5, 3.0, 9.999, 10.0, 10.001, 14.05, 30.86, 100.0, 1e4, 1e6, 1e9, 2.0**31, 2.0**52]
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


SMALL, LARGE = [1, 5, 16, 37, 128, 240, 255], [3, 255, 256, 1000, 65_535, 2**31 - 1]
CHANCES = [1e-8, 1e-3, 0.1, 0.499, 0.5, 0.75, 1 - 1e-3, 1 - 2.0**-40]


def by_samples(
    op: Callable[[np.ndarray, fb.Philox], Any], samples: int, counts: list[int], dtype: str
) -> Callable[[fb.Philox, int], np.ndarray]:
    """A draw whose cases are the samples times the counts, which are neighbouring elements."""

    def draw(key: fb.Philox, m: int) -> np.ndarray:
        given = np.broadcast_to(np.array(counts, dtype=dtype), (samples, m, len(counts)))
        return np.asarray(op(given, key)).transpose(1, 0, 2).reshape(m, -1)

    return draw


def thinnings() -> list[Draw]:
    made = []
    for name, counts, dtype in (("thin, a table", SMALL, "uint8"), ("thin, larger counts", LARGE, "int64")):

        def op(x: np.ndarray, key: fb.Philox) -> Any:
            return fb.thin(x, CHANCES, rng=key, max_count=int(x.max()), outputs=("x_t",)).x_t

        laws = [(n, p) for p in CHANCES for n in counts]
        draw = by_samples(op, len(CHANCES), counts, dtype)
        made.append(Draw(name, draw, lambda laws=laws: [binomial(*law) for law in laws]))
    each = np.array([0.01, 0.3, 0.5, 0.9, 1 - 1e-8])
    counts = [255, 255, 37, 255, 1000]

    def spread(x: np.ndarray, key: fb.Philox) -> Any:
        return fb.thin(x, each[None, None], rng=key, max_count=1000, outputs=("x_t",)).x_t

    pairs, draw = list(zip(counts, each.tolist(), strict=True)) * 2, by_samples(spread, 2, counts, "int32")
    made.append(Draw("thin, each its own", draw, lambda: [binomial(*pair) for pair in pairs]))
    return made


def bridges() -> list[Draw]:
    """(x_t, births) are the elements; step, attrition and rounding the samples."""
    pairs = [(0, 1e-6), (0, 0.75), (40, 20.5), (200, 54.984375), (200, 400.0), (255, 3.0), (7, 0.0)]
    samples = [(1e-8, 0.0), (0.25, 0.0), (0.5, 0.01), (0.9, 0.5), (1.0, 1e-3), (1 - 2.0**-40, 1.0)]
    x, y = ([pair[at] for pair in pairs] for at in range(2))
    steps, deaths = ([sample[at] for sample in samples] for at in range(2))
    made = []
    for rounding in ("stochastic", "nearest"):

        def op(given: np.ndarray, key: fb.Philox, rounding: str = rounding) -> Any:
            births = np.broadcast_to(np.array(y, np.float32), given.shape)
            how = {"rng": key, "rounding": rounding, "outputs": ("x_s",)}
            return fb.bridge_step(given, births=births, step=steps, attrition=deaths, **how).x_s

        laws = [(*pair, *sample, rounding) for sample in samples for pair in pairs]
        draw = by_samples(op, len(samples), x, "uint8")
        made.append(Draw(f"bridge_step, {rounding}", draw, lambda laws=laws: [bridge(*law) for law in laws]))
    return made


def bridge(x: int, y: float, step: float, attrition: float, rounding: str) -> Cells:
    y = float(np.float32(y))
    least, fraction = int(y), y - int(y)
    ways = [(least, 1 - fraction), (least + 1, fraction)] if rounding == "stochastic" else [(int(y + 0.5), 1.0)]
    born = np.zeros(256 - x)
    for n, chance in ways:
        n = min(n, 255 - x)
        born[: n + 1] += chance * stats.binom.pmf(np.arange(n + 1), n, step)
    died = stats.binom.pmf(np.arange(x + 1), x, attrition)
    return of_masses(0, np.convolve(born, died[::-1]))


def leaps() -> list[Draw]:
    pairs = [(0, 0.5), (0, 100.0), (100, 10.0), (200, 1000.0), (254, 2.0), (255, 3.0), (0, 1e-6)]
    steps = [1e-6, 0.3, 1.0, 1.75]
    x, y = ([pair[at] for pair in pairs] for at in range(2))

    def op(given: np.ndarray, key: fb.Philox) -> Any:
        births = np.broadcast_to(np.array(y, np.float32), given.shape)
        return fb.tau_leap_step(given, births=births, step=steps, rng=key, outputs=("x_s",)).x_s

    def law(count: int, mean: float, step: float) -> Cells:
        return of_masses(count, birth_laws.cut(stats.poisson(float(np.float32(mean)) * step), 255 - count))

    draw = by_samples(op, len(steps), x, "uint8")
    return [Draw("tau_leap_step", draw, lambda: [law(*pair, step) for step in steps for pair in pairs])]


HEADS: dict[str, list[list[float]]] = {
    "beta-binomial": [[0.3, -2.0], [0.0, -0.3], [1.2, 2.5], [0.5, -9.0], [-9.0, 1.0], [7.0, 50.0]],
    "bayes-logistic": [
        [-0.5, 0.0, 0.25, -1.0, 0.5], [0.75, -1.5, -3.0, 0.0, 2.0], [0.0, 0.0, 5.0, -5.0, 0.0],
        [-1.5, 1.0, 1.0, 1.0, -1.0],
    ],
    "negative-binomial": [[0.3, -2.0], [0.0, 1.0], [1.0, 3.0], [-3.0, 0.0], [-9.0, -9.0], [2.0, 20.0]],
}  # fmt: skip


MOST, STEPS, OFFSETS = 60, [1e-3, 0.3, 0.875, 1.0], [0.0, -0.5, -2.0, -4.0]


def posterior_step(family: str, heads: list[list[float]]) -> Draw:
    """(x_t, head) are the elements; step and offset the samples."""
    pairs = [(x, head) for head in heads for x in (0, 17, MOST - 1)]
    table = np.array([head for _, head in pairs], np.float32)

    def op(given: np.ndarray, key: fb.Philox) -> Any:
        head = np.broadcast_to(table, (*given.shape, table.shape[1]))
        arrays = tuple(np.moveaxis(head, -1, 0))
        how = {"family": family, "offset": OFFSETS, "rng": key, "max_count": MOST, "outputs": ("x_s",)}
        return fb.posterior_step(given, arrays, STEPS, **how).x_s

    def laws() -> list[Cells]:
        return [
            of_masses(x, birth_laws.births_of_step(family, head, x, MOST, offset, step))
            for step, offset in zip(STEPS, OFFSETS, strict=True)
            for x, head in pairs
        ]

    draw = by_samples(op, len(STEPS), [x for x, _ in pairs], "uint8")
    return Draw(f"posterior_step, {family}", draw, laws)


def posterior_steps() -> list[Draw]:
    return [posterior_step(family, heads) for family, heads in HEADS.items()]


def splits() -> list[Draw]:
    """Parts of a count and, of a small one, all parts together as one number."""
    shares, counts = (0.2, 0.3, 0.5), [1, 6, 255, 256, 10**6, 2**31 - 1]

    def parts(overdispersion: float | None) -> Callable[[fb.Philox, int], np.ndarray]:
        def draw(key: fb.Philox, m: int) -> np.ndarray:
            given = np.broadcast_to(np.array(counts), (8, max(1, m // 8), len(counts)))
            found = [np.asarray(part) for part in fb.split(given, shares, overdispersion, rng=key)]
            joint = found[0][..., 1] * 7 + found[1][..., 1]
            return np.concatenate([*found, joint[..., None]], -1).reshape(-1, 3 * len(counts) + 1)

        return draw

    def together(overdispersion: float | None) -> Cells:
        mass = np.zeros(49)
        for a in range(7):
            for b in range(7 - a):
                seen = [a, b, 6 - a - b]
                law = (
                    stats.multinomial(6, shares)
                    if overdispersion is None
                    else stats.dirichlet_multinomial(overdispersion * np.array(shares), 6)
                )
                mass[7 * a + b] = law.pmf(seen)
        return of_masses(0, mass)

    def laws(b: float | None) -> list[Cells]:
        each = [binomial(n, e) if b is None else beta_binomial(n, b * e, b * (1 - e)) for e in shares for n in counts]
        return [*each, together(b)]

    return [
        Draw("split", parts(None), lambda: laws(None)),
        Draw("split, overdispersion", parts(2.5), lambda: laws(2.5)),
    ]


def multinomials() -> list[Draw]:
    weights = np.array([0.5, 1e-6, 3.0, 0.0, 1.5, 2.0, 0.25])
    shares, counts = weights / weights.sum(), [1, 255, 256, 10**6, 2**31 - 1]

    def draw(key: fb.Philox, m: int) -> np.ndarray:
        given = np.broadcast_to(np.array(counts), (8, max(1, m // 8), len(counts)))
        found = np.asarray(fb.multinomial(given, weights, rng=key))
        pairs = found[..., 0, 2:3] * 2 + found[..., 0, 4:5]  # of one ball: where it fell
        return np.concatenate([found.reshape(*given.shape[:2], -1), pairs], -1).reshape(-1, len(counts) * 7 + 1)

    def laws() -> list[Cells]:
        one = of_masses(0, [1 - shares[2] - shares[4], shares[4], shares[2]])
        return [*(binomial(n, p) for n in counts for p in shares.tolist()), one]

    return [Draw("multinomial", draw, laws)]


def step_draws() -> list[Draw]:
    return [*thinnings(), *bridges(), *leaps(), *posterior_steps(), *splits(), *multinomials()]


def matrix(states: int, seed: int, spread: float) -> np.ndarray:
    found = special.softmax(np.random.default_rng(seed).normal(size=(states, states)) * spread, axis=1)
    return found / found.sum(1, keepdims=True)


def draws_of(op: Any, cases: int, samples: int = 8) -> Any:
    """op(shape, key): states of the shape (samples, m, cases)."""

    def draw(key: fb.Philox, m: int) -> np.ndarray:
        shape = samples, max(1, m // samples), cases
        return np.asarray(op(shape, key)).reshape(-1, cases)

    return draw


def categoricals() -> list[Draw]:
    """Every row of three matrices, one of them with zeros and chances next to 0 and 1."""
    sharp = np.array([[1 - 1e-9, 1e-9, 0.0], [0.0, 0.5, 0.5], [1e-3, 0.0, 0.999]])
    made = []
    for name, rows, given in (
        ("categorical, 3 states", sharp, sharp),
        ("categorical, 40 states", matrix(40, 1, 2.0), matrix(40, 1, 2.0)),
        ("categorical, a table", matrix(40, 2, 2.0), fb.CategoricalTable(matrix(40, 2, 2.0))),
    ):

        def op(shape: tuple[int, ...], key: fb.Philox, given: Any = given) -> Any:
            return fb.categorical(np.broadcast_to(np.arange(shape[-1]), shape), given, rng=key)

        made.append(Draw(name, draws_of(op, len(rows)), lambda rows=rows: [of_masses(0, row) for row in rows]))
    return made


def categorical_bridges() -> list[Draw]:
    states = 12
    before, after = matrix(states, 3, 1.5), matrix(states, 4, 1.5)
    logits = np.random.default_rng(6).normal(size=(states, states)).astype(np.float32) * 2
    tied = [(x, y) for x in (0, 5, 11) for y in (0, 3, 7)]
    x_0, x_t = (np.array(each) for each in zip(*tied, strict=True))

    def known(shape: tuple[int, ...], key: fb.Philox) -> Any:
        ends = (np.broadcast_to(each, shape) for each in (x_t, x_0))
        return fb.categorical_bridge(*ends, before=before, after=after, rng=key)

    def predicted(shape: tuple[int, ...], key: fb.Philox) -> Any:
        given = np.broadcast_to(logits, (*shape, states))
        x = np.broadcast_to(np.arange(states), shape)
        return fb.categorical_bridge(x, logits=given, before=before, after=after, rng=key)

    def law(x: int, y: int) -> np.ndarray:
        found = before[x] * after[:, y]
        return found / found.sum()

    def mixed(y: int) -> Cells:
        chances = special.softmax(logits[y].astype(np.float64))
        return of_masses(0, sum(chance * law(x, y) for x, chance in enumerate(chances)))

    return [
        Draw("categorical_bridge", draws_of(known, len(tied)), lambda: [of_masses(0, law(*pair)) for pair in tied]),
        Draw("categorical_bridge, logits", draws_of(predicted, states), lambda: [mixed(y) for y in range(states)]),
    ]


def rows() -> list[Draw]:
    random, states = np.random.default_rng(7), 60
    logits = (random.normal(size=(6, states)) * np.array([0, 1, 3, 10, 30, 1])[:, None]).astype(np.float32)
    logits[5, ::2] = -np.inf
    weights = random.exponential(size=(4, states)) * 10.0 ** random.uniform(-12, 3, (4, 1))

    def by(name: str, given: np.ndarray, laws: np.ndarray) -> Draw:
        def op(shape: tuple[int, ...], key: fb.Philox) -> Any:
            return fb.categorical_rows(**{name: np.broadcast_to(given, (*shape, states))}, rng=key)

        return Draw(f"categorical_rows, {name}", draws_of(op, len(given)), lambda: [of_masses(0, law) for law in laws])

    return [by("logits", logits, special.softmax(logits.astype(np.float64), axis=1)), by("weights", weights, weights)]


S, T = 0.25, 1.5


def redraw(process: Any, fresh: np.ndarray, ends: list[int]) -> list[Draw]:
    """A process on 5 states that are drawn anew at rate 1, by the law `fresh`: forwards, and tied to states `ends`."""
    near, far = (np.exp(-t) * np.eye(5) + (1 - np.exp(-t)) * fresh for t in (S, T - S))

    def forward(shape: tuple[int, ...], key: fb.Philox) -> Any:
        return process.sample_forward(torch.arange(5).expand(shape), T, rng=key)

    def bridge(shape: tuple[int, ...], key: fb.Philox) -> Any:
        return process.sample_bridge(torch.tensor(ends).expand(shape), torch.arange(5).expand(shape), S, T, rng=key)

    name, tied = type(process).__name__, [near[x] * far[:, y] for x, y in enumerate(ends)]
    return [
        Draw(f"{name}, forwards", draws_of(forward, 5), lambda: [of_masses(0, row) for row in near @ far]),
        Draw(f"{name}, bridge", draws_of(bridge, 5), lambda: [of_masses(0, row) for row in tied]),
    ]


def redraws() -> list[Draw]:
    law, mask = np.array([0.5, 0.25, 0.125, 0.0625, 0.0625]), np.eye(5)[4]
    return [
        *redraw(fb.Uniform(5), np.full(5, 0.2), [0, 3, 4, 3, 1]),
        *redraw(fb.Absorbing(5), mask, [4, 4, 2, 4, 4]),
        *redraw(fb.Redraw(law), law, [0, 3, 4, 3, 1]),
    ]


def state_draws() -> list[Draw]:
    return [*categoricals(), *categorical_bridges(), *rows(), *redraws()]


CHUNK = 1 << 20  # draws of a call


def all_draws() -> list[Draw]:
    return [*element_draws(), *step_draws(), *state_draws()]


def seed_of(seed: int, name: str) -> int:
    """A seed of 64 bits for one part of a run."""
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1, np.uint64)[0])


class Counted:
    """A draw with what was counted of it so far."""

    def __init__(self, draw: Draw, seed: int) -> None:
        self.draw, self.calls, self.drawn = draw, 0, 0
        words = np.random.default_rng(seed_of(seed, draw.name)).integers(0, 1 << 32, 4).tolist()
        self.key = fb.Philox(words[0] << 32 | words[1], first_sample=words[2] >> 1, call=words[3] >> 1)
        started = time.monotonic()
        self.laws: list[Cells] = draw.laws()
        self.counts = [np.zeros(len(law.mass), dtype=np.int64) for law in self.laws]
        self.seconds = time.monotonic() - started

    def more(self, most: int) -> None:
        started = time.monotonic()
        m = max(8, min(CHUNK, most) // len(self.laws) // 8 * 8)
        drawn = self.draw.draw(self.key.at(call=self.key.call + self.calls), m)
        for at, law in enumerate(self.laws):
            self.counts[at] += law.count(np.ascontiguousarray(drawn[:, at]))
        self.calls, self.drawn = self.calls + 1, self.drawn + drawn.size
        self.seconds += time.monotonic() - started

    def row(self) -> Row:
        pairs = list(zip(self.counts, self.laws, strict=True))
        tests = [g_test(seen, law.mass) for seen, law in pairs]
        bounds = [tail_test(seen, law.mass) for seen, law in pairs]
        chances = [p for p in tests if p is not None]
        _, worst = min((p, at % len(pairs)) for at, p in enumerate(tests + bounds) if p is not None)
        return Row(self.draw.name, self.drawn, len(pairs), self.seconds, chances, bounds, worst=f"case {worst}")


def check(draws: Iterable[Draw], seed: int, each: int, deadline: float) -> list[Row]:
    """A row for each. All have about equally many draws, `each` or as many as there is time for, at least a call."""
    counted = [Counted(draw, seed) for draw in draws]
    open_ = True
    while open_:
        open_ = False
        for one in counted:
            if one.drawn < each and (one.calls == 0 or time.monotonic() < deadline):
                one.more(each)
                open_ = True
    return [one.row() for one in counted]
