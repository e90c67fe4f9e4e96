"""posterior_loss and posterior_step of the laws with a logit for every state in Triton: the twin of
csrc/include/fastblackout/states.h to the bit.

An element a lane, a warp a program. The states are read three times, for the largest logarithm, for the sums and for
what is made of them, as a row does not fit into registers. The sums come one after the other, so that one register
holds them. A loss takes three launches, as in bayes_launch.py. A first one makes the table of log n!."""

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from . import factorials
from . import portfloat as pf
from .bayes_launch import sum_elements
from .binomial import binomial_block
from .checks import clean_prob, report
from .draw import load_counts, load_key, own_block, place, rounded
from .heads import law_counts, load_number
from .launch import OPTIONS, bounded, on, per_element
from .steps import law_step_block, store_step
from .weights import first_word

STATES = (3, 4)  # the numbers of "categorical" and "bayes-categorical" in call/head.py
_LANES = tl.constexpr(16)
_ELEMENT = tl.constexpr(int(Stream.POSTERIOR_ELEMENT))
_STATE, _REFINE = tl.constexpr(int(Stream.POSTERIOR_STATE)), tl.constexpr(int(Stream.POSTERIOR_STATE_REFINE))


@triton.jit(do_not_specialize=["states"])
def factorials_kernel(table, states, BLOCK: tl.constexpr):
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(table + n, factorials.log_factorial(n.to(tl.float64)), mask=n < states)


@triton.jit
def _logit(at, step, v, valid):
    return tl.load(at + v * step, mask=valid, other=0.0).to(tl.float32)


@triton.jit
def _log_of(logit, v, x, offset, table, valid, KNOWN: tl.constexpr):
    """a(v), float64. States below x get another state's"""
    a = logit.to(tl.float64)
    if KNOWN:
        n = tl.where(v > x, v - x, 0)
        rest = n.to(tl.float64) * offset - tl.load(table + n, mask=valid, other=0.0)
        a = a + (tl.load(table + v) + rest)
    return a


@triton.jit
def _largest(at, step, x, offset, table, states, valid, KNOWN: tl.constexpr):
    """(the largest a(v), bits for logits that are not finite)"""
    top = tl.zeros_like(x).to(tl.float64) - float("inf")
    bits = tl.zeros_like(x)
    for v in range(states):
        logit = _logit(at, step, v, valid)
        bits = bits | tl.where(logit - logit == 0.0, 0, 2)
        a = _log_of(logit, v, x, offset, table, valid, KNOWN)
        top = tl.where((v >= x) & ((a > top) | (a != a)), a, top)  # once NaN it stays NaN, and so does the loss
    return top, bits


@triton.jit
def _weight(at, step, v, x, top, offset, table, valid, KNOWN: tl.constexpr):
    a = _log_of(_logit(at, step, v, valid), v, x, offset, table, valid, KNOWN)
    return tl.where(v >= x, pf.exp_minus_abs_or_nan((a - top).to(tl.float32)), 0.0)


@triton.jit
def _others(at, step, x, top, seen, offset, table, states, valid, KNOWN: tl.constexpr):
    """The sum of all weights without the weight of the seen state"""
    total = tl.zeros_like(top)
    for lane in range(_LANES):
        made = tl.zeros_like(top)
        for v in range(lane, states, _LANES):
            w = _weight(at, step, v, x, top, offset, table, valid, KNOWN)
            made += tl.where(v == seen, 0.0, w).to(tl.float64)
        total += made
    return total


@triton.jit(do_not_specialize=["elements", "max_count", "step"])
def states_loss_kernel(
    x_t, births, head, weight, offset, table, max_count, step, losses, flag, layout, elements,
    KNOWN: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """losses (B, elements), dense. head: of the first state, the others `step` apart."""
    row, first, elements, lane, valid = own_block(elements, BLOCK, ALIGNED)
    step = step.to(tl.int64)
    if first == 0:
        load_number(weight + row, flag)
    shift = load_number(offset + row, flag)
    x_at = place(x_t, row, first, lane, elements, layout, 0, 3, DIMS)
    born_at = place(births, row, first, lane, elements, layout, 1, 3, DIMS)
    room, n, bits = law_counts(x_at, born_at, valid, max_count)
    at = place(head, row, first, lane, elements, layout, 2, 3, DIMS)
    x, states = max_count.to(tl.int32) - room.to(tl.int32), max_count.to(tl.int32) + 1
    seen = x + n.to(tl.int32)
    top, bits_head = _largest(at, step, x, shift, table, states, valid, KNOWN)
    report(flag, tl.where(valid, bits | bits_head, 0))
    others = _others(at, step, x, top, seen, shift, table, states, valid, KNOWN)
    apart = top - _log_of(_logit(at, step, seen, valid), seen, x, shift, table, valid, KNOWN)
    own = _weight(at, step, seen, x, top, shift, table, valid, KNOWN).to(tl.float64)
    loss = tl.where(apart > 0.0, apart + pf.log(others + own), pf.log_one_plus(others))
    loss = tl.where(top == top, loss, top)
    tl.store(losses + (row.to(tl.int64) * elements + first) + lane, loss.to(tl.float32), mask=valid)


@triton.jit(do_not_specialize=["elements", "max_count", "step", "grad_step"])
def states_grad_kernel(
    x_t, births, head, grad, coefficient, offset, table, max_count, step, grad_step, flag, layout, elements,
    KNOWN: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements, lane, valid = own_block(elements, BLOCK, ALIGNED)
    step, grad_step = step.to(tl.int64), grad_step.to(tl.int64)
    shift, factor = load_number(offset + row, flag), tl.load(coefficient + row).to(tl.float32)
    x_at = place(x_t, row, first, lane, elements, layout, 0, 4, DIMS)
    born_at = place(births, row, first, lane, elements, layout, 1, 4, DIMS)
    room, n, bits = law_counts(x_at, born_at, valid, max_count)
    at = place(head, row, first, lane, elements, layout, 2, 4, DIMS)
    to = place(grad, row, first, lane, elements, layout, 3, 4, DIMS)
    x, states = max_count.to(tl.int32) - room.to(tl.int32), max_count.to(tl.int32) + 1
    seen = x + n.to(tl.int32)
    top, bits_head = _largest(at, step, x, shift, table, states, valid, KNOWN)
    report(flag, tl.where(valid, bits | bits_head, 0))
    others = _others(at, step, x, top, seen, shift, table, states, valid, KNOWN)
    total = others + _weight(at, step, seen, x, top, shift, table, valid, KNOWN).to(tl.float64)
    inverse, own = (1.0 / total).to(tl.float32), ((0.0 - others) / total).to(tl.float32)
    for v in range(states):
        slope = _weight(at, step, v, x, top, shift, table, valid, KNOWN) * inverse
        slope = tl.where(v == seen, own, tl.where(v >= x, slope, 0.0))
        tl.store(to + v * grad_step, rounded(factor * slope, grad.dtype.element_ty), mask=valid)


@triton.jit(do_not_specialize=["elements", "max_count", "step"])
def states_step_kernel(
    x_t, head, x_s, model_input, p, q, offset, center, scale, key, table, step, flag, layout, elements, max_count,
    KNOWN: tl.constexpr, BOUNDED: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements, lane, valid, center, scale, shift = law_step_block(
        elements, key, center, scale, offset, flag, BLOCK, ALIGNED
    )
    step = step.to(tl.int64)
    born, unborn, wrong = clean_prob(tl.load(p + row), tl.load(q + row))
    counts, bad = load_counts(place(x_t, row, first, lane, elements, layout, 0, 4, DIMS), valid, max_count, BOUNDED)
    at = place(head, row, first, lane, elements, layout, 1, 4, DIMS)
    x, states = counts.to(tl.int32), max_count.to(tl.int32) + 1
    top, bits = _largest(at, step, x, shift, table, states, valid, KNOWN)
    report(flag, tl.where(valid, bits | tl.where(bad, 1, 0) | tl.where(wrong, 8, 0), 0))
    i = (first + lane).to(tl.uint32)
    high, low = first_word(i, key, row, _STATE), first_word(i, key, row, _REFINE)
    total = _others(at, step, x, top, tl.zeros_like(x) - 1, shift, table, states, valid, KNOWN)
    target = pf.uniform_from_zero(pf.bits53(high, low)) * total
    end, drawn, found = tl.zeros_like(total), x, target < 0.0
    for part in range(_LANES):
        goal, passed, last = target - end, tl.zeros_like(total), x
        for v in range(part, states, _LANES):
            w = _weight(at, step, v, x, top, shift, table, valid, KNOWN)
            last = tl.where((w > 0.0) & (passed <= goal), v, last)
            passed += w.to(tl.float64)
        end += passed
        here = (target < end) & (found == 0)
        drawn, found = tl.where(here, last, drawn), found | here
    seed, counter = load_key(key, row)
    chance = tl.zeros_like(total)
    left = (drawn - x).to(tl.int64)
    births = binomial_block(left, chance + born, chance + unborn, i, valid, seed, counter, _ELEMENT)
    after = counts.to(tl.int64) + births
    store_step(after, x_s, model_input, center, scale, row, first, lane, elements, layout, valid, 2, 4, DIMS)


def _table(x_t: Tensor, known: bool, max_count: int) -> Tensor | None:
    """log n! of all states"""
    if not known:
        return None
    table = torch.empty(max_count + 1, dtype=torch.float64, device=x_t.device)
    factorials_kernel[(triton.cdiv(max_count + 1, 32),)](table, max_count + 1, BLOCK=32, **OPTIONS)
    return table


def states_loss(
    x_t: Tensor, family: int, head: Tensor, births: Tensor, weight: Tensor, offset: Tensor, max_count: int,
    loss: Tensor, flag: Tensor,
) -> None:  # fmt: skip
    arrays, known = [x_t, births, head[..., 0]], family == STATES[1]

    def launch(losses: Tensor, weight: Tensor) -> None:
        grid, sizes, options = per_element("posterior_loss", arrays, KNOWN=known)
        numbers = weight, offset, _table(x_t, known, max_count), max_count, head.stride(-1)
        states_loss_kernel[grid](*arrays, *numbers, losses, flag, *sizes, **options)

    sum_elements(x_t, weight, loss, launch)


def states_loss_backward(
    x_t: Tensor, family: int, head: Tensor, births: Tensor, coefficient: Tensor, offset: Tensor, max_count: int,
    grad: Tensor, flag: Tensor,
) -> None:  # fmt: skip
    arrays, known = [x_t, births, head[..., 0], grad[..., 0]], family == STATES[1]
    grid, sizes, options = per_element("posterior_loss", arrays, KNOWN=known)
    with on(x_t):
        numbers = coefficient.contiguous(), offset, _table(x_t, known, max_count), max_count
        states_grad_kernel[grid](*arrays, *numbers, head.stride(-1), grad.stride(-1), flag, *sizes, **options)


def states_step(
    x_t: Tensor, family: int, head: Tensor, made: list[Any], numbers: tuple[Tensor, ...], max_count: int, flag: Tensor
) -> None:
    """made, numbers: as of bayes_step."""
    arrays, known = [x_t, head[..., 0], *made], family == STATES[1]
    grid, sizes, options = per_element("posterior_step", arrays, BOUNDED=bounded(x_t, max_count), KNOWN=known)
    with on(x_t):
        table = _table(x_t, known, max_count)
        states_step_kernel[grid](*arrays, *numbers, table, head.stride(-1), flag, *sizes, max_count, **options)
