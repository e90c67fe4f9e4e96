"""The laws "categorical" and "bayes-categorical" of a head with a logit l_v for every state v = 0..M, in NumPy: the
twin of csrc/include/fastblackout/states.h to the bit.

x = x_t, M = max_count, R = M - x, L = offset. P(n) = w(x + n) / (w(x) + .. + w(M)), n in 0..R, with

    categorical:        w(v) = exp(l_v)
    bayes-categorical:  w(v) = exp(l_v) C(x + n, x) exp(n L),  n = v - x

a(v), the log of w(v) but for what all states share, is l_v in float32, or l_v + (log v! + (n L - log n!)) in float64.
top is the largest a(v) of x..M. The weights are exp(a(v) - top): the difference is rounded to float32 once, and the
exponential is portfloat.exp_minus_abs, 0 for differences below -86.99. They are added in float64: sum j, j = 0..15, is
of the states of remainder v mod 16 = j, in ascending order; then the sums are added in their order.

A loss takes the weight s of the seen state apart from the sum o of the others. It is log(1 + o) where the seen state
has the largest weight, else (top - a) + log(o + s). Its derivative by the logit of the seen state is -o / (o + s), and
by another w(v) / (o + s). So nothing cancels where P is next to 1, and no tail is lost where it is next to 0.

A draw takes the states in the order of the sums: first all of remainder 0, ascending, then all of remainder 1. With
a uniform u of 53 bits it is the state where the running sum passes u times the sum of all; the steps by whole sums come
first. A state whose weight is 0 is never drawn.

Error, derived; u = 2^-24. The exact law is the law of the head in float32 and the offset; d = top - a(v) of a state.
* The difference: d is rounded by u d at most (its rounding before, in float64, moves it by 2^-53 (3 log M! + R |L| +
  |l|), and log v! - log n! by 5e-11 for M = 255), and the exponential is within 1.2 ulp, so 2.4 u, of the true one
  (every float of 0..86.99 was looked at). A weight is within (d + 2.5) u of itself, or below exp(-86.9) and 0.
* Sums are of float32 in float64: 2^-53 (M / 16 + 16) of themselves.
So a probability P(n) is within (d + D + 5) u of itself, D the mean of d over the law. As d is the log of the quotient
of the largest probability and P(n), D is at most log(R + 1). The distribution function of N is within
u (2.5 + log(R + 1)) of the exact one everywhere: 4.8e-7 for M = 255. Losses and derivatives above 1e-28 are within 5e-6
of themselves before float32 rounds them: there d is below 70, and what is cut off at exp(-86.9) is below 5e-8 of them
(M = 255). A loss of a state that is not the likeliest is at least log 2, and within 1e-6 of itself, since its d is not
rounded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from . import portfloat as pf
from .normal import stream_words
from .philox import Stream

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..philox import Philox
    from .dtypes import F32, F64, I64, Array


LANES = 16


class _Weights:
    """Of elements (B, n): a(v) of all states in the last dimension, -inf below x, the largest, and the weights."""

    def __init__(self, head: Sequence[Array], offset: F32 | None, room: Array, most: int) -> None:
        v, x = np.arange(most + 1), (most - room).astype(np.int64)[..., None]
        n = v - x
        logits = head[0].reshape(*room.shape, most + 1)
        self.logs: Array = logits
        if offset is not None:
            births = np.maximum(n, 0).astype(np.float64)
            rest = births * offset.astype(np.float64)[:, None, None] - pf.log_factorial(births)
            self.logs = logits.astype(np.float64) + (pf.log_factorial(v.astype(np.float64)) + rest)
        self.logs = np.where(n >= 0, self.logs, -np.inf)
        self.top = self.logs.max(-1, keepdims=True)
        self.of = pf.exp_minus_abs((self.logs - self.top).astype(np.float32))


def _sums(weights: F32) -> F64:
    """The sixteen sums, in the last dimension."""
    padded = np.pad(weights.astype(np.float64), [(0, 0)] * (weights.ndim - 1) + [(0, -weights.shape[-1] % LANES)])
    sums = np.zeros((*weights.shape[:-1], LANES))
    for first in range(0, padded.shape[-1], LANES):
        sums = sums + padded[..., first : first + LANES]
    return sums


class _Seen:
    """The seen state v of elements, its weight and the sum of the others."""

    def __init__(self, law: _Weights, v: I64) -> None:
        self.at = v[..., None]
        self.apart = (law.top.astype(np.float64) - np.take_along_axis(law.logs, self.at, -1).astype(np.float64))[..., 0]
        self.weight = np.take_along_axis(law.of, self.at, -1)[..., 0].astype(np.float64)
        others = law.of.copy()
        np.put_along_axis(others, self.at, np.float32(0.0), -1)
        self.others = np.cumsum(_sums(others), -1)[..., -1]  # one after the other


def _losses(law: _Weights, seen: _Seen) -> F64:
    far = seen.apart + pf.log(seen.others + seen.weight)
    return np.where(seen.apart > 0.0, far, pf.log_one_plus(seen.others))


def _slopes(law: _Weights, seen: _Seen) -> F32:
    total = seen.others + seen.weight
    slopes = law.of * (1.0 / total).astype(np.float32)[..., None]
    own = ((0.0 - seen.others) / total).astype(np.float32)
    np.put_along_axis(slopes, seen.at, own[..., None], -1)
    return slopes


def _of_births(head: Sequence[Array], offset: Any, room: F64, n: F64, most: int) -> tuple[_Weights, _Seen]:
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        law = _Weights(head, offset, room, most)
        return law, _Seen(law, (most - room + n).astype(np.int64))


def losses(head: Sequence[Array], offset: F32, room: F64, n: F64, most: int) -> F64:
    """-log P(n) of "categorical", (B, n)"""
    return _losses(*_of_births(head, None, room, n, most))


def slopes(head: Sequence[Array], offset: F32, room: F64, n: F64, most: int) -> tuple[F32]:
    """Its derivatives by the logits, (B, n * states)"""
    made = _slopes(*_of_births(head, None, room, n, most))
    return (made.reshape(len(made), -1) if made.size else made.reshape(len(made), 0),)


def bayes_losses(head: Sequence[Array], offset: F32, room: F64, n: F64, most: int) -> F64:
    """-log P(n) of "bayes-categorical", (B, n)"""
    return _losses(*_of_births(head, offset, room, n, most))


def bayes_slopes(head: Sequence[Array], offset: F32, room: F64, n: F64, most: int) -> tuple[F32]:
    """Its derivatives by the logits, (B, n * states)"""
    made = _slopes(*_of_births(head, offset, room, n, most))
    return (made.reshape(len(made), -1) if made.size else made.reshape(len(made), 0),)


def _drawn(law: _Weights, room: I64, most: int, key: Philox) -> I64:
    words = (
        stream_words(room.shape, key, stream) for stream in (Stream.POSTERIOR_STATE, Stream.POSTERIOR_STATE_REFINE)
    )
    uniform = pf.uniform_from_zero(pf.bits53(*words)).reshape(room.shape)
    ends = np.cumsum(_sums(law.of), -1)  # one after the other
    target = uniform * ends[..., -1]
    lane = np.sum(ends <= target[..., None], -1)  # the first whose end is above it
    before = np.where(lane > 0, np.take_along_axis(ends, np.maximum(lane - 1, 0)[..., None], -1)[..., 0], 0.0)
    goal, passed, drawn = target - before, np.zeros(room.shape), most - room
    for v in range(most + 1):
        mine = (v % LANES == lane) & (law.of[..., v] > 0.0)
        drawn = np.where(mine & (passed <= goal), v, drawn)
        passed = passed + np.where(mine, law.of[..., v].astype(np.float64), 0.0)
    return drawn - (most - room)


def draw(head: Sequence[Array], offset: F32, room: I64, most: int, key: Philox) -> I64:
    """N of "categorical", (B, n), by one uniform of 53 bits for each element."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        return _drawn(_Weights(head, None, room, most), room, most, key)


def bayes_draw(head: Sequence[Array], offset: F32, room: I64, most: int, key: Philox) -> I64:
    """N of "bayes-categorical", as above."""
    with np.errstate(invalid="ignore", over="ignore", under="ignore"):
        return _drawn(_Weights(head, offset, room, most), room, most, key)
