"""docs/draw.md as a program: draws of real numbers and what is made of them (see specified_words.py)."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from support.specified_counts import element_draw, poisson_draw
from support.specified_floats import deviance, exp, log, log1p, polynomial, stirling
from support.specified_words import Element, one


def _halved(h: int, l: int) -> tuple[float, float]:  # noqa: E741
    """v and q of two words."""
    upper = (h & 0x7FFFFFFF) * 2.0**-32
    return upper + (l + 0.5) * 2.0**-64, (0.5 - upper) - (l + 0.5) * 2.0**-64


def standard_normal(h: int, l: int) -> float:  # noqa: E741
    v, q = _halved(h, l)
    if h & 0x7FFFFFFF >= 322122548:
        x = 0.180625 - q * q
        z = (q * polynomial("normal_a", x)) / polynomial("normal_b", x)
    elif (r := math.sqrt(-log(v))) <= 5:
        z = polynomial("normal_c", r - 1.6) / polynomial("normal_d", r - 1.6)
    else:
        z = polynomial("normal_e", r - 5) / polynomial("normal_f", r - 5)
    return -z if h >> 31 else z


def normal(at: Element, mean: float, std: float) -> float:
    return mean + std * standard_normal(at.word("NORMAL"), at.word("NORMAL_REFINE"))


def magnitude(at: Element, a: float, stream: str) -> float:
    d = a + 0.6666666666666666 if a < 1 else a - 0.3333333333333333
    c = 1 / (3 * math.sqrt(d))
    for trial in range(1024):
        words = at.own_block(stream, trial)
        e, v = c * standard_normal(*words[:2]), one(*words[2:])
        f = e * e
        accepted = e >= -0.5 and v <= 1 - (1.28 * d) * (f * f)
        if not accepted and e > -1:
            near = -0.125 < e < 0.125
            g = -((f * f) * polynomial("gamma", e)) if near else log1p(e) - (e - f * (0.5 - e * 0.3333333333333333))
            accepted = log(v) <= (3 * d) * g
        if accepted:
            return d * ((1 + e) * (1 + e) * (1 + e))
    return d


def exponent(at: Element, a: float, stream: str, first: int = 0) -> float:
    """first: which word of the block is the first of two."""
    if a >= 1:
        return 0.0
    h, l = at.own_block(stream)[first : first + 2]  # noqa: E741
    v, _ = _halved(h, l)
    return (log(v) if h >> 31 else log1p(-v)) / a


def scaled(c: float, m: float, s: float) -> float:
    x = exp(0.5 * s)
    return (c * x) * (m * x)


def gamma(at: Element, shape: float, scale: float) -> float:
    return scaled(scale, magnitude(at, shape, "GAMMA"), exponent(at, shape, "GAMMA_BOOST"))


def beta_pair(at: Element, a: float, b: float, streams: str) -> tuple[float, float]:
    m_a, m_b = magnitude(at, a, f"{streams}_A"), magnitude(at, b, f"{streams}_B")
    t = exponent(at, b, f"{streams}_BOOST", 2) - exponent(at, a, f"{streams}_BOOST", 0)
    x = exp(-abs(t))
    m_a, m_b = (m_a * x, m_b) if t > 0 else (m_a, m_b * x)
    total = m_a + m_b
    return m_a / total, m_b / total


def beta(at: Element, a: float, b: float) -> float:
    return beta_pair(at, a, b, "BETA")[0]


def beta_binomial(at: Element, n: int, a: float, b: float) -> int:
    return element_draw(at, n, *beta_pair(at, a, b, "BETA_BINOMIAL"), "BETA_BINOMIAL")


def negative_binomial(at: Element, r: float, mean: float) -> int:
    m, s = magnitude(at, r, "NEGATIVE_BINOMIAL_GAMMA"), exponent(at, r, "NEGATIVE_BINOMIAL_BOOST")
    return poisson_draw(at, min(scaled(mean, m, s) / r, 2.0**52), "NEGATIVE_BINOMIAL")


def _attempts(at: Element, propose: Callable[[int], int], accepts: Callable[[int, float], bool], stream: str) -> int:
    for attempt in range(64):
        k = propose(attempt << 10)
        if accepts(k, one(*at.own_block(stream, attempt)[:2])):
            break
    return k


def hypergeometric(at: Element, good: int, bad: int, draws: int) -> int:
    balls = good + bad
    left, fewer = balls - draws, min(good, bad)
    taken = min(draws, left)
    s, large = min(fewer, taken), max(fewer, taken)
    k = 0
    if s > 0:
        p, q, count = large / balls, (balls - large) / balls, balls - s
        mean_1, mean_2 = (count + 2) * p, (count + 2) * q

        def place(j: int) -> tuple[float, float]:
            x_1, x_2 = float(j + 1), float((count - j) + 1)
            d = x_1 - mean_1
            deviances = deviance(x_1, mean_1, d) + deviance(x_2, mean_2, -d)
            return x_1 * x_2, deviances + (stirling(x_1) + stirling(x_2))

        top, top_level = place(math.floor((count + 1) * p))

        def accepts(k: int, v: float) -> bool:
            both, level = place(large - k)
            return log(v * math.sqrt(top / both)) <= top_level - level

        k = _attempts(
            at, lambda first: element_draw(at, s, p, q, "HYPERGEOMETRIC", first), accepts, "HYPERGEOMETRIC_ACCEPT"
        )
    k = taken - k if good > bad else k
    return good - k if draws > left else k


def bessel(at: Element, order: int, argument: float) -> int:
    if argument < 1e-150:
        return 0
    n, square = float(order), argument * argument
    rate_1 = 0.5 * (n + math.sqrt(n * n + square))
    rate_2 = (0.25 * square) / rate_1
    top = float(math.floor(rate_1) + 1)

    def level(x: float) -> float:
        return deviance(x, rate_1, x - rate_1) + stirling(x)

    def accepts(k: int, v: float) -> bool:
        x = (n + k) + 1
        return log(v * math.sqrt(top / x)) <= level(top) - level(x)

    return _attempts(at, lambda first: poisson_draw(at, rate_2, "BESSEL", first), accepts, "BESSEL_ACCEPT")


def beta_binomial_births(at: Element, head: list[float], offset: float, room: int, pair: tuple[float, float]) -> int:
    z = head[0] + offset
    e = exp(-abs(z))
    inverse = 1 / (1 + e)
    small = e * inverse
    mean, rest = (small, inverse) if z < 0 else (inverse, small)
    c = exp(min(max(head[1] + 1, -5.0), 7.0))
    f, g = beta_pair(at, max(mean * c, 1e-300), max(rest * c, 1e-300), "POSTERIOR")
    return element_draw(at, room, f * pair[0], min(g + f * pair[1], 1.0), "POSTERIOR_ELEMENT")


def negative_binomial_births(at: Element, head: list[float], offset: float, room: int, p: float, max_count: int) -> int:
    wide = min(offset, 0.0)
    gone = exp(wide)
    log_mean = min(max(0.5 * log(float(max(max_count, 1))) + head[0], -12.0), 36.0)
    log_size = min(max(head[1] + 1, -7.0), 16.0)
    r, e = exp(log_size), exp(log_size - log_mean)
    alive = 1 - gone if wide <= -0.5 else -wide if gone == 1 else (1 - gone) * (wide / log(gone))
    theta = gone / (e + alive)
    size = r + (max_count - room)
    m, s = magnitude(at, size, "POSTERIOR_A"), exponent(at, size, "POSTERIOR_BOOST")
    return min(poisson_draw(at, min(scaled(theta * p, m, s), 2.0**52), "POSTERIOR_ELEMENT"), room)


SHAPES = np.array([[1e-300, 1e-8, 0.3, 0.999, 1.0, 1.4, 5.0, 88.8, 1e6, 1e300] * 3])
COUNTS = np.array([[0, 1, 9, 40, 200, 300, 5000, 10**6, 2**40, 2**53] * 3])
STDS = np.resize([0.0, 1.0, 2.5, 1e-9], (2, 30))
# Good and bad balls, and draws: all orders of the parts, equal ones, half of the balls, and none of a kind.
URNS = np.array([
    [0, 5, 5, 40, 40, 300, 900, 2**40, 10**6, 7, 8, 8, 10**4, 500] * 8,
    [7, 5, 9, 12, 80, 900, 300, 2**41, 3, 7, 0, 8, 10**4, 500] * 8,
    [3, 5, 7, 9, 100, 600, 1100, 2**39, 5 * 10**5, 14, 4, 0, 10**4, 501] * 8,
])[:, None]  # fmt: skip
ELEMENTS = {  # the op: what the page says of an element, and arguments
    "normal": (normal, np.linspace(-3, 3, 60).reshape(2, 30), STDS),
    "gamma": (gamma, SHAPES, [[2.0], [1e-3], [0.0]]),
    "beta": (beta, SHAPES, np.roll(SHAPES, 1) * [[1.0], [0.01]] + 1e-290),
    "beta_binomial": (beta_binomial, COUNTS, SHAPES[:, ::-1], [[0.5], [30.0]]),
    "negative_binomial": (negative_binomial, SHAPES[:, 2:9], [[0.0], [3.0], [1e4], [2.0**52]]),
    "hypergeometric": (hypergeometric, *URNS),
    "bessel": (bessel, np.resize([0, 1, 9, 40, 5000], 100), [[0.0], [1e-151], [0.7], [25.0], [1e5]]),
}
