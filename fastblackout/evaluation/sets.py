"""Sets of samples that are compared with a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..call.annotated import is_annotated
from ..data.cell_files import H5AD, ZARR
from ..data.cells import dataset_of, read_cells, rows_like
from ..data.dataset import Dataset, make_dataset
from ..data.files import load_array, load_folder, read_counts
from ..ground.values import array_of, is_tensor

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

CELLS = (H5AD, ZARR)
Array = NDArray[Any]
Samples: TypeAlias = "Array | Tensor | AnnData | str | os.PathLike[str]"
Data: TypeAlias = "Dataset | Samples"


def data_of(given: Data) -> Dataset:
    """What samples are compared with, as a data set; ValueError for less than two that are not held out."""
    data = _read(given)
    if len(data.train) < 2:
        raise ValueError(f"compare: dataset: must have 2 or more beside those held out, got {len(data.train)}")
    return data


def _read(given: Data) -> Dataset:
    if isinstance(given, Dataset):
        return given
    if isinstance(given, (str, os.PathLike)) and Path(given).suffix not in CELLS:
        return load_folder(given) if Path(given).is_dir() else load_array(given)
    value = read_cells("compare", "dataset", given)
    if is_annotated(value):
        return dataset_of("compare", "dataset", value)
    counts = _array("dataset", value)
    if counts.ndim != 4 or 0 in counts.shape:
        rule = "must have shape (N, C, H, W) or (N, D) without a zero"
        raise ValueError(f"compare: dataset: {rule}, got {tuple(value.shape)}")
    return make_dataset("compare: dataset", counts, max_count=max(1, int(counts.max())))


def _array(argument: str, value: Any) -> Array:
    """Counts as whole numbers, (N, C, H, W): rows (N, D) of a table become (N, D, 1, 1)."""
    if not isinstance(value, np.ndarray) and not is_tensor(value):
        rule = "must be an array or a tensor of counts, an AnnData or a path"
        raise TypeError(f"compare: {argument}: {rule}, got {type(value).__name__}")
    counts = array_of(value)
    whole = True if counts.dtype.kind in "iu" else counts == np.rint(counts)
    if (wrong := counts[~((counts >= 0) & whole)]).size:
        raise ValueError(f"compare: {argument}: must be counts, whole numbers of at least 0, got {wrong[0]}")
    counts = counts if counts.dtype.kind in "iu" else counts.astype(np.int64)
    return counts[:, :, None, None] if counts.ndim == 2 else counts


def sets_of(samples: Samples | Sequence[Samples], dataset: Dataset) -> list[Array]:
    """One set of samples, or several, as a list; ValueError unless all have as many, 2 or more, of the data's shape.

    A tensor becomes an array. An AnnData, or the path of a file with one, becomes its counts of the data's genes, in
    their order.
    """
    alone = isinstance(samples, (np.ndarray, str, os.PathLike)) or is_tensor(samples) or is_annotated(samples)
    sets = [_counts(one, dataset) for one in ([samples] if alone else samples)]  # type: ignore[union-attr]
    if not sets or any(one.shape[1:] != dataset.shape or len(one) < 2 or len(one) != len(sets[0]) for one in sets):
        more = f" and {len(sets) - 4} more" if len(sets) > 4 else ""
        got = (", ".join(str(tuple(one.shape)) for one in sets[:4]) or "none") + more
        raise ValueError(f"compare: samples: need 2 or more of shape {dataset.shape}, all sets alike, got {got}")
    return sets


def _counts(samples: Any, dataset: Dataset) -> Array:
    if isinstance(samples, (str, os.PathLike)) and Path(samples).suffix not in CELLS:
        return read_counts("compare: samples", Path(samples))[0]  # type: ignore[no-any-return]
    value = read_cells("compare", "samples", samples)
    if is_annotated(value):
        return rows_like("compare", "samples", value, dataset)  # type: ignore[no-any-return]
    return _array("samples", value)


def spread_out(images: Array, count: int) -> Array:
    """So many of the images, or of their labels, spread evenly over all of them; all where there are fewer."""
    count = min(count, len(images))
    return images[np.arange(count) * len(images) // count]
