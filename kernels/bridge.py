"""The binomial bridge in Triton: x_s = x_t + Binomial(N, p) - Binomial(x_t, sigma), and the next model input."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from .binomial import any_draw
from .checks import check_sample, clean_prob, report
from .draw import draw, load_counts, load_key, place, round_births, rounded, span
from .launch import as_rows, on, registers
from .steps import expected_births
from .table import _WORDS, draw_options, slices, tables, with_step

__all__ = ["bridge_step"]
_DRAW = tl.constexpr(int(Stream.BRIDGE_DRAW))
_ELEMENT = tl.constexpr(int(Stream.BRIDGE_ELEMENT))
_FALL_DRAW = tl.constexpr(int(Stream.ATTRITION_DRAW))
_FALL_ELEMENT = tl.constexpr(int(Stream.ATTRITION_ELEMENT))
_ROUNDING = tl.constexpr(int(Stream.ROUNDING))


@triton.jit(do_not_specialize=["elements", "step", "sigma_step", "sigma_row", "max_count", "row_0"])
def bridge_kernel(
    x_t, logits, births, x_s, model_input, p, q, sigma_p, sigma_q, gain, center, scale, table, key, flag, layout,
    elements, step, sigma_step, sigma_row, max_count, row_0,
    WIDE: tl.constexpr, BOUNDED: tl.constexpr, STOCHASTIC: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr,
    BLOCK: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """PARTS blocks of one sample a program. step, sigma_step: 1 with a probability a row, 0 with one for all; the
    tables of sigma begin at table sigma_row."""
    row, first, elements = span(elements, BLOCK, PARTS, ALIGNED)
    lane = tl.arange(0, BLOCK)
    seed, counter = load_key(key, row_0 + row)
    inside, complement, _wrong = clean_prob(tl.load(p + row * step), tl.load(q + row * step))
    if sigma_p is not None:
        fall, stay, _wrong_fall = clean_prob(tl.load(sigma_p + row * sigma_step), tl.load(sigma_q + row * sigma_step))
        fall_table = table + (sigma_row + row * sigma_step).to(tl.int64) * _WORDS
    own = table + (row * step).to(tl.int64) * _WORDS
    gain = tl.load(gain + row)
    center, scale = tl.load(center + row), tl.load(scale + row)
    if first == 0:
        check_sample(flag, key, row_0 + row, gain, center, scale)
    for _ in range(PARTS):
        valid = lane < (elements - first)
        x, bad = load_counts(place(x_t, row, first, lane, elements, layout, 0, 4, DIMS), valid, max_count, BOUNDED)
        at = place(logits if births is None else births, row, first, lane, elements, layout, 1, 4, DIMS)
        y, bits = expected_births(at, gain, valid, births is not None)
        bits |= tl.where(bad & valid, 1, 0)
        x = x.to(tl.int64) if WIDE else x.to(tl.int32)
        n = round_births(y, max_count - x, first, seed, counter, _ROUNDING, STOCHASTIC, BLOCK)
        n = tl.where(valid, n, 0)
        if WIDE:
            born = any_draw(n, valid, first, own, inside, complement, seed, counter, _DRAW, _ELEMENT, BLOCK)
        else:
            born = draw(n, valid, first, own, inside, seed, counter, _DRAW, BLOCK)
        if sigma_p is not None:
            if WIDE:
                born -= any_draw(
                    x, valid, first, fall_table, fall, stay, seed, counter, _FALL_DRAW, _FALL_ELEMENT, BLOCK
                )
            else:
                born -= draw(x, valid, first, fall_table, fall, seed, counter, _FALL_DRAW, BLOCK)
        report(flag, bits)
        x += born
        if x_s is not None:
            to = place(x_s, row, first, lane, elements, layout, 2, 4, DIMS)
            tl.store(to, x.to(x_s.dtype.element_ty), mask=valid)
        if model_input is not None:
            to = place(model_input, row, first, lane, elements, layout, 3, 4, DIMS)
            tl.store(to, rounded((x.to(tl.float32) - center) * scale, model_input.dtype.element_ty), mask=valid)
        first += BLOCK


def bridge_step(
    x_t: Tensor, logits: Tensor | None, births: Tensor | None, p: Tensor, q: Tensor, sigma_p: Tensor | None,
    sigma_q: Tensor | None, key: Tensor, max_count: int, gain: Tensor, stochastic: bool, center: Tensor, scale: Tensor,
    x_s: Tensor | None, model_input: Tensor | None, flag: Tensor,
) -> None:  # fmt: skip
    """x_s = x_t + Binomial(N, p) - Binomial(x_t, sigma), N = min(round(y), max_count - x_t); and the model input."""
    x_t, logits, births, x_s, model_input = arrays = as_rows(x_t, logits, births, x_s, model_input)
    if x_t.numel() == 0:
        return
    (*pair, step), (*fall, sigma_step) = with_step(p, q), with_step(sigma_p, sigma_q)
    laid = [x_t, births if logits is None else logits, x_s, model_input]
    programs, sizes, options = draw_options("bridge_step", laid, max_count, STOCHASTIC=bool(stochastic))
    options |= registers(168) if options["WIDE"] else {}
    tensors = [*arrays, *pair, *fall, gain, center, scale]
    with on(x_t):
        for first, samples, given in slices(tensors, step + sigma_step > 0):
            table, sigma_row = tables(flag, max_count, (*given[5:7], step), (*given[7:9], sigma_step))
            counts = step, sigma_step, sigma_row, max_count, first
            bridge_kernel[(samples * programs,)](*given, table, key, flag, *sizes, *counts, **options)
