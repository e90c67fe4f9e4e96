"""Tau-leaping in Triton: x_s = x_t + min(Poisson(y factor), max_count - x_t), and the next model input."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from .checks import check_sample, report
from .draw import load_counts, load_key, own_block, place
from .launch import as_rows, bounded, on, per_element
from .poisson import _MAX_RATE, poisson_block
from .steps import expected_births, store_step

__all__ = ["tau_leap_step"]
_TAU_LEAP = tl.constexpr(int(Stream.TAU_LEAP))


@triton.jit(do_not_specialize=["elements", "max_count"])
def tau_leap_kernel(
    x_t, logits, births, x_s, model_input, overshoot, factor, gain, center, scale, key, flag, layout,
    elements, max_count,
    BOUNDED: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """overshoot: int64 (B,), zero before; each program adds its elements that were clamped."""
    row, first, elements, lane, valid = own_block(elements, BLOCK, ALIGNED)
    x, bad = load_counts(place(x_t, row, first, lane, elements, layout, 0, 4, DIMS), valid, max_count, BOUNDED)
    x = x.to(tl.int64)
    gain, center, scale = tl.load(gain + row), tl.load(center + row), tl.load(scale + row)
    if first == 0:
        check_sample(flag, key, row, gain, center, scale)
    at = place(logits if births is None else births, row, first, lane, elements, layout, 1, 4, DIMS)
    y, bits = expected_births(at, gain, valid, births is not None)
    leap = tl.load(factor + row)
    wrong = ((leap >= 0.0) & (leap < float("inf"))) == 0
    report(flag, bits | tl.where(bad & valid, 1, 0) | tl.where(wrong & valid, 8, 0))
    rate = y.to(tl.float64) * leap
    rate = tl.where(rate > 0.0, tl.where(rate < _MAX_RATE, rate, _MAX_RATE), 0.0)
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    drawn = poisson_block(rate, i, valid, seed, counter, _TAU_LEAP)
    room = max_count - x
    clamped = tl.sum(tl.where(valid & (drawn > room), 1, 0), 0)
    if clamped > 0:
        tl.atomic_add(overshoot + row, clamped.to(tl.int64), sem="relaxed")
    x += tl.minimum(drawn, room)
    store_step(x, x_s, model_input, center, scale, row, first, lane, elements, layout, valid, 2, 4, DIMS)


def tau_leap_step(
    x_t: Tensor, logits: Tensor | None, births: Tensor | None, factor: Tensor, key: Tensor, max_count: int,
    gain: Tensor, center: Tensor, scale: Tensor, *made: Any,
) -> None:  # fmt: skip
    """x_s = x_t + min(Poisson(y factor), max_count - x_t). overshoot: int64 (B,), added to: pass zeros."""
    x_s, model_input, overshoot, flag = made
    x_t, logits, births, x_s, model_input = arrays = as_rows(x_t, logits, births, x_s, model_input)
    if x_t.numel() == 0:
        return
    laid = [x_t, births if logits is None else logits, x_s, model_input]
    grid, sizes, options = per_element("tau_leap_step", laid, BOUNDED=bounded(x_t, max_count))
    numbers = factor.contiguous(), gain, center, scale
    with on(x_t):
        tau_leap_kernel[grid](*arrays, overshoot, *numbers, key, flag, *sizes, max_count, **options)
