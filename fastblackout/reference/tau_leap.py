"""Reverse step of blackout diffusion by tau-leaping: Poisson births."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from . import common
from .philox import Stream
from .poisson import MAX_RATE, poisson

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, I64, Array


def tau_leap(
    x_t: Array,
    logits: Array | None,
    births: Array | None,
    factor: F64,
    key: Philox,
    max_count: int,
    gain: F64,
    center: F64,
    scale: F64,
    outputs: Collection[str],
    input_dtype: str,
) -> tuple[Array | None, Array | None, I64]:
    """x_s = x_t + min(Poisson(y * factor), max_count - x_t), y = gain * softplus(logits), or births as given.

    x_t: (B, ...) counts in 0..max_count; logits or births: same shape; factor, gain, center, scale: (B,) float64,
    factor finite and at least 0. Returns (x_s in the dtype of x_t, model_input, overshoot), None for an x_s or
    model_input that `outputs` does not name; overshoot is int64 (B,), the elements of each sample that were clamped.
    ValueError, before anything is computed, for counts, factors, logits or births out of range.
    Source: Santos et al., arXiv 2305.11089 (tau-leaping); Gillespie, J. Chem. Phys. 115 (2001).
    """
    op = "tau_leap_step"
    x = common.count_rows(x_t, max_count, key, op, "x_t")
    wrong = ~((factor >= 0.0) & (factor < np.inf))
    if wrong.any():
        raise ValueError(f"{op}: step: must be finite and at least 0, got {float(factor[wrong][0])!r}")
    y = common.expected_births(logits, births, gain, key, op)
    with np.errstate(over="ignore", invalid="ignore"):
        rate = y * factor[:, None]
    # Above 2^52 every draw exceeds any max_count in use, so the cap changes no result; inf * 0 counts as 0.
    rate = np.where(rate > 0.0, np.minimum(rate, MAX_RATE), 0.0)
    drawn = poisson(rate, key, Stream.TAU_LEAP)
    room = max_count - x
    x_s = x + np.minimum(drawn, room)
    return (
        x_s.astype(x_t.dtype).reshape(x_t.shape) if "x_s" in outputs else None,
        common.model_input(x_s, center, scale, input_dtype).reshape(x_t.shape) if "model_input" in outputs else None,
        (drawn > room).sum(axis=1).astype(np.int64),
    )
