"""The birth loss and its gradient in Triton: the twin of csrc/include/fastblackout/birth_loss.h to the bit.

A chunk of 1,024 elements is summed by the halving tree v[i] += v[i + h], h = 512..1: each level is a tl.sum over an
axis of two, so it is one addition and no order is left open. Chunk sums are added in ascending order in float64: by
the program of the sample, or, where a program a sample would leave a GPU idle, by a second launch. (In CUDA C++ the
last chunk done adds them: a fence after the store of a sum. Triton does not say which thread of a program stores.)
"""

from __future__ import annotations

import triton
import triton.language as tl

from . import portfloat as pf
from .draw import place, rounded
from .table import report

_CHUNK = tl.constexpr(1024)


@triton.jit
def _load(logits, births, row, first, lane, valid, elements, layout, COLUMNS: tl.constexpr, DIMS: tl.constexpr):
    x = tl.load(place(logits, row, first, lane, elements, layout, 0, COLUMNS, DIMS), mask=valid, other=0.0)
    k = tl.load(place(births, row, first, lane, elements, layout, 1, COLUMNS, DIMS), mask=valid, other=0)
    x, k = x.to(tl.float32), k.to(tl.float32)
    wrong = (k >= 0.0) & (k <= 3.4028234663852886e38)
    return x, k, tl.where(x - x == 0.0, 0, 2) | tl.where(wrong, 0, 4)


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
def _chunk_sum(
    logits, births, row, first, gain, log_gain, flag, layout, elements, ALIGNED: tl.constexpr, DIMS: tl.constexpr
):
    """Float32 sum of the chunk that starts at element `first`."""
    lane = tl.arange(0, _CHUNK)
    valid = lane < (elements - first)
    x, k, bits = _load(logits, births, row, first, lane, valid, elements, layout, 2, DIMS)
    report(flag, tl.where(valid, bits, 0))
    y = gain * pf.softplus(x)
    log_y = log_gain + pf.log_softplus(x)
    v = tl.where(valid, y - k * log_y, 0.0)
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
            part = _chunk_sum(logits, births, row, first, gain, log_gain, flag, layout, elements, ALIGNED, DIMS)
            total += part.to(tl.float64)
        tl.store(loss + row, (tl.load(weight + row) * total).to(tl.float32))
    else:
        first = (program % chunks).to(tl.int64) * _CHUNK
        part = _chunk_sum(logits, births, row, first, gain, log_gain, flag, layout, elements, ALIGNED, DIMS)
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


@triton.jit(do_not_specialize=["elements", "chunks"])
def birth_loss_grad_kernel(
    logits, births, coefficient, gain, grad, flag, layout, elements, chunks,
    ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    row, first = program // chunks, (program % chunks).to(tl.int64) * BLOCK
    elements = elements.to(tl.int64)
    if ALIGNED:
        elements = elements // 16 * 16
    lane = tl.arange(0, BLOCK)
    valid = lane < (elements - first)
    x, k, bits = _load(logits, births, row, first, lane, valid, elements, layout, 3, DIMS)
    report(flag, tl.where(valid, bits, 0))
    gain, c = _checked_gain(gain + row, None, flag), tl.load(coefficient + row).to(tl.float32)
    value = c * tl.div_rn(gain * pf.softplus(x) - k, pf.softplus_over_sigmoid(x))
    tl.store(
        place(grad, row, first, lane, elements, layout, 2, 3, DIMS), rounded(value, grad.dtype.element_ty), mask=valid
    )
