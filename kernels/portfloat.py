"""Portable floats in Triton: the twin of csrc/include/fastblackout/portfloat.h, equal to it to the bit.

Only + - * / sqrt, integer bit operations and selects in the header's order. Compile with enable_fp_fusion=False. In
float32 `/` and tl.sqrt are approximate, so div_rn stands for them; in float64 both are correctly rounded as they are.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def exact(value: tl.constexpr):
    """A number to compare float64 with. Triton 3.6 rounds a plain one to float32 before it compares."""
    return tl.full((), value, tl.float64)


# ---- float32 ------------------------------------------------------------------------------------------------------


@triton.jit
def exp_minus_abs(x):
    """exp(-|x|), 0 for |x| > 86.99."""
    t = 0.0 - tl.abs(x)
    shifted = t * 1.44269502 + 12582912.0
    n = shifted - 12582912.0
    r = (t - n * 0.693145752) - n * 1.42860517e-6
    poly = tl.zeros_like(r) + 1.39261840e-3
    poly = poly * r + 8.36317893e-3
    poly = poly * r + 4.16665561e-2
    poly = poly * r + 1.66665763e-1
    poly = poly * r + 0.5
    power = (1.0 + (r + (r * r) * poly)).to(tl.uint32, bitcast=True)
    e = (power + (shifted.to(tl.uint32, bitcast=True) << 23)).to(tl.float32, bitcast=True)
    return tl.where(n < -125.0, 0.0, e)


@triton.jit
def exp_minus_abs_or_nan(x):
    """Of a NaN one, as of a GPU's, all of whose bits are set, exp_minus_abs makes a number."""
    return tl.where(x == x, exp_minus_abs(x), x)


@triton.jit
def log1p_over(e):
    """log(1 + e) / e on [0, 1]."""
    poly = tl.zeros_like(e) + 5.36542246e-3
    poly = poly * e + -3.00683007e-2
    poly = poly * e + 7.92088285e-2
    poly = poly * e + -1.37541875e-1
    poly = poly * e + 1.91538483e-1
    poly = poly * e + -2.48572171e-1
    poly = poly * e + 3.33213300e-1
    poly = poly * e + -4.99996483e-1
    return 1.0 + e * poly


@triton.jit
def softplus(x):
    """log(1 + exp(x)), within 4 ulp; 0 for x < -86.99. Of a NaN one."""
    e = exp_minus_abs(x)
    return tl.where(x < 0.0, 0.0, x) + e * log1p_over(e)


@triton.jit
def log_float(a):
    """log(a), a normal, positive and finite."""
    above = a.to(tl.uint32, bitcast=True) - 0x3F400000  # of 3/4, where the fraction begins
    n = (above.to(tl.int32, bitcast=True) >> 23).to(tl.float32)
    f = ((above & 0x7FFFFF) + 0x3F400000).to(tl.float32, bitcast=True) - 1.0
    poly = tl.zeros_like(f) + 5.35769612e-2
    poly = poly * f + -1.19691581e-1
    poly = poly * f + 1.49208874e-1
    poly = poly * f + -1.68127716e-1
    poly = poly * f + 1.99827999e-1
    poly = poly * f + -2.49953866e-1
    poly = poly * f + 3.33334506e-1
    return (f + (f * f) * (f * poly - 0.5)) + n * 0.693147182


@triton.jit
def softplus_over(x, e):
    """softplus(x) where x is positive, else log1p(e) / e, of e = exp(-|x|); for 0 both are the same. Of a NaN one."""
    g = log1p_over(e)
    return tl.where(x < 0.0, g, x + e * g)


@triton.jit
def log_softplus(x):
    """log(softplus(x)), finite for every finite x."""
    return tl.where(x > 0.0, 0.0, x) + log_float(softplus_over(x, exp_minus_abs(x)))


@triton.jit
def softplus_over_sigmoid(x):
    """(1 + exp(-x)) softplus(x), 1 over the derivative of log softplus: 1 for very negative x."""
    e = exp_minus_abs(x)
    over = softplus_over(x, e)
    return over + e * over


# ---- float64 ------------------------------------------------------------------------------------------------------


@triton.jit
def _log_reduced(f, k, correction):
    s = f / (2.0 + f)
    z = s * s
    poly = tl.zeros_like(z) + 0.13086767009948175
    poly = poly * z + 0.13268759668560612
    poly = poly * z + 0.15386240205813478
    poly = poly * z + 0.18181795630884753
    poly = poly * z + 0.2222222239180047
    poly = poly * z + 0.2857142857080323
    poly = poly * z + 0.4000000000000088
    poly = poly * z + 0.6666666666666666
    half_square = (0.5 * f) * f
    tail = s * (half_square + z * poly) + (k * 1.9082149292705877e-10 + correction)
    return k * 0.6931471803691238 - ((half_square - tail) - f)


@triton.jit
def _split(a):
    """(k, m): a = 2^k m, m in [sqrt(1/2), sqrt(2))."""
    bits = a.to(tl.int64, bitcast=True)
    k = (bits - 0x3FE6A09E667F3BCD) >> 52
    return k, (bits - (k << 52)).to(tl.float64, bitcast=True)


@triton.jit
def log(a):
    """log(a), a normal, positive and finite."""
    k, m = _split(a)
    return _log_reduced(m - 1.0, k.to(tl.float64), tl.zeros_like(a))


@triton.jit
def log1p(a):
    """log(1 + a), finite a > -1."""
    u = 1.0 + a
    k, m = _split(u)
    lost = tl.where(a > 1.0, 1.0 - (u - a), a - (u - 1.0)) / u
    return _log_reduced(tl.where(k == 0, a, m - 1.0), k.to(tl.float64), tl.where(k == 0, 0.0, lost))


@triton.jit
def exp(a):
    """exp(a); 0 for a < -708, infinity above 709."""
    t = tl.where(a < -708.0, -708.0, tl.where(a > 709.0, 709.0, a))
    shifted = t * 1.4426950408889634 + 6755399441055744.0
    n = shifted - 6755399441055744.0
    r = (t - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    poly = tl.zeros_like(r) + 1.608662795678037e-10
    poly = poly * r + 2.0918137737642736e-09
    poly = poly * r + 2.505207109429355e-08
    poly = poly * r + 2.75572632790885e-07
    poly = poly * r + 2.755731924721873e-06
    poly = poly * r + 2.4801587336442236e-05
    poly = poly * r + 0.00019841269841263298
    poly = poly * r + 0.0013888888888879073
    poly = poly * r + 0.008333333333333333
    poly = poly * r + 0.04166666666666668
    poly = poly * r + 0.16666666666666666
    poly = poly * r + 0.5
    scale = ((shifted.to(tl.int64, bitcast=True) + 1023) << 52).to(tl.float64, bitcast=True)
    e = (1.0 + (r + (r * r) * poly)) * scale
    return tl.where(a < -708.0, 0.0, tl.where(a > 709.0, float("inf"), e))


@triton.jit
def log_one_plus(a):
    """log(1 + a), finite a >= 0."""
    k, m = _split(1.0 + a)
    return _log_reduced(tl.where(k == 0, a, m - 1.0), k.to(tl.float64), tl.zeros_like(a))


@triton.jit
def stirling_of(y):
    """Stirling's correction at 1 / y >= 8."""
    z = y * y
    poly = tl.zeros_like(z) + -0.0019175269175269176
    poly = poly * z + 0.0008417508417508417
    poly = poly * z + -0.0005952380952380953
    poly = poly * z + 0.0007936507936507937
    poly = poly * z + -0.002777777777777778
    poly = poly * z + 0.08333333333333333
    return y * poly


@triton.jit
def stirling_correction(x):
    """log Gamma(x) - ((x - 1/2) log x - x + log(2 pi) / 2) for whole x >= 1."""
    c = stirling_of(1.0 / x)
    if tl.min(x, 0) < 16.0:  # what the header reads from a table
        c = tl.where(x < 1.0, 0.0, c)
        c = tl.where(x == 1.0, 0.08106146679532726, c)
        c = tl.where(x == 2.0, 0.0413406959554093, c)
        c = tl.where(x == 3.0, 0.02767792568499834, c)
        c = tl.where(x == 4.0, 0.020790672103765093, c)
        c = tl.where(x == 5.0, 0.016644691189821193, c)
        c = tl.where(x == 6.0, 0.013876128823070748, c)
        c = tl.where(x == 7.0, 0.01189670994589177, c)
        c = tl.where(x == 8.0, 0.010411265261972096, c)
        c = tl.where(x == 9.0, 0.009255462182712733, c)
        c = tl.where(x == 10.0, 0.00833056343336287, c)
        c = tl.where(x == 11.0, 0.007573675487951841, c)
        c = tl.where(x == 12.0, 0.00694284010720953, c)
        c = tl.where(x == 13.0, 0.006408994188004207, c)
        c = tl.where(x == 14.0, 0.0059513701127588475, c)
        c = tl.where(x == 15.0, 0.005554733551962801, c)
    return c


@triton.jit
def deviance(x, mean, d):
    """x log(x / mean) - (x - mean), with d = x - mean given."""
    v = d / (x + mean)
    z = v * v
    poly = tl.zeros_like(z) + 0.058823529411764705
    poly = poly * z + 0.06666666666666667
    poly = poly * z + 0.07692307692307693
    poly = poly * z + 0.09090909090909091
    poly = poly * z + 0.1111111111111111
    poly = poly * z + 0.14285714285714285
    poly = poly * z + 0.2
    poly = poly * z + 0.3333333333333333
    series = d * v + (((2.0 * x) * v) * z) * poly
    return tl.where((v < exact(0.1)) & (v > exact(-0.1)), series, x * log(x / mean) - d)


@triton.jit
def bits53(high, low):
    """Two uint32 words as one integer of 53 bits."""
    return (high.to(tl.int64) << 21) | (low >> 11).to(tl.int64)


@triton.jit
def uniform_from_zero(bits):
    """[0, 1)"""
    return bits.to(tl.float64) * 1.1102230246251565e-16


@triton.jit
def uniform_to_one(bits):
    """(0, 1]"""
    return (bits + 1).to(tl.float64) * 1.1102230246251565e-16


@triton.jit
def uniform_centred(bits):
    """(-1/2, 1/2), symmetric and never 0."""
    return ((bits - 4503599627370496).to(tl.float64) + 0.5) * 1.1102230246251565e-16


@triton.jit
def floor_to_int(y):
    """floor(y) as int64, |y| < 2^62."""
    truncated = y.to(tl.int64)
    return truncated - (truncated.to(tl.float64) > y).to(tl.int64)
