"""The birth loss and its gradient in Triton: the twin of csrc/include/fastblackout/birth_loss.h to the bit.

A chunk of 1,024 elements is summed by the halving tree v[i] += v[i + h], h = 512..1: each level is a tl.sum over an
axis of two, so it is one addition and no order is left open. Chunk sums are added in ascending order in float64: by
the program of the sample, or, where a program a sample would leave a GPU idle, by a second launch. (In CUDA C++ the
last chunk done adds them: a fence after the store of a sum. Triton does not say which thread of a program stores.)
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from . import portfloat as pf
from .checks import report
from .draw import place, rounded, span
from .launch import OPTIONS, batch_and_elements, layout_of, on, per_element

__all__ = ["birth_loss", "birth_loss_backward"]
CHUNK = 1024
_CHUNK = tl.constexpr(CHUNK)


@triton.jit
def _load(logits, births, row, first, lane, elements, layout, COLUMNS: tl.constexpr, DIMS: tl.constexpr):
    """(float32 logits, float32 births, bits for wrong ones, which lanes have an element)"""
    valid = lane < (elements - first)
    x = tl.load(place(logits, row, first, lane, elements, layout, 0, COLUMNS, DIMS), mask=valid, other=0.0)
    k = tl.load(place(births, row, first, lane, elements, layout, 1, COLUMNS, DIMS), mask=valid, other=0)
    x, k = x.to(tl.float32), k.to(tl.float32)
    wrong = (k >= 0.0) & (k <= 3.4028234663852886e38)
    return x, k, tl.where(x - x == 0.0, 0, 2) | tl.where(wrong, 0, 4), valid


@triton.jit
def _checked_gain(gain, weight, flag):
    """The gain at this address: what is none makes the loss NaN. Bit 16 of the flag tells of it, and of a weight, if
    not None, that is not finite."""
    gain = tl.load(gain)
    good = (gain > 0.0) & (gain < float("inf"))
    wrong = good == 0
    if weight is not None:
        weight = tl.load(weight)
        wrong = wrong | ((weight - weight == 0.0) == 0)
    if wrong:
        tl.atomic_or(flag, 16, sem="relaxed")
    return tl.where(good, gain, float("nan"))


@triton.jit
def tree_sum(v):
    """Of 1,024 floats, by the halving tree."""
    v = tl.sum(tl.reshape(v, (2, 512)), 0)
    v = tl.sum(tl.reshape(v, (2, 256)), 0)
    v = tl.sum(tl.reshape(v, (2, 128)), 0)
    v = tl.sum(tl.reshape(v, (2, 64)), 0)
    v = tl.sum(tl.reshape(v, (2, 32)), 0)
    v = tl.sum(tl.reshape(v, (2, 16)), 0)
    v = tl.sum(tl.reshape(v, (2, 8)), 0)
    v = tl.sum(tl.reshape(v, (2, 4)), 0)
    v = tl.sum(tl.reshape(v, (2, 2)), 0)
    return tl.sum(v, 0)


@triton.jit
def _chunk_sum(logits, births, row, first, gain, log_gain, layout, elements, DIMS: tl.constexpr):
    """(float32 sum of the chunk that starts at element `first`, bits for wrong logits and births)"""
    lane = tl.arange(0, _CHUNK)
    x, k, bits, valid = _load(logits, births, row, first, lane, elements, layout, 2, DIMS)
    y = gain * pf.softplus(x)
    log_y = log_gain + pf.log_softplus(x)
    return tree_sum(tl.where(valid, y - k * log_y, 0.0)), tl.where(valid, bits, 0)


@triton.jit(do_not_specialize=["elements", "chunks"])
def birth_loss_kernel(
    logits, births, weight, gain, loss, sums, flag, layout, elements, chunks,
    WHOLE: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr,
):  # fmt: skip
    """WHOLE: a program a sample, writing the loss. Else a program a chunk, writing its sum to sums (B, chunks)."""
    program = tl.program_id(0)
    elements = elements.to(tl.int64)
    if ALIGNED:
        elements = elements // 16 * 16
    row = program if WHOLE else program // chunks
    gain = _checked_gain(gain + row, weight + row, flag)
    log_gain = pf.log(gain.to(tl.float64)).to(tl.float32)
    if WHOLE:
        total = (program * 0).to(tl.float64)
        for chunk in range(chunks):
            first = (program * 0 + chunk).to(tl.int64) * _CHUNK
            part, bits = _chunk_sum(logits, births, row, first, gain, log_gain, layout, elements, DIMS)
            report(flag, bits)
            total += part.to(tl.float64)
        tl.store(loss + row, (tl.load(weight + row) * total).to(tl.float32))
    else:
        first = (program % chunks).to(tl.int64) * _CHUNK
        part, bits = _chunk_sum(logits, births, row, first, gain, log_gain, layout, elements, DIMS)
        report(flag, bits)
        tl.store(sums + program, part)


@triton.jit(do_not_specialize=["rows", "chunks"])
def add_chunks_kernel(sums, weight, loss, rows, chunks, ROWS: tl.constexpr):
    """loss_b = weight_b times the chunk sums of sample b, in ascending order in float64; ROWS samples a program."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    live = row < rows
    total = tl.zeros((ROWS,), tl.float64)
    for chunk in range(chunks):
        total += tl.load(sums + row.to(tl.int64) * chunks + chunk, mask=live, other=0.0).to(tl.float64)
    tl.store(loss + row, (tl.load(weight + row, mask=live, other=0.0) * total).to(tl.float32), mask=live)


def birth_loss(logits: Tensor, births: Tensor, weight: Tensor, gain: Tensor, loss: Tensor, flag: Tensor) -> None:
    """loss_b = weight_b times the sum over a sample of y - births log y, y = gain_b softplus(logit)."""
    batch, elements = batch_and_elements(logits)
    if batch == 0:
        return
    chunks = triton.cdiv(elements, CHUNK)
    # A program a sample where that fills a GPU or leaves little to share out; else a program a chunk, then the sums.
    whole = chunks <= 4 or batch >= 2048
    layout, dims = layout_of("birth_loss", [logits, births])
    sums = loss if whole else torch.empty(batch * chunks, dtype=torch.float32, device=logits.device)
    weight = weight.contiguous()
    options = {**OPTIONS, "WHOLE": whole, "ALIGNED": elements % 16 == 0, "DIMS": dims, "num_warps": 4}
    with on(logits):
        birth_loss_kernel[(batch if whole else batch * chunks,)](
            logits, births, weight, gain, loss, sums, flag, layout, elements, chunks, **options
        )
        if not whole:
            add_chunks_kernel[(triton.cdiv(batch, 32),)](sums, weight, loss, batch, chunks, ROWS=32, **OPTIONS)


@triton.jit(do_not_specialize=["elements"])
def birth_loss_grad_kernel(
    logits, births, coefficient, gain, grad, flag, layout, elements,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row, first, elements = span(elements, BLOCK, 1, ALIGNED)
    lane = tl.arange(0, BLOCK)
    x, k, bits, valid = _load(logits, births, row, first, lane, elements, layout, 3, DIMS)
    report(flag, tl.where(valid, bits, 0))
    gain, c = _checked_gain(gain + row, None, flag), tl.load(coefficient + row).to(tl.float32)
    value = c * tl.div_rn(gain * pf.softplus(x) - k, pf.softplus_over_sigmoid(x))
    to = place(grad, row, first, lane, elements, layout, 2, 3, DIMS)
    tl.store(to, rounded(value, grad.dtype.element_ty), mask=valid)


def birth_loss_backward(
    logits: Tensor, births: Tensor, coefficient: Tensor, gain: Tensor, grad: Tensor, flag: Tensor
) -> None:
    """grad = coefficient_b (gain_b sigmoid(logit) - births sigmoid(logit) / softplus(logit)), in logits' dtype."""
    if logits.numel() == 0:
        return
    grid, sizes, options = per_element("birth_loss", [logits, births, grad], CHUNK, num_warps=4)
    with on(logits):
        birth_loss_grad_kernel[grid](logits, births, coefficient.contiguous(), gain, grad, flag, *sizes, **options)
