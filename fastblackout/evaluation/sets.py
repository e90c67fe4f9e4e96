"""Sets of samples that are compared with a data set."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ..call.annotated import is_annotated
from ..data.cells import read_cells, rows_like

if TYPE_CHECKING:
    from anndata import AnnData

    from ..data import Dataset

Array = NDArray[Any]
Samples: TypeAlias = "Array | AnnData | str | os.PathLike[str]"


def sets_of(samples: Samples | Sequence[Samples], dataset: Dataset) -> list[Array]:
    """One set of samples, or several, as a list; ValueError unless all have as many, 2 or more, of the data's shape.

    An AnnData, or the path of a file with one, becomes its counts of the data's genes, in their order.
    """
    alone = isinstance(samples, (np.ndarray, str, os.PathLike)) or is_annotated(samples)
    sets = [_counts(one, dataset) for one in ([samples] if alone else samples)]  # type: ignore[union-attr]
    if not sets or any(one.shape[1:] != dataset.shape or len(one) < 2 or len(one) != len(sets[0]) for one in sets):
        got = ", ".join(str(one.shape) for one in sets) or "none"
        raise ValueError(f"compare: samples: need 2 or more of shape {dataset.shape}, all sets alike, got {got}")
    return sets


def _counts(samples: Any, dataset: Dataset) -> Array:
    cells = read_cells("compare", "samples", samples)
    return rows_like("compare", "samples", cells, dataset) if is_annotated(cells) else cells  # type: ignore[no-any-return]


def spread_out(images: Array, count: int) -> Array:
    """So many of the images, spread evenly over all of them."""
    return images[np.arange(count) * len(images) // count]
