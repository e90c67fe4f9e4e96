"""The thresholds of the shared-p draw in Triton, and what makes its probabilities and flags.

Triton has no shared memory to index, so the shared-p draw takes two launches: table_kernel writes the thresholds of
each sample to a scratch that stays in L2 (27 KB a sample; one table when samples share p), where the draw of
draw.py searches. The order of every float64 operation is that of fastblackout/reference/draw.py.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Words of 8 bytes in a sample's scratch: C as int64, rows one after another (n = 16 a at 8 a (a - 1), n = b behind
# them at b (b - 1) / 2); w_j = p / q / (j + 1); min(C >> 32, 65535) as uint16, 256 a row for n = 16 a, then 16 a row
# for n = b, filled up with 65535; where the search of each row begins, and the levels of both searches, as int32.
_LOWER_AT = tl.constexpr(1920)
_W_AT = tl.constexpr(2040)
_HIGH_AT = tl.constexpr(2296)
_META_AT = tl.constexpr(3384)
WORDS = 3400
_WORDS = tl.constexpr(WORDS)


@triton.jit
def report(flag, bits):
    """Sets bits in the sticky flag: 1 counts, 2 logits, 4 births, 8 probability or rate."""
    if tl.max(bits, 0) > 0:
        seen = tl.max(bits & 1, 0) | tl.max(bits & 2, 0) | tl.max(bits & 4, 0) | tl.max(bits & 8, 0)
        tl.atomic_or(flag, seen, sem="relaxed")


@triton.jit
def clean_prob(p, q):
    """(p, q, bad): clamped to [0, 1]; NaN p gives 0, and where either was out of range q is 1 - p."""
    bad = ((p >= 0.0) & (p <= 1.0) & (q >= 0.0) & (q <= 1.0)) == 0
    inside = tl.where(p > 0.0, tl.where(p < 1.0, p, 1.0), 0.0)
    return inside, tl.where(bad, 1.0 - inside, q), bad


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
    high = (own + _HIGH_AT).to(tl.pointer_type(tl.uint16)) + tl.where(upper, 256 * digit, 4096 + 16 * digit)
    width = tl.where(upper, 256, 16)
    q2 = large * large
    q4 = q2 * q2
    q8 = q4 * q4
    factor = tl.where(upper, q8 * q8, large)
    pm = tl.zeros((SAMPLES, 32), tl.float64) + 1.0
    for t in range(15):
        pm = tl.where((t < digit) & (small > 0.0), pm * factor, pm)
    cdf = pm
    zeros = tl.zeros((SAMPLES, 32), tl.int32)
    tops = zeros
    for j in range(tl.where(max_count >= 16, 256, 16)):
        scaled = cdf * 281474976710656.0
        threshold = tl.where(scaled >= 281474976710656.0, 281474976710656.0, scaled).to(tl.int64)
        counts = live & (j < n)
        tl.store(c + j, threshold, mask=counts)
        top = tl.where(counts, tl.minimum(threshold >> 32, 65535).to(tl.int32), 65535)
        tl.store(high + j, top.to(tl.uint16), mask=live & (j < width))
        zeros += tl.where(top == 0, 1, 0)
        tops += tl.where(top < 65535, 1, 0)
        pm = pm * ((n - j).to(tl.float64) * tl.load(w + j, mask=live, other=0.0))
        cdf = cdf + pm

    # u = 0 must meet a threshold of 0 where there is one, so that it ties: the window keeps the last of them.
    low = tl.where(upper, tl.maximum(zeros - 1, 0), 0)
    window = tl.where(n <= max_count, tops - low, 0)
    levels = _levels(tl.max(tl.where(upper, window, 0), 1))[:, None]
    lower_levels = _levels(tl.max(tl.where(upper, 0, window), 1))[:, None]
    start = 2 * (256 * digit + tl.minimum(low, 256 - (1 << levels)))  # in bytes
    meta = (own + _META_AT).to(tl.pointer_type(tl.int32))
    tl.store(meta + lane, tl.where(upper, start, tl.where(lane == 16, levels, lower_levels)), mask=live & (lane < 18))


@triton.jit
def _levels(window):
    """The least L with 2^L - 1 >= window, for window <= 255."""
    levels = tl.zeros_like(window)
    for bit in tl.static_range(8):
        levels += tl.where(window >= (1 << bit), 1, 0)
    return levels
