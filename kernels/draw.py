"""What the Triton ops share: keys, addresses, the shared-p draw, rounding. Twins: csrc/include/fastblackout/draw.h and
fastblackout/reference/draw.py, whose integers come out to the bit.

A program is one warp: its loops until no lane is open cost what divergence costs a warp; nothing waits at a barrier.
The shared-p draw looks up what table.py has written: 16 bits by one load of the bucket they fall into, which holds at
most one threshold of a row, then, for the 1 in 800 elements that tie, all 48 bits one element at a time.

A part that draws is given the two words of load_key. Its stream is STREAM, and STREAM + 1 where it needs more bits of
an element: in reference/philox.py every NAME_REFINE follows its NAME.
"""

from __future__ import annotations

import triton
import triton.language as tl

from ..reference.philox import MULTIPLIERS, WEYL
from .checks import check_sample
from .launch import INTERPRETED
from .table import _BUCKETS_AT, _LOWER_AT, _LOWER_BUCKETS, bucket

_NEVER = tl.constexpr(1 << 62)
_M0, _M1, _W0, _W1 = map(tl.constexpr, (*MULTIPLIERS, *WEYL))


@triton.jit
def philox(c0, c1, c2, c3, k0, k1):
    """Philox4x32-10; c0 and c2 uint32 tensors or scalars of Triton, c3 may be a constant."""
    for _ in tl.static_range(10):
        wide_0 = c0.to(tl.uint64) * _M0
        wide_1 = c2.to(tl.uint64) * _M1
        c0 = (wide_1 >> 32).to(tl.uint32) ^ c1 ^ k0
        c1 = wide_1.to(tl.uint32)
        c2 = (wide_0 >> 32).to(tl.uint32) ^ c3 ^ k1
        c3 = wide_0.to(tl.uint32)
        k0 = k0 + _W0
        k1 = k1 + _W1
    return c0, c1, c2, c3


@triton.jit
def load_key(key, row):
    """(seed, counter) of a row from the int64[3] key; in counter the sample's number is below and the call above."""
    sample = (tl.load(key + 1) + row).to(tl.uint32).to(tl.int64)
    return tl.load(key), sample | (tl.load(key + 2) << 32)


@triton.jit
def words(i, sub, seed, counter):
    """The four words of block i of a sample; sub: the stream, shifted by 24, and what else the word c3 holds."""
    sample, call = counter.to(tl.uint32), (counter >> 32).to(tl.uint32)
    return philox(i, sample, call, sub, seed.to(tl.uint32), (seed >> 32).to(tl.uint32))


@triton.jit
def span(elements, BLOCK: tl.constexpr, PARTS: tl.constexpr, ALIGNED: tl.constexpr):
    """(row, first element, elements) of this program, of which a row has one for every BLOCK * PARTS elements; ALIGNED
    tells the compiler that 16 divides elements."""
    program = tl.program_id(0)
    elements = elements.to(tl.int64)
    if ALIGNED:
        elements = elements // 16 * 16
    programs = tl.cdiv(elements, BLOCK * PARTS).to(tl.int32)
    return program // programs, (program % programs).to(tl.int64) * (BLOCK * PARTS), elements


@triton.jit
def own_block(elements, BLOCK: tl.constexpr, ALIGNED: tl.constexpr):
    """(row, first element, elements, lane, which lanes have an element) of a program that takes one block of a row."""
    row, first, elements = span(elements, BLOCK, 1, ALIGNED)
    lane = tl.arange(0, BLOCK)
    return row, first, elements, lane, lane < (elements - first)


@triton.jit
def drawn_block(elements, key, flag, BLOCK: tl.constexpr, ALIGNED: tl.constexpr):
    """The same of an element-wise draw: the first program of a row looks at its key."""
    row, first, elements, lane, valid = own_block(elements, BLOCK, ALIGNED)
    if first == 0:
        check_sample(flag, key, row, None, None, None)
    return row, first, elements, lane, valid


@triton.jit
def place(base, row, first, lane, elements, layout, COLUMN: tl.constexpr, COLUMNS: tl.constexpr, DIMS: tl.constexpr):
    """Pointers to elements first + lane of a sample. DIMS = 0: all tensors lie in C order. Else `layout` holds int64
    rows (size, stride of each column): the sample's, then a row for each of DIMS dimensions, the fastest first."""
    if DIMS == 0:
        at = base + (row.to(tl.int64) * elements + first) + lane
    else:
        at = base + row.to(tl.int64) * tl.load(layout + 1 + COLUMN) + tl.zeros_like(lane)
        i = (first + lane).to(tl.uint32)
        for d in tl.static_range(1, DIMS + 1):
            line = layout + d * (COLUMNS + 1)
            size = tl.load(line).to(tl.uint32)
            coordinate = i if d == DIMS else i % size  # the slowest is what is left
            at += coordinate.to(tl.int64) * tl.load(line + 1 + COLUMN)
            i = i // size
    return at


# The interpreter cuts bfloat16 off where GPUs round to nearest even, so there the bits are rounded by hand.
_CUTS_BFLOAT16 = tl.constexpr(INTERPRETED)


@triton.jit
def rounded(value, TYPE: tl.constexpr):
    """A float32 in the float type of an output, nearest even."""
    if _CUTS_BFLOAT16 and tl.bfloat16 == TYPE:
        bits = value.to(tl.uint32, bitcast=True)
        bits = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        result = tl.where(value == value, bits, 0x7FC0).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        result = value.to(TYPE)
    return result


@triton.jit
def write(out, at, x, valid):
    """Stores float64 values, rounded once, to 16 bits by way of float32."""
    if out.dtype.element_ty == tl.float64:
        tl.store(at, x, mask=valid)
    else:
        tl.store(at, rounded(x.to(tl.float32), out.dtype.element_ty), mask=valid)


@triton.jit
def load_counts(at, valid, max_count, BOUNDED: tl.constexpr):
    """(counts in 0..max_count, int32, or int64 where they lie as such; which were not). BOUNDED: all are."""
    raw = tl.load(at, mask=valid, other=0)
    x = raw if at.dtype.element_ty == tl.int64 else raw.to(tl.int32)
    if BOUNDED:
        bad = x < 0
    else:
        bad = (x < 0) | (x > max_count)
        x = tl.minimum(tl.maximum(x, 0), max_count)
    return x, bad


@triton.jit
def _two_blocks(first, seed, counter, STREAM: tl.constexpr, BLOCK: tl.constexpr):
    """Words of Philox blocks 2 t and 2 t + 1 for elements 8 t .. 8 t + 7: a lane makes what its eight elements need."""
    even = (first // 4).to(tl.uint32) + 2 * tl.arange(0, BLOCK // 8).to(tl.uint32)
    e0, e1, e2, e3 = words(even, STREAM << 24, seed, counter)
    o0, o1, o2, o3 = words(even + 1, STREAM << 24, seed, counter)
    return e0, e1, e2, e3, o0, o1, o2, o3


@triton.jit
def _interleave(v0, v1, v2, v3, v4, v5, v6, v7, BLOCK: tl.constexpr):
    """v0[0], v1[0], ..., v7[0], v0[1], ..."""
    even = tl.join(tl.join(v0, v4), tl.join(v2, v6))
    odd = tl.join(tl.join(v1, v5), tl.join(v3, v7))
    return tl.reshape(tl.join(even, odd), (BLOCK,))


@triton.jit
def primary_bits(first, seed, counter, STREAM: tl.constexpr, BLOCK: tl.constexpr):
    """u1 | u2 << 16 of elements first .. first + BLOCK, first a multiple of 8."""
    e0, e1, e2, e3, o0, o1, o2, o3 = _two_blocks(first, seed, counter, STREAM, BLOCK)
    return _interleave(
        (e1 & 0xFFFF) | (e3 << 16),
        (o1 & 0xFFFF) | (o3 << 16),
        (e1 >> 16) | (e3 & 0xFFFF0000),
        (o1 >> 16) | (o3 & 0xFFFF0000),
        (e0 & 0xFFFF) | (e2 << 16),
        (o0 & 0xFFFF) | (o2 << 16),
        (e0 >> 16) | (e2 & 0xFFFF0000),
        (o0 >> 16) | (o2 & 0xFFFF0000),
        BLOCK,
    )


@triton.jit
def _looked_up(entries, z, row, BITS: tl.constexpr):
    """(#{thresholds of the row below u} in the low byte, whether one equals u); z = u << 16 | 0x8000."""
    entry = tl.load(entries + bucket(z, row.to(tl.uint32), BITS))
    ahead = entry - z  # threshold minus uniform; where they are equal, the count of those below it
    return entry + (ahead >> 31), ahead < 256


@triton.jit
def _count_exactly(table, count, i, seed, counter, STREAM: tl.constexpr):
    """Both sums of 48-bit comparisons for the element i of a sample: scalars in, scalar out."""
    r0, r1, r2, r3 = words((i >> 3) * 2 + (i & 1), STREAM << 24, seed, counter)
    w0, w1, w2, w3 = words(i, (STREAM + 1) << 24, seed, counter)
    shift = (i & 2) * 8
    first_half = (i & 7) < 4
    u1 = (((tl.where(first_half, r1, r0) >> shift) & 0xFFFF).to(tl.int64) << 32) | w0.to(tl.int64)
    u2 = (((tl.where(first_half, r3, r2) >> shift) & 0xFFFF).to(tl.int64) << 32) | w1.to(tl.int64)
    a, b = count >> 4, count & 15
    j = tl.arange(0, 256)
    upper = tl.load(table + 8 * a * (a - 1) + j, mask=j < 16 * a, other=_NEVER)
    j = tl.arange(0, 16)
    lower = tl.load(table + _LOWER_AT + b * (b - 1) // 2 + j, mask=j < b, other=_NEVER)
    return tl.sum(tl.where(upper <= u1, 1, 0), 0) + tl.sum(tl.where(lower <= u2, 1, 0), 0)


@triton.jit
def draw(n, valid, first, table, p, seed, counter, STREAM: tl.constexpr, BLOCK: tl.constexpr):
    """Binomial(n, p) of a block of one sample, int32 n in 0..255, by its table; p: the clean scalar the table is of."""
    lane = tl.arange(0, BLOCK)
    bits = primary_bits(first, seed, counter, STREAM, BLOCK)
    entries = (table + _BUCKETS_AT).to(tl.pointer_type(tl.uint32))
    upper, upper_ties = _looked_up(entries, (bits << 16) | 0x8000, n >> 4, 3)
    lower, lower_ties = _looked_up(entries + _LOWER_BUCKETS, (bits & 0xFFFF0000) | 0x8000, n & 15, 2)
    k = ((upper + lower) & 255).to(tl.int32)
    # One tie at a time. The primary bits are made again: using them here costs every block a change of layout.
    open_lanes = tl.where((upper_ties | lower_ties) & valid, lane, BLOCK)
    tie = tl.min(open_lanes, 0)
    while tie < BLOCK:
        here = lane == tie
        count, i = tl.sum(tl.where(here, n, 0), 0), (first + tie).to(tl.uint32)
        exact = _count_exactly(table, count, i, seed, counter, STREAM)
        k = tl.where(here, exact, k)
        open_lanes = tl.where(here, BLOCK, open_lanes)
        tie = tl.min(open_lanes, 0)
    return tl.where(p > 0.5, n - k, k)


@triton.jit
def round_births(y, room, first, seed, counter, STREAM: tl.constexpr, STOCHASTIC: tl.constexpr, BLOCK: tl.constexpr):
    """Integer births in 0..room from float32 y >= 0 (NaN counts as 0). Room in int64 is beyond 255, so in float64."""
    if room.dtype == tl.int64:
        y = y.to(tl.float64)
        limit = room.to(tl.float64)
    else:
        limit = room.to(tl.float32)
    y = tl.where(y < limit, tl.where(y > 0.0, y, 0.0), tl.where(y >= limit, limit, 0.0))
    whole = y.to(room.dtype)
    fraction = y - whole.to(y.dtype)  # exact, and so are its multiples by powers of 2
    if STOCHASTIC:
        e0, e1, e2, e3, o0, o1, o2, o3 = _two_blocks(first, seed, counter, STREAM, BLOCK)
        bits = _interleave(e0, e1, e2, e3, o0, o1, o2, o3, BLOCK)
        scaled = fraction * 4294967296.0
        high = scaled.to(tl.uint32)
        up = bits < high
        tie = bits == high
        if tl.max(tie.to(tl.int32), 0) > 0:  # 1 in 2^32
            low = ((scaled - high.to(y.dtype)) * 65536.0).to(tl.uint32)
            i = (first + tl.arange(0, BLOCK)).to(tl.uint32)
            w0, w1, w2, w3 = words(i, (STREAM + 1) << 24, seed, counter)
            up = up | (tie & ((w0 & 0xFFFF) < low))
    else:
        up = fraction >= 0.5
    return tl.minimum(whole + up.to(room.dtype), room)
