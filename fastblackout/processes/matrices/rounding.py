"""What float64 does to sums and products of probabilities, and sums whose bits do not depend on their company."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

UNIT = 2.0**-53
TOGETHER = 8  # rows that BLAS takes through one kernel: fewer are filled up with zeros


def gamma(terms: Any) -> Any:
    """Relative error of a sum or an inner product of so many terms, in any order. Source: Higham, Accuracy, 3.1."""
    return terms * UNIT / (1 - terms * UNIT)


def row_sums(matrix: Matrix) -> Matrix:
    """Sums over the last dimension, 16 at once and then by halves: 16 + log2 S roundings at most, whatever adds."""
    sums = matrix
    if matrix.shape[-1] % 16 == 0 and matrix.flags.c_contiguous:
        sums = (matrix.reshape(-1, 16) @ np.ones(16)).reshape(*matrix.shape[:-1], -1)
    while (width := sums.shape[-1]) > 1:
        half = width // 2
        folded = sums[..., :half] + sums[..., half : 2 * half]
        if width % 2:
            folded[..., 0] += sums[..., -1]
        sums = folded
    return sums[..., 0]


def normalize(matrix: Matrix, out: Matrix | None = None, within: float = 0.0) -> float:
    """Divides rows by their sums, in place or into `out`; the largest |sum - 1|. Nothing is done where `within`."""
    total = row_sums(matrix)
    off = float(np.abs(total - 1.0).max(initial=0.0))
    if off > within:
        np.divide(matrix, total[..., None], out=matrix if out is None else out)
    elif out is not None:
        out[...] = matrix
    return off


def weighted(weights: Matrix, stack: Matrix, out: Matrix | None = None) -> Matrix:
    """weights @ stack, each row with the bits it has alone: BLAS takes fewer rows than TOGETHER through other loops.

    out: for the result, of a multiple of TOGETHER rows.
    """
    rows = len(weights)
    full = np.zeros((-(-rows // TOGETHER) * TOGETHER, weights.shape[1]))
    full[:rows] = weights
    return np.matmul(full, stack, out=out)[:rows]
