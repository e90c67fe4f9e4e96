"""Draws from rows of weights in Triton: the twin of csrc/include/fastblackout/categorical.h to the bit.

A lane an element: one loop over the states adds up its row, a second one counts the thresholds below its uniform. The
sums run in ascending order, so no scan of a block could stand for the loops. C(j) <= u, u a whole number below 2^48, is
cum_j factor < u + 1, which leaves out the rounding down.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..reference.philox import Stream
from . import portfloat as pf
from .draw import load_counts, load_key, philox, place, span
from .table import check_sample, report

_DRAW = tl.constexpr(int(Stream.CATEGORICAL))
_REFINE = tl.constexpr(int(Stream.CATEGORICAL_REFINE))
_X0 = tl.constexpr(int(Stream.CATEGORICAL_X0))
_X0_REFINE = tl.constexpr(int(Stream.CATEGORICAL_X0_REFINE))
_BRIDGE = tl.constexpr(int(Stream.CATEGORICAL_BRIDGE))
_BRIDGE_REFINE = tl.constexpr(int(Stream.CATEGORICAL_BRIDGE_REFINE))
_SMALLEST_TOTAL = tl.constexpr(2.0**-960)
# What the weights of a row are made of: probabilities, logits, or the products of two matrices' entries.
_PROBS, _LOGITS, _PATHS = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit
def _checked(w):
    """(weight, whether it is none): 0 for NaN, negative and large ones."""
    wrong = ((w >= 0.0) & (w <= pf.exact(1.0001))) == 0
    return tl.where(wrong, 0.0, w), wrong


@triton.jit
def _weight(at, step, other, other_step, largest, j, valid, KIND: tl.constexpr):
    """(w_j, whether it is wrong) of every lane's row: pointers to the first entries, and the steps to the next."""
    x = tl.load(at + j.to(tl.int64) * step, mask=valid, other=0.0)
    if KIND == _LOGITS:
        logit = x.to(tl.float32)
        wrong = (logit < float("inf")) == 0
        d = logit.to(tl.float64) - largest.to(tl.float64)
        inside = (d >= -700.0) & (d <= 0.0)
        w = tl.where(inside, pf.exp(tl.where(inside, d, 0.0)), 0.0)
    elif KIND == _PATHS:
        w, wrong = _checked(x.to(tl.float64))
        second, wrong_too = _checked(tl.load(other + j.to(tl.int64) * other_step, mask=valid, other=0.0).to(tl.float64))
        w = w * second
        wrong = wrong | wrong_too
    else:
        w, wrong = _checked(x.to(tl.float64))
    return w, wrong


@triton.jit
def _word(i, key, row, STREAM: tl.constexpr):
    seed_low, seed_high, sample, call = load_key(key, row)
    w0, w1, w2, w3 = philox(i >> 2, sample, call, STREAM << 24, seed_low, seed_high)
    c = i & 3
    return tl.where(c < 2, tl.where(c == 0, w0, w1), tl.where(c == 2, w2, w3))


@triton.jit
def _refined(v, i, key, row, REFINE: tl.constexpr):
    """V of 48 bits, int64. The key is read again: kept from the first words on, it costs registers in every loop."""
    seed_low, seed_high, sample, call = load_key(key, row)
    w0, w1, w2, w3 = philox(i, sample, call, REFINE << 24, seed_low, seed_high)
    return (v.to(tl.int64) << 16) | (w0 & 0xFFFF).to(tl.int64)


@triton.jit
def _drawn(
    at, step, other, other_step, largest, states, fallback, i, valid, key, row,
    STREAM: tl.constexpr, REFINE: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """(state, total, whether a weight was wrong); a row that is not drawable gives `fallback`. States are int32."""
    total, last = tl.zeros(i.shape, tl.float64), tl.zeros(i.shape, tl.int32)
    wrong = last > 0
    for j in range(states):
        w, bad = _weight(at, step, other, other_step, largest, last * 0 + j, valid, KIND)
        total += w
        last = tl.where(w > 0.0, j, last)
        wrong = wrong | bad
    drawable = total >= _SMALLEST_TOTAL
    factor = tl.where(drawable, 281474976710656.0 / tl.where(drawable, total, 1.0), 0.0)
    last = tl.where(drawable, last, fallback)

    v = _word(i, key, row, STREAM)
    limit = (v.to(tl.int64) << 16).to(tl.float64) + 1.0
    state, most = tl.zeros(i.shape, tl.int32), tl.zeros(i.shape, tl.int32)
    cum = tl.zeros(i.shape, tl.float64)
    end = tl.max(tl.where(valid, last, 0), 0)
    for j in range(end):
        w, bad = _weight(at, step, other, other_step, largest, last * 0 + j, valid, KIND)
        cum += w
        scaled = cum * factor
        state += tl.where((scaled < limit) & (j < last), 1, 0)
        most += tl.where((scaled < limit + 65535.0) & (j < last), 1, 0)
    if tl.max(tl.where(valid, most - state, 0), 0) > 0:  # a threshold among the 2^16 values that v leaves open
        limit = _refined(v, i, key, row, REFINE).to(tl.float64) + 1.0
        state, cum = tl.zeros(i.shape, tl.int32), tl.zeros(i.shape, tl.float64)
        for j in range(end):
            w, bad = _weight(at, step, other, other_step, largest, last * 0 + j, valid, KIND)
            cum += w
            state += tl.where((cum * factor < limit) & (j < last), 1, 0)
    return state, total, wrong & valid


@triton.jit
def _off_one(total, SINGLE: tl.constexpr):
    """Whether the sum of float32 (SINGLE) or float64 probabilities is not 1."""
    if SINGLE:
        off = ((total - 1.0 <= pf.exact(1e-4)) & (total - 1.0 >= pf.exact(-1e-4))) == 0
    else:
        off = ((total - 1.0 <= pf.exact(1e-9)) & (total - 1.0 >= pf.exact(-1e-9))) == 0
    return off


@triton.jit
def _matrix(index, row, matrices):
    """(number of a sample's matrix, int64; whether the index was out of range)"""
    if index is None:
        k = tl.where(matrices > 1, row, 0).to(tl.int64)
        bad = k < 0
    else:
        given = tl.load(index + row)
        k = tl.minimum(tl.maximum(given, 0), matrices - 1).to(tl.int64)
        bad = k != given
    return k, bad


@triton.jit(do_not_specialize=["elements", "chunks", "matrices", "rows", "columns", "step_k", "step_r", "step_c"])
def categorical_kernel(
    state, probs, index, out, key, flag, layout, elements, chunks, matrices, rows, columns, step_k, step_r, step_c,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements = span(elements, chunks, BLOCK, 1, ALIGNED)
    lane = tl.arange(0, BLOCK)
    valid = lane < (elements - first)
    if first == 0:
        check_sample(flag, key, row, None, None, None)
    x, bad = load_counts(place(state, row, first, lane, elements, layout, 0, 2, DIMS), valid, rows - 1, False)
    k, out_of_range = _matrix(index, row, matrices)
    i = (first + lane).to(tl.uint32)
    line = probs + k * step_k + x.to(tl.int64) * step_r
    fallback = tl.minimum(x, columns - 1).to(tl.int32)
    drawn, total, wrong = _drawn(
        line, step_c, line, 0, 0.0, columns, fallback, i, valid, key, row, _DRAW, _REFINE,
        _PROBS,
    )  # fmt: skip
    wrong = wrong | _off_one(total, probs.dtype.element_ty == tl.float32)
    report(flag, tl.where(valid, tl.where(bad | out_of_range, 1, 0) | tl.where(wrong, 8, 0), 0))
    at = place(out, row, first, lane, elements, layout, 1, 2, DIMS)
    tl.store(at, drawn.to(out.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=["elements", "chunks", "matrices", "rows", "columns"])
def categorical_table_kernel(
    state, thresholds, guide, index, out, key, flag, layout, elements, chunks, matrices, rows, columns,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements = span(elements, chunks, BLOCK, 1, ALIGNED)
    lane = tl.arange(0, BLOCK)
    valid = lane < (elements - first)
    if first == 0:
        check_sample(flag, key, row, None, None, None)
    x, bad = load_counts(place(state, row, first, lane, elements, layout, 0, 2, DIMS), valid, rows - 1, False)
    k, out_of_range = _matrix(index, row, matrices)
    report(flag, tl.where(valid & (bad | out_of_range), 1, 0))
    i = (first + lane).to(tl.uint32)
    line = k * rows + x.to(tl.int64)
    at, guided = thresholds + line * columns, guide + line * 256
    v = _word(i, key, row, _DRAW)
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
        u = _refined(v, i, key, row, _REFINE)
        more = tie & (tl.load(at + low, mask=tie, other=0) <= u)
        while tl.max(more.to(tl.int32), 0) > 0:
            low = tl.where(more, low + 1, low)
            more = more & (tl.load(at + low, mask=more, other=0) <= u)
    to = place(out, row, first, lane, elements, layout, 1, 2, DIMS)
    tl.store(to, low.to(out.dtype.element_ty), mask=valid)


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
        w, bad = _checked(tl.load(from_row + (last * 0 + j).to(tl.int64) * step_c, mask=live, other=0.0).to(tl.float64))
        total += w
        last = tl.where(w > 0.0, j, last)
        wrong = wrong | bad
    wrong = wrong | _off_one(total, probs.dtype.element_ty == tl.float32)
    report(flag, tl.where(live & wrong, 8, 0))
    drawable = total >= _SMALLEST_TOTAL
    factor = tl.where(drawable, 281474976710656.0 / tl.where(drawable, total, 1.0), 0.0)
    last = tl.where(drawable, last, tl.minimum(r, columns - 1).to(tl.int32))
    cum = tl.zeros((LINES,), tl.float64)
    for j in range(columns):
        w, bad = _checked(tl.load(from_row + (last * 0 + j).to(tl.int64) * step_c, mask=live, other=0.0).to(tl.float64))
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


@triton.jit(
    do_not_specialize=[
        "class_step", "elements", "chunks", "matrices_1", "matrices_2", "states", "before_k", "before_r", "before_c",
        "after_k", "after_r", "after_c",
    ]
)  # fmt: skip
def categorical_bridge_kernel(
    x_t, x_0, weights, x_s, before, after, index, key, flag, layout, class_step, elements, chunks, matrices_1,
    matrices_2, states, before_k, before_r, before_c, after_k, after_r, after_c,
    KIND: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """KIND: of weights, where x_0 is None."""
    row, first, elements = span(elements, chunks, BLOCK, 1, ALIGNED)
    lane = tl.arange(0, BLOCK)
    valid = lane < (elements - first)
    if first == 0:
        check_sample(flag, key, row, None, None, None)
    i = (first + lane).to(tl.uint32)
    to, bad = load_counts(place(x_t, row, first, lane, elements, layout, 0, 4, DIMS), valid, states - 1, False)
    to = to.to(tl.int32)
    bits = tl.where(bad, 1, 0)
    if x_0 is None:
        at = place(weights, row, first, lane, elements, layout, 2, 4, DIMS)
        largest = tl.zeros(i.shape, tl.float32) - float("inf")
        if KIND == _LOGITS:
            for j in range(states):
                x = tl.load(at + (to * 0 + j).to(tl.int64) * class_step, mask=valid, other=0.0).to(tl.float32)
                largest = tl.where((x < float("inf")) & (x > largest), x, largest)
        start, total, wrong = _drawn(
            at, class_step, at, 0, largest, states, to, i, valid, key, row, _X0, _X0_REFINE,
            KIND,
        )  # fmt: skip
        wrong = wrong | (total < _SMALLEST_TOTAL)
        if KIND == _PROBS:
            wrong = wrong | _off_one(total, weights.dtype.element_ty != tl.float64)
        bits |= tl.where(wrong, 2 if KIND == _LOGITS else 8, 0)
    else:
        start, bad = load_counts(place(x_0, row, first, lane, elements, layout, 1, 4, DIMS), valid, states - 1, False)
        start = start.to(tl.int32)
        bits |= tl.where(bad, 1, 0)
    # Only here: across the draw of x_0 they would take registers that a thread has not.
    k_1, bad_1 = _matrix(index, row, matrices_1)
    k_2, bad_2 = _matrix(index, row, matrices_2)
    bits |= tl.where(bad_1 | bad_2, 1, 0)
    report(flag, tl.where(valid, bits, 0))
    line = before + k_1 * before_k + start.to(tl.int64) * before_r
    column = after + k_2 * after_k + to.to(tl.int64) * after_c
    drawn, total, wrong = _drawn(
        line, before_c, column, after_r, 0.0, states, to, i, valid, key, row, _BRIDGE,
        _BRIDGE_REFINE, _PATHS,
    )  # fmt: skip
    wrong = wrong | (total < _SMALLEST_TOTAL)
    report(flag, tl.where(valid & wrong, 8, 0))
    at = place(x_s, row, first, lane, elements, layout, 3, 4, DIMS)
    tl.store(at, drawn.to(x_s.dtype.element_ty), mask=valid)
