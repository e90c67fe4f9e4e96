"""Sums of powers of a matrix with few diagonals in NumPy: the twin of csrc/cpu/power_series.cpp to the bit.

Everything is non-negative and finite, so that terms of 0 change no bit: the C++ kernel leaves them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from .dtypes import F64, I64

_BLOCK = 128  # So many entries of a row are added one after the other, in eight lanes; then blocks are added by halves.


def power_series(offsets: I64, entries: F64, start: F64 | None, weights: F64, places: I64, result: F64) -> F64:
    """Writes result[places[b]] = sum over k of weights[b, k] X T^k; the sums of their rows, (B, S).

    offsets: (D,). entries: (D, S), T[j - offset, j], 0 where there is no such row. start: X (S, S), or None for I.
    """
    size = entries.shape[1]
    power = np.eye(size) if start is None else start
    result[places] = 0.0
    for k in range(weights.shape[1]):
        if k:
            power = _jump(power, offsets, entries)
        for place, weight in zip(places, weights[:, k], strict=True):
            result[place] += weight * power
    return np.stack([_row_sums(result[place]) for place in places])


def _jump(x: F64, offsets: I64, entries: F64) -> F64:
    """x T."""
    size = x.shape[1]
    margin = int(np.abs(offsets).max())
    wide = np.pad(x, ((0, 0), (margin, margin)))
    terms = [wide[:, margin - o : margin - o + size] * row for o, row in zip(offsets, entries, strict=True)]
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def _row_sums(x: F64) -> F64:
    blocks = np.pad(x, ((0, 0), (0, -x.shape[1] % _BLOCK))).reshape(len(x), -1, _BLOCK // 8, 8)
    lanes = blocks[:, :, 0]
    for i in range(1, blocks.shape[2]):
        lanes = lanes + blocks[:, :, i]
    return _halves(_halves(lanes))


def _halves(x: F64) -> F64:
    """Sums over the last dimension."""
    while (width := x.shape[-1]) > 1:
        half = width // 2
        folded = x[..., :half] + x[..., half : 2 * half]
        if width % 2:
            folded[..., 0] += x[..., -1]
        x = folded
    return x[..., 0]
