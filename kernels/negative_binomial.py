"""Poisson(mean / r Gamma(r)) in Triton: the twin of fastblackout/reference/negative_binomial.py to the bit."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from .checks import check_sample, report
from .draw import load_key, place, span
from .gamma import gamma_block, good_shape
from .launch import as_rows, on, per_element
from .poisson import _MAX_RATE, poisson_block

__all__ = ["negative_binomial"]
_GAMMA = tl.constexpr(int(Stream.NEGATIVE_BINOMIAL_GAMMA))
_BOOST, _DRAW = tl.constexpr(int(Stream.NEGATIVE_BINOMIAL_BOOST)), tl.constexpr(int(Stream.NEGATIVE_BINOMIAL))


@triton.jit(do_not_specialize=["elements"])
def negative_binomial_kernel(
    r, mean, out, key, flag, layout, elements, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr
):
    row, first, elements = span(elements, BLOCK, 1, ALIGNED)
    lane = tl.arange(0, BLOCK)
    valid = lane < (elements - first)
    if first == 0:
        check_sample(flag, key, row, None, None, None)
    shape = tl.load(place(r, row, first, lane, elements, layout, 0, 3, DIMS), mask=valid, other=1.0).to(tl.float64)
    given = tl.load(place(mean, row, first, lane, elements, layout, 1, 3, DIMS), mask=valid, other=0.0).to(tl.float64)
    good, bad = good_shape(shape), ((given >= 0.0) & (given <= _MAX_RATE)) == 0
    if tl.max((valid & (good == 0)).to(tl.int32), 0) > 0:
        tl.atomic_or(flag, 16, sem="relaxed")
    report(flag, tl.where(valid & bad, 8, 0))
    shape = tl.where(good, shape, 1.0)
    clean = tl.where(given > 0.0, tl.where(given < _MAX_RATE, given, _MAX_RATE), 0.0)
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    rate = gamma_block(shape, clean, i, valid, seed, counter, _GAMMA, _BOOST) / shape
    k = poisson_block(tl.where(rate < _MAX_RATE, rate, _MAX_RATE), i, valid, seed, counter, _DRAW)
    tl.store(place(out, row, first, lane, elements, layout, 2, 3, DIMS), k.to(out.dtype.element_ty), mask=valid)


def negative_binomial(r: Tensor, mean: Tensor, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """Poisson(mean / r Gamma(r)), element by element."""
    r, mean, out = arrays = as_rows(r, mean, out)
    if r.numel() == 0:
        return
    grid, sizes, options = per_element("negative_binomial", arrays)
    with on(r):
        negative_binomial_kernel[grid](*arrays, key, flag, *sizes, **options)
