"""Poisson(rate) with its own rate per element in Triton: the twin of csrc/include/fastblackout/poisson.h to the bit."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ..reference.philox import Stream
from . import portfloat as pf
from .checks import report
from .draw import drawn_block, load_key, place, words
from .launch import launch_draw

__all__ = ["poisson"]
_POISSON = tl.constexpr(int(Stream.POISSON))
_MAX_RATE = tl.constexpr(2.0**52)


@triton.jit
def _inversion(rate, u, live):
    """rate < 10; lanes that are not live give 0."""
    mass = pf.exp(0.0 - rate)
    cdf = mass
    k = tl.zeros_like(rate)
    step = 0
    more = live & (u >= cdf) & (mass >= 5.551115123125783e-17)  # 2^-54
    while (tl.max(more.to(tl.int32), 0) > 0) & (step < 128):
        mass = tl.where(more, mass * (rate / (k + 1.0)), mass)
        cdf = tl.where(more, cdf + mass, cdf)
        k = tl.where(more, k + 1.0, k)
        more = more & (u >= cdf) & (mass >= 5.551115123125783e-17)
        step += 1
    return k.to(tl.int64)


@triton.jit
def _rejection(rate, i, live, seed, counter, STREAM: tl.constexpr, base):
    """rate >= 10: PTRS; lanes that are not live give anything. base: added to the number of a trial."""
    whole = rate.to(tl.int64)
    start = whole.to(tl.float64)
    fraction = rate - start
    b = 0.931 + 2.53 * tl.sqrt(rate)
    a = -0.059 + 0.02483 * b
    inverse_alpha = 1.1339 + 1.1328 / (b - 3.4)
    squeeze = 0.9077 - 3.6224 / (b - 2.0)

    drawn = whole
    undecided = live
    trial = 0
    while (tl.max(undecided.to(tl.int32), 0) > 0) & (trial < 1024):
        sub = (trial + base + tl.zeros_like(i).to(tl.int32)).to(tl.uint32) | (STREAM << 24)
        w0, w1, w2, w3 = words(i, sub, seed, counter)
        u, v = pf.uniform_centred(pf.bits53(w0, w1)), pf.uniform_to_one(pf.bits53(w2, w3))
        edge = 0.5 - tl.where(u < 0.0, 0.0 - u, u)
        y = ((2.0 * a) / edge + b) * u + (fraction + 0.43)
        inside = (y >= 0.0 - start) & (y < 35184372088832.0) & undecided  # 2^45
        j = pf.floor_to_int(tl.where(inside, y, 0.0))
        accepted = inside & (edge >= pf.exact(0.07)) & (v <= squeeze)
        exact = inside & (accepted == 0)
        if tl.max(exact.to(tl.int32), 0) > 0:
            x = (whole + j + 1).to(tl.float64)
            d = (j.to(tl.float64) - fraction) + 1.0
            hat = (a / (edge * edge) + b) * (tl.sqrt(x * 0.15915494309189535) / rate)
            level = pf.deviance(x, rate, d) + pf.stirling_correction(x)
            accepted = accepted | (exact & (pf.log((v * inverse_alpha) / hat) <= 0.0 - level))
        drawn = tl.where(accepted, whole + j, drawn)
        undecided = undecided & (accepted == 0)
        trial += 1
    return drawn


@triton.jit
def poisson_block(rate, i, valid, seed, counter, STREAM: tl.constexpr, base=0):
    """Poisson(rate), element by element: rate float64 in 0..2^52, i uint32; int64. base: as in binomial_block."""
    rejection = rate >= 10.0
    sub = (base + tl.zeros_like(i).to(tl.int32)).to(tl.uint32) | (STREAM << 24)
    w0, w1, w2, w3 = words(i, sub, seed, counter)
    inverted = valid & (rejection == 0)
    k = tl.zeros_like(i).to(tl.int64)
    if tl.max(inverted.to(tl.int32), 0) > 0:
        k = _inversion(tl.where(inverted, rate, 0.0), pf.uniform_from_zero(pf.bits53(w0, w1)), inverted)
    rejected = valid & rejection
    if tl.max(rejected.to(tl.int32), 0) > 0:
        # Lanes without a draw of their own run along at rate 20, so that no NaN or infinity comes up.
        safe = tl.where(rejected, rate, 20.0)
        k = tl.where(rejected, _rejection(safe, i, rejected, seed, counter, STREAM, base), k)
    return k


@triton.jit
def load_rate(at, valid):
    """(rates, float64; which are not in 0..2^52)"""
    given = tl.load(at, mask=valid, other=0.0).to(tl.float64)
    return given, ((given >= 0.0) & (given <= _MAX_RATE)) == 0


@triton.jit
def clean_rate(given):
    return tl.where(given > 0.0, tl.where(given < _MAX_RATE, given, _MAX_RATE), 0.0)


@triton.jit(do_not_specialize=["elements"])
def poisson_kernel(
    rate, out, key, flag, layout, elements, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr
):
    row, first, elements, lane, valid = drawn_block(elements, key, flag, BLOCK, ALIGNED)
    given, bad = load_rate(place(rate, row, first, lane, elements, layout, 0, 2, DIMS), valid)
    clean = clean_rate(given)
    report(flag, tl.where(valid & bad, 8, 0))
    i = (first + lane).to(tl.uint32)
    seed, counter = load_key(key, row)
    k = poisson_block(clean, i, valid, seed, counter, _POISSON)
    at = place(out, row, first, lane, elements, layout, 1, 2, DIMS)
    tl.store(at, k.to(out.dtype.element_ty), mask=valid)


def poisson(rate: Tensor, key: Tensor, out: Tensor, flag: Tensor) -> None:
    """Poisson(rate), element by element."""
    launch_draw("poisson", poisson_kernel, [rate, out], key, flag)
