"""What a cell model takes of an AnnData: counts, depth, type, batch and covariates of each cell, all checked."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..call.foreign import is_annotated, matrix_of
from ..data.cells import labels_of, names_of, places_of, read_cells, rows_of, whole_counts
from ..data.dataset import SparseRows
from ..ground.values import check_memory

MOST = (1 << 31) - 1  # the largest count
# What the user of a trained model may do about cells whose type or batch it does not know.
_TYPES = "give every cell a type of the training, leave cells out, or fit a model without labels_key"
_BATCHES = "give every cell a batch of the training, or fit the model with cells of all batches"


@dataclass(frozen=True)
class Columns:
    """Where an AnnData has what the model needs, and what the training found there."""

    labels_key: str | None = None
    batch_key: str | None = None
    layer: str | None = None
    size_factor_key: str | None = None
    covariates: tuple[str, ...] = ()
    genes: tuple[str, ...] = ()  # of the model, in its order; () before the training
    all_genes: int = 0  # how many the training data had, over which depths are summed
    digest: str = ""  # of their names, in any order
    classes: tuple[str, ...] = ()
    batches: tuple[str, ...] = ()
    centers: tuple[float, ...] = ()  # of the covariates
    spreads: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """All of it, ready for JSON."""
        return asdict(self)

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> Columns:
        """What `to_dict` returned, from JSON; TypeError or ValueError where it is something else."""
        whole: dict[str, Any] = {name: tuple(each) if isinstance(each, list) else each for name, each in given.items()}
        columns = cls(**whole)
        names = ("labels_key", "batch_key", "layer", "size_factor_key", "digest")
        lists = {"covariates": str, "genes": str, "classes": str, "batches": str, "centers": float, "spreads": float}
        right = [
            columns.to_dict() == whole and isinstance(columns.all_genes, int),
            all(isinstance(getattr(columns, name), str | None) for name in names),
            all(isinstance(each, kind) for name, kind in lists.items() for each in getattr(columns, name)),
            len(columns.centers) == len(columns.spreads) == len(columns.covariates),
        ]
        if not all(right):
            raise ValueError("its columns are not whole")
        return columns

    def batch_of(self, known: Tensor) -> Tensor:
        """The number of each cell's batch by its conditions (N, conditions), 0 for a model without."""
        count = len(self.batches)
        return known[:, :count].argmax(1) if count else torch.zeros(len(known), dtype=torch.long)

    @property
    def conditions(self) -> int:
        """How many numbers the network is told beside the depth."""
        return len(self.batches) + len(self.covariates)


class Cells(NamedTuple):
    """counts: (N, genes, 1, 1), an array or SparseRows. labels: int64 (N,), or None. log_depth: float32 (N, 1). known:
    float32 (N, conditions), the batch as flags and the covariates in units of their spread. order: places of the
    model's genes among the genes of the AnnData. genes: how many genes the AnnData has."""

    counts: Any
    labels: Tensor | None
    log_depth: Tensor
    known: Tensor
    order: NDArray[np.int64]
    genes: int

    @property
    def matrix(self) -> Any:
        """The counts (N, genes), in CSR format or dense."""
        return self.counts.matrix if isinstance(self.counts, SparseRows) else self.counts[:, :, 0, 0]

    def as_given(self, values: NDArray[Any]) -> NDArray[Any]:
        """Numbers (..., genes) in the order of the AnnData, where it has the genes of the model alone."""
        moved = self.genes == len(self.order) and (np.diff(self.order) < 0).any()
        return values[..., np.argsort(self.order)] if moved else values

    def rows(self, which: Any, device: torch.device) -> tuple[Tensor, Tensor | None, Tensor, Tensor]:
        """Counts, made dense, labels, logs of depths and conditions of some cells, on the device."""
        labels = None if self.labels is None else self.labels[which].to(device)
        x = torch.from_numpy(self.counts[which]).to(device, torch.int32)
        return x, labels, self.log_depth[which].to(device), self.known[which].to(device)


def read(op: str, data: Any, columns: Columns, genes: Any = None, hidden: bool = False) -> tuple[Cells, Columns]:
    """The cells of an AnnData or of the path of one, and its columns. A training fills in what these do not say yet.

    hidden: whether counts may be unknown, so that their sum is no depth.
    """
    data = read_cells(op, "adata", data)
    if not is_annotated(data):
        rule = "must be an AnnData, or the path of an .h5ad file or a .zarr store"
        raise TypeError(f"{op}: adata: {rule}, got {type(data).__name__}")
    matrix = matrix_of(op, "adata", data, columns.layer)
    if 0 in matrix.shape:
        raise ValueError(f"{op}: adata: must have cells and genes, got shape {matrix.shape}")
    matrix, _ = whole_counts(op, "adata", matrix, data.layers)
    names, trained = [str(name) for name in data.var_names], bool(columns.genes)
    if not trained:
        columns = replace(
            columns, genes=_chosen(op, data, names, genes), all_genes=len(names), digest=_digest_of(names)
        )
    places = places_of(op, "adata", names, columns.genes)
    known_depth = columns.size_factor_key is not None or not hidden
    log_depth = _log_depth(op, data, matrix, columns) if known_depth else torch.zeros((data.n_obs, 1))
    counts = matrix if columns.genes == tuple(names) else matrix[:, places]
    top = int(counts.max())
    if top > MOST or not (top or trained):
        rule = f"must be at most {MOST}" if top else "must be above 0"
        raise ValueError(f"{op}: adata: the largest count of its genes {rule}, got {top}")
    labels, columns = _classes(op, data.obs, columns, trained)
    known, columns = _conditions(op, data.obs, columns, trained)
    return Cells(rows_of(counts, max(top, 1)), labels, log_depth, known, places, len(names)), columns


def _digest_of(names: Sequence[str]) -> str:
    """The same for the same names in any order."""
    return hashlib.sha256(json.dumps(sorted(names)).encode()).hexdigest()


def _chosen(op: str, data: Any, names: list[str], genes: Any) -> tuple[str, ...]:
    """The genes that a model is asked for: all, those of a column of booleans of var, or those named."""
    if genes is None:
        return tuple(names)
    if isinstance(genes, str):
        dtypes = data.var.dtypes
        if genes not in dtypes or dtypes[genes].kind != "b" or data.var[genes].isna().any():
            there = ", ".join(repr(str(name)) for name, dtype in dtypes.items() if dtype.kind == "b")
            raise ValueError(f"{op}: genes: must be names or a column of booleans of var ({there}), got {genes!r}")
        chosen = [name for name, kept in zip(names, data.var[genes], strict=True) if kept]
    else:
        chosen = names_of(op, "genes", genes) or []
    if not chosen:
        raise ValueError(f"{op}: genes: must be at least one, got none")
    return tuple(chosen)


def _log_depth(op: str, data: Any, matrix: Any, columns: Columns) -> Tensor:
    """The logs (N, 1) of the cells' depths: sums over all genes, or what a column says."""
    if columns.size_factor_key is not None:
        depth = column_of_numbers(op, data.obs, "size_factor_key", columns.size_factor_key)
        if not (depth > 0).all():
            cell, wrong = str(data.obs_names[depth <= 0][0]), depth[depth <= 0][0]
            raise ValueError(f"{op}: size_factor_key: must be above 0, got {wrong} for cell {cell!r}")
    else:
        if data.n_vars != columns.all_genes or _digest_of([str(name) for name in data.var_names]) != columns.digest:
            rule = (
                f"must have all {columns.all_genes} genes of the training and no others, as a cell's depth is the sum"
            )
            got = f"{data.n_vars} genes" if data.n_vars != columns.all_genes else "other genes"
            raise ValueError(f"{op}: adata: {rule} over them (or give size_factor_key to CellModel), got {got}")
        depth = np.asarray(matrix.sum(axis=1, dtype=np.float64)).reshape(-1)
        if not depth.all():
            cell = str(data.obs_names[depth == 0][0])
            raise ValueError(f"{op}: adata: every cell must have a count above 0, got none for cell {cell!r}")
    return torch.from_numpy(np.log(depth)[:, None]).float()


def _classes(op: str, obs: Any, columns: Columns, trained: bool) -> tuple[Tensor | None, Columns]:
    if columns.labels_key is None:
        return None, columns
    labels, names = labels_of(
        op, obs, columns.labels_key, columns.classes if trained else None, advice=_TYPES if trained else ""
    )
    return torch.from_numpy(labels), replace(columns, classes=tuple(names))


def _conditions(op: str, obs: Any, columns: Columns, trained: bool) -> tuple[Tensor, Columns]:
    parts = []
    if columns.batch_key is not None:
        batch, names = labels_of(
            op, obs, columns.batch_key, columns.batches if trained else None, "batch_key", _BATCHES if trained else ""
        )
        columns = replace(columns, batches=tuple(names))
        check_memory(f"{op}: batch_key: {len(names)} batches of {len(batch)} cells", 4 * len(names) * len(batch))
        parts.append((batch[:, None] == np.arange(len(names))).astype(np.float32))
    if columns.covariates:
        values = np.stack([column_of_numbers(op, obs, "covariates", name) for name in columns.covariates], 1)
        if not trained:
            spread = values.std(0)
            spread[spread <= 1e-6 * np.abs(values).max(0)] = 1.0  # where all are alike
            columns = replace(columns, centers=tuple(values.mean(0).tolist()), spreads=tuple(spread.tolist()))
        parts.append(((values - columns.centers) / columns.spreads).astype(np.float32))
    return torch.from_numpy(np.concatenate(parts, 1) if parts else np.zeros((len(obs), 0), np.float32)), columns


def column_of_numbers(op: str, obs: Any, argument: str, name: str) -> NDArray[np.float64]:
    """A column of obs as finite numbers."""
    if name not in obs.columns:
        there: Sequence[str] = [str(each) for each in obs.columns]
        raise ValueError(f"{op}: {argument}: must be a column of obs, one of {', '.join(there)}, got {name!r}")
    column = obs[name]
    if column.dtype.kind not in "iufb":
        rule = "must be a column of numbers (batch_key takes one of names)"
        raise ValueError(f"{op}: {argument}: {rule}, got {name!r} of dtype {column.dtype}")
    values = column.to_numpy(np.float64)
    if not np.isfinite(values).all():
        cell = str(obs.index[~np.isfinite(values)][0])
        raise ValueError(f"{op}: {argument}: must be finite, got {values[~np.isfinite(values)][0]} for cell {cell!r}")
    return values
