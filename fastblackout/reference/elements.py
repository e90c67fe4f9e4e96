"""Twins of the element-wise ops: draws with parameters for each element."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..arrays import exact_counts
from ..ground.values import place_of
from ..probability import check_sum
from .bessel import MOST as MOST_ORDER
from .bessel import bessel
from .beta import beta
from .beta_binomial import beta_binomial
from .binomial import binomial
from .gamma import LEAST_SHAPE, MOST_SHAPE, gamma
from .hypergeometric import MAX_BALLS, hypergeometric
from .negative_binomial import negative_binomial
from .normal import normal
from .poisson import MAX_RATE, poisson
from .portfloat import round_to_bfloat16
from .rows import sample_rows, widened

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, I64, Array

_LARGEST = float(np.finfo(np.float64).max)
_AT_LEAST_0 = "must be finite and at least 0"


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


def poisson_elements(rate: Array, key: Philox) -> I64:
    """Poisson(rate), (B, ...). uint16 rates are bfloat16 bit patterns. ValueError for rates out of range."""
    rates = checked_floats(rate, "poisson", "rate", f"must be finite and in 0..{MAX_RATE:.0f}", MAX_RATE)
    return poisson(rates, key).reshape(rate.shape)


def normal_elements(mean: Array, std: Array, key: Philox) -> Array:
    """mean + std z in mean's dtype, both of one shape (B, ...). uint16 stands for bfloat16 bit patterns, here too.

    ValueError for a mean that is not finite, and a std that is negative or not finite.
    """
    op = "normal"
    means = sample_rows(widened(mean)).astype(np.float64)
    wrong = ~np.isfinite(means)
    if wrong.any():
        raise ValueError(f"{op}: mean: must be finite, got {means[wrong][0]:.17g}")
    return _rounded(normal(means, checked_floats(std, op, "std", _AT_LEAST_0, _LARGEST), key), mean)


def gamma_elements(shape: Array, scale: Array, key: Philox) -> Array:
    """Gamma(shape) times scale in the dtype of `shape`, both of one shape (B, ...).

    ValueError for shapes out of range, and a scale that is negative or not finite.
    """
    shapes = _shapes(shape, "gamma", "shape")
    return _rounded(gamma(shapes, checked_floats(scale, "gamma", "scale", _AT_LEAST_0, _LARGEST), key), shape)


def beta_elements(a: Array, b: Array, key: Philox) -> Array:
    """Beta(a, b) in a's dtype, both of one shape (B, ...). ValueError for shapes out of range."""
    return _rounded(beta(_shapes(a, "beta", "a"), _shapes(b, "beta", "b"), key), a)


def beta_binomial_elements(n: Array, a: Array, b: Array, key: Philox) -> Array:
    """Binomial(n, f), f ~ Beta(a, b), in n's dtype, all of one shape (B, ...). ValueError for values out of range."""
    op = "beta_binomial"
    drawn = beta_binomial(checked_counts(n, op, "n"), _shapes(a, op, "a"), _shapes(b, op, "b"), key)
    return drawn.reshape(n.shape).astype(n.dtype)


def bessel_elements(order: Array, argument: Array, key: Philox) -> I64:
    """The Bessel law, both of one shape (B, ...). ValueError for values out of range."""
    op = "bessel"
    orders = checked_counts(order, op, "order", int(MOST_ORDER))
    rule = f"must be finite and in 0..{MOST_ORDER:.0f}"
    return bessel(orders, checked_floats(argument, op, "argument", rule, MOST_ORDER), key).reshape(order.shape)


def hypergeometric_elements(good: Array, bad: Array, draws: Array, key: Philox) -> Array:
    """Good balls among `draws` of good + bad ones, in good's dtype, all of one shape (B, ...).

    ValueError for numbers that are no counts, more than 2^53 balls, and more draws than balls.
    """
    op = "hypergeometric"
    given = checked_counts(good, op, "good"), checked_counts(bad, op, "bad"), checked_counts(draws, op, "draws")
    balls, drawn = given[0] + given[1], given[2]
    if (more := drawn > balls).any():
        raise ValueError(f"{op}: draws: must be at most good + bad, {balls[more][0]}, got {drawn[more][0]}")
    if (many := balls > MAX_BALLS).any():
        raise ValueError(f"{op}: bad: good + bad must be at most 2^53, got {balls[many][0]}")
    return hypergeometric(*given, key).reshape(good.shape).astype(good.dtype)


def negative_binomial_elements(r: Array, mean: Array, key: Philox) -> I64:
    """Poisson(mean / r Gamma(r)), both of one shape (B, ...). ValueError for values out of range."""
    op = "negative_binomial"
    means = checked_floats(mean, op, "mean", f"must be finite and in 0..{MAX_RATE:.0f}", MAX_RATE)
    return negative_binomial(_shapes(r, op, "r"), means, key).reshape(r.shape)


def _shapes(array: Array, op: str, argument: str) -> F64:
    rule = f"must be finite and in {LEAST_SHAPE:g}..{MOST_SHAPE:g}"
    return checked_floats(array, op, argument, rule, MOST_SHAPE, LEAST_SHAPE)


def _rounded(drawn: F64, like: Array) -> Array:
    """What was drawn in the shape and dtype of an argument; to 16 bits by way of float32."""
    drawn = drawn.reshape(like.shape)
    with np.errstate(over="ignore"):
        if like.dtype.itemsize > 2:
            return drawn.astype(like.dtype)
        single = drawn.astype(np.float32)
        return round_to_bfloat16(single) if like.dtype == np.uint16 else single.astype(np.float16)


def checked_counts(array: Array, op: str, argument: str, limit: int = 1 << 53) -> I64:
    """Counts as int64 (B, n). ValueError unless they are whole numbers that the dtype holds without gaps."""
    counts = sample_rows(array)  # as they are: 2^53 + 1 would round to an allowed float64
    most = min(exact_counts(array.dtype.name), limit)
    wrong = ~((counts >= 0) & (counts <= most) & (counts == np.floor(counts)))
    if wrong.any():
        place = place_of(wrong.reshape(array.shape))
        got = f"{counts[wrong][0]:.17g}" if counts.dtype.kind == "f" else counts[wrong][0]
        raise ValueError(f"{op}: {argument}: must be whole numbers in 0..{most}, got {got}{place}")
    return counts.astype(np.int64)


def checked_floats(array: Array, op: str, argument: str, rule: str, most: float, least: float = 0.0) -> F64:
    """Numbers as float64 (B, n). uint16 stands for bfloat16 bit patterns. ValueError unless least <= number <= most."""
    values = sample_rows(widened(array)).astype(np.float64)
    wrong = ~((values >= least) & (values <= most))
    if wrong.any():
        got = f"{values[wrong][0]:.17g}{place_of(wrong.reshape(array.shape))}"
        raise ValueError(f"{op}: {argument}: {rule}, got {got}")
    return values
