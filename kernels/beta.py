"""Beta draws with both shapes for each element in Triton: the twin of csrc/include/fastblackout/gamma.h to the bit."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from . import portfloat as pf
from .checks import report_numbers
from .draw import drawn_block, load_key, place
from .gamma import boost_words, exponents, good_shape, magnitudes, write
from .launch import launch_draw

__all__ = ["beta"]
_A, _B = tl.constexpr(int(Stream.BETA_A)), tl.constexpr(int(Stream.BETA_B))
_BOOST = tl.constexpr(int(Stream.BETA_BOOST))


@triton.jit
def beta_pair(m_a, m_b, apart):
    """(p, q) of two gamma draws m_a exp(s_a) and m_b exp(s_b), apart = s_b - s_a."""
    less_a = apart > 0.0
    x = pf.exp(0.0 - tl.abs(apart))
    g_a, g_b = tl.where(less_a, m_a * x, m_a), tl.where(less_a, m_b, m_b * x)
    total = g_a + g_b
    return g_a / total, g_b / total


@triton.jit
def beta_block(a, b, i, valid, seed, counter, A: tl.constexpr, B: tl.constexpr, BOOST: tl.constexpr):
    """(p, q), p ~ Beta(a, b) and q = 1 - p, float64, for a block of good shapes. A, B, BOOST: streams."""
    m_a, m_b = magnitudes(a, i, valid, seed, counter, A), magnitudes(b, i, valid, seed, counter, B)
    apart = tl.zeros_like(a)
    if tl.min(tl.minimum(a, b), 0) < 1.0:
        w0, w1, w2, w3 = boost_words(i, seed, counter, BOOST)
        apart = exponents(b, w2, w3) - exponents(a, w0, w1)
    p, q = beta_pair(m_a, m_b, apart)
    return p, q


@triton.jit
def load_shapes(at_a, at_b, valid, flag):
    """(a, b, whether both are good shapes), 1 where they are not, which sets bit 16 of the flag."""
    a, b = tl.load(at_a, mask=valid, other=1.0).to(tl.float64), tl.load(at_b, mask=valid, other=1.0).to(tl.float64)
    good = good_shape(a) & good_shape(b)
    report_numbers(flag, valid & (good == 0))
    return tl.where(good, a, 1.0), tl.where(good, b, 1.0), good


@triton.jit(do_not_specialize=["elements"])
def beta_kernel(a, b, out, key, flag, layout, elements, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr):
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    at_a = place(a, row, first, lane, elements, layout, 0, 3, DIMS)
    shape_a, shape_b, good = load_shapes(at_a, place(b, row, first, lane, elements, layout, 1, 3, DIMS), valid, flag)
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    p, q = beta_block(shape_a, shape_b, i, valid, seed, counter, _A, _B, _BOOST)
    x = tl.where(good, p, float("nan"))
    write(out, place(out, row, first, lane, elements, layout, 2, 3, DIMS), x, valid)


def beta(a: Tensor, b: Tensor, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """Beta(a, b), element by element."""
    launch_draw("beta", beta_kernel, [a, b, out], key, flag)
