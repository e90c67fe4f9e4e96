"""Draws from rows of weights that need not sum to 1, in NumPy: twin of csrc/include/fastblackout/categorical_rows.h.

A row of S weights, float64, at least 0 (of logits l: exp(l - largest), l float32), becomes integers

    q_j = w_j / (largest w) 2^bits, rounded to nearest, ties to even,    T = sum of q_j <= 2^62,

bits = 62 - ceil(log2 S), at most 52, and the state drawn is #{j : q_0 + ... + q_j <= floor(U T / 2^62)}, U a 62-bit
uniform. Integers add up to the same in any order: a device may sum in its own. A state with q_j = 0, whose weight is
at most 2^-(bits + 1) of the largest, is never drawn.

Total variation from the law w_j / sum(w), derived: rounding moves each q_j by at most 1/2 and T, at least 2^bits, by at
most S / 2, which changes the law by at most S 2^-(bits + 1); the floor by at most S 2^-63; exp, the quotient and the
product by at most 6 u of each weight, u = 2^-53. So

    TV <= S 2^-(bits + 1) + 1e-15: 3e-14 for S = 256, 3.6e-10 for S = 50,258, 7.5e-9 for S = 2^18, the most.

U = (high << 32 | low) >> 2 of word i % 4 of Philox block i / 4 of two streams, i the row of a sample in C order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..philox import Philox, draw_checked
from . import portfloat as pf
from .categorical import logit_weights
from .philox import Stream
from .redraw import words

if TYPE_CHECKING:
    from .dtypes import F64, I64, Array
MAX_STATES = 1 << 18
BLOCK = 1 << 22  # the number of weights handled at once
_HALF = (1 << 31) - 1
OF_TWO_52 = 0x4330000000000000  # the bits of 2^52


def bits_of(states: int) -> int:
    """Bits of the largest weight of a row."""
    return min(52, 62 - (states - 1).bit_length())


def target(high: Any, low: Any, total: Any) -> Any:
    """floor(U T / 2^62), int64 arrays or tensors: T of at most 2^62, words of 32 bits."""
    u_1, u_0 = high >> 1, (high & 1) << 30 | low >> 2
    t_1, t_0 = total >> 31, total & _HALF
    return u_1 * t_1 + ((u_1 * t_0 + u_0 * t_1 + (u_0 * t_0 >> 31)) >> 31)


def categorical_rows(weights: Array, is_logits: bool, states: int, key: Philox) -> I64:
    """A state for each row of (B, ..., S); uint16 stands for bfloat16 bit patterns. ValueError for wrong rows."""
    batch = weights.shape[0]
    size = int(np.prod(weights.shape[1:-1]))
    rows, scale = weights.reshape(batch * size, states), 2.0 ** bits_of(states)
    step = max(BLOCK // states, 1)

    def draw(key: Philox) -> I64:
        high = words((batch, size), key, Stream.CATEGORICAL_ROWS).ravel()
        low = words((batch, size), key, Stream.CATEGORICAL_ROWS_REFINE).ravel()
        out = np.empty(batch * size, dtype=np.int64)
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            some = _weights_of_logits(rows[part]) if is_logits else _relative(rows[part])
            q = (some * scale + 2.0**52).view(np.int64) - OF_TWO_52
            cum = np.cumsum(q, axis=1)
            out[part] = (cum <= target(high[part], low[part], cum[:, -1])[:, None]).sum(axis=1)
        return out

    return draw_checked(key, draw).reshape(weights.shape[:-1])


def _relative(rows: Array) -> F64:
    values = (pf.from_bfloat16(rows) if rows.dtype == np.uint16 else rows).astype(np.float64)
    wrong = ~((values >= 0.0) & np.isfinite(values)) | (values.max(axis=1, keepdims=True) == 0.0)
    if wrong.any():
        rule = "must be finite and at least 0, and one of each row above 0"
        raise ValueError(f"categorical_rows: weights: {rule}, got {values[wrong][0]:.17g}")
    return values / values.max(axis=1, keepdims=True)


def _weights_of_logits(rows: Array) -> F64:
    with np.errstate(over="ignore"):
        values = pf.from_bfloat16(rows) if rows.dtype == np.uint16 else rows.astype(np.float32)
    wrong = ~(values < np.inf) | (values.max(axis=1, keepdims=True) == -np.inf)
    if wrong.any():
        rule = "must be below infinity, and one of each row finite in float32"
        raise ValueError(f"categorical_rows: logits: {rule}, got {values[wrong][0]}")
    return logit_weights(values)
