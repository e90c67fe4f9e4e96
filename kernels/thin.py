"""thin in Triton: x_t ~ Binomial(x_0, p), births = x_0 - x_t, model_input = (x_t - center) * scale, in one pass."""

from __future__ import annotations

from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from .binomial import any_draw
from .checks import check_sample, clean_prob, report
from .draw import draw, load_counts, load_key, place, rounded, span
from .launch import as_rows, on, registers
from .table import _WORDS, draw_options, slices, tables, with_step

__all__ = ["thin"]
_DRAW = tl.constexpr(int(Stream.THIN_DRAW))
_ELEMENT = tl.constexpr(int(Stream.THIN_ELEMENT))


@triton.jit(do_not_specialize=["elements", "step", "max_count", "row_0"])
def thin_kernel(
    x_0, x_t, births, model_input, p, q, center, scale, table, key, flag, layout,
    elements, step, max_count, row_0,
    WIDE: tl.constexpr, BOUNDED: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr,
    BLOCK: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """PARTS blocks of one sample a program. step: 1 with a probability (and table) a row, 0 with one for all."""
    row, first, elements = span(elements, BLOCK, PARTS, ALIGNED)
    lane = tl.arange(0, BLOCK)
    seed, counter = load_key(key, row_0 + row)
    inside, complement, _wrong = clean_prob(tl.load(p + row * step), tl.load(q + row * step))
    own = table + (row * step).to(tl.int64) * _WORDS
    center, scale = tl.load(center + row), tl.load(scale + row)
    if first == 0:
        check_sample(flag, key, row_0 + row, None, center, scale)
    for _ in range(PARTS):
        valid = lane < (elements - first)
        at = place(x_0, row, first, lane, elements, layout, 0, 4, DIMS)
        n, bad = load_counts(at, valid, max_count, BOUNDED)
        bits = tl.where(bad & valid, 1, 0)
        if WIDE:
            n = n.to(tl.int64)
            k = any_draw(n, valid, first, own, inside, complement, seed, counter, _DRAW, _ELEMENT, BLOCK)
        else:
            n = n.to(tl.int32)
            k = draw(n, valid, first, own, inside, seed, counter, _DRAW, BLOCK)
        if not BOUNDED:
            report(flag, bits)
        if x_t is not None:
            to = place(x_t, row, first, lane, elements, layout, 1, 4, DIMS)
            tl.store(to, k.to(x_t.dtype.element_ty), mask=valid)
        if births is not None:
            to = place(births, row, first, lane, elements, layout, 2, 4, DIMS)
            tl.store(to, (n - k).to(births.dtype.element_ty), mask=valid)
        if model_input is not None:
            value = (k.to(tl.float32) - center) * scale
            to = place(model_input, row, first, lane, elements, layout, 3, 4, DIMS)
            tl.store(to, rounded(value, model_input.dtype.element_ty), mask=valid)
        first += BLOCK


def thin(
    x_0: Tensor, p: Tensor, q: Tensor, key: Tensor, max_count: int, center: Tensor, scale: Tensor, *made: Any
) -> None:
    """x_t ~ Binomial(x_0, p), births = x_0 - x_t, model_input = (x_t - center) * scale."""
    *outputs, flag = made
    arrays = as_rows(x_0, *outputs)
    if x_0.numel() == 0:
        return
    *pair, step = with_step(p, q)
    programs, sizes, options = draw_options("thin", arrays, max_count)
    options |= registers(152) if options["WIDE"] else {}
    with on(x_0):
        for first, samples, given in slices([*arrays, *pair, center, scale], step == 1):
            table, _ = tables(flag, max_count, (*given[4:6], step))
            thin_kernel[(samples * programs,)](*given, table, key, flag, *sizes, step, max_count, first, **options)
