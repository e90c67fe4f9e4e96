"""Portable floats in NumPy: the twin of csrc/include/fastblackout/portfloat.h, equal to it to the bit.

Only + - * / sqrt, integer bit operations and selects, in the order the header writes them; no libm, no fma. float32:
softplus, log_softplus, softplus_over_sigmoid. float64: log, log1p, exp, log-gamma, rising factorials, and the pieces of
the per-element samplers. The header states the measured errors. Also bfloat16 rounding, which NumPy lacks.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .dtypes import F32, F64, I64, U32

_F = np.float32
_U = np.uint32

# Highest power first, as Horner's rule takes them; the header names each function.
_EXP_FLOAT = (1.39261840e-3, 8.36317893e-3, 4.16665561e-2, 1.66665763e-1, 0.5)
_LOG1P_OVER = (
    5.36542246e-3, -3.00683007e-2, 7.92088285e-2, -1.37541875e-1, 1.91538483e-1, -2.48572171e-1, 3.33213300e-1,
    -4.99996483e-1,
)  # fmt: skip
_LOG_FLOAT = (
    5.35769612e-2, -1.19691581e-1, 1.49208874e-1, -1.68127716e-1, 1.99827999e-1, -2.49953866e-1, 3.33334506e-1,
)  # fmt: skip
_LOG = (
    0.13086767009948175, 0.13268759668560612, 0.15386240205813478, 0.18181795630884753, 0.2222222239180047,
    0.2857142857080323, 0.4000000000000088, 0.6666666666666666,
)  # fmt: skip
EXP = (
    1.608662795678037e-10, 2.0918137737642736e-09, 2.505207109429355e-08, 2.75572632790885e-07, 2.755731924721873e-06,
    2.4801587336442236e-05, 0.00019841269841263298, 0.0013888888888879073, 0.008333333333333333, 0.04166666666666668,
    0.16666666666666666, 0.5,
)  # fmt: skip
_STIRLING_TABLE = np.array([
    0.0, 0.08106146679532726, 0.0413406959554093, 0.02767792568499834, 0.020790672103765093, 0.016644691189821193,
    0.013876128823070748, 0.01189670994589177, 0.010411265261972096, 0.009255462182712733, 0.00833056343336287,
    0.007573675487951841, 0.00694284010720953, 0.006408994188004207, 0.0059513701127588475, 0.005554733551962801,
])  # fmt: skip
STIRLING = (
    -0.0019175269175269176,
    0.0008417508417508417,
    -0.0005952380952380953,
    0.0007936507936507937,
    -0.002777777777777778,
    0.08333333333333333,
)
_DIGAMMA = (
    0.021092796092796094,
    -0.007575757575757576,
    0.004166666666666667,
    -0.003968253968253968,
    0.008333333333333333,
    -0.08333333333333333,
)
DEVIANCE = (
    0.058823529411764705, 0.06666666666666667, 0.07692307692307693, 0.09090909090909091, 0.1111111111111111,
    0.14285714285714285, 0.2, 0.3333333333333333,
)  # fmt: skip
_LOG_BITS = _U(0x3F400000)  # of 3/4, where the fraction of log_float begins
_SQRT_HALF_BITS = np.uint64(0x3FE6A09E667F3BCD)


def horner(coefficients: tuple[float, ...], x: NDArray) -> NDArray:
    constant = x.dtype.type
    poly = constant(coefficients[0])
    for c in coefficients[1:]:
        poly = poly * x + constant(c)
    return poly


def exp_minus_abs(x: F32) -> F32:
    """exp(-|x|), 0 for |x| > 86.99; float32 array."""
    t = np.maximum(-np.abs(x), _F(-87))  # for larger |x| the result is 0 below
    shifted = t * _F(1.44269502) + _F(12582912)
    n = shifted - _F(12582912)
    r = (t - n * _F(0.693145752)) - n * _F(1.42860517e-6)  # every operation is exact but for the last difference
    power = _F(1) + (r + (r * r) * horner(_EXP_FLOAT, r))
    e = (power.view(_U) + (shifted.view(_U) << _U(23))).view(_F)
    return np.where(n < _F(-125), _F(0), e)


def _log1p_over(e: F32) -> F32:
    return _F(1) + e * horner(_LOG1P_OVER, e)


def _softplus_parts(x: F32) -> tuple[F32, F32, F32]:
    """e = exp(-|x|), softplus(x), and that where x is positive, else log1p(e) / e."""
    e = exp_minus_abs(x)
    g = _log1p_over(e)
    soft = np.where(x > _F(0), x, _F(0)) + e * g
    return e, soft, np.where(x > _F(0), soft, g)


def softplus(x: F32) -> F32:
    """log(1 + exp(x)), float32 array in and out; 0 for x < -86.99, within 4 ulp elsewhere."""
    return _softplus_parts(x)[1]


def log_float(a: F32) -> F32:
    """log(a), float32 array of normal positive finite numbers."""
    bits = a.view(_U)
    above = bits - _LOG_BITS
    n = (above.view(np.int32) >> np.int32(23)).astype(_F)
    f = ((above & _U(0x7FFFFF)) + _LOG_BITS).view(_F) - _F(1)
    return (f + (f * f) * (f * horner(_LOG_FLOAT, f) - _F(0.5))) + n * _F(0.693147182)


def log_softplus(x: F32) -> F32:
    """log(log(1 + exp(x))), float32 array in and out; finite for every finite x, x itself when very negative."""
    return np.where(x > _F(0), _F(0), x) + log_float(_softplus_parts(x)[2])


def softplus_over_sigmoid(x: F32) -> F32:
    """(1 + exp(-x)) softplus(x), float32 array: 1 over the derivative of log softplus; 1 for very negative x."""
    e, _, over = _softplus_parts(x)
    return over + e * over


def round_to_bfloat16(x: F32) -> NDArray[np.uint16]:
    """The 16 bits of the bfloat16 nearest to each float32 (ties to even); every NaN becomes a quiet NaN."""
    bits = x.view(_U)
    rounded = (bits + _U(0x7FFF) + ((bits >> _U(16)) & _U(1))) >> _U(16)
    return np.where(np.isnan(x), (bits >> _U(16)) | _U(0x40), rounded).astype(np.uint16)


def from_bfloat16(bits: NDArray[np.uint16]) -> F32:
    """The float32 of the same value as each bfloat16 given by its bits."""
    return (bits.astype(_U) << _U(16)).view(_F)


def _log_reduced(f: F64, k: F64, correction: F64) -> F64:
    s = f / (2.0 + f)
    z = s * s
    half_square = (0.5 * f) * f
    tail = s * (half_square + z * horner(_LOG, z)) + (k * 1.9082149292705877e-10 + correction)
    return k * 0.6931471803691238 - ((half_square - tail) - f)


def _split(a: F64) -> tuple[I64, F64]:
    bits = a.view(np.uint64)
    k = (bits - _SQRT_HALF_BITS).view(np.int64) >> np.int64(52)
    return k, (bits - (k.view(np.uint64) << np.uint64(52))).view(np.float64)


def log(a: F64) -> F64:
    """log(a), float64 array of normal positive finite numbers, within 2 ulp."""
    k, m = _split(a)
    return _log_reduced(m - 1.0, k.astype(np.float64), np.zeros_like(a))


def log1p(a: F64) -> F64:
    """log(1 + a), float64 array of finite a > -1, within 2 ulp."""
    u = 1.0 + a
    k, m = _split(u)
    lost = np.where(a > 1.0, 1.0 - (u - a), a - (u - 1.0)) / u
    return _log_reduced(np.where(k == 0, a, m - 1.0), k.astype(np.float64), np.where(k == 0, 0.0, lost))


def exp_reduced(t: Any) -> tuple[Any, Any]:
    """(n + 3 2^51, rest), exp(t) = (1 + rest) 2^n; t a float or float64 numbers of any library, in [-708, 709]."""
    shifted = t * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    r = (t - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    poly = EXP[0]
    for c in EXP[1:]:
        poly = poly * r + c
    return shifted, r + (r * r) * poly


def exp_parts(t: F64) -> tuple[F64, F64]:
    """(rest, scale), exp(t) = (1 + rest) scale with scale a power of two; float64 array of t in [-708, 709]."""
    shifted, rest = exp_reduced(t)
    return rest, ((shifted.view(np.uint64) + np.uint64(1023)) << np.uint64(52)).view(np.float64)


def exp(a: F64) -> F64:
    """exp(a), float64 array; within 2 ulp in [-708, 709], 0 below, infinity above."""
    rest, scale = exp_parts(np.where(a < -708.0, -708.0, np.where(a > 709.0, 709.0, a)))
    return np.where(a < -708.0, 0.0, np.where(a > 709.0, np.inf, (1.0 + rest) * scale))


def exp_number(a: float) -> float:
    """exp of a float."""
    if not -708.0 <= a <= 709.0:
        return 0.0 if a < -708.0 else math.inf if a > 709.0 else a
    shifted, rest = exp_reduced(a)
    return math.ldexp(1.0 + rest, int(shifted - 6755399441055744.0))


def log_one_plus(a: F64) -> F64:
    """log(1 + a), float64 array of finite a >= 0, within 3 ulp: log1p without the division that makes it exact."""
    k, m = _split(1.0 + a)
    return _log_reduced(np.where(k == 0, a, m - 1.0), k.astype(np.float64), np.zeros_like(a))


def stirling_correction(x: F64) -> F64:
    """log Gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2) for integers x >= 1 in a float64 array."""
    y = 1.0 / x
    series = y * horner(STIRLING, y * y)
    return np.where(x < 16.0, _STIRLING_TABLE[np.where(x < 16.0, x, 0.0).astype(np.int64)], series)


def _eight(y: F64) -> F64:
    """y (y + 1) .. (y + 7)"""
    t = y * (y + 7.0)
    return (t * (t + 6.0)) * ((t + 10.0) * (t + 12.0))


def log_gamma(x: F64) -> F64:
    """log Gamma(x), float64 array of x in (0, 2^53]: Stirling's series at x + 8 less log(x (x + 1) .. (x + 7))."""
    w = x + 8.0
    y = 1.0 / w
    return (((w - 0.5) * log(w) - w) + (0.9189385332046728 + y * horner(STIRLING, y * y))) - log(_eight(x))


def _rising_places(x: F64, n: F64) -> tuple[F64, F64, F64, F64, F64]:
    """(n - 1, w, 1 / w, 1 / (w + n - 1), log((w + n - 1) / w)), w = x + 9."""
    d = n - 1.0
    w = x + 9.0
    end = w + d
    inverse = 1.0 / (w * end)
    return d, w, end * inverse, w * inverse, log_one_plus(d * (end * inverse))


def rising(x: F64, n: F64) -> tuple[F64, F64, F64]:
    """log((x + 1) .. (x + n - 1)) in three parts (s, u, v): s + log(u / v). Whole n >= 1, 0 <= x, x + n <= 2^53."""
    d, w, from_, to, ratio = _rising_places(x, n)
    stirling = to * horner(STIRLING, to * to) - from_ * horner(STIRLING, from_ * from_)
    return (d * log(w) + (((w + d) - 0.5) * ratio - d)) + stirling, _eight(x + 1.0), _eight(x + n)


def rising_slope(x: F64, n: F64) -> F64:
    """x (1 / x + 1 / (x + 1) + .. + 1 / (x + n - 1)), by digamma; 0 for n = 0. Whole n, 0 <= x, x + n <= 2^53."""
    some = np.where(n < 1.0, 1.0, n)
    _, _, from_, to, ratio = _rising_places(x, some)
    tails = (to * to) * horner(_DIGAMMA, to * to) - (from_ * from_) * horner(_DIGAMMA, from_ * from_)
    (up, over), (up_end, over_end) = _inverses(x + 1.0), _inverses(x + some)
    shifted = (up * over_end - up_end * over) / (over * over_end)
    slope = 1.0 + x * (((ratio + 0.5 * (from_ - to)) + tails) + shifted)
    return np.where(n < 1.0, 0.0, slope)


def _inverses(y: F64) -> tuple[F64, F64]:
    """1 / y + 1 / (y + 1) + .. + 1 / (y + 7) as numerator and denominator."""
    t = y * (y + 7.0)
    first, last = t * (t + 6.0), (t + 10.0) * (t + 12.0)
    sums = ((t + t) + 6.0) * last + ((t + t) + 22.0) * first
    return ((y + y) + 7.0) * sums, first * last


def log_factorial(n: F64) -> F64:
    """log n! of whole n in a float64 array; 0 for n < 2."""
    return np.where(n < 2.0, 0.0, log_gamma(n + 1.0))


def deviance(x: F64, mean: F64, d: F64) -> F64:
    """x log(x / mean) - (x - mean) for float64 x, mean > 0, with d = x - mean given (Loader 2000)."""
    v = d / (x + mean)
    z = v * v
    series = d * v + (((2.0 * x) * v) * z) * horner(DEVIANCE, z)
    return np.where((v < 0.1) & (v > -0.1), series, x * log(x / mean) - d)


def bits53(high: U32, low: U32) -> I64:
    """Two words as one integer of 53 bits: the high word, then the first 21 bits of the low one."""
    return ((high.astype(np.uint64) << np.uint64(21)) | (low.astype(np.uint64) >> np.uint64(11))).astype(np.int64)


def uniform_from_zero(bits: I64) -> F64:
    """53 bits as a float64 in [0, 1)."""
    return bits.astype(np.float64) * 2.0**-53


def uniform_to_one(bits: I64) -> F64:
    """53 bits as a float64 in (0, 1]."""
    return (bits + 1).astype(np.float64) * 2.0**-53


def uniform_centred(bits: I64) -> F64:
    """53 bits as a float64 in (-1/2, 1/2), symmetric and never 0."""
    return ((bits - (1 << 52)).astype(np.float64) + 0.5) * 2.0**-53


def floor_to_int(y: F64) -> I64:
    """floor(y) as int64, |y| < 2^62."""
    truncated = y.astype(np.int64)
    return truncated - (truncated.astype(np.float64) > y)
