"""categorical by tables of thresholds, and what builds them, in Triton."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from .checks import report
from .draw import drawn_block, load_counts, place
from .launch import INTERPRETED, OPTIONS, as_rows, block_size, on, per_element
from .weights import SMALLEST_TOTAL, checked, first_word, matrix_of, off_one, refined

__all__ = ["build_categorical_table", "categorical_table"]
_DRAW = tl.constexpr(int(Stream.CATEGORICAL))


@triton.jit(do_not_specialize=["elements", "matrices", "rows", "columns"])
def categorical_table_kernel(
    state, thresholds, guide, index, out, key, flag, layout, elements, matrices, rows, columns,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    x, bad = load_counts(place(state, row, first, lane, elements, layout, 0, 2, DIMS), valid, rows - 1, False)
    k, out_of_range = matrix_of(index, row, matrices)
    report(flag, tl.where(valid & (bad | out_of_range), 1, 0))
    i = (first + lane).to(tl.uint32)
    line = k * rows + x.to(tl.int64)
    at, guided = thresholds + line * columns, guide + line * 256
    v = first_word(i, key, row, _DRAW)
    u = v.to(tl.int64) << 16
    part = (v >> 24).to(tl.int32)
    low = tl.load(guided + part, mask=valid, other=0).to(tl.int32)
    high = tl.load(guided + part + 1, mask=valid & (part < 255), other=0).to(tl.int32)
    high = tl.where(valid & (part == 255), columns - 1, high)  # the last threshold is above every uniform
    while tl.max(high - low, 0) > 0:
        middle = (low + high) // 2
        searched = low < high
        below = tl.load(at + middle, mask=searched, other=0) <= u
        low = tl.where(searched & below, middle + 1, low)
        high = tl.where(searched & (below == 0), middle, high)
    tie = valid & ((tl.load(at + low, mask=valid, other=1 << 48) >> 16) == v.to(tl.int64))
    if tl.max(tie.to(tl.int32), 0) > 0:
        u = refined(v, i, key, row, _DRAW)
        more = tie & (tl.load(at + low, mask=tie, other=0) <= u)
        while tl.max(more.to(tl.int32), 0) > 0:
            low = tl.where(more, low + 1, low)
            more = more & (tl.load(at + low, mask=more, other=0) <= u)
    to = place(out, row, first, lane, elements, layout, 1, 2, DIMS)
    tl.store(to, low.to(out.dtype.element_ty), mask=valid)


def categorical_table(
    state: Tensor, thresholds: Tensor, guide: Tensor, index: Tensor | None, key: Tensor, out: Tensor, flag: Tensor
) -> None:
    """`categorical` by the thresholds (K, R, S) int64 and guide (K, R, 256) uint16 of build_categorical_table."""
    state, out = as_rows(state, out)
    if state.numel() == 0:
        return
    grid, sizes, options = per_element("categorical", [state, out], 128)
    with on(state):
        categorical_table_kernel[grid](
            state, thresholds, guide, index, out, key, flag, *sizes, *thresholds.shape, **options
        )


@triton.jit(do_not_specialize=["matrices", "rows", "columns", "step_k", "step_r", "step_c"])
def build_table_kernel(
    probs, thresholds, guide, flag, matrices, rows, columns, step_k, step_r, step_c,
    LINES: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """Thresholds and guide of LINES rows, a lane a row; guides are searched for WIDTH entries of them at a time."""
    line = tl.program_id(0).to(tl.int64) * LINES + tl.arange(0, LINES)
    live = line < rows.to(tl.int64) * matrices
    k = line // rows
    r = line - k * rows
    from_row, to_row = probs + k * step_k + r * step_r, thresholds + line * columns
    total, last = tl.zeros((LINES,), tl.float64), tl.zeros((LINES,), tl.int32)
    wrong = last > 0
    for j in range(columns):
        w, bad = checked(tl.load(from_row + (last * 0 + j).to(tl.int64) * step_c, mask=live, other=0.0).to(tl.float64))
        total += w
        last = tl.where(w > 0.0, j, last)
        wrong = wrong | bad
    wrong = wrong | off_one(total, probs.dtype.element_ty == tl.float32)
    report(flag, tl.where(live & wrong, 8, 0))
    drawable = total >= SMALLEST_TOTAL
    factor = tl.where(drawable, 281474976710656.0 / tl.where(drawable, total, 1.0), 0.0)
    last = tl.where(drawable, last, tl.minimum(r, columns - 1).to(tl.int32))
    cum = tl.zeros((LINES,), tl.float64)
    for j in range(columns):
        w, bad = checked(tl.load(from_row + (last * 0 + j).to(tl.int64) * step_c, mask=live, other=0.0).to(tl.float64))
        cum += w
        scaled = cum * factor
        scaled = tl.where((scaled < 281474976710656.0) & (j < last), scaled, 281474976710656.0)
        tl.store(to_row + j, scaled.to(tl.int64), mask=live)
    tl.debug_barrier()
    for start in range(0, 256, WIDTH):
        g = start + tl.arange(0, WIDTH)[None, :]
        u = (g + line[:, None] * 0).to(tl.int64) << 40
        low = (u * 0).to(tl.int32)
        high = tl.where(live[:, None], columns - 1, 0) + low
        while tl.max(tl.max(high - low, 1), 0) > 0:
            middle = (low + high) // 2
            searched = low < high
            below = tl.load(to_row[:, None] + middle, mask=searched, other=0) <= u
            low = tl.where(searched & below, middle + 1, low)
            high = tl.where(searched & (below == 0), middle, high)
        tl.store(guide + line[:, None] * 256 + g, low.to(tl.uint16), mask=live[:, None] & (g < 256))


def build_categorical_table(probs: Tensor, thresholds: Tensor, guide: Tensor, flag: Tensor) -> None:
    """thresholds and guide of every row of probs."""
    if probs.numel() == 0:
        return
    lines = probs.shape[0] * probs.shape[1]
    together, width = block_size(lines, 32), 256 if INTERPRETED else 8
    with on(probs):
        build_table_kernel[(triton.cdiv(lines, together),)](
            probs, thresholds, guide, flag, *probs.shape, *probs.stride(), LINES=together, WIDTH=width, **OPTIONS
        )
