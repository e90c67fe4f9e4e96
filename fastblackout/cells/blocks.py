"""Counts of some cells, and what is made of them: rows of an array, or of a CSR matrix."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..call.numbers import MAX_COUNT
from ..data.cells import RAW, raw_rule
from .rows import Ints, above_0, together

_AT_ONCE = 1 << 18  # values of a block of several cells


class Stored(NamedTuple):
    """Cells as CSR has them: the counts and their genes, cell after cell, and how many each cell has."""

    data: Any
    genes: Any
    per_cell: Ints


def runs(ends: Ints, chunk_size: int | None) -> Iterator[slice]:
    """The cells of each block: chunk_size, or as many as have _AT_ONCE values.

    ends: (cells + 1,), 0 and the sums of the numbers of values.
    """
    if chunk_size is None:
        yield from together(ends, _AT_ONCE)
    else:
        cells = len(ends) - 1
        yield from (slice(start, min(start + chunk_size, cells)) for start in range(0, cells, chunk_size))


def check_shape(op: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """(cells, genes). ValueError where there are none."""
    cells, genes = shape
    if 0 in shape:
        raise ValueError(f"{op}: adata: must have cells and genes, got shape {(cells, genes)}")
    return cells, genes


class Block:
    """Some cells. counts: those above 0, cell after cell, in the order of genes; per_cell: how many each cell has.

    The counts have the least dtype that the draws take. rows: an array (cells, genes), or Stored in canonical order.
    where, layers: op and argument, and the layers that may hold raw counts, for errors.
    """

    def __init__(self, where: str, rows: Any, layers: Collection[str] = ()) -> None:
        self._rows = rows
        if isinstance(rows, Stored):
            self.counts, self.per_cell = _narrow(where, rows.data, layers), rows.per_cell
            self.genes = np.ascontiguousarray(rows.genes)
            if not self.counts.all():
                self.counts, self.genes, self.per_cell = above_0(self.counts, self.genes, self.per_cell)
        else:
            self._places = np.flatnonzero(rows)
            self.counts = _narrow(where, rows.ravel()[self._places], layers)
            self.per_cell = np.count_nonzero(rows, 1).astype(np.int64)
            self.genes = self._places % rows.shape[1]

    def of(self, drawn: Any) -> Any:
        """The same cells with other counts: Stored in the dtype of the drawn ones without those of 0, or an array."""
        if isinstance(self._rows, Stored):
            return Stored(*above_0(drawn, self.genes, self.per_cell))
        made = np.zeros_like(self._rows, order="C")
        made.ravel()[self._places] = drawn
        return made


def _narrow(where: str, values: Any, layers: Collection[str]) -> Any:
    """Counts as uint8, int32 or int64. ValueError unless they are whole numbers that the draws take."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{where}: {RAW}, got dtype {values.dtype}")
    low, top = values.min(initial=0), values.max(initial=0)
    if not 0 <= low <= top <= MAX_COUNT:  # NaN among them
        wrong = values[~((values >= 0) & (values <= MAX_COUNT))]
    else:
        counts = values.astype(np.uint8 if top <= 255 else np.int32 if top < 1 << 31 else np.int64)
        wrong = values[counts != values] if values.dtype.kind == "f" else counts[:0]
        if not len(wrong):
            return counts
    raise ValueError(f"{where}: {raw_rule(layers)}, in 0..2^53, got {float(wrong[0]):.6g}")
