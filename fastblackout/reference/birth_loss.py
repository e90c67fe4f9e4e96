"""Blackout's birth loss and its gradient in NumPy: the twin of csrc/include/fastblackout/birth_loss.h to the bit.

loss_b = weight_b sum_i (y_i - births_i log y_i), y = gain_b softplus(logit) (Santos et al. 2023, eq. for the blackout
likelihood up to terms without y). Elements in portable float32; the sum of a sample by chunks of 1,024 elements, padded
with zeros, each a halving tree v[i] += v[i + h], h = 512..1, in float32; chunk sums added in ascending order, float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import portfloat as pf
from .portfloat import round_to_bfloat16
from .rows import check_all, sample_rows, widened

if TYPE_CHECKING:
    from .dtypes import F32, F64, Array

CHUNK = 1024


def _rows(array: Array) -> F32:
    return np.ascontiguousarray(sample_rows(array), dtype=np.float32)


def _column(values: F64) -> F32:
    return values.astype(np.float32)[:, None]


def sum_sample(elements: F32) -> F64:
    """Row sums of a float32 (B, n) array in the order every backend keeps; float64 (B,)."""
    batch, n = elements.shape
    chunks = -(-n // CHUNK)
    v = np.zeros((batch, chunks * CHUNK), dtype=np.float32)
    v[:, :n] = elements
    v = v.reshape(batch, chunks, CHUNK)
    h = CHUNK // 2
    while h:
        v = v[..., :h] + v[..., h : 2 * h]
        h //= 2
    total = np.zeros(batch)
    for chunk in range(chunks):
        total = total + v[:, chunk, 0].astype(np.float64)
    return total


def birth_loss(logits: Array, births: Array, weight: F64, gain: F64) -> F32:
    """weight_b times the sum over a sample of y - births log y, y = gain_b softplus(logit); float32 (B,).

    logits: float16, float32 or float64 (rounded to float32), any shape with the sample first. births: the same shape,
    whole numbers >= 0 of any dtype. weight, gain: float64 (B,), gain > 0. Every finite logit gives a finite element as
    long as gain * logit is below the largest float32.
    """
    x, k = _rows(logits), _rows(births)
    g = _column(gain)
    log_gain = pf.log(g.astype(np.float64)).astype(np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        y = g * pf.softplus(x)
        log_y = log_gain + pf.log_softplus(x)
        return (weight.astype(np.float64) * sum_sample(y - k * log_y)).astype(np.float32)


def birth_loss_grad(logits: Array, births: Array, coefficient: F64, gain: F64) -> Array:
    """coefficient_b (gain_b sigmoid(logit) - births sigmoid(logit) / softplus(logit)), shape and dtype of logits.

    coefficient: upstream gradient times weight, float64 (B,), rounded once to float32; the rest as in birth_loss. The
    float32 result is rounded to the dtype of logits, nearest even.
    """
    x, k = _rows(logits), _rows(births)
    with np.errstate(over="ignore", invalid="ignore"):
        g = _column(gain)
        grad = _column(coefficient) * ((g * pf.softplus(x) - k) / pf.softplus_over_sigmoid(x))
        return grad.astype(logits.dtype).reshape(logits.shape)


def checked_birth_loss(logits: Array, births: Array, weight: Array, gain: Array) -> F32:
    """birth_loss of values that are looked at first; uint16 values are bfloat16 bit patterns."""
    logits, births = widened(logits), widened(births)
    with np.errstate(over="ignore"):
        rules = (
            ("logits", logits, np.isfinite(logits.astype(np.float32)), "in float32"),
            ("births", births, np.isfinite(births.astype(np.float32)) & (births >= 0), "and at least 0"),
        )
    for name, values, right, rule in rules:
        check_all("birth_loss", name, values, right, f"must be finite {rule}")
    return birth_loss(logits, births, weight, gain.astype(np.float64))


def birth_loss_backward(logits: Array, births: Array, coefficient: Array, gain: Array) -> Array:
    """birth_loss_grad, of bfloat16 too, as uint16 bit patterns."""
    grad = birth_loss_grad(widened(logits), widened(births), coefficient, gain.astype(np.float64))
    return round_to_bfloat16(grad) if logits.dtype == np.uint16 else grad
