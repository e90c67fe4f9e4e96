"""posterior_loss and posterior_step of the law "bayes-logistic" in Triton: kernels and launches.

An element a lane, a warp a program, so that a warp waits for the walks of its own elements only. The loss is of three
launches: the elements, their sums by the tree of birth_loss.py, the sums of samples.

The arrays of a head come in this order: mean, scale of component 0, mean, scale of 1 and the first logit, mean, scale
of 2 and the second logit. They are None where the head has fewer; COMPONENTS: how many it has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from .bayes_element import DRAW, LOSS, SLOPES, bayes_element
from .bayes_parts import three_components
from .binomial import binomial_block
from .birth_loss import CHUNK, add_chunks_kernel, tree_sum
from .checks import clean_prob, report
from .draw import load_counts, load_key, own_block, place, rounded
from .heads import law_room, load_number
from .launch import OPTIONS, batch_and_elements, bounded, on, per_element
from .steps import law_step_block, store_step

_CHUNK = tl.constexpr(CHUNK)
_ELEMENT = tl.constexpr(int(Stream.POSTERIOR_ELEMENT))


@triton.jit(do_not_specialize=["elements", "max_count"])
def bayes_loss_kernel(
    x_t, births, mean_0, wide_0, mean_1, wide_1, logit_0, mean_2, wide_2, logit_1, weight, offset, max_count, losses,
    flag, layout, elements, COMPONENTS: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """losses (B, elements), dense"""
    row, first, elements, lane, valid = own_block(elements, BLOCK, ALIGNED)
    if first == 0:
        load_number(weight + row, flag)
    shift = load_number(offset + row, flag)
    x_at = place(x_t, row, first, lane, elements, layout, 0, 10, DIMS)
    born_at = place(births, row, first, lane, elements, layout, 1, 10, DIMS)
    room, bits = law_room(x_at, valid, max_count)
    o_0, s_0, a_0, o_1, s_1, a_1, o_2, s_2, a_2, bits_head = three_components(
        mean_0, wide_0, mean_1, wide_1, logit_0, mean_2, wide_2, logit_1, row, first, lane, elements, layout, valid,
        COMPONENTS, 2, 10, DIMS,
    )  # fmt: skip
    report(flag, tl.where(valid, bits | bits_head, 0))
    most = max_count.to(tl.float64)
    x = most - room
    loss = bayes_element(
        x, room, most, shift, o_0, s_0, a_0, o_1, s_1, a_1, o_2, s_2, a_2, born_at, None, None, row, valid, flag,
        COMPONENTS, LOSS,
    )  # fmt: skip
    tl.store(losses + (row.to(tl.int64) * elements + first) + lane, loss.to(tl.float32), mask=valid)


@triton.jit(do_not_specialize=["elements", "chunks"])
def sum_losses_kernel(losses, sums, elements, chunks):
    """sums (B, chunks) of losses (B, elements), by the tree of a chunk"""
    row, chunk = tl.program_id(0) // chunks, tl.program_id(0) % chunks
    at = chunk.to(tl.int64) * _CHUNK + tl.arange(0, _CHUNK)
    loss = tl.load(losses + row.to(tl.int64) * elements + at, mask=at < elements, other=0.0)
    tl.store(sums + tl.program_id(0), tree_sum(loss))


@triton.jit
def _store_grad(to, slope, factor, row, first, lane, elements, layout, valid, COLUMN: tl.constexpr, DIMS: tl.constexpr):
    at = place(to, row, first, lane, elements, layout, COLUMN, 18, DIMS)
    tl.store(at, rounded(factor * slope.to(tl.float32), to.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=["elements", "max_count"])
def bayes_grad_kernel(
    x_t, births, mean_0, wide_0, mean_1, wide_1, logit_0, mean_2, wide_2, logit_1,
    to_mean_0, to_wide_0, to_mean_1, to_wide_1, to_logit_0, to_mean_2, to_wide_2, to_logit_1,
    coefficient, offset, max_count, flag, layout, elements,
    COMPONENTS: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements, lane, valid = own_block(elements, BLOCK, ALIGNED)
    shift = load_number(offset + row, flag)
    x_at = place(x_t, row, first, lane, elements, layout, 0, 18, DIMS)
    room, bits = law_room(x_at, valid, max_count)
    o_0, s_0, a_0, o_1, s_1, a_1, o_2, s_2, a_2, bits_head = three_components(
        mean_0, wide_0, mean_1, wide_1, logit_0, mean_2, wide_2, logit_1, row, first, lane, elements, layout, valid,
        COMPONENTS, 2, 18, DIMS,
    )  # fmt: skip
    report(flag, tl.where(valid, bits | bits_head, 0))
    most = max_count.to(tl.float64)
    x = most - room
    born_at = place(births, row, first, lane, elements, layout, 1, 18, DIMS)
    mean_0, scale_0, log_0, mean_1, scale_1, log_1, mean_2, scale_2, log_2 = bayes_element(
        x, room, most, shift, o_0, s_0, a_0, o_1, s_1, a_1, o_2, s_2, a_2, born_at, None, None, row, valid, flag,
        COMPONENTS, SLOPES,
    )  # fmt: skip
    factor = tl.load(coefficient + row).to(tl.float32)
    _store_grad(to_mean_0, mean_0, factor, row, first, lane, elements, layout, valid, 10, DIMS)
    _store_grad(to_wide_0, scale_0, factor, row, first, lane, elements, layout, valid, 11, DIMS)
    if COMPONENTS > 1:
        _store_grad(to_logit_0, log_0, factor, row, first, lane, elements, layout, valid, 14, DIMS)
        _store_grad(to_mean_1, mean_1, factor, row, first, lane, elements, layout, valid, 12, DIMS)
        _store_grad(to_wide_1, scale_1, factor, row, first, lane, elements, layout, valid, 13, DIMS)
    if COMPONENTS > 2:
        _store_grad(to_logit_1, log_1, factor, row, first, lane, elements, layout, valid, 17, DIMS)
        _store_grad(to_mean_2, mean_2, factor, row, first, lane, elements, layout, valid, 15, DIMS)
        _store_grad(to_wide_2, scale_2, factor, row, first, lane, elements, layout, valid, 16, DIMS)


@triton.jit(do_not_specialize=["elements", "max_count"])
def bayes_step_kernel(
    x_t, mean_0, wide_0, mean_1, wide_1, logit_0, mean_2, wide_2, logit_1, x_s, model_input, p, q, offset, center,
    scale, key, flag, layout, elements, max_count, COMPONENTS: tl.constexpr,
    BOUNDED: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements, lane, valid, center, scale, shift = law_step_block(
        elements, key, center, scale, offset, flag, BLOCK, ALIGNED
    )
    o_0, s_0, a_0, o_1, s_1, a_1, o_2, s_2, a_2, bits = three_components(
        mean_0, wide_0, mean_1, wide_1, logit_0, mean_2, wide_2, logit_1, row, first, lane, elements, layout, valid,
        COMPONENTS, 1, 11, DIMS,
    )  # fmt: skip
    born, unborn, wrong = clean_prob(tl.load(p + row), tl.load(q + row))
    counts, bad = load_counts(place(x_t, row, first, lane, elements, layout, 0, 11, DIMS), valid, max_count, BOUNDED)
    report(flag, tl.where(valid, bits | tl.where(bad, 1, 0) | tl.where(wrong, 8, 0), 0))
    room, most = (max_count - counts).to(tl.float64), max_count.to(tl.float64)
    x = most - room
    i = (first + lane).to(tl.uint32)
    left = bayes_element(
        x, room, most, shift, o_0, s_0, a_0, o_1, s_1, a_1, o_2, s_2, a_2, None, i, key, row, valid, flag,
        COMPONENTS, DRAW,
    )  # fmt: skip
    seed, counter = load_key(key, row)
    chance = tl.zeros_like(left)
    total_births = binomial_block(left.to(tl.int64), chance + born, chance + unborn, i, valid, seed, counter, _ELEMENT)
    after = counts.to(tl.int64) + total_births
    store_step(after, x_s, model_input, center, scale, row, first, lane, elements, layout, valid, 9, 11, DIMS)


def _by_component(arrays: list[Any]) -> tuple[list[Any], int]:
    """(eight arrays in the order of the kernels, how many components they are of)"""
    given = [each for each in arrays if each is not None]
    k = (len(given) + 1) // 3
    order = [0, k, 1, k + 1, 2 * k, 2, k + 2, 2 * k + 1][: 3 * k - 1]
    return [arrays[at] for at in order] + [None] * (8 - len(order)), k


def sum_elements(x_t: Tensor, weight: Tensor, loss: Tensor, launch: Callable[[Tensor, Tensor], None]) -> None:
    """The losses of samples, summed from the losses of elements that launch(losses, weight) makes."""
    batch, elements = batch_and_elements(x_t)
    if batch == 0:
        return
    chunks, weight = triton.cdiv(elements, CHUNK), weight.contiguous()
    losses = torch.empty(batch * elements, dtype=torch.float32, device=x_t.device)
    sums = torch.empty(batch * chunks, dtype=torch.float32, device=x_t.device)
    with on(x_t):
        if chunks:
            launch(losses, weight)
            sum_losses_kernel[(batch * chunks,)](losses, sums, elements, chunks, **{**OPTIONS, "num_warps": 4})
        add_chunks_kernel[(triton.cdiv(batch, 32),)](sums, weight, loss, batch, chunks, ROWS=32, **OPTIONS)


def bayes_loss(
    x_t: Tensor, head: list[Any], births: Tensor, weight: Tensor, offset: Tensor, max_count: int, loss: Tensor,
    flag: Tensor,
) -> None:  # fmt: skip
    arrays, components = _by_component(head)

    def launch(losses: Tensor, weight: Tensor) -> None:
        grid, sizes, options = per_element("posterior_loss", [x_t, births, *arrays], COMPONENTS=components)
        bayes_loss_kernel[grid](x_t, births, *arrays, weight, offset, max_count, losses, flag, *sizes, **options)

    sum_elements(x_t, weight, loss, launch)


def bayes_loss_backward(
    x_t: Tensor, head: list[Any], births: Tensor, coefficient: Tensor, offset: Tensor, max_count: int,
    grads: list[Any], flag: Tensor,
) -> None:  # fmt: skip
    (arrays, components), (to, _) = _by_component(head), _by_component(grads)
    grid, sizes, options = per_element("posterior_loss", [x_t, births, *arrays, *to], COMPONENTS=components)
    coefficient = coefficient.contiguous()
    with on(x_t):
        bayes_grad_kernel[grid](x_t, births, *arrays, *to, coefficient, offset, max_count, flag, *sizes, **options)


def bayes_step(
    x_t: Tensor, head: list[Any], made: list[Any], numbers: tuple[Tensor, ...], max_count: int, flag: Tensor
) -> None:
    """made: x_s and model_input. numbers: p, q, offset, center, scale and key."""
    arrays, components = _by_component(head)
    given = [x_t, *arrays, *made]
    grid, sizes, options = per_element("posterior_step", given, BOUNDED=bounded(x_t, max_count), COMPONENTS=components)
    with on(x_t):
        bayes_step_kernel[grid](*given, *numbers, flag, *sizes, max_count, **options)
