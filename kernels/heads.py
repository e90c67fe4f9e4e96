"""What the kernels of the laws of a head read: counts, the head, and numbers of a sample, in float64."""

from __future__ import annotations

import triton
import triton.language as tl

from .draw import load_counts


@triton.jit
def law_room(x_at, valid, max_count):
    """(max_count - x_t in float64, bits for wrong counts)"""
    x, bad = load_counts(x_at, valid, max_count, False)
    return (max_count - x).to(tl.float64), tl.where(bad, 1, 0)


@triton.jit
def law_births(births_at, valid, room):
    """(births in 0..room, in float64, bits for wrong ones)"""
    given = tl.load(births_at, mask=valid, other=0)
    if given.dtype == tl.bfloat16:  # noqa: SIM114 - Triton 3.2 has no `or` of types compared
        given = given.to(tl.float32)
    elif given.dtype == tl.float16:
        given = given.to(tl.float32)
    born = given.to(tl.float64)
    inside = tl.where(born > 0.0, tl.where(born < room, born, room), 0.0)
    whole = inside.to(tl.int64).to(tl.float64)
    return whole, tl.where(whole == born, 0, 4)


@triton.jit
def law_counts(x_at, births_at, valid, max_count):
    """(max_count - x_t, births in 0..max_count - x_t, bits for wrong ones), in float64"""
    room, bits = law_room(x_at, valid, max_count)
    whole, bits_births = law_births(births_at, valid, room)
    return room, whole, bits | bits_births


@triton.jit
def load_head(at, valid):
    """(an array of the head, rounded to float32, in float64; bits for what is not finite)"""
    x = tl.load(at, mask=valid, other=0.0).to(tl.float32)
    return x.to(tl.float64), tl.where(x - x == 0.0, 0, 2)


@triton.jit
def load_number(number, flag):
    """A number of a sample; bit 16 of the flag tells of one that is not finite."""
    number = tl.load(number)
    if (number - number == 0.0) == 0:
        tl.atomic_or(flag, 16, sem="relaxed")
    return number.to(tl.float64)
