"""Exact transition probabilities in Triton: the twin of csrc/include/fastblackout/transition.h to the bit."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from . import portfloat as pf
from .checks import clean_prob, report
from .draw import own_block, place
from .launch import INTERPRETED, OPTIONS, as_rows, block_size, on, per_element

__all__ = ["bridge_log_prob", "thin_log_prob", "transition_rows"]
_TINY, _TWO_500 = tl.constexpr(2.0**-500), tl.constexpr(2.0**500)
_MAX_COUNT = tl.constexpr(2.0**53)
_LOG_TWO_500 = tl.constexpr(346.5735902799726)


@triton.jit
def _follow(out, mode, count, n, odds, step, total, live, UP: tl.constexpr):
    """Entries beside the mode in one direction, relative to it, stored and added to total: a lane a row."""
    a = tl.zeros_like(total) + 1.0
    is_open = count > 0
    for d in range(tl.max(count, 0)):
        j = mode + d if UP else mode - d
        if UP:
            ratio = (n - j).to(tl.float64) * (odds / (j + 1).to(tl.float64))
        else:
            ratio = j.to(tl.float64) * (odds / (n - j + 1).to(tl.float64))
        inside = d < count
        a = tl.where(is_open & inside, a * ratio, a)
        is_open = is_open & ((a < 1e-290) == 0)
        value = tl.where(is_open & inside, a, 0.0)
        total += value
        tl.store(out + (j + 1 if UP else j - 1).to(tl.int64) * step, value, mask=live & inside)
    return total


@triton.jit(do_not_specialize=["states", "chunks", "step_p", "step_q", "step_b", "step_n", "step_k"])
def transition_rows_kernel(
    p, q, out, flag, states, chunks, step_p, step_q, step_b, step_n, step_k, ROWS: tl.constexpr, WIDTH: tl.constexpr
):
    """ROWS rows of one sample a program, a lane a row; divided by their sums WIDTH columns at a time."""
    sample = tl.program_id(0) // chunks
    n = tl.program_id(0) % chunks * ROWS + tl.arange(0, ROWS)
    live = n < states
    zeros = tl.zeros((ROWS,), tl.float64)
    given, complement, wrong = clean_prob(tl.load(p + sample * step_p) + zeros, tl.load(q + sample * step_q) + zeros)
    if flag is not None:
        report(flag, tl.where(wrong & live, 8, 0))
    own = out + sample.to(tl.int64) * step_b + n.to(tl.int64) * step_n
    certain = (given == 0.0) | (complement == 0.0)
    scaled = (n + 1).to(tl.float64) * given
    mode = tl.where(scaled >= n.to(tl.float64), n, scaled.to(tl.int32))
    mode = tl.where(given == 0.0, 0, tl.where(complement == 0.0, n, mode))
    total = zeros + 1.0
    beside = live & (certain == 0)
    safe_p, safe_q = tl.where(certain, 0.5, given), tl.where(certain, 0.5, complement)
    total = _follow(own, mode, tl.where(beside, mode, 0), n, safe_q / safe_p, step_k, total, live, False)
    total = _follow(own, mode, tl.where(beside, n - mode, 0), n, safe_p / safe_q, step_k, total, live, True)
    tl.debug_barrier()
    for start in range(0, states, WIDTH):
        k = start + tl.arange(0, WIDTH)[None, :]
        at = own[:, None] + k.to(tl.int64) * step_k
        within = live[:, None] & (k < states)
        stored = within & (k <= n[:, None]) & (k != mode[:, None]) & (certain[:, None] == 0)
        value = tl.load(at, mask=stored, other=0.0)
        value = tl.where(k == mode[:, None], 1.0, value)
        tl.store(at, value / total[:, None], mask=within)


def transition_rows(p: Tensor, q: Tensor, states: int, out: Tensor, flag: Tensor | None = None) -> None:
    """out[b, n, k] = Pr(Binomial(n, p_b) = k), float64 (B, S, S)."""
    if out.numel() == 0:
        return
    together, width = block_size(states, 32), 64 if INTERPRETED else 8
    chunks = triton.cdiv(states, together)
    steps = p.stride(0), q.stride(0), *out.stride()
    with on(out):
        transition_rows_kernel[(out.shape[0] * chunks,)](
            p, q, out, flag, states, chunks, *steps, ROWS=together, WIDTH=width, **OPTIONS
        )


@triton.jit
def _log_probability(p):
    """log p for p in (0, 1], subnormal ones too."""
    tiny = p < _TINY
    log_p = pf.log(tl.where(tiny, p * _TWO_500, p))
    return tl.where(tiny, log_p - _LOG_TWO_500, log_p)


@triton.jit
def _count_deviance(x, n, p):
    """The deviance of x from n p, x >= 1, p > 0."""
    tiny = p < _TINY
    mean = n * p
    d = x - mean
    near = pf.deviance(x, tl.where(tiny, x, mean), tl.where(tiny, 0.0, d))
    scaled = n * (tl.where(tiny, p, 1.0) * _TWO_500)
    far = x * (pf.log(tl.where(tiny, x / scaled, 1.0)) + _LOG_TWO_500) - d
    return tl.where(tiny, far, near)


@triton.jit
def binomial_log_pmf(x, n, p, q):
    """log Pr(Binomial(n, p) = x) in float64: -inf outside 0..n."""
    inside = (x > 0.0) & (x < n) & (p > 0.0) & (q > 0.0)
    k, m = tl.where(inside, x, 1.0), tl.where(inside, n, 2.0)
    a, b = tl.where(inside, p, 0.5), tl.where(inside, q, 0.5)
    rest = m - k
    corrections = (pf.stirling_correction(m) - pf.stirling_correction(k)) - pf.stirling_correction(rest)
    spread = 0.5 * (1.8378770664093453 + pf.log(k * (rest / m)))
    body = ((corrections - _count_deviance(k, m, a)) - _count_deviance(rest, m, b)) - spread
    none = x == 0.0
    stay, go = tl.where(none, q, p), tl.where(none, p, q)
    possible = stay > 0.0
    small = go < stay
    end = n * tl.where(small, pf.log1p(0.0 - tl.where(small, go, 0.0)), _log_probability(tl.where(possible, stay, 1.0)))
    result = tl.where(inside, body, float("-inf"))
    result = tl.where(((x == 0.0) | (x == n)) & possible, end, result)
    result = tl.where((n == 0.0) & (x == 0.0), 0.0, result)
    return tl.where(n >= 0.0, result, float("-inf"))


@triton.jit
def _clamped(counts):
    """(float64 counts in 0..2^53, which were not)"""
    x = counts.to(tl.float64)
    inside = tl.where(x > 0.0, tl.where(x < _MAX_COUNT, x, _MAX_COUNT), 0.0)
    return inside, inside != x


@triton.jit(do_not_specialize=["elements", "step_p", "step_q"])
def log_prob_kernel(
    x, a, b, p, q, out, flag, layout, elements, step_p, step_q,
    BY_SAMPLE: tl.constexpr, ALIGNED: tl.constexpr, DIMS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """x under Binomial(a, p), or with b given x - a under Binomial(b - a, p). BY_SAMPLE: one (p, q) a sample."""
    row, first, elements, lane, valid = own_block(elements, BLOCK, ALIGNED)
    drawn, bad = _clamped(tl.load(place(x, row, first, lane, elements, layout, 0, 6, DIMS), mask=valid, other=0))
    count, wrong = _clamped(tl.load(place(a, row, first, lane, elements, layout, 1, 6, DIMS), mask=valid, other=0))
    bad = bad | wrong
    if b is not None:
        whole, wrong = _clamped(tl.load(place(b, row, first, lane, elements, layout, 2, 6, DIMS), mask=valid, other=0))
        bad = bad | wrong
        drawn = drawn - count
        count = whole - count
    if BY_SAMPLE:
        given = tl.load(p + row * step_p) + tl.zeros((BLOCK,), tl.float64)
        complement = tl.load(q + row * step_q) + tl.zeros((BLOCK,), tl.float64)
    else:
        given = tl.load(place(p, row, first, lane, elements, layout, 3, 6, DIMS), mask=valid, other=0.5).to(tl.float64)
        complement = tl.load(place(q, row, first, lane, elements, layout, 4, 6, DIMS), mask=valid, other=0.5)
        complement = complement.to(tl.float64)
    given, complement, wrong = clean_prob(given, complement)
    if flag is not None:
        report(flag, tl.where(valid, tl.where(bad, 1, 0) | tl.where(wrong, 8, 0), 0))
    to = place(out, row, first, lane, elements, layout, 5, 6, DIMS)
    tl.store(to, binomial_log_pmf(drawn, count, given, complement), mask=valid)


def thin_log_prob(x_t: Tensor, x_0: Tensor, p: Tensor, q: Tensor, out: Tensor, flag: Tensor | None = None) -> None:
    """log Binomial(x_0, p) at x_t, float64; p, q: float64 (B,), or of the shape of x_t."""
    _log_prob("thin_log_prob", x_t, x_0, None, p, q, out, flag)


def bridge_log_prob(
    x_s: Tensor, x_t: Tensor, x_0: Tensor, p: Tensor, q: Tensor, out: Tensor, flag: Tensor | None = None
) -> None:
    """log Binomial(x_0 - x_t, p) at x_s - x_t, float64; p, q: float64 (B,), or of the shape of x_s."""
    _log_prob("bridge_log_prob", x_s, x_t, x_0, p, q, out, flag)


def _log_prob(op: str, *given: Tensor | None) -> None:
    """given: x, a, b, p, q and out of log_prob_kernel, then the flag."""
    x, a, b, p, q, out = arrays = as_rows(*given[:-1])
    if x.numel() == 0:
        return
    by_sample = p.dim() == 1
    laid = [x, a, b, None, None, out] if by_sample else arrays
    grid, sizes, options = per_element(op, laid, BY_SAMPLE=by_sample)
    with on(x):
        log_prob_kernel[grid](*arrays, given[-1], *sizes, p.stride(0), q.stride(0), **options)
