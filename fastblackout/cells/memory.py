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
        self.shape = check_shape(op, matrix.shape)

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

    def of(self, blocks: list[Any]) -> Any:
        """A new AnnData with these counts."""
        if self._format is None:
            return new_of(self._data, np.concatenate(blocks))
        data, genes, per_cell = (np.concatenate(each) for each in zip(*blocks, strict=True))
        ends = np.concatenate(([0], np.cumsum(per_cell)))
        matrix = type(self._rows)((data, genes, ends), shape=self.shape)
        return new_of(self._data, matrix.asformat(self._format))
