"""Draws from rows of weights in Triton: the twin of csrc/include/fastblackout/categorical.h to the bit.

A lane an element: one loop over the states adds up its row, a second one counts the thresholds below its uniform. The
sums run in ascending order, so no scan of a block could stand for the loops. C(j) <= u, u a whole number below 2^48, is
cum_j factor < u + 1, which leaves out the rounding down.
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import portfloat as pf
from .draw import load_key, words

# How far the sum of a row of probabilities may be from 1: of float64, and of float32.
ROW_TOLERANCE, SINGLE_ROW_TOLERANCE = tl.constexpr(1e-9), tl.constexpr(1e-4)
SMALLEST_TOTAL = tl.constexpr(2.0**-960)
# What the weights of a row are made of: probabilities, logits, or the products of two matrices' entries.
PROBS, LOGITS, PATHS = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2)


@triton.jit
def checked(w):
    """(weight, whether it is none): 0 for NaN, negative and large ones."""
    wrong = ((w >= 0.0) & (w <= pf.exact(1.0001))) == 0
    return tl.where(wrong, 0.0, w), wrong


@triton.jit
def _weight(at, step, other, other_step, largest, j, valid, KIND: tl.constexpr):
    """(w_j, whether it is wrong) of every lane's row: pointers to the first entries, and the steps to the next."""
    x = tl.load(at + j.to(tl.int64) * step, mask=valid, other=0.0)
    if KIND == LOGITS:
        logit = x.to(tl.float32)
        wrong = (logit < float("inf")) == 0
        d = logit.to(tl.float64) - largest.to(tl.float64)
        inside = (d >= -700.0) & (d <= 0.0)
        w = tl.where(inside, pf.exp(tl.where(inside, d, 0.0)), 0.0)
    elif KIND == PATHS:
        w, wrong = checked(x.to(tl.float64))
        second, wrong_too = checked(tl.load(other + j.to(tl.int64) * other_step, mask=valid, other=0.0).to(tl.float64))
        w = w * second
        wrong = wrong | wrong_too
    else:
        w, wrong = checked(x.to(tl.float64))
    return w, wrong


@triton.jit
def first_word(i, key, row, STREAM: tl.constexpr):
    seed, counter = load_key(key, row)
    w0, w1, w2, w3 = words(i >> 2, STREAM << 24, seed, counter)
    c = i & 3
    return tl.where(c < 2, tl.where(c == 0, w0, w1), tl.where(c == 2, w2, w3))


@triton.jit
def refined(v, i, key, row, STREAM: tl.constexpr):
    """V of 48 bits, int64. The key is read again: kept from the first words on, it costs registers in every loop."""
    seed, counter = load_key(key, row)
    w0, w1, w2, w3 = words(i, (STREAM + 1) << 24, seed, counter)
    return (v.to(tl.int64) << 16) | (w0 & 0xFFFF).to(tl.int64)


@triton.jit
def draw_from_row(
    at, step, other, other_step, largest, states, fallback, i, valid, key, row,
    STREAM: tl.constexpr, KIND: tl.constexpr,
):  # fmt: skip
    """(state, total, whether a weight was wrong); a row that is not drawable gives `fallback`. States are int32."""
    total, last = tl.zeros(i.shape, tl.float64), tl.zeros(i.shape, tl.int32)
    wrong = last > 0
    for j in range(states):
        w, bad = _weight(at, step, other, other_step, largest, last * 0 + j, valid, KIND)
        total += w
        last = tl.where(w > 0.0, j, last)
        wrong = wrong | bad
    drawable = total >= SMALLEST_TOTAL
    factor = tl.where(drawable, 281474976710656.0 / tl.where(drawable, total, 1.0), 0.0)
    last = tl.where(drawable, last, fallback)

    v = first_word(i, key, row, STREAM)
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
        limit = refined(v, i, key, row, STREAM).to(tl.float64) + 1.0
        state, cum = tl.zeros(i.shape, tl.int32), tl.zeros(i.shape, tl.float64)
        for j in range(end):
            w, bad = _weight(at, step, other, other_step, largest, last * 0 + j, valid, KIND)
            cum += w
            state += tl.where((cum * factor < limit) & (j < last), 1, 0)
    return state, total, wrong & valid


@triton.jit
def off_one(total, SINGLE: tl.constexpr):
    """Whether the sum of float32 (SINGLE) or float64 probabilities is not 1."""
    if SINGLE:
        near = tl.abs(total - 1.0) <= pf.exact(SINGLE_ROW_TOLERANCE)
    else:
        near = tl.abs(total - 1.0) <= pf.exact(ROW_TOLERANCE)
    return near == 0


@triton.jit
def matrix_of(index, row, matrices):
    """(number of a sample's matrix, int64; whether the index was out of range)"""
    if index is None:
        k = tl.where(matrices > 1, row, 0).to(tl.int64)
        bad = k < 0
    else:
        given = tl.load(index + row)
        k = tl.minimum(tl.maximum(given, 0), matrices - 1).to(tl.int64)
        bad = k != given
    return k, bad
