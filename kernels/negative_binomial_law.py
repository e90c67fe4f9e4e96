"""posterior_loss and posterior_step of the law "negative-binomial" in Triton: the twin of
csrc/include/fastblackout/negative_binomial_law.h to the bit. Programs are those of posterior_loss.py, but a lane takes
half as many elements at once, for which registers suffice."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from . import factorials
from . import portfloat as pf
from .birth_loss import CHUNK, add_chunks_kernel, tree_sum
from .checks import check_sample, clean_prob, report
from .draw import load_counts, load_key, place, rounded, span
from .gamma import gamma_block
from .heads import law_counts, load_head, load_number
from .launch import OPTIONS, batch_and_elements, bounded, layout_of, on, per_element
from .poisson import _MAX_RATE, poisson_block

_CHUNK, _HALF = tl.constexpr(CHUNK), tl.constexpr(CHUNK // 2)
_GAMMA, _BOOST = tl.constexpr(int(Stream.POSTERIOR_A)), tl.constexpr(int(Stream.POSTERIOR_BOOST))
_ELEMENT = tl.constexpr(int(Stream.POSTERIOR_ELEMENT))


@triton.jit
def time_of(given, most):
    """(log(1 - p), 1 - p, p, log(most) / 2) of a sample"""
    offset = tl.where(given < 0.0, given, 0.0)
    gone = pf.exp(offset)
    near, less = offset > -0.5, gone < 1.0
    quotient = (1.0 - gone) * (offset / pf.log(tl.where(near & less, gone, 0.5)))
    alive = tl.where(near, tl.where(less, quotient, 0.0 - offset), 1.0 - gone)
    return offset, gone, alive, 0.5 * pf.log(tl.where(most < 1.0, 1.0, most))


@triton.jit
def law_of(head_0, head_1, x, given, most):
    """(r, size, r / m, log share, theta, whether the clamp of log m changes nothing, and that of log r)"""
    offset, gone, alive, middle = time_of(given, most)
    wide_mean, wide_size = middle + head_0, head_1 + 1.0
    log_mean = tl.where(wide_mean > -12.0, tl.where(wide_mean < 36.0, wide_mean, 36.0), -12.0)
    log_size = tl.where(wide_size > -7.0, tl.where(wide_size < 16.0, wide_size, 16.0), -7.0)
    r, e = pf.exp(log_size), pf.exp(log_size - log_mean)
    log_share, theta = offset - pf.log_one_plus(e), gone / (e + alive)
    return r, r + x, e, log_share, theta, log_mean == wide_mean, log_size == wide_size


@triton.jit
def _loss(head_0, head_1, offset, x, n, most):
    """-log P(n)"""
    r, size, e, log_share, theta, free_mean, free_size = law_of(head_0, head_1, x, offset, most)
    total, above, below = factorials.rising(size, tl.where(n < 1.0, 1.0, n))
    some = (n * log_share + total) + pf.log(size * (above / below))
    born = tl.where(n < 1.0, 0.0, some - factorials.log_factorial(n))
    loss = size * pf.log_one_plus(theta) - born
    return tl.where(loss > 0.0, loss, 0.0)


@triton.jit
def _slopes(head_0, head_1, offset, x, n, most):
    """The derivatives of -log P(n) by both arrays of the head."""
    r, size, e, log_share, theta, free_mean, free_size = law_of(head_0, head_1, x, offset, most)
    by_mean = (e / (1.0 + e)) * (size * theta - n)
    rises = (r / size) * factorials.rising_slope(size, n)
    by_size = (r * pf.log_one_plus(theta) - rises) - by_mean
    return tl.where(free_mean, by_mean, 0.0), tl.where(free_size, by_size, 0.0)


@triton.jit(do_not_specialize=["elements", "max_count"])
def negative_binomial_loss_kernel(
    x_t, head_0, head_1, births, weight, offset, max_count, sums, flag, layout, elements,
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
        losses = _loss(o_0, o_1, shift, most - room, n, most).to(tl.float32)
        total += tl.where(valid, losses, 0.0)
    tl.store(sums + tl.program_id(0), tree_sum(tl.join(total, tl.zeros_like(total)).trans(1, 0).reshape(_CHUNK)))


@triton.jit(do_not_specialize=["elements", "max_count"])
def negative_binomial_grad_kernel(
    x_t, head_0, head_1, births, coefficient, offset, max_count, grad_0, grad_1, flag, layout, elements,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements = span(elements, BLOCK, 1, ALIGNED)
    lane = tl.arange(0, BLOCK)
    valid = lane < (elements - first)
    shift, factor = load_number(offset + row, flag), tl.load(coefficient + row).to(tl.float32)
    most = max_count.to(tl.float64)
    x_at = place(x_t, row, first, lane, elements, layout, 0, 6, DIMS)
    born_at = place(births, row, first, lane, elements, layout, 1, 6, DIMS)
    room, n, bits = law_counts(x_at, born_at, valid, max_count)
    o_0, bits_0 = load_head(place(head_0, row, first, lane, elements, layout, 2, 6, DIMS), valid)
    o_1, bits_1 = load_head(place(head_1, row, first, lane, elements, layout, 3, 6, DIMS), valid)
    report(flag, tl.where(valid, bits | bits_0 | bits_1, 0))
    slope_0, slope_1 = _slopes(o_0, o_1, shift, most - room, n, most)
    to_0 = place(grad_0, row, first, lane, elements, layout, 4, 6, DIMS)
    to_1 = place(grad_1, row, first, lane, elements, layout, 5, 6, DIMS)
    tl.store(to_0, rounded(factor * slope_0.to(tl.float32), grad_0.dtype.element_ty), mask=valid)
    tl.store(to_1, rounded(factor * slope_1.to(tl.float32), grad_1.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=["elements", "max_count"])
def negative_binomial_step_kernel(
    x_t, head_0, head_1, x_s, model_input, p, q, offset, center, scale, key, flag, layout, elements, max_count,
    BOUNDED: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements = span(elements, BLOCK, 1, ALIGNED)
    lane = tl.arange(0, BLOCK)
    valid = lane < (elements - first)
    center, scale = tl.load(center + row), tl.load(scale + row)
    if first == 0:
        check_sample(flag, key, row, None, center, scale)
    shift = load_number(offset + row, flag)
    o_0, bits_0 = load_head(place(head_0, row, first, lane, elements, layout, 1, 5, DIMS), valid)
    o_1, bits_1 = load_head(place(head_1, row, first, lane, elements, layout, 2, 5, DIMS), valid)
    born, unborn, wrong = clean_prob(tl.load(p + row), tl.load(q + row))
    x, bad = load_counts(place(x_t, row, first, lane, elements, layout, 0, 5, DIMS), valid, max_count, BOUNDED)
    report(flag, tl.where(valid, bits_0 | bits_1 | tl.where(bad, 1, 0) | tl.where(wrong, 8, 0), 0))
    x = x.to(tl.int64)
    r, size, e, log_share, theta, free_mean, free_size = law_of(
        o_0, o_1, x.to(tl.float64), shift, max_count.to(tl.float64)
    )
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    rate = gamma_block(size, theta * born, i, valid, seed, counter, _GAMMA, _BOOST)
    births = poisson_block(tl.where(rate < _MAX_RATE, rate, _MAX_RATE), i, valid, seed, counter, _ELEMENT)
    room = max_count - x
    x += tl.where(births < room, births, room)
    if x_s is not None:
        to = place(x_s, row, first, lane, elements, layout, 3, 5, DIMS)
        tl.store(to, x.to(x_s.dtype.element_ty), mask=valid)
    if model_input is not None:
        value = (x.to(tl.float32) - center) * scale
        to = place(model_input, row, first, lane, elements, layout, 4, 5, DIMS)
        tl.store(to, rounded(value, model_input.dtype.element_ty), mask=valid)


def negative_binomial_loss(x_t: Tensor, head: list[Any], *others: Any) -> None:
    """others: births, weight, offset, max_count, loss, flag"""
    births, weight, offset, max_count, loss, flag = others
    batch, elements = batch_and_elements(x_t)
    if batch == 0:
        return
    chunks, weight = triton.cdiv(elements, CHUNK), weight.contiguous()
    layout, dims = layout_of("posterior_loss", [x_t, births, *head[:2]])
    sums = torch.empty(batch * chunks, dtype=torch.float32, device=x_t.device)
    options = {**OPTIONS, "ALIGNED": elements % 16 == 0, "DIMS": dims, "num_warps": 16}
    with on(x_t):
        if chunks:
            negative_binomial_loss_kernel[(batch * chunks,)](
                x_t, *head[:2], births, weight, offset, max_count, sums, flag, layout, elements, **options
            )
        add_chunks_kernel[(triton.cdiv(batch, 32),)](sums, weight, loss, batch, chunks, ROWS=32, **OPTIONS)


def negative_binomial_loss_backward(x_t: Tensor, head: list[Any], *others: Any) -> None:
    """others: births, coefficient, offset, max_count, then the gradients, flag"""
    births, coefficient, offset, max_count, *grads, flag = others
    arrays = [x_t, births, *head[:2], *grads[:2]]
    grid, sizes, options = per_element("posterior_loss", arrays, 256, num_warps=4)
    coefficient = coefficient.contiguous()
    with on(x_t):
        negative_binomial_grad_kernel[grid](
            x_t, *head[:2], births, coefficient, offset, max_count, *grads[:2], flag, *sizes, **options
        )


def negative_binomial_step(x_t: Tensor, head: list[Any], *others: Any) -> None:
    """others: p, q, offset, key, max_count, center, scale, x_s, model_input, flag"""
    p, q, offset, key, max_count, center, scale, x_s, model_input, flag = others
    arrays = [x_t, *head[:2], x_s, model_input]
    grid, sizes, options = per_element("posterior_step", arrays, BOUNDED=bounded(x_t, max_count))
    numbers = p.contiguous(), q.contiguous(), offset, center, scale
    with on(x_t):
        negative_binomial_step_kernel[grid](*arrays, *numbers, key, flag, *sizes, max_count, **options)
