"""The cells that are compared: generated, real and training cells, of the same genes."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..call.annotated import is_annotated, listed, matrix_of
from ..data.cells import labels_of, places_of, whole_counts

FEWEST_CELLS, FEWEST_GENES = 10, 3
_AT_ONCE = 500  # cells

Array = NDArray[Any]


def prints_of(matrix: Any) -> NDArray[np.int64]:
    """A number of 64 bits of each cell (N,): of equal counts the same, of others with a chance near 2^-64."""
    weights = np.frombuffer(np.random.RandomState(0).bytes(8 * matrix.shape[1]), "<i8")  # the same in every NumPy
    rows = (matrix[first : first + _AT_ONCE] for first in range(0, matrix.shape[0], _AT_ONCE))
    return np.concatenate([each.astype(np.int64) @ weights for each in rows])


class Side:
    """All cells of an argument, as they lie there.

    like: the side whose genes are taken, by the names that they have in an AnnData. where: the op and the argument.
    ValueError and TypeError are those of `fb.cells.compare`.
    """

    def __init__(
        self, op: str, argument: str, value: Any, labels_key: str | None, like: Side | None = None,
        layer: str | None = None,
    ) -> None:  # fmt: skip
        self.where = where = f"{op}: {argument}"
        self.names = [str(name) for name in value.var_names] if is_annotated(value) else None
        if self.names is None and not (isinstance(value, np.ndarray) or hasattr(value, "tocsr")):
            rule = "must be an AnnData, a NumPy array or a matrix of scipy.sparse"
            raise TypeError(f"{where}: {rule}, got {type(value).__name__}")
        if like is not None and (self.names is None) != (like.names is None):
            raise TypeError(f"{where}: must be an AnnData only if generated is one, got {type(value).__name__}")
        if self.names is None and (layer or labels_key) is not None:
            argument, given = ("layer", layer) if layer is not None else ("labels_key", labels_key)
            raise TypeError(f"{op}: {argument}: must be None but for AnnData, got {given!r} for {type(value).__name__}")
        matrix: Any = value if self.names is None else matrix_of(op, argument, value, layer)
        if matrix.ndim != 2:
            raise ValueError(f"{where}: must be cells by genes, got shape {matrix.shape}")
        if matrix.shape[0] < FEWEST_CELLS or matrix.shape[1] < FEWEST_GENES:
            rule = f"must have {FEWEST_CELLS} cells and {FEWEST_GENES} genes or more"
            raise ValueError(f"{where}: {rule}, got {matrix.shape[0]} and {matrix.shape[1]}")
        if self.names is not None:
            wanted = self.names if like is None or like.names is None else like.names
            places = places_of(op, argument, self.names, wanted)
            matrix = matrix if wanted == self.names else matrix[:, places]
        elif like is not None and matrix.shape[1] != like.genes:
            raise ValueError(f"{where}: must have {like.genes} genes as generated has, got {matrix.shape[1]}")
        self.matrix, _ = whole_counts(op, argument, matrix, () if self.names is None else value.layers)
        self.types: Array | None = None
        if labels_key is not None:
            if labels_key not in value.obs.columns:
                rule = f"must be a column of obs of {argument}, one of {listed(value.obs.columns)}"
                raise ValueError(f"{op}: labels_key: {rule}, got {labels_key!r}")
            labels, names = labels_of(op, value.obs, labels_key, None)
            self.types = np.array(names)[labels]

    def __len__(self) -> int:
        return int(self.matrix.shape[0])

    @property
    def genes(self) -> int:
        return int(self.matrix.shape[1])

    def cells(self, rows: Array) -> Cells:
        """Some of the cells, dense."""
        part = self.matrix[rows]
        counts = part.toarray() if hasattr(part, "toarray") else part
        return Cells(counts.astype(np.float32), None if self.types is None else self.types[rows])


class Cells:
    """Counts (N, G), and the type of each cell where types are known."""

    def __init__(self, counts: Array, types: Array | None) -> None:
        self.counts, self.types = counts, types

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, rows: slice) -> Cells:
        return Cells(self.counts[rows], None if self.types is None else self.types[rows])

    @cached_property
    def depths(self) -> Array:
        """The sums of cells (N,)."""
        return self.counts.sum(axis=1, dtype=np.float64)

    @cached_property
    def shares(self) -> Array:
        """Counts per 10,000 of the cell's (N, G); a cell without counts has zeros."""
        return (self.counts * (1e4 / np.maximum(self.depths, 1))[:, None]).astype(np.float32)

    @cached_property
    def log(self) -> Array:
        """Log-normalized counts (N, G)."""
        return np.log1p(self.shares)

    def moments(self) -> tuple[Array, Array, Array]:
        """The mean, the variance and the share of zeros of each gene."""
        counts = self.counts.astype(np.float64)
        return counts.mean(axis=0), counts.var(axis=0, ddof=1), (counts == 0).mean(axis=0)
