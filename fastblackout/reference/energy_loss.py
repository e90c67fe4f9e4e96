"""The energy loss and its gradient in NumPy: the twin of csrc/include/fastblackout/energy_loss.h to the bit.

The energy score of S draws y_s of a network against the births N of a sample (Gneiting and Raftery 2007, section 4.3):

    mean over s of |y_s - N|  -  1/2 mean over s != r of |y_s - y_r|,   |.|: the Euclidean norm over the elements

Elements in portable float32: z = 2 logit + offset, y = room sigmoid(z), room = max_count - x_t, which is exact before
it is rounded to float32; differences and their squares too. The sum of the squares of each of the S (S + 1) / 2
distances by chunks of 1,024 elements, padded with zeros, each a halving tree v[i] += v[i + h], h = 512..1, in float32;
chunk sums added in ascending order in float64. Norms, means and weight in float64, rounded to float32 at the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import portfloat as pf
from .birth_loss import sum_sample
from .rows import check_all, rounded_as, sample_rows, widened

if TYPE_CHECKING:
    from .dtypes import F32, F64, Array

_F = np.float32
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_OP = "energy_loss"


def energy_loss(x_t: Array, logits: Array, births: Array, weight: F64, offset: F32, max_count: int) -> tuple[F32, F64]:
    """(loss, float32 (B,); norms, float64 (B, S (S + 1) / 2)), of values that are looked at first.

    x_t: (B, ...) counts in 0..max_count. logits: (S, B, ...), float16, float32 or float64 (rounded to float32), uint16
    as the bits of bfloat16. births: x_t's shape, >= 0. weight: (B,). offset: (B,).
    norms: ``|y_s - N|`` for s = 0..S-1, then ``|y_s - y_r|`` for (s, r) = (0, 1), (0, 2), .., (S - 2, S - 1).
    A sample whose squares or their sum exceed float32 has an infinite norm.
    """
    logits, births = widened(logits), widened(births)
    _check(x_t, logits, births, max_count)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        draws, _, n = _draws(x_t, logits, births, offset, max_count)
        count = len(draws)
        pairs = [(draws[s], n) for s in range(count)]
        pairs += [(draws[s], draws[r]) for s in range(count) for r in range(s + 1, count)]
        norms = np.stack([np.sqrt(sum_sample((a - b) * (a - b))) for a, b in pairs], axis=1)
        away = apart = np.zeros(len(x_t))
        for k in range(count):
            away = away + norms[:, k]
        for k in range(count, len(pairs)):
            apart = apart + norms[:, k]
        loss = weight * (away / float(count) - apart / float(count * (count - 1)))
        return loss.astype(np.float32), norms


def energy_loss_backward(
    x_t: Array, logits: Array, births: Array, coefficient: F64, offset: F32, max_count: int, norms: F64
) -> Array:
    """The gradient by the logits, in their shape and dtype (uint16: the bits of bfloat16)::

        [ a_s (y_s - N) - sum over r != s, ascending, of c_sr (y_s - y_r) ] * 2 room sigmoid(z_s) (1 - sigmoid(z_s)),
        a_s = coefficient / (S |y_s - N|),  c_sr = coefficient / (S (S - 1) |y_s - y_r|)

    a and c in float64, rounded to float32, 0 where the norm is 0; all else in float32. coefficient: upstream gradient
    times weight, float64 (B,). norms: what energy_loss gives. The second sum has no factor 1/2 or 2: the mean over
    s != r holds every unordered pair twice, and its half once.
    """
    made = logits
    logits, births = widened(logits), widened(births)
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        draws, slopes, n = _draws(x_t, logits, births, offset, max_count)
        count, grads = len(draws), []
        for s in range(count):
            pull = _factor(coefficient, norms[:, s], count) * (draws[s] - n)
            for r in range(count):
                if r != s:
                    norm = norms[:, _between(count, min(s, r), max(s, r))]
                    pull = pull - _factor(coefficient, norm, count * (count - 1)) * (draws[s] - draws[r])
            grads.append(pull * slopes[s])
        return rounded_as(np.stack(grads).reshape(logits.shape), made)


def _draws(x_t: Array, logits: Array, births: Array, offset: F32, max_count: int) -> tuple[list[F32], list[F32], F32]:
    """(y of each draw, its derivative by the logit, births), each float32 (samples, elements)."""
    room = (max_count - sample_rows(x_t).astype(np.int64)).astype(np.float32)
    draws, slopes = [], []
    for logit in logits:
        x = sample_rows(logit).astype(np.float32)
        z = (x + x) + offset.astype(np.float32)[:, None]
        e = pf.exp_minus_abs(z)
        inverse = _F(1) / (_F(1) + e)
        draws.append(room * np.where(z < 0, e * inverse, inverse))
        slopes.append((room + room) * ((e * inverse) * inverse))
    return draws, slopes, sample_rows(births).astype(np.float32)


def _factor(coefficient: F64, norm: F64, times: int) -> F32:
    some = norm > 0.0
    return np.where(some, coefficient / (float(times) * np.where(some, norm, 1.0)), 0.0).astype(np.float32)[:, None]


def _between(count: int, s: int, r: int) -> int:
    """Which of the norms is |y_s - y_r|, s < r."""
    return count + s * (2 * count - s - 1) // 2 + (r - s - 1)


def _check(x_t: Array, logits: Array, births: Array, max_count: int) -> None:
    with np.errstate(over="ignore"):
        # float64 first: the limit itself would round to infinity in float16, and let infinity pass
        born = (births >= 0) & (births.astype(np.float64) <= _FLOAT32_MAX)
        rules = (
            ("x_t", x_t, (x_t >= 0) & (x_t <= max_count), f"must be whole numbers in 0..{max_count}"),
            ("logits", logits, np.isfinite(logits.astype(np.float32)), "must be finite in float32"),
            ("births", births, born, "must be finite and at least 0"),
        )
    for name, values, right, rule in rules:
        check_all(_OP, name, values, right, rule)
