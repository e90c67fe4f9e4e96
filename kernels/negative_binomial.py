"""Poisson(mean / r Gamma(r)) in Triton: the twin of fastblackout/reference/negative_binomial.py to the bit."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from .checks import report, report_numbers
from .draw import drawn_block, load_key, place
from .gamma import gamma_block, good_shape
from .launch import launch_draw
from .poisson import _MAX_RATE, clean_rate, load_rate, poisson_block

__all__ = ["negative_binomial"]
_GAMMA = tl.constexpr(int(Stream.NEGATIVE_BINOMIAL_GAMMA))
_BOOST, _DRAW = tl.constexpr(int(Stream.NEGATIVE_BINOMIAL_BOOST)), tl.constexpr(int(Stream.NEGATIVE_BINOMIAL))


@triton.jit(do_not_specialize=["elements"])
def negative_binomial_kernel(
    r, mean, out, key, flag, layout, elements, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr
):
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    shape = tl.load(place(r, row, first, lane, elements, layout, 0, 3, DIMS), mask=valid, other=1.0).to(tl.float64)
    given, bad = load_rate(place(mean, row, first, lane, elements, layout, 1, 3, DIMS), valid)
    good = good_shape(shape)
    report_numbers(flag, valid & (good == 0))
    report(flag, tl.where(valid & bad, 8, 0))
    shape, clean = tl.where(good, shape, 1.0), clean_rate(given)
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    rate = gamma_block(shape, clean, i, valid, seed, counter, _GAMMA, _BOOST) / shape
    k = poisson_block(tl.where(rate < _MAX_RATE, rate, _MAX_RATE), i, valid, seed, counter, _DRAW)
    tl.store(place(out, row, first, lane, elements, layout, 2, 3, DIMS), k.to(out.dtype.element_ty), mask=valid)


def negative_binomial(r: Tensor, mean: Tensor, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """Poisson(mean / r Gamma(r)), element by element."""
    launch_draw("negative_binomial", negative_binomial_kernel, [r, mean, out], key, flag)
