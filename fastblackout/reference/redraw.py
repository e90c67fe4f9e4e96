"""Processes that at rate 1 draw their state anew from one law, in NumPy: twin of csrc/include/fastblackout/redraw.h.

The law r has a mask alone, or is uniform over all S states, or is any other. With a = exp(-s), c = 1 - a,
b = exp(-(t - s)) and d = 1 - b, the paths from x_0 to x_t pass through x_s in three ways, whose weights over r(x_t) are

    x_s = x_0, kept until s                                       w_1 = a (b [x_0 = x_t] / r(x_t) + d)
    x_s = x_t, drawn anew before s and kept from then on          w_2 = c b
    x_s ~ r, drawn anew before s, and x_t again after it          w_3 = c d

where r(x_t) > 0. Where it is 0, nothing leads to x_t but x_0 = x_t, which stays. A weight below 2^-1024 counts as that
here, whose inverse is finite. The state at time t alone is x_0 with probability exp(-t), else from r. No array is
larger than the states.

A 48-bit uniform V chooses: x_0 where V < keep, else x_t where V < other, else a state from r, where

    keep = floor(2^48 w_1 / w), other = floor(2^48 (w_1 + w_2) / w),  w = w_1 + w_2 + w_3,

both 2^48 where nothing is left for what comes after; forward keep = other = floor(2^48 exp(-t)). A uniform state is
floor(U S / 2^64) of a 64-bit uniform U; one of another law #{j : C(j) <= first 48 bits of U}, with the thresholds and
the distance of categorical.py. But for that distance the law is within 2^-48 + S 2^-65 total variation of the exact
one, plus the rounding of the weights, at most 20 u of themselves, u = 2^-53: together within 2e-14 for S up to 2^18,
and 5.9e-11 for S = 2^31. exp(-t) and 1 - exp(-t) are each good relative to themselves: short times keep their digits.

V = v << 16 | top half of l, U = h << 32 | l'; v, l, h and l' are word i % 4 of Philox block i / 4 of four streams, i
the element in C order. Kernels fetch the second words only where the first do not decide.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from . import portfloat as pf
from .categorical import SMALLEST_TOTAL
from .draw import TWO_48, samples
from .philox import Stream, philox4x32
from .rows import sample_rows, whole_rows

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, I64, Array


MAX_STATES = 1 << 31
# Of the choice and of a state from r, each with what refines it; without x_t and with it.
STREAMS = {
    False: (Stream.REDRAW, Stream.REDRAW_REFINE, Stream.REDRAW_STATE, Stream.REDRAW_STATE_REFINE),
    True: (
        Stream.REDRAW_BRIDGE,
        Stream.REDRAW_BRIDGE_REFINE,
        Stream.REDRAW_BRIDGE_STATE,
        Stream.REDRAW_BRIDGE_STATE_REFINE,
    ),
}


def chances(t: F64) -> tuple[F64, F64]:
    """exp(-t) and 1 - exp(-t) of times, at least 0, perhaps infinite."""
    rest, scale = pf.exp_parts(np.where(t > 708.0, -708.0, -t))
    return np.where(t > 708.0, 0.0, (1.0 + rest) * scale), np.where(t > 708.0, 1.0, (1.0 - scale) - rest * scale)


def forward_threshold(t: F64) -> I64:
    """keep, which is other too."""
    stay, leave = chances(t)
    return np.where(leave > 0.0, np.floor(stay * TWO_48), TWO_48).astype(np.int64)


def bridge_thresholds(xp: Any, before: Any, after: Any, inverse: Any, equal: bool) -> tuple[Any, Any]:
    """(keep, other) where r(x_t) = 1 / inverse is above 0, -1 where no way leads from x_0 to x_t.

    before, after: `chances` of s and of t - s; inverse: a number, or an array that broadcasts with them: arrays of xp,
    NumPy or torch. equal: whether x_0 is x_t.
    """
    (a, c), (b, d) = before, after
    first = a * (b * inverse + d if equal else d + 0.0 * inverse)
    second, third = c * b, c * d
    two = first + second
    total = two + third
    possible = total >= SMALLEST_TOTAL
    factor = float(TWO_48) / xp.where(possible, total, 1.0)

    def threshold(part: Any, more: Any) -> Any:
        scaled = xp.asarray(xp.floor(part * factor).clip(max=float(TWO_48)), dtype=xp.int64)
        return xp.where(possible, xp.where(more > 0.0, scaled, TWO_48), -1)

    return threshold(first, second + third), threshold(two, third)


def thresholds_at(
    xp: Any, ends: tuple[Any, Any], before: Any, after: Any, inverse: Any, states: int, mask: int
) -> tuple[Any, Any]:
    """(keep, other) of each element from x_0 to x_t, `ends`; inverse: 1 / r(x_t) of another law, or None."""
    x_0, x_t = ends
    drawn = (x_t == mask) | (mask < 0)
    used: Any = float(states) if mask < 0 else 1.0
    if inverse is not None:
        drawn = inverse < math.inf
        used = xp.where(drawn, inverse, 1.0)
    same, pairs = x_0 == x_t, (bridge_thresholds(xp, before, after, used, equal) for equal in (True, False))
    keep, other = (
        xp.where(same, xp.where(drawn, equal, TWO_48), xp.where(drawn, differ, -1))
        for equal, differ in zip(*pairs, strict=True)
    )
    return keep, other


def words(shape: tuple[int, int], key: Philox, stream: Stream) -> I64:
    """Word i % 4 of block i / 4 for element i of each sample, (B, n)."""
    batch, size = shape
    blocks = np.arange((size + 3) // 4, dtype=np.uint32)
    made = np.stack(philox4x32(blocks, samples(key, batch), key.call, stream.word(), *key.key), axis=-1)
    return made.reshape(batch, 4 * len(blocks))[:, :size].astype(np.int64)


def wide(high: Any, low: Any) -> Any:
    """48 bits of two words, int64 arrays or tensors."""
    return high << 16 | low >> 16


def uniform_state(high: Any, low: Any, states: int) -> Any:
    """floor(U S / 2^64), U = high << 32 | low, S at most 2^31: int64 arrays or tensors."""
    return (high * states + (low * states >> 32)) >> 32


def fresh_states(xp: Any, high: Any, low: Any, thresholds: Any, states: int, mask: int) -> Any:
    """States from r, of two words each: arrays of xp, NumPy or torch."""
    if thresholds is not None:
        return xp.searchsorted(thresholds, wide(high, low), side="right")
    return xp.full_like(high, mask) if mask >= 0 else uniform_state(high, low, states)


def redraw(
    x_0: Array, x_t: Array | None, before: F64, after: F64 | None, thresholds: I64 | None,
    inverse: F64 | None, states: int, mask: int, key: Philox,
) -> Array:  # fmt: skip
    """The state a time `before` after x_0, and, where x_t is given, a time `after` before x_t, element by element.

    x_0, x_t: integers (B, ...) in 0..states - 1; before, after: of the same shape. mask: the state that r is the law
    of, -1 for the uniform law; another law has thresholds, (states,), and with x_t inverse, 1 / r(x_t) of each element.
    Returns x_0's shape and dtype. ValueError where no way leads from x_0 to x_t.
    """
    start, times = whole_rows("redraw", "x_0", x_0, states - 1), sample_rows(before)
    if x_t is None or after is None:
        end, keep, other = start, forward_threshold(times), 0
    else:
        end, own = whole_rows("redraw", "x_t", x_t, states - 1), None if inverse is None else sample_rows(inverse)
        keep, other = thresholds_at(np, (start, end), chances(times), chances(sample_rows(after)), own, states, mask)
        if (keep < 0).any():
            raise ValueError(
                f"redraw: x_t: must be reachable from x_0 at these times, got x_t = {end[keep < 0][0]} and "
                f"x_0 = {start[keep < 0][0]}"
            )
    made = [words(start.shape, key, stream) for stream in STREAMS[x_t is not None]]
    v, drawn = wide(*made[:2]), fresh_states(np, made[2], made[3], thresholds, states, mask)
    chosen = np.where(v < keep, start, np.where(v < other, end, drawn))
    return chosen.astype(x_0.dtype).reshape(x_0.shape)
