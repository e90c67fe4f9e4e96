"""How kernels tell of wrong values: bits of a flag, and probabilities made clean, in Triton."""

from __future__ import annotations

import triton
import triton.language as tl

from .portfloat import exact

SUM_TOLERANCE = tl.constexpr(1e-9)  # how far p + q may be from 1


@triton.jit
def report(flag, bits):
    """Sets bits in the sticky flag: 1 counts, 2 logits, 4 births, 8 probability or rate (backends/wrong_values.py)."""
    if tl.max(bits, 0) > 0:
        seen = tl.max(bits & 1, 0) | tl.max(bits & 2, 0) | tl.max(bits & 4, 0) | tl.max(bits & 8, 0)
        tl.atomic_or(flag, seen, sem="relaxed")


@triton.jit
def report_numbers(flag, wrong):
    """Sets bit 16 of the flag where a number of an element is wrong."""
    if tl.max(wrong.to(tl.int32), 0) > 0:
        tl.atomic_or(flag, 16, sem="relaxed")


@triton.jit
def check_sample(flag, key, row, gain, center, scale):
    """Sets bit 16 of the flag where the key's words for a row are not below 2^32, or one of the scalars that are not
    None is not finite, or the gain negative: for one program of a row."""
    wrong = (((tl.load(key + 1) + row) >> 32) != 0) | ((tl.load(key + 2) >> 32) != 0)
    if gain is not None:
        wrong = wrong | (((gain >= 0.0) & (gain < float("inf"))) == 0)
    if center is not None:
        wrong = wrong | ((center - center == 0.0) == 0) | ((scale - scale == 0.0) == 0)
    if wrong:
        tl.atomic_or(flag, 16, sem="relaxed")


@triton.jit
def clean_prob(p, q):
    """(p, q, bad): what is no pair with p + q = 1 (csrc/include/fastblackout/probability.h) keeps its p, clamped to
    [0, 1], NaN to 0; q is 1 - p then."""
    off = (p + q) - 1.0
    near = tl.abs(off) <= exact(SUM_TOLERANCE)
    bad = ((p >= 0.0) & (p <= 1.0) & (q >= 0.0) & (q <= 1.0) & near) == 0
    inside = tl.where(p > 0.0, tl.where(p < 1.0, p, 1.0), 0.0)
    return inside, tl.where(bad, 1.0 - inside, q), bad
