"""Hypergeometric draws in Triton: the twin of fastblackout/reference/hypergeometric.py to the bit."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from . import portfloat as pf
from .binomial import few_of, load_whole
from .checks import report
from .draw import drawn_block, load_key, place, words
from .launch import launch_draw, registers

__all__ = ["hypergeometric"]
_DRAW, _ACCEPT = tl.constexpr(int(Stream.HYPERGEOMETRIC)), tl.constexpr(int(Stream.HYPERGEOMETRIC_ACCEPT))
_MOST_BALLS = tl.constexpr(1 << 53)
_ATTEMPT_SHIFT = tl.constexpr(10)


@triton.jit
def _level(j, count, mean_1, mean_2):
    """Of a chance: x_1 x_2, and the exponent."""
    x_1, x_2 = j + 1.0, (count - j) + 1.0
    d = x_1 - mean_1
    deviances = pf.deviance(x_1, mean_1, d) + pf.deviance(x_2, mean_2, 0.0 - d)
    return x_1 * x_2, deviances + (pf.stirling_correction(x_1) + pf.stirling_correction(x_2))


@triton.jit
def _attempts(s, large, balls, i, live, seed, counter):
    """The number of balls in both smaller parts, s of at least 1; lanes that are not live give anything."""
    p, q = large.to(tl.float64) / balls.to(tl.float64), (balls - large).to(tl.float64) / balls.to(tl.float64)
    count = (balls - s).to(tl.float64)
    mean_1, mean_2 = (count + 2.0) * p, (count + 2.0) * q
    top_both, top_level = _level(((count + 1.0) * p).to(tl.int64).to(tl.float64), count, mean_1, mean_2)
    drawn = tl.zeros_like(s)
    undecided = live
    attempt = 0
    while (tl.max(undecided.to(tl.int32), 0) > 0) & (attempt < 64):
        k = few_of(s, p, q, i, undecided, seed, counter, _DRAW, attempt << _ATTEMPT_SHIFT)
        k = tl.where(undecided, k, 0)
        sub = (attempt + tl.zeros_like(i).to(tl.int32)).to(tl.uint32) | (_ACCEPT << 24)
        w0, w1, w2, w3 = words(i, sub, seed, counter)
        v = pf.uniform_to_one(pf.bits53(w0, w1))
        both, level = _level((large - k).to(tl.float64), count, mean_1, mean_2)
        drawn = tl.where(undecided, k, drawn)
        undecided = undecided & ((pf.log(v * tl.sqrt(top_both / both)) <= top_level - level) == 0)
        attempt += 1
    return drawn


@triton.jit(do_not_specialize=["elements"])
def hypergeometric_kernel(
    good, bad, draws, out, key, flag, layout, elements, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr
):
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    white, wrong_white = load_whole(place(good, row, first, lane, elements, layout, 0, 4, DIMS), valid)
    black, wrong_black = load_whole(place(bad, row, first, lane, elements, layout, 1, 4, DIMS), valid)
    taken, wrong_taken = load_whole(place(draws, row, first, lane, elements, layout, 2, 4, DIMS), valid)
    many = black > _MOST_BALLS - white
    black = tl.where(many, _MOST_BALLS - white, black)
    balls = white + black
    more = taken > balls
    taken = tl.where(more, balls, taken)
    report(flag, tl.where(valid & (wrong_white | wrong_black | wrong_taken | many | more), 1, 0))
    fewer, smaller = tl.minimum(white, black), tl.minimum(taken, balls - taken)
    s, large = tl.minimum(fewer, smaller), tl.maximum(fewer, smaller)
    few_white, few_taken = white <= black, taken <= balls - taken
    start = tl.where(few_taken, tl.where(few_white, 0, smaller), tl.where(few_white, white, white - smaller))
    falls = few_white != few_taken  # with k, from the start: fewer numbers to keep than the four above
    some = valid & (s > 0)
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    # Lanes without a draw run along and draw one of two balls, so that no NaN or infinity comes up.
    k = _attempts(tl.where(some, s, 1), tl.where(some, large, 1), tl.where(some, balls, 2), i, some, seed, counter)
    k = tl.where(some, k, 0)
    k = tl.where(falls, start - k, start + k)
    tl.store(place(out, row, first, lane, elements, layout, 3, 4, DIMS), k.to(out.dtype.element_ty), mask=valid)


def hypergeometric(good: Tensor, bad: Tensor, draws: Tensor, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """Good balls among `draws` of good + bad ones, element by element."""
    launch_draw("hypergeometric", hypergeometric_kernel, [good, bad, draws, out], key, flag, **registers(168))
