"""The law "negative-binomial" of a head in Triton: the twin of csrc/include/fastblackout/negative_binomial_law.h to the
bit."""

from __future__ import annotations

import triton
import triton.language as tl

from ..reference.philox import Stream
from . import factorials
from . import portfloat as pf
from .gamma import gamma_block
from .poisson import _MAX_RATE, poisson_block

_GAMMA, _BOOST = tl.constexpr(int(Stream.POSTERIOR_A)), tl.constexpr(int(Stream.POSTERIOR_BOOST))
_ELEMENT = tl.constexpr(int(Stream.POSTERIOR_ELEMENT))


@triton.jit
def _time(given, most):
    """(log(1 - p), 1 - p, p, log(most) / 2) of a sample"""
    offset = tl.where(given < 0.0, given, 0.0)
    gone = pf.exp(offset)
    near, less = offset > -0.5, gone < 1.0
    quotient = (1.0 - gone) * (offset / pf.log(tl.where(near & less, gone, 0.5)))
    alive = tl.where(near, tl.where(less, quotient, 0.0 - offset), 1.0 - gone)
    return offset, gone, alive, 0.5 * pf.log(tl.where(most < 1.0, 1.0, most))


@triton.jit
def _law(head_0, head_1, x, given, most):
    """(r, size, r / m, log share, theta, whether the clamp of log m changes nothing, and the same of log r)"""
    offset, gone, alive, middle = _time(given, most)
    wide_mean, wide_size = middle + head_0, head_1 + 1.0
    log_mean = tl.where(wide_mean > -12.0, tl.where(wide_mean < 36.0, wide_mean, 36.0), -12.0)
    log_size = tl.where(wide_size > -7.0, tl.where(wide_size < 16.0, wide_size, 16.0), -7.0)
    r, e = pf.exp(log_size), pf.exp(log_size - log_mean)
    log_share, theta = offset - pf.log_one_plus(e), gone / (e + alive)
    return r, r + x, e, log_share, theta, log_mean == wide_mean, log_size == wide_size


@triton.jit
def loss(head_0, head_1, offset, x, n, most):
    """-log P(n)"""
    r, size, e, log_share, theta, free_mean, free_size = _law(head_0, head_1, x, offset, most)
    total, above, below = factorials.rising(size, tl.where(n < 1.0, 1.0, n))
    some = (n * log_share + total) + pf.log(size * (above / below))
    born = tl.where(n < 1.0, 0.0, some - factorials.log_factorial(n))
    whole = size * pf.log_one_plus(theta) - born
    return tl.where(whole > 0.0, whole, 0.0)


@triton.jit
def slopes(head_0, head_1, offset, x, n, most):
    """The derivatives of -log P(n) by both arrays of the head."""
    r, size, e, log_share, theta, free_mean, free_size = _law(head_0, head_1, x, offset, most)
    by_mean = (e / (1.0 + e)) * (size * theta - n)
    rises = (r / size) * factorials.rising_slope(size, n)
    by_size = (r * pf.log_one_plus(theta) - rises) - by_mean
    return tl.where(free_mean, by_mean, 0.0), tl.where(free_size, by_size, 0.0)


@triton.jit
def births(head_0, head_1, offset, x, born, max_count, i, valid, seed, counter):
    """The births of a step, drawn; x: int64 counts"""
    r, size, e, log_share, theta, free_mean, free_size = _law(
        head_0, head_1, x.to(tl.float64), offset, max_count.to(tl.float64)
    )
    rate = gamma_block(size, theta * born, i, valid, seed, counter, _GAMMA, _BOOST)
    drawn = poisson_block(tl.where(rate < _MAX_RATE, rate, _MAX_RATE), i, valid, seed, counter, _ELEMENT)
    room = max_count - x
    return tl.where(drawn < room, drawn, room)
