"""log-gamma, and logarithm and slope of a rising factorial, in Triton: the twins of those in
csrc/include/fastblackout/portfloat.h, equal to them to the bit. See portfloat.py."""

from __future__ import annotations

import triton
import triton.language as tl

from . import portfloat as pf


@triton.jit
def _eight_factors(y):
    t = y * (y + 7.0)
    return (t * (t + 6.0)) * ((t + 10.0) * (t + 12.0))


@triton.jit
def log_gamma(x):
    """log Gamma(x), 0 < x <= 2^53."""
    w = x + 8.0
    series = 0.9189385332046728 + pf.stirling_of(1.0 / w)
    return (((w - 0.5) * pf.log(w) - w) + series) - pf.log(_eight_factors(x))


@triton.jit
def log_factorial(n):
    """log n!, whole n."""
    return tl.where(n < 2.0, 0.0, log_gamma(n + 1.0))


@triton.jit
def _rising_places(x, n):
    """(n - 1, w, 1 / w, 1 / (w + n - 1), log((w + n - 1) / w)), w = x + 9."""
    d = n - 1.0
    w = x + 9.0
    end = w + d
    inverse = 1.0 / (w * end)
    return d, w, end * inverse, w * inverse, pf.log_one_plus(d * (end * inverse))


@triton.jit
def rising(x, n):
    """(s, u, v): s + log(u / v) = log((x + 1) .. (x + n - 1)), whole n >= 1."""
    d, w, start, to, ratio = _rising_places(x, n)
    stirling = pf.stirling_of(to) - pf.stirling_of(start)
    total = (d * pf.log(w) + (((w + d) - 0.5) * ratio - d)) + stirling
    return total, _eight_factors(x + 1.0), _eight_factors(x + n)


@triton.jit
def _digamma_of(y):
    z = y * y
    poly = tl.zeros_like(z) + 0.021092796092796094
    poly = poly * z + -0.007575757575757576
    poly = poly * z + 0.004166666666666667
    poly = poly * z + -0.003968253968253968
    poly = poly * z + 0.008333333333333333
    poly = poly * z + -0.08333333333333333
    return z * poly


@triton.jit
def _eight_inverses(y):
    t = y * (y + 7.0)
    first = t * (t + 6.0)
    last = (t + 10.0) * (t + 12.0)
    sums = ((t + t) + 6.0) * last + ((t + t) + 22.0) * first
    return ((y + y) + 7.0) * sums, first * last


@triton.jit
def rising_slope(x, n):
    """x (1 / x + 1 / (x + 1) + .. + 1 / (x + n - 1)), whole n."""
    some = tl.where(n < 1.0, 1.0, n)
    _, _, start, to, ratio = _rising_places(x, some)
    tails = _digamma_of(to) - _digamma_of(start)
    up, over = _eight_inverses(x + 1.0)
    up_end, over_end = _eight_inverses(x + some)
    shifted = (up * over_end - up_end * over) / (over * over_end)
    slope = 1.0 + x * (((ratio + 0.5 * (start - to)) + tails) + shifted)
    return tl.where(n < 1.0, 0.0, slope)
