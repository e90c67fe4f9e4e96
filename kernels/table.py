"""The thresholds of the shared-p draw in Triton, and what the launches that look them up share.

Triton has no shared memory to index, so the shared-p draw takes two launches: table_kernel writes the thresholds of
each sample to a scratch that stays in L2 (43 KB a sample, 24 KB of it read by every draw; one table when samples share
p), where the draw of draw.py looks them up. Float64 operations have the order of
fastblackout/reference/draw.py. The buckets are as in csrc/cuda/table.cuh.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from .checks import clean_prob, report
from .launch import ELEMENT_BLOCK, INTERPRETED, OPTIONS, batch_and_elements, block_size, bounded, per_element

MAX_SHARED_COUNT = 255
ROWS_AT_ONCE = 1024  # their tables, 44 MB, stay in the L2 of a large GPU

# Words of 8 bytes in a sample's scratch: C as int64, rows one after another (n = 16 a at 8 a (a - 1), n = b behind
# them at b (b - 1) / 2); w_j = p / q / (j + 1); uint32 entries of the buckets of the rows n = 16 a, 2^3 an octave, then
# of n = b, 2^2 an octave. (These bits are written as numbers: the interpreter shifts no number by a constexpr.)
_LOWER_AT = tl.constexpr(1920)
_W_AT = tl.constexpr(2040)
_BUCKETS_AT = tl.constexpr(2296)
WORDS = 5368
_WORDS = tl.constexpr(WORDS)
_LOWER_BUCKETS = tl.constexpr(512 << 3)  # entries before the lower rows'


@triton.jit
def bucket(z, row, BITS: tl.constexpr):
    """Index of the entry of uint32 z = u << 16 | 0x8000: sign, row, octave and first mantissa bits of float(z)."""
    f = z.to(tl.int32, bitcast=True).to(tl.float32).to(tl.uint32, bitcast=True)
    return ((f >> (23 - BITS)) & ((1 << (8 + BITS)) | ((1 << (4 + BITS)) - 1))) | (row << (4 + BITS))


@triton.jit
def _bucket_start(r, BITS: tl.constexpr):
    """First uniform of bucket r of 0 .. 32 << BITS - 1, counted upwards; 65,536 behind the last."""
    half = 16 << BITS
    k = tl.where(r <= half, r, 2 * half - r)
    start = ((((1 << BITS) + k % (1 << BITS)) << (k >> BITS)) + ((1 << BITS) - 1)) >> (BITS + 1)
    return tl.where(r <= half, start, 65536 - start)


@triton.jit
def _fill(entries, c, row, n, live, first, BITS: tl.constexpr, STEPS: tl.constexpr):
    """128 buckets from `first` on of one row of n thresholds, found by halving: t << 16, plus 0x8000, plus the number
    of thresholds below the bucket; t is the threshold in it, or one beyond its end. n < 2^STEPS."""
    r = first + tl.arange(0, 128)[None, :]
    start, end = _bucket_start(r, BITS), _bucket_start(r + 1, BITS)
    j = start * 0
    for step in tl.static_range(STEPS):
        ahead = j + (1 << (STEPS - 1 - step))
        inside = live & (ahead <= n)
        below = inside & ((tl.load(c + ahead - 1, mask=inside, other=0) >> 32) < start)
        j = tl.where(below, ahead, j)
    held = live & (j < n)
    t = tl.minimum(tl.load(c + j, mask=held, other=0) >> 32, 65535).to(tl.int32)
    t = tl.where(held & (t < end), t, start + 4096)
    entry = (t.to(tl.uint32) << 16) + (j + 0x8000).to(tl.uint32)
    at = bucket((start.to(tl.uint32) << 16) | 0x8000, (start * 0 + row).to(tl.uint32), BITS)
    tl.store(entries + at, entry, mask=live & (end > start))


@triton.jit(do_not_specialize=["rows", "step", "second_step", "max_count"])
def table_kernel(p, q, p_second, q_second, table, flag, rows, step, second_step, max_count, SAMPLES: tl.constexpr):
    """Thresholds of rows probabilities (p, q) from table on and, from row `rows` on, of (p_second, q_second)."""
    lane = tl.arange(0, 32)[None, :]
    row = tl.program_id(0) * SAMPLES + tl.arange(0, SAMPLES)[:, None]
    if p_second is None:
        live = row < rows
        given_p = tl.load(p + row * step, mask=live, other=0.0)
        given_q = tl.load(q + row * step, mask=live, other=1.0)
    else:
        live = row < 2 * rows
        is_second, at = row >= rows, (row - rows) * second_step
        given_p = tl.load(p + row * step, mask=row < rows, other=0.0)
        given_q = tl.load(q + row * step, mask=row < rows, other=1.0)
        given_p = tl.where(is_second, tl.load(p_second + at, mask=is_second & live, other=0.0), given_p)
        given_q = tl.where(is_second, tl.load(q_second + at, mask=is_second & live, other=1.0), given_q)
    whole, complement, bad = clean_prob(given_p, given_q)
    report(flag, tl.max(tl.where(bad & live, 8, 0), 1))
    small = tl.where(whole > 0.5, complement, whole)
    large = tl.where(whole > 0.5, whole, complement)

    own = table + row.to(tl.int64) * _WORDS
    odds = small / large + tl.zeros((SAMPLES, 32), tl.float64)
    w = (own + _W_AT).to(tl.pointer_type(tl.float64))
    for t in tl.static_range(8):
        tl.store(w + (lane + 32 * t), odds / (lane + (32 * t + 1)).to(tl.float64), mask=live & (lane >= 0))
    tl.debug_barrier()

    upper, digit = lane < 16, lane % 16
    n = tl.where(upper, 16 * digit, digit)
    c = own + tl.where(upper, 8 * digit * (digit - 1), _LOWER_AT + digit * (digit - 1) // 2)
    q2 = large * large
    q4 = q2 * q2
    q8 = q4 * q4
    factor = tl.where(upper, q8 * q8, large)
    pm = tl.zeros((SAMPLES, 32), tl.float64) + 1.0
    for t in range(15):
        pm = tl.where((t < digit) & (small > 0.0), pm * factor, pm)
    cdf = pm
    for j in range(tl.where(max_count >= 16, 240, 15)):
        scaled = cdf * 281474976710656.0
        threshold = tl.where(scaled >= 281474976710656.0, 281474976710656.0, scaled).to(tl.int64)
        tl.store(c + j, threshold, mask=live & (j < n))
        pm = pm * ((n - j).to(tl.float64) * tl.load(w + j, mask=live, other=0.0))
        cdf = cdf + pm

    tl.debug_barrier()
    entries = (own + _BUCKETS_AT).to(tl.pointer_type(tl.uint32))
    for part in range(2 * (max_count // 16 + 1)):  # rows above max_count are not read
        a, first = part // 2, part % 2 * 128
        _fill(entries, own + 8 * a * (a - 1), a, 16 * a, live, first, 3, 8)
    for b in range(tl.where(max_count < 15, max_count, 15) + 1):
        row_of_b = own + (_LOWER_AT + b * (b - 1) // 2)
        _fill(entries + _LOWER_BUCKETS, row_of_b, b, b, live, 0, 2, 4)


def tables(
    flag: Tensor, max_count: int, pair: tuple[Any, ...], second: tuple[Any, ...] = (None, None, 0)
) -> tuple[Tensor, int]:
    """(scratch with the thresholds of one or two (p, q, step), row where the second begin)."""
    (p, q, step), (p_second, q_second, second_step) = pair, second
    rows = p.shape[0] if step or second_step else 1
    total = rows if p_second is None else 2 * rows
    table = torch.empty(total * WORDS, dtype=torch.int64, device=p.device)
    samples = min(16, triton.next_power_of_2(total)) if INTERPRETED else 1
    most = min(max_count, MAX_SHARED_COUNT)
    table_kernel[(triton.cdiv(total, samples),)](
        p, q, p_second, q_second, table, flag, rows, step, second_step, most, SAMPLES=samples, **OPTIONS
    )
    return table, rows


def with_step(p: Tensor | None, q: Tensor | None) -> tuple[Tensor | None, Tensor | None, int]:
    """(p, q, step): step 0 where one number serves all samples, else 1, which needs the numbers side by side."""
    if p is None or q is None or (p.shape[0] > 1 and p.stride(0) == q.stride(0) == 0):
        return p, q, 0
    return p.contiguous(), q.contiguous(), 1


def draw_options(
    op: str, arrays: list[Any], max_count: int, **options: Any
) -> tuple[int, tuple[Any, int], dict[str, Any]]:
    """(programs a sample, (layout, elements), options), for slices; WIDE: a count may be too large for tables."""
    batch, elements = batch_and_elements(arrays[0])
    wide = max_count > MAX_SHARED_COUNT
    gpu = ELEMENT_BLOCK if wide else 256
    parts = 1 if wide or (INTERPRETED and block_size(elements, gpu) >= elements) else 4
    options |= {"WIDE": wide, "BOUNDED": bounded(arrays[0], max_count), "PARTS": parts}
    (programs,), sizes, options = per_element(op, arrays, gpu, **options)
    return programs // batch, sizes, options


def slices(tensors: list[Any], with_tables: bool) -> Iterator[tuple[int, int, list[Any]]]:
    """(first sample, samples, the tensors' rows of these), fewer at once where each sample has tables."""
    batch = tensors[0].shape[0]
    most = ROWS_AT_ONCE if with_tables else batch
    for a in range(0, batch, most):
        yield a, min(most, batch - a), [None if t is None else t[a : a + most] for t in tensors]
