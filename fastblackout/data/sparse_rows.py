"""Rows of a table of which most counts are 0: they lie in memory as a sparse matrix and are given out dense."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray


class SparseRows:
    """Counts (N, D, 1, 1) of which only those above 0 are stored.

    It has what this package asks of the counts of a data set. Rows come as dense arrays, as many as are asked for: the
    whole table is nowhere dense.

    matrix: (N, D) integers, CSR of scipy.sparse.
    """

    ndim = 4

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix
        self.dtype = matrix.dtype
        self.shape = (*matrix.shape, 1, 1)
        self.nbytes = math.prod(self.shape) * self.dtype.itemsize  # of the rows as they are given out

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> NDArray[Any]:
        """One row (D, 1, 1), or the rows of a slice or of an array of places, dense."""
        if isinstance(rows, (int, np.integer)):
            return self[np.array([rows])][0]
        return self.matrix[rows].toarray()[:, :, None, None]

    def __ge__(self, bound: int) -> SparseRows:
        """Whether a count is at least `bound`, a number above 0."""
        return SparseRows(self.matrix >= bound)

    def astype(self, dtype: Any) -> SparseRows:
        """The counts in another dtype."""
        return SparseRows(self.matrix.astype(dtype))

    def min(self) -> Any:
        """The least count."""
        return self.matrix.min()

    def max(self) -> Any:
        """The largest count."""
        return self.matrix.max()

    def mean(self, axis: int | None = None, dtype: Any = None) -> Any:
        """The mean of all counts; with axis 0 the means (D, 1, 1) of the columns."""
        total = self.matrix.sum(axis=axis)
        if axis is None:
            return np.divide(total, math.prod(self.shape), dtype=dtype)
        return np.divide(np.asarray(total), len(self), dtype=dtype).reshape(self.shape[1:])

    def std(self, dtype: Any = None) -> float:
        """The standard deviation of all counts."""
        mean, stored = self.mean(dtype=dtype), self.matrix.data
        squares = np.square(np.subtract(stored, mean, dtype=dtype)).sum()
        size = math.prod(self.shape)
        return math.sqrt((squares + (size - len(stored)) * mean**2) / size)
