"""docs/draw.md as a program: binomial and Poisson draws, and the steps made of them (see specified_words.py)."""

from __future__ import annotations

import functools
import math
from fractions import Fraction
from typing import Any

import numpy as np

from support.specified_floats import F, deviance, exp, log, log1p, softplus, stirling
from support.specified_words import Element, centred, drawn, elements, one, zero

TRIALS = 1024


@functools.cache
def thresholds(n: int, p: float, q: float) -> list[int]:
    """C_n(0), ..., C_n(n - 1), p and q after mirroring."""
    r = p / q
    q2 = q * q
    q4 = q2 * q2
    q8 = q4 * q4
    q16 = q8 * q8
    s = 1.0
    for _ in range(n if n < 16 else n // 16):
        s = s * (q if n < 16 else q16)
    made, pm, cdf = [], s, s
    for j in range(n):
        made.append(min(math.floor(2**48 * cdf), 2**48))
        w = r / (j + 1)
        pm = pm * ((n - j) * w)
        cdf = cdf + pm
    return made


def table_draw(at: Element, n: int, p: float, q: float, draw: str, refine: str) -> int:
    if p > 0.5:
        return n - _table_draw(at, n, q, p, draw, refine)
    return _table_draw(at, n, p, q, draw, refine)


def _table_draw(at: Element, n: int, p: float, q: float, draw: str, refine: str) -> int:
    if p == 0:
        return 0
    (u1, u2), words = at.halves(draw), at.own_block(refine)
    digits = (16 * (n // 16), u1 << 32 | words[0]), (n % 16, u2 << 32 | words[1])
    return sum(sum(c <= u for c in thresholds(m, p, q)) for m, u in digits)


def element_draw(at: Element, n: int, p: float, q: float, stream: str, first: int = 0) -> int:
    """first: what the number of a trial is combined with."""
    if p > 0.5:
        return n - _element_draw(at, n, q, p, stream, first)
    return _element_draw(at, n, p, q, stream, first)


def _element_draw(at: Element, n: int, p: float, q: float, stream: str, first: int) -> int:
    if not n * p < 10:
        return _binomial_trials(at, n, p, q, stream, first)
    u, odds = zero(*at.own_block(stream, first)[:2]), p / q
    mass = exp(n * log1p(-p))
    cdf, k = mass, 0
    while u >= cdf and mass >= 2.0**-54 and k < n:
        mass = mass * (((n - k) * odds) / (k + 1))
        cdf = cdf + mass
        k += 1
    return k


def _binomial_trials(at: Element, n: int, p: float, q: float, stream: str, first: int) -> int:
    high = n * p
    low = float(Fraction(n) * Fraction(p) - Fraction(high))
    whole = math.floor(high)
    fraction = (high - whole) + low
    mean_1, mean_2 = high + 2 * p, n * q + 2 * q
    shift, deviation = 1 - 2 * p, math.sqrt(high * q)
    b = 1.15 + 2.53 * deviation
    a = (-0.0873 + 0.0248 * b) + 0.01 * p
    squeeze, alpha = 0.92 - 4.2 / b, (2.83 + 5.1 / b) * deviation
    for trial in range(TRIALS):
        words = at.own_block(stream, first | trial)
        u, v = centred(*words[:2]), one(*words[2:])
        edge = 0.5 - abs(u)
        y = ((2 * a) / edge + b) * u + (fraction + 0.5)
        if y < -whole or y >= (n - whole) + 1:
            continue
        j = math.floor(y)
        if edge >= 0.07 and v <= squeeze:
            return whole + j
        x_1, x_2 = float((whole + j) + 1), float(((n - whole) - j) + 1)
        d = (j - fraction) + shift
        level = (deviance(x_1, mean_1, d) + deviance(x_2, mean_2, -d)) + (stirling(x_1) + stirling(x_2))
        hat = (a / (edge * edge) + b) * math.sqrt((x_1 * x_2) / (mean_1 * mean_2))
        if log((v * alpha) / hat) <= -level:
            return whole + j
    return whole


def poisson_draw(at: Element, m: float, stream: str, first: int = 0) -> int:
    if not m < 10:
        return _poisson_trials(at, m, stream, first)
    u, mass = zero(*at.own_block(stream, first)[:2]), exp(-m)
    cdf, k = mass, 0
    while u >= cdf and mass >= 2.0**-54:
        mass = mass * (m / (k + 1))
        cdf = cdf + mass
        k += 1
    return k


def _poisson_trials(at: Element, m: float, stream: str, first: int) -> int:
    whole = math.floor(m)
    fraction = m - whole
    b = 0.931 + 2.53 * math.sqrt(m)
    a = -0.059 + 0.02483 * b
    inverse_alpha, squeeze = 1.1339 + 1.1328 / (b - 3.4), 0.9077 - 3.6224 / (b - 2)
    for trial in range(TRIALS):
        words = at.own_block(stream, first | trial)
        u, v = centred(*words[:2]), one(*words[2:])
        edge = 0.5 - abs(u)
        y = ((2 * a) / edge + b) * u + (fraction + 0.43)
        if y < -whole or y >= 2**45:
            continue
        j = math.floor(y)
        if edge >= 0.07 and v <= squeeze:
            return whole + j
        x = float((whole + j) + 1)
        d = (j - fraction) + 1
        hat = (a / (edge * edge) + b) * (math.sqrt(x * 0.15915494309189535) / m)
        if log((v * inverse_alpha) / hat) <= -(deviance(x, m, d) + stirling(x)):
            return whole + j
    return whole


def of_sample(at: Element, n: int, pair: tuple[float, float], streams: str) -> int:
    """Binomial(n, p) with one (p, q) a sample."""
    if n <= 255:
        return table_draw(at, n, *pair, f"{streams}_DRAW", f"{streams}_REFINE")
    return element_draw(at, n, *pair, f"{streams}_ELEMENT")


def thin(x_0: Any, pairs: Any, key: Any) -> Any:
    """x_t; pairs: (p, q) of each sample."""
    counts = x_0.reshape(-1).tolist()
    made = [of_sample(at, counts[place], pairs[b], "THIN") for b, place, at in elements(x_0.shape, key)]
    return np.array(made).reshape(x_0.shape)


def model_input(x: Any, center: Any, scale: Any) -> Any:
    """Of float32; center and scale: one each a sample."""
    center, scale = (F(each).reshape(-1, *[1] * (x.ndim - 1)) for each in (center, scale))
    return (x.astype(F) - center) * scale


def mean_births(logit: float, gain: float) -> np.float32:
    return F(gain) * softplus(F(logit))


def rounded_births(at: Element, y: np.float32, max_count: int, rounding: str) -> int:
    mean = min(float(y), float(max_count))
    if rounding == "nearest":
        return min(math.floor(mean + 0.5), max_count)
    c = math.floor(mean)
    return c + (at.bits_48("ROUNDING", "ROUNDING_REFINE") < math.floor(2**48 * (mean - c)))


def bridge_step(x_t: Any, means: Any, pairs: Any, falls: Any, max_count: int, rounding: str, key: Any) -> Any:
    """x_s; means: y of each element; falls: (p, q) of the attrition of each sample."""
    made, counts, y = [], x_t.reshape(-1).tolist(), means.reshape(-1)
    for b, place, at in elements(x_t.shape, key):
        x = counts[place]
        n = min(rounded_births(at, y[place], max_count, rounding), max_count - x)
        made.append(x + of_sample(at, n, pairs[b], "BRIDGE") - of_sample(at, x, falls[b], "ATTRITION"))
    return np.array(made).reshape(x_t.shape)


def tau_leap_step(x_t: Any, means: Any, steps: Any, max_count: int, key: Any) -> tuple[Any, list[int]]:
    """x_s and overshoot."""
    made, over, counts, y = [], [0] * len(x_t), x_t.reshape(-1).tolist(), means.reshape(-1)
    for b, place, at in elements(x_t.shape, key):
        rate = float(y[place]) * steps[b]
        k = poisson_draw(at, min(rate, 2.0**52) if rate > 0 else 0.0, "TAU_LEAP")
        room = max_count - counts[place]
        made.append(counts[place] + min(k, room))
        over[b] += k > room
    return np.array(made).reshape(x_t.shape), over


def binomial(n: Any, p: Any, q: Any, key: Any) -> list[int]:
    return drawn(lambda at, *of: element_draw(at, *of, "BINOMIAL"), key, n, p, q)


def poisson(rate: Any, key: Any) -> list[int]:
    return drawn(lambda at, m: poisson_draw(at, m, "POISSON"), key, rate)
