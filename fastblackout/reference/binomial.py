"""Binomial(n, p) with its own p per element, in NumPy: the twin of csrc/include/fastblackout/binomial.h to the bit.

Key of element i, trial r: Philox counter (i, first_sample + row, call, stream << 24 | r). p > 1/2 draws
n - Binomial(n, q), so below p <= 1/2. Every trial has two 53-bit uniforms.

n p < 10: inversion of the cumulative sum of f(k + 1) = f(k) (n - k) / (k + 1) p / q from f(0) = exp(n log1p(-p)). It
    stops once f(k) < 2^-54 past the mode: a uniform next to 1 gives an extreme but possible count, no endless loop.
n p >= 10: BTRS (Hormann, J. Stat. Comput. Simul. 46, 1993): k = floor(G(u)) with
    G(u) = (2 a / (1/2 - |u|) + b) u + n p + 1/2, accepted when v <= T(u, k) = c f(k) (a / (1/2 - |u|)^2 + b) / alpha,
    at once where v <= v_r and |u| <= 0.43. With S Stirling's correction, D(x, m) = x log(x / m) - x + m in Loader's
    form, n p as an exact sum of two floats, x = k + 1, y = n - k + 1, X = (n + 2) p, Y = (n + 2) q,
    c f(k) = sqrt(x y / (X Y)) exp(-D(x, X) - D(y, Y) - S(x) - S(y)).

Total variation from the true law of the float64 p (TV), derived:
* inversion: relative error of f(0) at most 2^-53 (3 * 13.9 + 2), as |log f(0)| <= 20 log 2; each step adds 5 * 2^-53 to
  f(k), each sum 2^-54 to the cumulative, the uniform's grid 2^-53 a cell, and fewer than 40 cells weigh: TV <= 2e-14.
* rejection, acceptance: T <= 1 and T >= v_r wherever the squeeze applies (the tests check both ends of every cell over
  a grid of (n, p); both margins are 0.46%), so exact uniforms and arithmetic would give the exact law. D, S and log
  are within 5e-15 max(1, D): TV <= 2e-14.
* rejection, proposal: u has steps of 2^-53 and G(u) rounds to 3 units of its offset from n p (the whole part is added
  as an integer), so the relative error of a cell's width is at most 2^-53 (G'(u) + 6 |k - n p|); half its mean over f
  is below 10 * 2^-53 s, s = sqrt(n p q): TV <= 2e-15 s.
Sum: TV <= 4e-14 + 2e-15 sqrt(n p q), for any p:
| n up to | 10^4  | 10^6    | 2^31  | 9e11 | 2^53 |
| TV      | 2e-13 | 1.1e-12 | 5e-11 | 1e-9 | 1e-7 |
Beyond MAX_COUNT = 2^53 callers refuse. TV is the promise, not the relative error of one tiny cell: an outcome whose
probability is below about 1e-13 may be off by any factor.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..probability import check_sum
from . import portfloat as pf
from .philox import Stream, philox4x32
from .rows import checked_counts, checked_floats

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..philox import Philox
    from .dtypes import F64, I64, U32, Array, Bools

MAX_COUNT = 1 << 53
MAX_TRIALS = 1024


def element_words(shape: tuple[int, int], key: Philox, stream: int) -> Callable[..., tuple[U32, ...]]:
    """The per-element key as a function of (flat indices into a (B, n) array, trial)."""

    def words(active: I64, trial: int) -> tuple[U32, ...]:
        element = (active % max(shape[1], 1)).astype(np.uint32)
        sample = (active // max(shape[1], 1) + key.first_sample).astype(np.uint32)
        return philox4x32(element, sample, key.call, int(stream) << 24 | trial, *key.key)

    return words


def reject(
    active: I64, words: Callable[..., tuple[U32, ...]], trial_of: Callable[..., tuple[Bools, I64]], out: I64
) -> None:
    """Write accepted values to out[active], trial after trial; what MAX_TRIALS leave open keeps its value in out.

    trial_of(positions in active, centred uniform, uniform in (0, 1]) returns (accepted, value). A trial is accepted
    with probability above 0.6, so no element ever reaches the bound.
    """
    open_ = np.arange(active.size)
    for trial in range(MAX_TRIALS):
        if open_.size == 0:
            return
        w0, w1, w2, w3 = words(active[open_], trial)
        u, v = pf.uniform_centred(pf.bits53(w0, w1)), pf.uniform_to_one(pf.bits53(w2, w3))
        accepted, value = trial_of(open_, u, v)
        out[active[open_[accepted]]] = value[accepted]
        open_ = open_[~accepted]


def _product_error(a: F64, b: F64, product: F64) -> F64:
    split_a, split_b = a * 134217729.0, b * 134217729.0
    a_high, b_high = split_a - (split_a - a), split_b - (split_b - b)
    a_low, b_low = a - a_high, b - b_high
    return (((a_high * b_high - product) + a_high * b_low) + a_low * b_high) + a_low * b_low


def _inversion(n: F64, p: F64, q: F64, u: F64) -> I64:
    odds = p / q
    mass = pf.exp(n * pf.log1p(-p))
    cdf = mass
    k = np.zeros_like(n)
    for _ in range(128):
        more = (u >= cdf) & (mass >= 2.0**-54) & (k < n)
        if not more.any():
            break
        mass = np.where(more, mass * (((n - k) * odds) / (k + 1.0)), mass)
        cdf = np.where(more, cdf + mass, cdf)
        k = np.where(more, k + 1.0, k)
    return k.astype(np.int64)


class _Law:
    """What a trial needs of Binomial(n, p), p <= 1/2, n p >= 10, for a batch of elements."""

    def __init__(self, n: I64, p: F64, q: F64) -> None:
        count = n.astype(np.float64)
        high = count * p
        low = _product_error(count, p, high)
        self.n, self.count = n, count
        self.whole = high.astype(np.int64)
        self.start = self.whole.astype(np.float64)
        self.fraction = (high - self.start) + low
        self.mean_1, self.mean_2 = high + 2.0 * p, count * q + 2.0 * q
        self.shift = 1.0 - 2.0 * p
        deviation = np.sqrt(high * q)
        self.b = 1.15 + 2.53 * deviation
        self.a = (-0.0873 + 0.0248 * self.b) + 0.01 * p
        self.squeeze = 0.92 - 4.2 / self.b
        self.alpha = (2.83 + 5.1 / self.b) * deviation

    def at(self, keep: NDArray) -> _Law:
        part = object.__new__(_Law)
        part.__dict__ = {name: value[keep] for name, value in self.__dict__.items()}
        return part

    def trial(self, u: F64, v: F64) -> tuple[Bools, I64]:
        edge = 0.5 - np.abs(u)
        y = ((2.0 * self.a) / edge + self.b) * u + (self.fraction + 0.5)
        inside = (y >= -self.start) & (y < (self.count - self.start) + 1.0)
        j = pf.floor_to_int(np.where(inside, y, 0.0))
        accepted = inside & (edge >= 0.07) & (v <= self.squeeze)
        exact = np.flatnonzero(inside & ~accepted)
        law, j_exact = self.at(exact), j[exact]
        x_1, x_2 = (law.whole + j_exact + 1).astype(np.float64), (law.n - law.whole - j_exact + 1).astype(np.float64)
        d = (j_exact.astype(np.float64) - law.fraction) + law.shift
        level = (pf.deviance(x_1, law.mean_1, d) + pf.deviance(x_2, law.mean_2, -d)) + (
            pf.stirling_correction(x_1) + pf.stirling_correction(x_2)
        )
        hat = (law.a / (edge[exact] * edge[exact]) + law.b) * np.sqrt((x_1 * x_2) / (law.mean_1 * law.mean_2))
        accepted[exact] = pf.log((v[exact] * law.alpha) / hat) <= -level
        return accepted, self.whole + j


def binomial(count: I64, p: F64, q: F64, key: Philox, stream: int = Stream.BINOMIAL) -> I64:
    """Binomial(count, p), one draw per element; count int64, p and q float64, all (B, n); returns int64 (B, n).

    count in 0..MAX_COUNT; p and q = 1 - p in [0, 1], each rounded once from the exact value. p = 0 gives 0 and p = 1
    gives count exactly. The caller has checked ranges.
    """
    words = element_words(count.shape, key, stream)
    return drawn_by(words, count.ravel(), p.ravel(), q.ravel()).reshape(count.shape)


def drawn_by(words: Callable[..., tuple[U32, ...]], n: I64, p: F64, q: F64) -> I64:
    """Binomial(n, p) of flat arrays. words(places in them, trial): the words of a trial."""
    swap = p > 0.5
    small = np.where(swap, q, p)
    large = np.where(swap, p, q)
    rejection = n.astype(np.float64) * small >= 10.0
    out = np.empty(n.size, dtype=np.int64)

    inverted = np.flatnonzero(~rejection)
    w0, w1, _, _ = words(inverted, 0)
    u = pf.uniform_from_zero(pf.bits53(w0, w1))
    out[inverted] = _inversion(n[inverted].astype(np.float64), small[inverted], large[inverted], u)

    rejected = np.flatnonzero(rejection)
    law = _Law(n[rejected], small[rejected], large[rejected])
    out[rejected] = law.whole
    reject(rejected, words, lambda which, u, v: law.at(which).trial(u, v), out)
    return np.where(swap, n - out, out)


def binomial_elements(count: Array, p: Array, q: Array | None, key: Philox) -> Array:
    """Binomial(count, p) in count's dtype, all of one shape (B, ...); q None: 1 - p in float64.

    uint16 probabilities are bfloat16 bit patterns. ValueError for counts or probabilities out of range.
    """
    op = "binomial"
    counts = checked_counts(count, op, "count")
    p = checked_floats(p, op, "prob", "must be in [0, 1]", 1.0)
    q = 1.0 - p if q is None else checked_floats(q, op, "prob", "must be in [0, 1]", 1.0)
    check_sum(op, "prob", p, q)
    return binomial(counts, p, q, key).reshape(count.shape).astype(count.dtype)
