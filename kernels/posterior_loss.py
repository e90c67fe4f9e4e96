"""The losses of heads that give a law, and their gradients, in Triton: the twin of
csrc/include/fastblackout/posterior_loss.h to the bit.

The laws "beta-binomial" and "negative-binomial", whose heads have two arrays, share kernels, of which the law's number
is a constant (Triton 3.2 takes no functions for constants). A program takes a chunk of 1,024 elements, in float64 and
one half after the other (at once they would need twice the registers), and makes the sum of their losses by the halving
tree of birth_loss.py; a second launch adds the chunk sums in ascending order in float64.
"""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import factorials
from . import negative_binomial_law as negative_binomial
from . import portfloat as pf
from .bayes_launch import bayes_loss, bayes_loss_backward
from .birth_loss import CHUNK, add_chunks_kernel, tree_sum
from .checks import report
from .draw import own_block, place, rounded, span
from .heads import law_counts, load_head, load_number
from .launch import OPTIONS, batch_and_elements, layout_of, on, per_element

__all__ = ["posterior_loss", "posterior_loss_backward"]
BAYES = 1  # the numbers of "bayes-logistic" and "negative-binomial" in call/head.py
NEGATIVE_BINOMIAL = tl.constexpr(2)
_CHUNK, _HALF = tl.constexpr(CHUNK), tl.constexpr(CHUNK // 2)


@triton.jit
def beta_binomial_law(head_0, head_1, offset):
    """(z, exp(-|z|), m, 1 - m, log c, c, whether the clamp of log c changes nothing) of the beta-binomial law."""
    z = head_0 + offset
    e = pf.exp(tl.where(z < 0.0, z, 0.0 - z))
    inverse = 1.0 / (1.0 + e)
    small = e * inverse
    wide = head_1 + 1.0
    log_c = tl.where(wide < -5.0, -5.0, tl.where(wide > 7.0, 7.0, wide))
    mean, rest = tl.where(z < 0.0, small, inverse), tl.where(z < 0.0, inverse, small)
    return z, e, mean, rest, log_c, pf.exp(log_c), log_c == wide


@triton.jit
def _at_least_one(n):
    return tl.where(n < 1.0, 1.0, n)


@triton.jit
def _beta_binomial_loss(head_0, head_1, offset, room, n):
    """-log P(n)"""
    z, e, mean, rest, log_c, c, free = beta_binomial_law(head_0, head_1, offset)
    deaths = room - n
    chosen = (factorials.log_factorial(room) - factorials.log_factorial(n)) - factorials.log_factorial(deaths)
    one = pf.log_one_plus(e)
    negative, positive = tl.where(z < 0.0, z, 0.0), tl.where(z < 0.0, 0.0, 0.0 - z)
    first = tl.where(n > 0.0, log_c + (negative - one), 0.0)
    first = first + tl.where(deaths > 0.0, log_c + (positive - one), 0.0)
    first = first - tl.where(room > 0.0, log_c, 0.0)
    sum_a, up_a, over_a = factorials.rising(mean * c, _at_least_one(n))
    sum_b, up_b, over_b = factorials.rising(rest * c, _at_least_one(deaths))
    sum_c, up_c, over_c = factorials.rising(c, _at_least_one(room))
    quotient = ((up_a * up_b) * over_c) / ((over_a * over_b) * up_c)
    loss = 0.0 - (((chosen + first) + ((sum_a + sum_b) - sum_c)) + pf.log(quotient))
    return tl.where(loss > 0.0, loss, 0.0)


@triton.jit
def _beta_binomial_slopes(head_0, head_1, offset, room, n):
    """The derivatives of -log P(n) by both arrays of the head."""
    z, e, mean, rest, log_c, c, free = beta_binomial_law(head_0, head_1, offset)
    slope_a, slope_b = factorials.rising_slope(mean * c, n), factorials.rising_slope(rest * c, room - n)
    slope_c = factorials.rising_slope(c, room)
    return mean * slope_b - rest * slope_a, tl.where(free, slope_c - (slope_a + slope_b), 0.0)


@triton.jit
def _loss(head_0, head_1, offset, room, n, most, LAW: tl.constexpr):
    if LAW == NEGATIVE_BINOMIAL:
        loss = negative_binomial.loss(head_0, head_1, offset, most - room, n, most)
    else:
        loss = _beta_binomial_loss(head_0, head_1, offset, room, n)
    return loss


@triton.jit
def _slopes(head_0, head_1, offset, room, n, most, LAW: tl.constexpr):
    if LAW == NEGATIVE_BINOMIAL:
        slope_0, slope_1 = negative_binomial.slopes(head_0, head_1, offset, most - room, n, most)
    else:
        slope_0, slope_1 = _beta_binomial_slopes(head_0, head_1, offset, room, n)
    return slope_0, slope_1


@triton.jit(do_not_specialize=["elements", "max_count"])
def posterior_loss_kernel(
    x_t, head_0, head_1, births, weight, offset, max_count, sums, flag, layout, elements, LAW: tl.constexpr,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """sums (B, chunks)"""
    row, first, elements = span(elements, _CHUNK, 1, ALIGNED)
    load_number(weight + row, flag)
    shift, most = load_number(offset + row, flag), max_count.to(tl.float64)
    lane = tl.arange(0, _HALF)
    total = tl.zeros((_HALF,), tl.float32)
    for half in tl.static_range(2):  # the first level of the tree adds the halves
        begin = first + half * _HALF
        valid = lane < (elements - begin)
        x_at = place(x_t, row, begin, lane, elements, layout, 0, 4, DIMS)
        born_at = place(births, row, begin, lane, elements, layout, 1, 4, DIMS)
        room, n, bits = law_counts(x_at, born_at, valid, max_count)
        o_0, bits_0 = load_head(place(head_0, row, begin, lane, elements, layout, 2, 4, DIMS), valid)
        o_1, bits_1 = load_head(place(head_1, row, begin, lane, elements, layout, 3, 4, DIMS), valid)
        report(flag, tl.where(valid, bits | bits_0 | bits_1, 0))
        losses = _loss(o_0, o_1, shift, room, n, most, LAW).to(tl.float32)
        total += tl.where(valid, losses, 0.0)
    tl.store(sums + tl.program_id(0), tree_sum(tl.join(total, tl.zeros_like(total)).trans(1, 0).reshape(_CHUNK)))


@triton.jit(do_not_specialize=["elements", "max_count"])
def posterior_grad_kernel(
    x_t, head_0, head_1, births, coefficient, offset, max_count, grad_0, grad_1, flag, layout, elements,
    LAW: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements, lane, valid = own_block(elements, BLOCK, ALIGNED)
    shift, factor = load_number(offset + row, flag), tl.load(coefficient + row).to(tl.float32)
    x_at = place(x_t, row, first, lane, elements, layout, 0, 6, DIMS)
    born_at = place(births, row, first, lane, elements, layout, 1, 6, DIMS)
    room, n, bits = law_counts(x_at, born_at, valid, max_count)
    o_0, bits_0 = load_head(place(head_0, row, first, lane, elements, layout, 2, 6, DIMS), valid)
    o_1, bits_1 = load_head(place(head_1, row, first, lane, elements, layout, 3, 6, DIMS), valid)
    report(flag, tl.where(valid, bits | bits_0 | bits_1, 0))
    slope_0, slope_1 = _slopes(o_0, o_1, shift, room, n, max_count.to(tl.float64), LAW)
    to_0 = place(grad_0, row, first, lane, elements, layout, 4, 6, DIMS)
    to_1 = place(grad_1, row, first, lane, elements, layout, 5, 6, DIMS)
    tl.store(to_0, rounded(factor * slope_0.to(tl.float32), grad_0.dtype.element_ty), mask=valid)
    tl.store(to_1, rounded(factor * slope_1.to(tl.float32), grad_1.dtype.element_ty), mask=valid)


def posterior_loss(x_t: Tensor, family: int, *others: Any) -> None:
    """The loss as fastblackout/reference/posterior_loss.py defines it. others: the eight arrays of a head, births,
    weight, offset, max_count, loss, flag."""
    *head, births, weight, offset, max_count, loss, flag = others
    if family == BAYES:
        bayes_loss(x_t, head, births, weight, offset, max_count, loss, flag)
        return
    head_0, head_1 = head[:2]
    batch, elements = batch_and_elements(x_t)
    if batch == 0:
        return
    chunks = triton.cdiv(elements, CHUNK)
    layout, dims = layout_of("posterior_loss", [x_t, births, head_0, head_1])
    sums = torch.empty(batch * chunks, dtype=torch.float32, device=x_t.device)
    weight = weight.contiguous()
    # Of "negative-binomial" a lane takes half as many elements at once, for which registers suffice.
    warps = 16 if family == NEGATIVE_BINOMIAL.value else 8
    options = {**OPTIONS, "LAW": family, "ALIGNED": elements % 16 == 0, "DIMS": dims, "num_warps": warps}
    with on(x_t):
        if chunks:
            posterior_loss_kernel[(batch * chunks,)](
                x_t, head_0, head_1, births, weight, offset, max_count, sums, flag, layout, elements, **options
            )
        add_chunks_kernel[(triton.cdiv(batch, 32),)](sums, weight, loss, batch, chunks, ROWS=32, **OPTIONS)


def posterior_loss_backward(x_t: Tensor, family: int, *others: Any) -> None:
    """The gradients by the arrays of the head. others: the head, births, coefficient, upstream gradient times weight,
    offset, max_count, the eight gradients, flag."""
    head, (births, coefficient, offset, max_count, *grads, flag) = list(others[:8]), others[8:]
    if x_t.numel() == 0:
        return
    if family == BAYES:
        bayes_loss_backward(x_t, head, births, coefficient, offset, max_count, grads, flag)
        return
    head_0, head_1, grad_0, grad_1 = *head[:2], *grads[:2]
    arrays, block = [x_t, births, head_0, head_1, grad_0, grad_1], 256 if family == NEGATIVE_BINOMIAL.value else 512
    grid, sizes, options = per_element("posterior_loss", arrays, block, num_warps=4, LAW=family)
    coefficient = coefficient.contiguous()
    with on(x_t):
        posterior_grad_kernel[grid](
            x_t, head_0, head_1, births, coefficient, offset, max_count, grad_0, grad_1, flag, *sizes, **options
        )
