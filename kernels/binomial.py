"""Binomial(n, p) with its own p per element in Triton: the twin of csrc/include/fastblackout/binomial.h to the bit."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from . import portfloat as pf
from .checks import clean_prob, report
from .draw import draw, drawn_block, load_key, place, words
from .launch import launch_draw

__all__ = ["binomial"]
_BINOMIAL = tl.constexpr(int(Stream.BINOMIAL))
_MAX_COUNT = tl.constexpr(2.0**53)
_MAX_FLOAT32 = tl.constexpr(2.0**24)  # above it float32 has gaps


@triton.jit
def _inversion(n, p, q, u, live):
    """n p < 10: as _inversion of the reference; lanes that are not live give 0."""
    odds = p / q
    mass = pf.exp(n * pf.log1p(0.0 - p))
    cdf = mass
    k = tl.zeros_like(n)
    step = 0
    more = live & (u >= cdf) & (mass >= 5.551115123125783e-17) & (k < n)  # 2^-54
    while (tl.max(more.to(tl.int32), 0) > 0) & (step < 128):
        mass = tl.where(more, mass * (((n - k) * odds) / (k + 1.0)), mass)
        cdf = tl.where(more, cdf + mass, cdf)
        k = tl.where(more, k + 1.0, k)
        more = more & (u >= cdf) & (mass >= 5.551115123125783e-17) & (k < n)
        step += 1
    return k.to(tl.int64)


@triton.jit
def _product_error(a, b, product):
    split_a, split_b = a * 134217729.0, b * 134217729.0
    a_high, b_high = split_a - (split_a - a), split_b - (split_b - b)
    a_low, b_low = a - a_high, b - b_high
    return (((a_high * b_high - product) + a_high * b_low) + a_low * b_high) + a_low * b_low


@triton.jit
def _rejection(n, p, q, i, live, seed, counter, STREAM: tl.constexpr, base):
    """n p >= 10, p <= 1/2: BTRS; lanes that are not live give anything. base: added to the number of a trial."""
    count = n.to(tl.float64)
    high = count * p
    low = _product_error(count, p, high)
    whole = high.to(tl.int64)
    start = whole.to(tl.float64)
    fraction = (high - start) + low
    mean_1, mean_2 = high + 2.0 * p, count * q + 2.0 * q
    shift = 1.0 - 2.0 * p
    deviation = tl.sqrt(high * q)
    b = 1.15 + 2.53 * deviation
    a = (-0.0873 + 0.0248 * b) + 0.01 * p
    squeeze = 0.92 - 4.2 / b
    alpha = (2.83 + 5.1 / b) * deviation

    drawn = whole
    undecided = live
    trial = 0
    while (tl.max(undecided.to(tl.int32), 0) > 0) & (trial < 1024):
        sub = (trial + base + tl.zeros_like(i).to(tl.int32)).to(tl.uint32) | (STREAM << 24)
        w0, w1, w2, w3 = words(i, sub, seed, counter)
        u, v = pf.uniform_centred(pf.bits53(w0, w1)), pf.uniform_to_one(pf.bits53(w2, w3))
        edge = 0.5 - tl.where(u < 0.0, 0.0 - u, u)
        y = ((2.0 * a) / edge + b) * u + (fraction + 0.5)
        inside = (y >= 0.0 - start) & (y < (count - start) + 1.0) & undecided
        j = pf.floor_to_int(tl.where(inside, y, 0.0))
        accepted = inside & (edge >= pf.exact(0.07)) & (v <= squeeze)
        exact = inside & (accepted == 0)
        if tl.max(exact.to(tl.int32), 0) > 0:
            x_1, x_2 = (whole + j + 1).to(tl.float64), (n - whole - j + 1).to(tl.float64)
            d = (j.to(tl.float64) - fraction) + shift
            level = (pf.deviance(x_1, mean_1, d) + pf.deviance(x_2, mean_2, 0.0 - d)) + (
                pf.stirling_correction(x_1) + pf.stirling_correction(x_2)
            )
            hat = (a / (edge * edge) + b) * tl.sqrt((x_1 * x_2) / (mean_1 * mean_2))
            accepted = accepted | (exact & (pf.log((v * alpha) / hat) <= 0.0 - level))
        drawn = tl.where(accepted, whole + j, drawn)
        undecided = undecided & (accepted == 0)
        trial += 1
    return drawn


@triton.jit
def few_of(n, p, q, i, valid, seed, counter, STREAM: tl.constexpr, base=0):
    """Binomial(n, p) for p of at most 1/2: n int64 in 0..2^53, p and q float64, i uint32; int64. base: added to the
    number of a trial, where an element has several such draws."""
    rejection = n.to(tl.float64) * p >= 10.0
    sub = (base + tl.zeros_like(i).to(tl.int32)).to(tl.uint32) | (STREAM << 24)
    w0, w1, w2, w3 = words(i, sub, seed, counter)
    inverted = valid & (rejection == 0)
    k = tl.zeros_like(n)
    if tl.max(inverted.to(tl.int32), 0) > 0:
        u = pf.uniform_from_zero(pf.bits53(w0, w1))
        k = _inversion(tl.where(inverted, n, 0).to(tl.float64), tl.where(inverted, p, 0.0), q, u, inverted)
    rejected = valid & rejection
    if tl.max(rejected.to(tl.int32), 0) > 0:
        # Lanes without a draw of their own run along on Binomial(40, 1/2), so that no NaN or infinity comes up.
        safe_n, safe_p = tl.where(rejected, n, 40), tl.where(rejected, p, 0.5)
        safe_q = tl.where(rejected, q, 0.5)
        drawn = _rejection(safe_n, safe_p, safe_q, i, rejected, seed, counter, STREAM, base)
        k = tl.where(rejected, drawn, k)
    return k


@triton.jit
def binomial_block(n, p, q, i, valid, seed, counter, STREAM: tl.constexpr):
    """Binomial(n, p), element by element: n int64 in 0..2^53, p and q float64 in [0, 1], i uint32; int64."""
    swap = p > 0.5
    k = few_of(n, tl.where(swap, q, p), tl.where(swap, p, q), i, valid, seed, counter, STREAM)
    return tl.where(swap, n - k, k)


@triton.jit
def any_draw(
    n, valid, first, table, p, q, seed, counter, STREAM: tl.constexpr, ELEMENT: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Binomial(n, p) of a block of one sample, int64 n: counts up to 255 by its table, larger ones by binomial_block;
    p, q: the clean scalars the table is of."""
    large = valid & (n > 255)
    k = draw(tl.where(n > 255, 0, n).to(tl.int32), valid, first, table, p, seed, counter, STREAM, BLOCK).to(tl.int64)
    if tl.max(large.to(tl.int32), 0) > 0:
        i = (first + tl.arange(0, BLOCK)).to(tl.uint32)
        wide = tl.zeros_like(i).to(tl.float64)
        k = tl.where(large, binomial_block(n, p + wide, q + wide, i, large, seed, counter, ELEMENT), k)
    return k


@triton.jit
def load_whole(at, valid):
    """(counts of any dtype in the range in which it holds every count, int64; which were not)."""
    given = tl.load(at, mask=valid, other=0)
    number = given.to(tl.float64)
    most = _MAX_FLOAT32 if given.dtype == tl.float32 else _MAX_COUNT
    inside = tl.where(number > 0.0, tl.where(number < most, number, most), 0.0)
    n = inside.to(tl.int64)
    if given.dtype.is_int():
        bad = (given < 0) | (number > _MAX_COUNT)
        n = tl.where(bad, n, given.to(tl.int64))
    else:
        bad = n.to(tl.float64) != number
    return n, bad


@triton.jit(do_not_specialize=["elements"])
def binomial_kernel(
    count, p, q, out, key, flag, layout, elements,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    n, bad = load_whole(place(count, row, first, lane, elements, layout, 0, 4, DIMS), valid)
    p_given = tl.load(place(p, row, first, lane, elements, layout, 1, 4, DIMS), mask=valid, other=0.0).to(tl.float64)
    if q is None:
        q_given = 1.0 - p_given
    else:
        q_given = tl.load(place(q, row, first, lane, elements, layout, 2, 4, DIMS), mask=valid, other=1.0)
        q_given = q_given.to(tl.float64)
    p_clean, q_clean, wrong = clean_prob(p_given, q_given)
    report(flag, tl.where(valid, tl.where(bad, 1, 0) | tl.where(wrong, 8, 0), 0))
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    k = binomial_block(n, p_clean, q_clean, i, valid, seed, counter, _BINOMIAL)
    at = place(out, row, first, lane, elements, layout, 3, 4, DIMS)
    tl.store(at, k.to(out.dtype.element_ty), mask=valid)


def binomial(count: Tensor, p: Tensor, q: Tensor | None, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """Binomial(count, p), element by element; q None: 1 - p in float64."""
    launch_draw("binomial", binomial_kernel, [count, p, q, out], key, flag)
