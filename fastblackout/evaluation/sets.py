"""Sets of samples that are compared with a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..call.annotated import is_annotated
from ..data.cells import read_cells, rows_like
from ..ground.values import array_of, is_tensor

if TYPE_CHECKING:
    from anndata import AnnData
    from torch import Tensor

    from ..data import Dataset

Array = NDArray[Any]
Samples: TypeAlias = "Array | Tensor | AnnData | str | os.PathLike[str]"


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
    value = read_cells("compare", "samples", samples)
    if is_annotated(value):
        return rows_like("compare", "samples", value, dataset)  # type: ignore[no-any-return]
    if not isinstance(value, np.ndarray) and not is_tensor(value):
        raise TypeError(f"compare: samples: must be arrays of counts, AnnData or paths, got {type(value).__name__}")
    counts = array_of(value)
    whole = True if counts.dtype.kind in "iu" else counts == np.rint(counts)
    if (wrong := counts[~((counts >= 0) & whole)]).size:
        raise ValueError(f"compare: samples: must be counts, whole numbers of at least 0, got {wrong[0]}")
    return counts


def spread_out(images: Array, count: int) -> Array:
    """So many of the images, or of their labels, spread evenly over all of them; all where there are fewer."""
    count = min(count, len(images))
    return images[np.arange(count) * len(images) // count]
