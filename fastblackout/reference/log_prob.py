"""Logarithms of densities and probabilities of the gamma, beta, negative binomial and Skellam laws, in NumPy.

With S(z) = log Gamma(z) - ((z - 1/2) log z - z + log(2 pi) / 2), which falls like 1 / (12 z), and Loader's deviance
D(x, m) = x log(x / m) - (x - m), which is 0 at x = m, nothing large cancels:

    gamma, y = x / scale:       -D(a, y) - S(a) + log(a / (2 pi)) / 2 - log x
    beta, n = a + b, q = 1 - x: -D(a, n x) - D(b, n q) - S(a) - S(b) + S(n) + log(a b / (2 pi n)) / 2 - log x - log q
    negative binomial, k > 0, n = r + k:
        -D(r, n r / (r + m)) - D(k, n m / (r + m)) + S(n) - S(r) - S(k) + log(r / (2 pi n k)) / 2

    Skellam, k >= 0, of rates a and b, r^2 = k^2 + 4 a b, m = (k + r) / 2, v = (m - a) / (m + a):
        -E - log(2 pi r) / 2 + log(1 + U_1 + .. + U_12),
        E = D(m, a) + D(a b / m, b) = k log(m / a) - (m - a) (1 - b / m)
          = (m - a) v (1 + b / m) + 2 k v^3 (1 / 3 + v^2 / 5 + v^4 / 7 + ..)

Skellam's is Debye's expansion of the Bessel function I_k(2 sqrt(a b)), whose terms U_i are polynomials in (k / r)^2
over r^i; its exponent is written by m and a b / m, near which the two Poisson numbers lie where their difference is k.
The series is taken for |v| < 0.1, as for the deviance. For r >= 32 the terms left out are below 7e-16; below, the sum
over the smaller count is taken itself, whose terms are all positive.

The deviances take x - m as it is without a rounded m, and log(x / m) from logarithms where the quotient would overflow.
Error: with L the sum of the sizes of the logarithms of all arguments, each term is off by a few u = 2^-53 of
1 + L + |result|, and D by a few u times |x - m|. Over 24,000 random arguments, half of them typical draws and half from
1e-12 to 1e12, the largest error was 3.3e-15 (1 + L + |result|) beyond the part of the differences that the public
docstrings state; the bound there is 5e-15.

All arrays are float64, of one shape and of at least one dimension. Shapes are in 2^-1022..2^53.
Source: C. Loader, Fast and accurate computation of binomial probabilities, 2000, whose way it is.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from . import portfloat as pf

if TYPE_CHECKING:
    from .dtypes import F64
_LOG_2_PI = 1.8378770664093453
_LEAST_NORMAL, _TINY = 2.0**-1022, 2.0**-900


def _log(x: F64) -> F64:
    """log(x), x > 0 and finite, also for numbers that are no normal floats."""
    small = x < _LEAST_NORMAL
    return pf.log(np.where(small, x * 2.0**60, x)) - np.where(small, 41.58883083359672, 0.0)


def _stirling_rest(z: F64) -> F64:
    """S(z), z > 0: Stirling's series from 12 on. Below, the series of w = z + 8, and what lies between the two,

        (z - 1/2) log(1 + 8 / z) - log(z (z + 1) .. (z + 7) / w^8) - 8,

    whose terms stay small, while the terms of log Gamma(z) cancel. Below 2^-900 it is -log(2 pi z) / 2.
    """
    tiny, low = z < _TINY, z < 12.0
    near = np.where(low & ~tiny, z, 1.0)
    w, t = near + 8.0, near * (near + 7.0)
    y, square = 1.0 / np.where(low, w, z), w * w
    share = ((t / square) * ((t + 6.0) / square)) * (((t + 10.0) / square) * ((t + 12.0) / square))
    between = ((near - 0.5) * pf.log1p(8.0 / near) - pf.log(share)) - 8.0
    series = y * pf.horner(pf.STIRLING, y * y) + np.where(low, between, 0.0)
    return np.where(tiny, -0.5 * (pf.log(np.where(tiny, z, 1.0)) + _LOG_2_PI), series)


def _deviance(x: F64, mean: F64, d: F64, log_ratio: F64) -> F64:
    """D(x, mean) with d = x - mean given, and log(x / mean), which is taken where x / mean would overflow or vanish."""
    near = np.abs(d) < 0.1 * (x + mean)
    ratio = x / mean
    plain = (ratio > _LEAST_NORMAL) & (ratio < np.inf) & (mean > _LEAST_NORMAL)
    far = x * np.where(plain, pf.log(np.where(plain, ratio, 1.0)), log_ratio) - d
    return np.where(near, pf.deviance(x, np.where(near, mean, x), np.where(near, d, 0.0)), far)


def gamma_log_pdf(x: F64, a: F64, scale: F64) -> F64:
    """log of the density of scale g, g ~ Gamma(a), at x; -inf below 0."""
    inside = (x > 0.0) & (x < np.inf)
    k = np.where(inside, x, scale)
    log_x, log_scale, log_a = _log(k), _log(scale), pf.log(a)
    y = k / scale
    body = (0.5 * (log_a - _LOG_2_PI) - _stirling_rest(a)) - _deviance(a, y, a - y, log_a - (log_x - log_scale))
    at_0 = np.where(a < 1.0, np.inf, np.where(a > 1.0, -np.inf, -log_scale))
    return _number(x, np.where(inside, body - log_x, np.where(x == 0.0, at_0, -np.inf)))


def beta_log_pdf(x: F64, q: F64, a: F64, b: F64) -> F64:
    """log of the density of Beta(a, b) at x = 1 - q; -inf outside [0, 1]."""
    inside = (x > 0.0) & (q > 0.0)
    k, rest = np.where(inside, x, 0.5), np.where(inside, q, 0.5)
    n = a + b
    log_a, log_b, log_n, log_k, log_rest = pf.log(a), pf.log(b), pf.log(n), _log(k), _log(rest)
    d = a * rest - b * k
    away = _deviance(a, n * k, d, log_a - (log_n + log_k)) + _deviance(b, n * rest, -d, log_b - (log_n + log_rest))
    stirling = (_stirling_rest(n) - _stirling_rest(a)) - _stirling_rest(b)
    body = ((stirling - away) + 0.5 * (((log_a - log_n) + log_b) - _LOG_2_PI)) - (log_k + log_rest)
    at_0 = np.where(a < 1.0, np.inf, np.where(a > 1.0, -np.inf, log_b))
    at_1 = np.where(b < 1.0, np.inf, np.where(b > 1.0, -np.inf, log_a))
    ends = np.where(x == 0.0, at_0, np.where(q == 0.0, at_1, -np.inf))
    return _number(x, np.where(inside, body, ends))


def negative_binomial_log_pmf(x: F64, r: F64, mean: F64) -> F64:
    """log of the probability of x under Poisson(mean g / r), g ~ Gamma(r); -inf where x is no whole number >= 0.

    mean: in 0..2^53.
    """
    inside = (x > 0.0) & (x < np.inf) & (x == np.floor(x)) & (mean > 0.0)
    k, m = np.where(inside, x, 1.0), np.where(mean > 0.0, mean, 1.0)
    n, both = r + k, r + m
    log_r, log_m, log_n, log_k, log_both = pf.log(r), _log(m), pf.log(n), pf.log(k), pf.log(both)
    d = r * ((m - k) / both)
    away = _deviance(r, n * (r / both), d, log_both - log_n)
    away = away + _deviance(k, n * (m / both), -d, (log_k - log_n) + (log_both - log_m))
    stirling = (_stirling_rest(n) - _stirling_rest(r)) - _stirling_rest(k)
    body = (stirling - away) + 0.5 * (((log_r - log_n) - log_k) - _LOG_2_PI)
    few = m < r * 2.0**60
    none = -r * np.where(few, pf.log1p(np.where(few, m, r) / r), log_m - log_r)
    at_0 = np.where(mean > 0.0, none, 0.0)
    return np.where(inside, body, np.where(x == 0.0, at_0, -np.inf))


def beta_binomial_log_pmf(x: F64, n: F64, a: F64, b: F64) -> F64:
    """log of the probability of x under Binomial(n, f), f ~ Beta(a, b); -inf outside the whole numbers 0..n.

    x is one of two negative binomial counts of shapes a and b, and of one ratio of mean and shape, given their sum n.
    Small shapes are made larger, as their means would be 0: a common factor leaves the chances of 0 and n as they are
    and is one of the other chances; and a much smaller shape than the other is a factor of all where it has a part.
    """
    rest, up = n - x, np.maximum(1e-150 / np.maximum(a, b), 1.0)
    a, b = a * up, b * up
    large_a, large_b = np.maximum(a, 1e-190), np.maximum(b, 1e-190)
    both = large_a + large_b
    ratio, some, others = n / both, x > 0.0, rest > 0.0
    parts = negative_binomial_log_pmf(x, large_a, large_a * ratio)
    parts = parts + negative_binomial_log_pmf(rest, large_b, large_b * ratio)
    made = np.where(some, pf.log(a / large_a), 0.0) + np.where(others, pf.log(b / large_b), 0.0)
    return (parts - negative_binomial_log_pmf(n, both, n)) + (made - np.where(some & others, pf.log(up), 0.0))


def _debye(terms: int) -> list[tuple[float, ...]]:
    """U_1 .. U_terms: the coefficients of (k / r)^2, highest power first, of what is over r, r^2, ..

    U_(i + 1)(p) = p^2 (1 - p^2) U_i'(p) / 2 + the integral from 0 to p of (1 - 5 t^2) U_i(t) / 8, in fractions; U_i(p)
    is p^i times a polynomial in p^2. Source: NIST Digital Library of Mathematical Functions, 10.41.
    """
    made, last = [], {0: Fraction(1)}  # by power of p
    for i in range(1, terms + 1):
        following = {power: Fraction(0) for power in range(i, 3 * i + 1, 2)}
        for power, c in last.items():
            following[power + 1] += c * Fraction(power, 2) + c / (8 * (power + 1))
            following[power + 3] -= c * Fraction(power, 2) + c * Fraction(5, 8 * (power + 3))
        made.append(tuple(float(c) for c in reversed(following.values())))
        last = following
    return made


class Functions(NamedTuple):
    """What skellam_log_pmf is computed by: of NumPy, or of torch where there is a gradient."""

    where: Callable[..., Any] = np.where
    sqrt: Callable[..., Any] = np.sqrt
    floor: Callable[..., Any] = np.floor
    log: Callable[..., Any] = _log
    log1p: Callable[..., Any] = pf.log1p
    log_factorial: Callable[..., Any] = pf.log_factorial


_NUMPY, _DEBYE, _LARGE, _SUMMED = Functions(), _debye(12), 32.0, 56


def skellam_log_pmf(x: Any, rate_1: Any, rate_2: Any, by: Functions = _NUMPY) -> Any:
    """log of the probability of x under Poisson(rate_1) - Poisson(rate_2); -inf where x is no whole number.

    Rates: in 0..2^52. Beyond |x| = 2^53 it is -inf.
    """
    inside = (x >= -(2.0**53)) & (x <= 2.0**53) & (x == by.floor(x))
    below = x < 0
    k = by.where(inside, by.where(below, -x, x), 0.0)
    a, b = by.where(below, rate_2, rate_1), by.where(below, rate_1, rate_2)
    some, square = a > 0, k * k + 4.0 * (a * b)
    large = some & (square >= _LARGE * _LARGE)
    expanded = _expanded(by.where(large, k, _LARGE), by.where(large, a, 1.0), by.where(large, b, 1.0), by)
    summed = _summed(by.where(large, 0.0, k), by.where(large, 0.0, a), by.where(large, 0.0, b), by)
    possible = inside & (some | (k == 0))
    return by.where(possible, by.where(large, expanded, summed), -np.inf)


def _expanded(k: Any, a: Any, b: Any, by: Functions) -> Any:
    """Of k, the larger count less the smaller, for r >= 32."""
    r = by.sqrt(k * k + 4.0 * (a * b))
    m = 0.5 * (k + r)
    d, share, tiny = m - a, b / m, a < 1e-290
    v = d / (m + a)
    z = v * v
    log_ratio = by.where(tiny, by.log(m) - by.log(a), by.log(m / by.where(tiny, 1.0, a)))
    near = (d * v) * (1.0 + share) + ((2.0 * k) * v) * (z * _series(pf.DEVIANCE, z))
    exponent = by.where((v < 0.1) & (v > -0.1), near, k * log_ratio - d * (1.0 - share))
    total, p = 0.0, k / r
    for coefficients in reversed(_DEBYE):
        total = (total + _series(coefficients, p * p)) / r
    return (by.log1p(total) - exponent) - 0.5 * (_LOG_2_PI + by.log(r))


def _summed(k: Any, a: Any, b: Any, by: Functions) -> Any:
    """The same for r < 32, by the sum over the smaller count j: term j is a b / (j (k + j)) of the one before."""
    product, total = a * b, 1.0
    for j in range(_SUMMED, 0, -1):
        total = 1.0 + total * (product / (j * (k + j)))
    first = k * by.log(by.where(a > 0, a, 1.0)) - by.log_factorial(k)
    return ((first - a) - b) + by.log(total)


def _series(coefficients: tuple[float, ...], x: Any) -> Any:
    """A polynomial, its highest power first."""
    total = coefficients[0]
    for coefficient in coefficients[1:]:
        total = total * x + coefficient
    return total


def bessel_log_pmf(x: F64, order: F64, argument: F64) -> F64:
    """log of the probability of x under the Bessel law: of two Poisson numbers that differ by `order`, the smaller.

    Of small arguments by the equation, whose terms have one sign, with log I_order(a) = order log(a / 2) - log order!.
    """
    inside = (x >= 0.0) & (x <= 2.0**53) & (x == np.floor(x))
    small, k = argument < 1e-100, np.where(inside, x, 0.0)
    rising, above, below = pf.rising(order, k + 1.0)
    logs = _log(np.where(argument > 0.0, argument, 1.0)) - 0.6931471805599453
    equation = 2.0 * k * logs - ((rising + pf.log(above / below)) + pf.log_factorial(k))
    equation = np.where((k > 0.0) & (argument == 0.0), -np.inf, equation)
    argument = np.where(small, 1.0, argument)
    root = np.sqrt(order * order + argument * argument)
    rate_1 = 0.5 * (order + root)
    rate_2 = (0.25 * (argument * argument)) / rate_1
    both = _poisson_log_pmf(x, rate_2) + _poisson_log_pmf(x + order, rate_1)
    return np.where(inside, np.where(small, equation, both - skellam_log_pmf(order, rate_1, rate_2)), -np.inf)


def _poisson_log_pmf(x: F64, rate: F64) -> F64:
    inside = (x > 0.0) & (x < np.inf) & (x == np.floor(x)) & (rate > 0.0)
    k, m = np.where(inside, x, 1.0), np.where(rate > 0.0, rate, 1.0)
    away = _deviance(k, m, k - m, _log(k) - _log(m))
    body = -(away + pf.stirling_correction(k)) - 0.5 * (_LOG_2_PI + pf.log(k))
    return np.where(inside, body, np.where(x == 0.0, -rate, -np.inf))


def _number(x: F64, value: F64) -> F64:
    """`value`, but NaN where x is."""
    return np.where(np.isnan(x), np.nan, value)
