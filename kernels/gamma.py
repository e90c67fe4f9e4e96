"""Gamma draws with a shape for each element in Triton: the twin of csrc/include/fastblackout/gamma.h to the bit."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from . import portfloat as pf
from .checks import report_numbers
from .draw import drawn_block, load_key, place, words, write
from .launch import launch_draw
from .normal import standard_normal

__all__ = ["gamma"]
_GAMMA = tl.constexpr(int(Stream.GAMMA))
_BOOST = tl.constexpr(int(Stream.GAMMA_BOOST))
_LEAST, _MOST = tl.constexpr(1e-300), tl.constexpr(1e300)


@triton.jit
def good_shape(a):
    return (a >= pf.exact(_LEAST)) & (a <= pf.exact(_MOST))


@triton.jit
def _log_ratio(d, e):
    """3 d (log1p(e) - e + e^2 / 2 - e^3 / 3), e > -1."""
    q = e * e
    series = tl.zeros_like(e) + 0.0625
    series = series * e + -0.06666666666666667
    series = series * e + 0.07142857142857142
    series = series * e + -0.07692307692307693
    series = series * e + 0.08333333333333333
    series = series * e + -0.09090909090909091
    series = series * e + 0.1
    series = series * e + -0.1111111111111111
    series = series * e + 0.125
    series = series * e + -0.14285714285714285
    series = series * e + 0.16666666666666666
    series = series * e + -0.2
    series = series * e + 0.25
    far = pf.log1p(e) - (e - q * (0.5 - e * 0.3333333333333333))
    return (3.0 * d) * tl.where((e < 0.125) & (e > -0.125), 0.0 - (q * q) * series, far)


@triton.jit
def magnitudes(a, i, live, seed, counter, STREAM: tl.constexpr):
    """m of G = m exp(s) for a block of good shapes; lanes that are not live give anything."""
    d = tl.where(a < 1.0, a + 0.6666666666666666, a - 0.3333333333333333)
    c = 1.0 / (3.0 * tl.sqrt(d))
    m = d
    undecided = live
    trial = 0
    while (tl.max(undecided.to(tl.int32), 0) > 0) & (trial < 1024):
        sub = (trial + tl.zeros_like(i).to(tl.int32)).to(tl.uint32) | (STREAM << 24)
        w0, w1, w2, w3 = words(i, sub, seed, counter)
        e = c * standard_normal(w0, w1)
        v = pf.uniform_to_one(pf.bits53(w2, w3))
        q = e * e
        accepted = undecided & (e >= -0.5) & (v <= 1.0 - (1.28 * d) * (q * q))
        unsure = undecided & (e > -1.0) & (accepted == 0)
        if tl.max(unsure.to(tl.int32), 0) > 0:
            accepted = accepted | (unsure & (pf.log(v) <= _log_ratio(d, tl.where(unsure, e, 0.0))))
        w = 1.0 + e
        m = tl.where(accepted, d * ((w * w) * w), m)
        undecided = undecided & (accepted == 0)
        trial += 1
    return m


@triton.jit
def boost_words(i, seed, counter, STREAM: tl.constexpr):
    """The four words of an element's boosts."""
    w0, w1, w2, w3 = words(i, STREAM << 24, seed, counter)
    return w0, w1, w2, w3


@triton.jit
def exponents(a, high, low):
    """s of G = m exp(s): log(U) / a where a < 1, U of two words."""
    v = (high & 0x7FFFFFFF).to(tl.float64) * 2.3283064365386963e-10 + (low.to(tl.float64) + 0.5) * 5.421010862427522e-20
    log_uniform = tl.where((high >> 31) == 1, pf.log(v), pf.log1p(0.0 - v))
    return tl.where(a < 1.0, log_uniform / a, 0.0)


@triton.jit
def gamma_block(a, scale, i, valid, seed, counter, STREAM: tl.constexpr, BOOST: tl.constexpr):
    """scale times Gamma(a), float64, for a block of good shapes."""
    m = magnitudes(a, i, valid, seed, counter, STREAM)
    s = tl.zeros_like(a)
    if tl.min(a, 0) < 1.0:
        w0, w1, w2, w3 = boost_words(i, seed, counter, BOOST)
        s = exponents(a, w0, w1)
    half = pf.exp(0.5 * s)
    return (scale * half) * (m * half)


@triton.jit(do_not_specialize=["elements"])
def gamma_kernel(
    shape, scale, out, key, flag, layout, elements,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    a = tl.load(place(shape, row, first, lane, elements, layout, 0, 3, DIMS), mask=valid, other=1.0).to(tl.float64)
    width = tl.load(place(scale, row, first, lane, elements, layout, 1, 3, DIMS), mask=valid, other=0.0).to(tl.float64)
    good = good_shape(a)
    report_numbers(flag, valid & ((good & (width >= 0.0) & (width - width == 0.0)) == 0))
    safe = tl.where(good, a, 1.0)
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    x = tl.where(good, gamma_block(safe, width, i, valid, seed, counter, _GAMMA, _BOOST), float("nan"))
    write(out, place(out, row, first, lane, elements, layout, 2, 3, DIMS), x, valid)


def gamma(shape: Tensor, scale: Tensor, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """scale times Gamma(shape), element by element."""
    launch_draw("gamma", gamma_kernel, [shape, scale, out], key, flag)
