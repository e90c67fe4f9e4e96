"""Counts of cells in an AnnData in memory, by blocks of cells."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..call.annotated import matrix_of, new_of
from .blocks import Stored, check_shape, runs


class Memory:
    """The cells of an AnnData."""

    def __init__(self, op: str, data: Any, layer: str | None) -> None:
        self.op, self._data = op, data
        if data.isbacked:
            raise ValueError(f"{op}: adata: must be in memory, or the path of its file, got an AnnData in a file")
        matrix = matrix_of(op, "adata", data, layer)
        self._format, dense = getattr(matrix, "format", None), isinstance(matrix, np.ndarray)
        if not dense and self._format not in ("csr", "csc"):
            rule = "counts must be a NumPy array or a matrix of scipy.sparse in CSR or CSC format"
            raise TypeError(f"{op}: adata: {rule}, got {type(matrix).__name__}")
        if dense:
            self._rows: Any = np.ascontiguousarray(matrix)
        else:
            self._rows = matrix.tocsr()
            if not self._rows.has_canonical_format:
                self._rows = self._rows.copy()
                self._rows.sum_duplicates()
        self.shape, self.layers = check_shape(op, matrix.shape), list(data.layers)

    def blocks(self, chunk_size: int | None) -> Iterator[Any]:
        """The rows of all cells in their order, chunk_size at a time: arrays, or Stored."""
        if self._format is None:
            for cells in runs(np.arange(self.shape[0] + 1) * self.shape[1], chunk_size):
                yield self._rows[cells]
            return
        ends = self._rows.indptr.astype(np.int64)
        for cells in runs(ends, chunk_size):
            part = slice(ends[cells.start], ends[cells.stop])
            per_cell = np.diff(ends[cells.start : cells.stop + 1])
            yield Stored(self._rows.data[part], self._rows.indices[part], per_cell)

    def writing(self) -> _Parts:
        """Where new counts are put, block by block."""
        return _Parts(self._rows)

    def of(self, parts: _Parts) -> Any:
        """A new AnnData with these counts."""
        matrix = parts.matrix()
        return new_of(self._data, matrix if self._format is None else matrix.asformat(self._format))


class _Parts:
    """New counts of cells, which are put block after block where they stay.

    There is room for as many as the old ones were. What is left over is given back: memory that nobody has touched
    costs nothing.
    """

    def __init__(self, like: Any) -> None:
        self._like, self._ends, self._size = like, [np.zeros(1, np.int64)], 0
        if isinstance(like, np.ndarray):
            self._data = np.empty_like(like)
        else:
            self._data, self._genes = np.empty_like(like.data), np.empty_like(like.indices)

    def __call__(self, rows: Any) -> None:
        if isinstance(rows, np.ndarray):
            to = slice(self._size, self._size + len(rows))
            self._data[to] = rows
        else:
            to = slice(self._size, self._size + len(rows.data))
            self._data[to], self._genes[to] = rows.data, rows.genes
            self._ends.append(self._size + np.cumsum(rows.per_cell))
        self._size = to.stop

    def matrix(self) -> Any:
        """All counts, as a matrix like the old one."""
        if isinstance(self._like, np.ndarray):
            return self._data
        for array in (self._data, self._genes):
            array.resize(self._size, refcheck=False)
        made = self._data, self._genes, np.concatenate(self._ends)
        return type(self._like)(made, shape=self._like.shape)
