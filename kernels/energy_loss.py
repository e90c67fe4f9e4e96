"""The energy loss and its gradient in Triton: the twin of csrc/include/fastblackout/energy_loss.h to the bit.

A program takes a chunk of 1,024 elements and makes the sums of the squares of all distances, each by the halving tree
of birth_loss.py; a second launch adds the chunk sums in ascending order in float64 and makes norms and loss. The
factors of the gradient, too, are made by a launch of their own. A draw is made anew for each distance that it is part
of: draws are few, and a block of all of them would not stay in registers.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import portfloat as pf
from .birth_loss import CHUNK, tree_sum
from .checks import report
from .draw import load_counts, place, rounded, span
from .launch import OPTIONS, batch_and_elements, layout_of, on, per_element

__all__ = ["energy_loss", "energy_loss_backward"]
_CHUNK = tl.constexpr(CHUNK)


@triton.jit
def _room_and_births(x_t, births, row, first, lane, elements, layout, max_count, DIMS: tl.constexpr):
    """(max_count - x_t, births, bits for wrong ones, which lanes have an element)"""
    valid = lane < (elements - first)
    x, bad = load_counts(place(x_t, row, first, lane, elements, layout, 0, 4, DIMS), valid, max_count, False)
    n = tl.load(place(births, row, first, lane, elements, layout, 1, 4, DIMS), mask=valid, other=0).to(tl.float32)
    bits = tl.where(bad, 1, 0) | tl.where((n >= 0.0) & (n <= 3.4028234663852886e38), 0, 4)
    return (max_count - x).to(tl.float32), n, bits, valid


@triton.jit
def _logit(at, step, draw, valid):
    """float32 logits of a draw"""
    return tl.load(at + draw * step, mask=valid, other=0.0).to(tl.float32)


@triton.jit
def _parts(logit, offset):
    """(z, exp(-|z|), 1 / (1 + exp(-|z|))), z = 2 logit + offset"""
    z = (logit + logit) + offset
    e = pf.exp_minus_abs_or_nan(z)
    return z, e, tl.div_rn(tl.zeros_like(e) + 1.0, 1.0 + e)


@triton.jit
def _draw(logit, offset, room):
    z, e, inverse = _parts(logit, offset)
    return room * tl.where(z < 0.0, e * inverse, inverse)


@triton.jit(do_not_specialize=["elements", "draws", "max_count", "step"])
def energy_squares_kernel(
    x_t, logits, births, weight, offset, max_count, sums, flag, layout, elements, draws, step,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """sums (B, chunks, norms): of the squares of each distance. step: from a draw to the next."""
    row, first, elements = span(elements, _CHUNK, 1, ALIGNED)
    step = step.to(tl.int64)
    lane = tl.arange(0, _CHUNK)
    shift, heavy = tl.load(offset + row), tl.load(weight + row)
    if ((shift - shift == 0.0) & (heavy - heavy == 0.0)) == 0:
        tl.atomic_or(flag, 16, sem="relaxed")
    room, n, bits, valid = _room_and_births(x_t, births, row, first, lane, elements, layout, max_count, DIMS)
    at = place(logits, row, first, lane, elements, layout, 2, 4, DIMS)
    to = sums + tl.program_id(0).to(tl.int64) * (draws * (draws + 1) // 2)
    between = draws  # the first of the distances between draws
    for s in range(draws):
        x = _logit(at, step, s, valid)
        bits = bits | tl.where(x - x == 0.0, 0, 2)
        y = _draw(x, shift, room)
        apart = tl.where(valid, y - n, 0.0)
        tl.store(to + s, tree_sum(apart * apart))
        for r in range(s + 1, draws):
            apart = tl.where(valid, y - _draw(_logit(at, step, r, valid), shift, room), 0.0)
            tl.store(to + between, tree_sum(apart * apart))
            between += 1
    report(flag, tl.where(valid, bits, 0))


@triton.jit(do_not_specialize=["rows", "chunks", "draws"])
def energy_norms_kernel(sums, weight, loss, norms, rows, chunks, draws, ROWS: tl.constexpr):
    """norms (B, S (S + 1) / 2) and losses of chunk sums, which are added in ascending order; ROWS samples a program."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live, count = row < rows, draws * (draws + 1) // 2
    row = row.to(tl.int64)
    away = tl.zeros((ROWS,), tl.float64)
    apart = tl.zeros((ROWS,), tl.float64)
    for k in range(count):
        total = tl.zeros((ROWS,), tl.float64)
        for chunk in range(chunks):
            total += tl.load(sums + (row * chunks + chunk) * count + k, mask=live, other=0.0).to(tl.float64)
        norm = tl.sqrt(total)
        tl.store(norms + row * count + k, norm, mask=live)
        away += tl.where(k < draws, norm, 0.0)
        apart += tl.where(k < draws, 0.0, norm)
    zero = tl.zeros((ROWS,), tl.float64)
    score = away / (zero + draws) - apart / (zero + draws * (draws - 1))
    tl.store(loss + row, (tl.load(weight + row, mask=live, other=0.0) * score).to(tl.float32), mask=live)


@triton.jit(do_not_specialize=["draws"])
def energy_factors_kernel(coefficient, norms, factors, draws, MOST: tl.constexpr):
    """float32 factors (B, S (S + 1) / 2) of the gradient: coefficient / (times norm), 0 where the norm is."""
    row, k = tl.program_id(0), tl.arange(0, MOST)
    count = draws * (draws + 1) // 2
    at, live = row.to(tl.int64) * count + k, k < count
    norm = tl.load(norms + at, mask=live, other=0.0)
    some = norm > 0.0
    times = tl.where(k < draws, draws, draws * (draws - 1)).to(tl.float64)
    factor = tl.load(coefficient + row) / (times * tl.where(some, norm, 1.0))
    tl.store(factors + at, tl.where(some, factor, 0.0).to(tl.float32), mask=live)


@triton.jit(do_not_specialize=["elements", "draws", "max_count", "step", "grad_step"])
def energy_grad_kernel(
    x_t, logits, births, offset, max_count, factors, grad, flag, layout, elements, draws, step, grad_step,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements = span(elements, BLOCK, 1, ALIGNED)
    step, grad_step = step.to(tl.int64), grad_step.to(tl.int64)
    lane = tl.arange(0, BLOCK)
    shift = tl.load(offset + row)
    if (shift - shift == 0.0) == 0:
        tl.atomic_or(flag, 16, sem="relaxed")
    room, n, bits, valid = _room_and_births(x_t, births, row, first, lane, elements, layout, max_count, DIMS)
    at = place(logits, row, first, lane, elements, layout, 2, 4, DIMS)
    to = place(grad, row, first, lane, elements, layout, 3, 4, DIMS)
    factors += row.to(tl.int64) * (draws * (draws + 1) // 2)
    for s in range(draws):
        x = _logit(at, step, s, valid)
        bits = bits | tl.where(x - x == 0.0, 0, 2)
        z, e, inverse = _parts(x, shift)
        y = room * tl.where(z < 0.0, e * inverse, inverse)
        pull = tl.load(factors + s) * (y - n)
        for r in range(draws):
            low, high = tl.minimum(r, s), tl.maximum(r, s)
            between = draws + low * (2 * draws - low - 1) // 2 + high - low - 1
            factor = tl.where(r == s, 0.0, tl.load(factors + between))  # less 0 times 0 changes nothing
            pull = pull - factor * (y - _draw(_logit(at, step, r, valid), shift, room))
        value = pull * ((room + room) * ((e * inverse) * inverse))
        tl.store(to + s * grad_step, rounded(value, grad.dtype.element_ty), mask=valid)
    report(flag, tl.where(valid, bits, 0))


def energy_loss(
    x_t: Tensor, logits: Tensor, births: Tensor, weight: Tensor, offset: Tensor, max_count: int, *made: Tensor
) -> None:
    """Loss and norms as fastblackout/reference/energy_loss.py defines them; logits (S, B, ...)."""
    loss, norms, flag = made
    batch, elements = batch_and_elements(x_t)
    if batch == 0:
        return
    draws, chunks = len(logits), triton.cdiv(elements, CHUNK)
    layout, dims = layout_of("energy_loss", [x_t, births, logits[0], None])
    sizes = layout, elements
    sums = torch.empty(batch * chunks * norms.shape[1], dtype=torch.float32, device=x_t.device)
    weight = weight.contiguous()
    options = {**OPTIONS, "ALIGNED": elements % 16 == 0, "DIMS": dims, "num_warps": 8}
    with on(x_t):
        if chunks:
            energy_squares_kernel[(batch * chunks,)](
                x_t, logits, births, weight, offset, max_count, sums, flag, *sizes, draws, logits.stride(0), **options
            )
        grid = (triton.cdiv(batch, 32),)
        energy_norms_kernel[grid](sums, weight, loss, norms, batch, chunks, draws, ROWS=32, **OPTIONS)


def energy_loss_backward(
    x_t: Tensor, logits: Tensor, births: Tensor, coefficient: Tensor, offset: Tensor, max_count: int, *rest: Tensor
) -> None:
    """The gradient by the logits, of norms that energy_loss has made; coefficient: upstream gradient times weight."""
    norms, grad, flag = rest
    if logits.numel() == 0:
        return
    arrays = [x_t, births, logits[0], grad[0]]
    grid, sizes, options = per_element("energy_loss", arrays, 512, num_warps=4)
    draws, strides = len(logits), (len(logits), logits.stride(0), grad.stride(0))
    factors = torch.empty(norms.shape, dtype=torch.float32, device=x_t.device)
    with on(x_t):
        energy_factors_kernel[(len(x_t),)](
            coefficient.contiguous(), norms.contiguous(), factors, draws, MOST=64, **OPTIONS
        )
        energy_grad_kernel[grid](
            x_t, logits, births, offset, max_count, factors, grad, flag, *sizes, *strides, **options
        )
