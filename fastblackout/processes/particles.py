"""Laws of sums of independent particles, row by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]


def add_particles(rows: Matrix, p: Matrix, q: Matrix) -> None:
    """Fills rows[b, n] = law of X + Binomial(n, p[b]) from rows[b, 0], the law of X, in place.

    rows[n][k] = q rows[n - 1][k] + p rows[n - 1][k - 1]: nothing cancels, relative error at most 3 n u.
    """
    p, q = p[:, None], q[:, None]
    for n in range(1, rows.shape[1]):
        last, new = rows[:, n - 1], rows[:, n]
        np.multiply(last, q, out=new)
        new[:, 1:] += p * last[:, :-1]


def binomial_rows(p: Matrix, q: Matrix, size: int) -> Matrix:
    """(B, S, S): Binomial(n, p) in row n."""
    rows = np.zeros((len(p), size, size))
    rows[:, 0, 0] = 1.0
    add_particles(rows, p, q)
    return rows
