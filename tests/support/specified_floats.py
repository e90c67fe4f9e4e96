"""docs/draw.md as a program: portable functions (see specified_words.py)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from support.specified_words import NUMBERS

F = np.float32
LOG_2, LOG_2_REST = 0.6931471803691238, 1.9082149292705877e-10
NUMBERS["gamma"] = [(-1) ** n / (n + 4) for n in range(12, -1, -1)]


def polynomial(name: str, x: Any) -> Any:
    kind = type(x)
    value = kind(NUMBERS[name][0])
    for coefficient in NUMBERS[name][1:]:
        value = value * x + kind(coefficient)
    return value


def exp32(x: np.float32) -> np.float32:
    """exp(-|x|)"""
    t = max(-abs(x), F(-87))
    n = round(float(t * F(1.44269502)))
    if n < -125:
        return F(0)
    r = (t - F(n) * F(0.693145752)) - F(n) * F(1.42860517e-6)
    return (F(1) + (r + (r * r) * polynomial("exp32", r))) * F(2.0**n)


def softplus(x: np.float32) -> np.float32:
    e = exp32(x)
    return max(x, F(0)) + e * (F(1) + e * polynomial("log1p32", e))


def _split(a: float) -> tuple[float, int]:
    """m and k, a = m 2^k, m in [s, 2 s)."""
    s = float.fromhex("0x1.6a09e667f3bcdp-1")
    m, k = math.frexp(a)
    return (m, k) if m >= s else (2 * m, k - 1)


def _reduced(f: float, k: int, c: float) -> float:
    u = f / (2 + f)
    z = u * u
    h = (0.5 * f) * f
    tail = u * (h + z * polynomial("log", z)) + (k * LOG_2_REST + c)
    return k * LOG_2 - ((h - tail) - f)


def log(a: float) -> float:
    m, k = _split(a)
    return _reduced(m - 1, k, 0.0)


def log1p(a: float) -> float:
    b = 1 + a
    m, k = _split(b)
    if k == 0:
        return _reduced(a, 0, 0.0)
    return _reduced(m - 1, k, ((1 - (b - a)) if a > 1 else (a - (b - 1))) / b)


def exp_parts(a: float) -> tuple[float, float]:
    """rest and scale."""
    n = round(a * 1.4426950408889634)
    r = (a - n * LOG_2) - n * LOG_2_REST
    return r + (r * r) * polynomial("exp", r), 2.0**n


def exp(a: float) -> float:
    if a < -708:
        return 0.0
    if a > 709:
        return math.inf
    rest, scale = exp_parts(a)
    return (1 + rest) * scale


def stirling(x: float) -> float:
    if x < 16:
        return NUMBERS["stirling_table"][int(x)]
    y = 1 / x
    return y * polynomial("stirling", y * y)


def deviance(x: float, m: float, d: float) -> float:
    v = d / (x + m)
    z = v * v
    if -0.1 < v < 0.1:
        return d * v + (((2 * x) * v) * z) * polynomial("deviance", z)
    return x * log(x / m) - d


def log_factorial(n: float) -> float:
    if n < 2:
        return 0.0
    x = n + 1
    w = x + 8
    y = 1 / w
    t = x * (x + 7)
    eight = (t * (t + 6)) * ((t + 10) * (t + 12))
    return (((w - 0.5) * log(w) - w) + (0.9189385332046728 + y * polynomial("stirling", y * y))) - log(eight)
