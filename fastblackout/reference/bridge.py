"""Reverse step of blackout diffusion: the binomial bridge, with optional attrition."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np

from . import common
from .philox import Stream

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, Array

_BIRTHS = (Stream.BRIDGE_DRAW, Stream.BRIDGE_REFINE, Stream.BRIDGE_ELEMENT)
_DEATHS = (Stream.ATTRITION_DRAW, Stream.ATTRITION_REFINE, Stream.ATTRITION_ELEMENT)


def bridge(
    x_t: Array,
    logits: Array | None,
    births: Array | None,
    p: F64,
    q: F64,
    sigma_p: F64 | None,
    sigma_q: F64 | None,
    key: Philox,
    max_count: int,
    gain: F64,
    stochastic: bool,
    center: F64,
    scale: F64,
    outputs: Collection[str],
    input_dtype: str,
) -> tuple[Array | None, Array | None]:
    """x_s = x_t + Binomial(N, p) - Binomial(x_t, sigma), N = min(round(y), max_count - x_t).

    y = gain * softplus(logits), or births as given. x_t: (B, ...) counts in 0..max_count; logits or births: same shape;
    p, q, gain, center, scale and sigma_p, sigma_q (or both None: no attrition): (B,) float64. stochastic: see
    common.round_births. Returns (x_s in the dtype of x_t, model_input), None for what `outputs` does not name.
    ValueError, before anything is computed, for counts, probabilities, logits or births out of range.
    Source: Santos et al., arXiv 2305.11089 (binomial bridge); attrition: arXiv 2604.03779.
    """
    op = "bridge_step"
    x = common.count_rows(x_t, max_count, key, op, "x_t")
    common.check_prob(p, q, op, "step")
    if sigma_p is not None and sigma_q is not None:
        common.check_prob(sigma_p, sigma_q, op, "attrition")
    y = common.expected_births(logits, births, gain, key, op)
    n = np.minimum(common.round_births(y, max_count, key, stochastic), max_count - x)
    x_s = x + common.binomial_rows(n, p, q, key, _BIRTHS)
    if sigma_p is not None and sigma_q is not None:
        x_s = x_s - common.binomial_rows(x, sigma_p, sigma_q, key, _DEATHS)
    return (
        x_s.astype(x_t.dtype).reshape(x_t.shape) if "x_s" in outputs else None,
        common.model_input(x_s, center, scale, input_dtype).reshape(x_t.shape) if "model_input" in outputs else None,
    )
