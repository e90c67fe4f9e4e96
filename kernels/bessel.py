"""Draws of the Bessel law in Triton: the twin of fastblackout/reference/bessel.py to the bit."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from . import portfloat as pf
from .binomial import load_whole
from .checks import report
from .draw import drawn_block, load_key, place, words
from .launch import launch_draw
from .poisson import clean_rate, load_rate, poisson_block

__all__ = ["bessel"]
_DRAW, _ACCEPT = tl.constexpr(int(Stream.BESSEL)), tl.constexpr(int(Stream.BESSEL_ACCEPT))
_MOST_ORDER = tl.constexpr(1 << 52)
_ATTEMPT_SHIFT = tl.constexpr(10)


@triton.jit
def _level(x, rate):
    return pf.deviance(x, rate, x - rate) + pf.stirling_correction(x)


@triton.jit
def _attempts(order, argument, i, live, seed, counter):
    """Lanes that are not live give anything."""
    square = argument * argument
    rate_1 = 0.5 * (order + tl.sqrt(order * order + square))
    rate_2 = (0.25 * square) / rate_1
    top = rate_1.to(tl.int64).to(tl.float64) + 1.0
    top_level = _level(top, rate_1)
    drawn = tl.zeros_like(i).to(tl.int64)
    undecided = live
    attempt = 0
    while (tl.max(undecided.to(tl.int32), 0) > 0) & (attempt < 64):
        k = poisson_block(rate_2, i, undecided, seed, counter, _DRAW, attempt << _ATTEMPT_SHIFT)
        k = tl.where(undecided, k, 0)
        sub = (attempt + tl.zeros_like(i).to(tl.int32)).to(tl.uint32) | (_ACCEPT << 24)
        w0, w1, w2, w3 = words(i, sub, seed, counter)
        v = pf.uniform_to_one(pf.bits53(w0, w1))
        x = (order + k.to(tl.float64)) + 1.0
        level = _level(x, rate_1)
        drawn = tl.where(undecided, k, drawn)
        undecided = undecided & ((pf.log(v * tl.sqrt(top / x)) <= top_level - level) == 0)
        attempt += 1
    return drawn


@triton.jit(do_not_specialize=["elements"])
def bessel_kernel(
    order, argument, out, key, flag, layout, elements, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr
):
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    whole, wrong = load_whole(place(order, row, first, lane, elements, layout, 0, 3, DIMS), valid)
    wrong = wrong | (whole > _MOST_ORDER)
    whole = tl.where(whole > _MOST_ORDER, _MOST_ORDER, whole)
    given, bad = load_rate(place(argument, row, first, lane, elements, layout, 1, 3, DIMS), valid)
    clean = clean_rate(given)
    report(flag, tl.where(valid, tl.where(wrong, 1, 0) | tl.where(bad, 8, 0), 0))
    some = valid & (clean >= pf.exact(1e-150))
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    # Lanes without a draw run along at order 0 and argument 1, so that no NaN or infinity comes up.
    k = _attempts(tl.where(some, whole, 0).to(tl.float64), tl.where(some, clean, 1.0), i, some, seed, counter)
    k = tl.where(some, k, 0)
    tl.store(place(out, row, first, lane, elements, layout, 2, 3, DIMS), k.to(out.dtype.element_ty), mask=valid)


def bessel(order: Tensor, argument: Tensor, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """The Bessel law of an order and an argument, element by element."""
    launch_draw("bessel", bessel_kernel, [order, argument, out], key, flag)
