"""The losses of heads that give a law of the births, and their gradients, in NumPy: the twin of
csrc/include/fastblackout/posterior_loss.h to the bit.

Elements in portable float64, rounded once to float32. The sum of a sample by chunks of 1,024 elements, each a halving
tree in float32, chunk sums added in ascending order in float64, as in birth_loss.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from . import bayes_births, negative_binomial_law
from . import portfloat as pf
from .birth_loss import sum_sample
from .rows import check_all, rounded_as, sample_rows, widened

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .dtypes import F32, F64, Array, Bools

_OP = "posterior_loss"
_LEAST_LOG, _MOST_LOG = -5.0, 7.0  # of the concentration c


class _BetaBinomial(NamedTuple):
    """m = sigmoid(z), z = head_0 + offset; c = exp(log_c), log_c = head_1 + 1 clamped to [-5, 7]. All (B, n)."""

    z: F64
    e: F64  # exp(-|z|)
    mean: F64
    rest: F64  # 1 - m, without a subtraction
    log_c: F64
    c: F64
    free: Bools  # where the clamp changes nothing

    @staticmethod
    def of(head: Sequence[Array], offset: F32) -> _BetaBinomial:
        z = sample_rows(head[0]).astype(np.float64) + offset.astype(np.float64)[:, None]
        e = pf.exp(-np.abs(z))
        inverse = 1.0 / (1.0 + e)
        small = e * inverse
        wide = sample_rows(head[1]).astype(np.float64) + 1.0
        log_c = np.where(wide < _LEAST_LOG, _LEAST_LOG, np.where(wide > _MOST_LOG, _MOST_LOG, wide))
        mean, rest = np.where(z < 0.0, small, inverse), np.where(z < 0.0, inverse, small)
        return _BetaBinomial(z, e, mean, rest, log_c, pf.exp(log_c), log_c == wide)


def _beta_binomial_losses(head: Sequence[Array], offset: F32, room: F64, n: F64, _most: int) -> F64:
    """-log P(n), n ~ Binomial(room, f), f ~ Beta(a, b), a = m c, b = (1 - m) c.

    P = C(room, n) a^(n) b^(room - n) / c^(room), x^(k) = x (x + 1) .. (x + k - 1) the rising factorial: its first
    factor x apart, whose logarithm is taken from z and log c, the others by portfloat.rising, with one logarithm for
    the quotients of all three.
    """
    law = _BetaBinomial.of(head, offset)
    deaths = room - n
    chosen = (pf.log_factorial(room) - pf.log_factorial(n)) - pf.log_factorial(deaths)
    one = pf.log_one_plus(law.e)
    negative = np.where(law.z < 0.0, law.z, 0.0)
    first = np.where(n > 0.0, law.log_c + (negative - one), 0.0)
    positive = np.where(law.z < 0.0, 0.0, -law.z)
    first = first + np.where(deaths > 0.0, law.log_c + (positive - one), 0.0)
    first = first - np.where(room > 0.0, law.log_c, 0.0)
    a, up_a, over_a = pf.rising(law.mean * law.c, np.where(n < 1.0, 1.0, n))
    b, up_b, over_b = pf.rising(law.rest * law.c, np.where(deaths < 1.0, 1.0, deaths))
    c, up_c, over_c = pf.rising(law.c, np.where(room < 1.0, 1.0, room))
    quotient = ((up_a * up_b) * over_c) / ((over_a * over_b) * up_c)
    loss = 0.0 - (((chosen + first) + ((a + b) - c)) + pf.log(quotient))
    return np.where(loss > 0.0, loss, 0.0)


def _beta_binomial_slopes(head: Sequence[Array], offset: F32, room: F64, n: F64, _most: int) -> tuple[F64, F64]:
    """The derivatives of -log P(n) by both arrays of the head, from s(x, k) = x (digamma(x + k) - digamma(x)):

    m s(b, room - n) - (1 - m) s(a, n)  and  s(c, room) - (s(a, n) + s(b, room - n)), 0 where the clamp cuts
    """
    law = _BetaBinomial.of(head, offset)
    a = pf.rising_slope(law.mean * law.c, n)
    b = pf.rising_slope(law.rest * law.c, room - n)
    c = pf.rising_slope(law.c, room)
    return law.mean * b - law.rest * a, np.where(law.free, c - (a + b), 0.0)


def beta_binomial_shapes(head: Sequence[Array], offset: F32) -> tuple[F64, F64]:
    """(a, b) of the law's f ~ Beta(a, b), (B, n); they may be as small as 0."""
    law = _BetaBinomial.of(head, offset)
    return law.mean * law.c, law.rest * law.c


# By the number of the family, call/head.py
LOSSES: dict[int, Callable[..., Any]] = {
    0: _beta_binomial_losses,
    1: bayes_births.losses,
    2: negative_binomial_law.losses,
}
SLOPES: dict[int, Callable[..., Any]] = {
    0: _beta_binomial_slopes,
    1: bayes_births.slopes,
    2: negative_binomial_law.slopes,
}


def posterior_loss(
    x_t: Array, family: int, head: Sequence[Array | None], births: Array,
    weight: Array, offset: F64, max_count: int,
) -> F32:  # fmt: skip
    """weight_b times the sum over a sample of -log P(births), float32 (B,), of values that are looked at first.

    x_t: (B, ...) counts in 0..max_count. head: the MOST_HEAD arrays of a head, None where the law has fewer, each of
    x_t's shape, float16, float32 or float64 (rounded to float32), uint16 as the bits of bfloat16.
    births: x_t's shape, whole, in 0..max_count - x_t. weight, offset: (B,).
    """
    arrays, births = head_arrays(*head), widened(births)
    _check(x_t, arrays, births, max_count)
    with np.errstate(over="ignore", under="ignore"):
        room, n = _counts(x_t, births, max_count)
        losses = LOSSES[family](arrays, offset, room, n, max_count).astype(np.float32)
        return (weight.astype(np.float64) * sum_sample(losses)).astype(np.float32)


def posterior_loss_backward(
    x_t: Array, family: int, head: Sequence[Array | None], births: Array,
    coefficient: Array, offset: F64, max_count: int,
) -> tuple[Array | None, ...]:  # fmt: skip
    """The gradients by the arrays of the head, each in its shape and dtype (uint16: the bits of bfloat16), or None.

    All as above, with coefficient in place of weight, float64 (B,): upstream gradient times weight, rounded once to
    float32, as the derivative is.
    """
    with np.errstate(over="ignore", invalid="ignore", under="ignore"):
        room, n = _counts(x_t, widened(births), max_count)
        slopes = SLOPES[family](head_arrays(*head), offset, room, n, max_count)
        factor = coefficient.astype(np.float32)[:, None]
        grads = [factor * slope.astype(np.float32) for slope in slopes]
        made = [
            rounded_as(grad.reshape(each.shape), each)
            for grad, each in zip(grads, head, strict=False)
            if each is not None
        ]
        return *made, *[None] * (len(head) - len(made))


def head_arrays(*arrays: Array | None) -> list[F32]:
    """The arrays of a head in float32."""
    with np.errstate(over="ignore"):
        return [widened(each).astype(np.float32) for each in arrays if each is not None]


def _counts(x_t: Array, births: Array, max_count: int) -> tuple[F64, F64]:
    """(max_count - x_t, births), float64 (samples, elements)"""
    return float(max_count) - sample_rows(x_t).astype(np.float64), sample_rows(births).astype(np.float64)


def _check(x_t: Array, head: list[F32], births: Array, max_count: int) -> None:
    wide, room = births.astype(np.float64), float(max_count) - x_t.astype(np.float64)
    with np.errstate(invalid="ignore"):
        born = (wide >= 0.0) & (wide <= room) & (wide == np.floor(wide))
    check_all(_OP, "x_t", x_t, (x_t >= 0) & (x_t <= max_count), f"must be whole numbers in 0..{max_count}")
    check_head(_OP, head)
    check_all(_OP, "births", births, born, "must be whole numbers in 0..max_count - x_t")


def check_head(op: str, head: list[F32]) -> None:
    """ValueError unless all is finite."""
    for at, each in enumerate(head):
        check_all(op, f"head[{at}]", each, np.isfinite(each), "must be finite in float32")
