"""Forward process of blackout diffusion: binomial thinning."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from . import common
from .philox import Stream

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, Array

_STREAMS = (Stream.THIN_DRAW, Stream.THIN_REFINE, Stream.THIN_ELEMENT)


def thin(
    x_0: Array,
    p: F64,
    q: F64,
    key: Philox,
    max_count: int,
    center: F64,
    scale: F64,
    outputs: Collection[str],
    input_dtype: str,
) -> tuple[Array | None, Array | None, Array | None]:
    """x_t ~ Binomial(x_0, p), births = x_0 - x_t, model_input = (x_t - center) * scale.

    x_0: (B, ...) counts in 0..max_count. p, q, center, scale: (B,) float64. Returns (x_t, births, model_input) shaped
    like x_0, the first two in its dtype; None for what `outputs` does not name. ValueError, before anything is
    computed, for counts or probabilities out of range. Source: Santos et al., arXiv 2305.11089 (law of x_t given x_0).
    """
    n = common.count_rows(x_0, max_count, key, "thin", "x_0")
    common.check_prob(p, q, "thin", "alive")
    x_t = common.binomial_rows(n, p, q, key, _STREAMS)
    return (
        x_t.astype(x_0.dtype).reshape(x_0.shape) if "x_t" in outputs else None,
        (n - x_t).astype(x_0.dtype).reshape(x_0.shape) if "births" in outputs else None,
        common.model_input(x_t, center, scale, input_dtype).reshape(x_0.shape) if "model_input" in outputs else None,
    )
