"""Samples of a table as an AnnData: the way back from cells.py."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..atomic_files import atomic_path
from ..ground.values import array_of
from .cell_files import elements, made
from .cells import import_anndata
from .dataset import Dataset

if TYPE_CHECKING:
    from anndata import AnnData


class _Run(Protocol):
    """A run, as fastblackout.training.trained_model.load_run reads it."""

    @property
    def dataset(self) -> dict[str, Any]: ...
    @property
    def shape(self) -> tuple[int, int, int]: ...


def to_anndata(samples: Any, like: Dataset | _Run, labels: Any = None, first: int = 0) -> AnnData:
    """Make an AnnData of samples of a table.

    Parameters
    ----------
    samples : Tensor or numpy.ndarray
        Counts (N, D) or (N, D, 1, 1), as `fb.sample` draws them.
    like : Dataset or Run
        The data of the training, or its run. The names of genes and classes are taken from it.
    labels : Tensor or numpy.ndarray, optional
        The class of each sample, int (N,).
    first : int, default 0
        The number of the first sample, by which samples are named: sample-0, sample-1, ...

    Returns
    -------
    AnnData
        X has the counts, int32 in CSR format (int64 where they need it). obs has the names of the classes, under the
        name of the column of the training, else "label".

    Raises
    ------
    ValueError
        If the shapes do not fit, a label stands for no class, or anndata is not installed.

    Examples
    --------
    >>> import anndata
    >>> cells = anndata.AnnData(np.arange(20.0).reshape(10, 2), var={"kind": ["a", "b"]})
    >>> data = fb.data.from_anndata(cells)
    >>> fb.data.to_anndata(np.array([[3, 0], [1, 2]]), data).to_df()
              0  1
    sample-0  3  0
    sample-1  1  2
    """
    op, module = "to_anndata", import_anndata("to_anndata", "samples")
    import pandas
    from scipy.sparse import csr_matrix, issparse

    columns, known = like.shape[0], like.cells if isinstance(like, Dataset) else like.dataset
    rows = samples if issparse(samples) else array_of(samples)
    if rows.ndim == 4 and rows.shape[2:] == (1, 1):
        rows = rows[:, :, 0, 0]
    if rows.ndim != 2 or rows.shape[1] != columns or rows.dtype.kind not in "iu":
        rule = f"must be integers of shape (N, {columns}) or (N, {columns}, 1, 1)"
        raise ValueError(f"{op}: samples: {rule}, got {rows.dtype} of shape {rows.shape}")
    counts = csr_matrix(rows)
    most = int(counts.data.max(initial=0))
    counts = counts.astype(np.int32 if most <= np.iinfo(np.int32).max else np.int64)
    obs = pandas.DataFrame(index=[f"sample-{n}" for n in range(first, first + rows.shape[0])])
    if labels is not None:
        obs[known.get("labels_key") or "label"] = _classes(op, array_of(labels), len(obs), known)
    return module.AnnData(counts, obs=obs, var=pandas.DataFrame(index=known.get("var_names") or _numbered(columns)))


def write_h5ad(data: AnnData, out: Path) -> None:
    """Writes an AnnData whole or not at all."""
    data.strings_to_categoricals()  # as AnnData.write_h5ad does: not all strings can be written
    if data.raw is not None:
        data.strings_to_categoricals(data.raw.var)
    with atomic_path(os.path.realpath(out)) as path, made("write_h5ad: out", path, out) as new, new.writing() as root:
        elements().write_elem(root, "/", data, dataset_kwargs={"compression": "gzip"})


def _numbered(count: int) -> list[str]:
    """The names that AnnData gives where there are none."""
    return [str(n) for n in range(count)]


def _classes(op: str, labels: NDArray[Any], count: int, known: Mapping[str, Any]) -> Any:
    """The names of the classes of samples, as a column that knows all of them."""
    import pandas

    if labels.shape != (count,) or labels.dtype.kind not in "iu":
        raise ValueError(f"{op}: labels: must be {count} integers, got {labels.dtype} of shape {labels.shape}")
    names = known.get("class_names") or _numbered(known.get("classes") or int(labels.max(initial=0)) + 1)
    if labels.size and not 0 <= labels.min() <= labels.max() < len(names):
        raise ValueError(f"{op}: labels: must be in 0..{len(names) - 1}, got {labels.min()}..{labels.max()}")
    return pandas.Categorical.from_codes(labels, names)
