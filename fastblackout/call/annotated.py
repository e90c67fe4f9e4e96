"""AnnData objects: their counts, and new ones that carry nothing which was computed from other counts.

anndata is never imported here: while it is not loaded there are no objects of it.
"""

from __future__ import annotations

import re
import sys
from typing import Any

# What pandas calls the values of a column of numbers, whatever its dtype.
_NUMBERS = {"integer", "floating", "mixed-integer-float", "decimal", "complex"}
# Names of the columns of categories or of booleans that scanpy computes from the counts.
_COMPUTED = re.compile("(leiden|louvain|highly_variable).*|phase|predicted_doublet")


def is_annotated(value: Any) -> bool:
    """Whether a value is an AnnData."""
    module = sys.modules.get("anndata")
    return module is not None and isinstance(value, module.AnnData)


def matrix_of(op: str, argument: str, data: Any, layer: str | None = None) -> Any:
    """X of an AnnData, or one of its layers. ValueError where it is not there, lies in a file, or is damaged."""
    if data.isbacked:
        rule = "must be in memory, read it by .to_memory() first"
        raise ValueError(f"{op}: {argument}: {rule}, got an AnnData in a file")
    if layer is not None:
        if layer not in data.layers:
            raise ValueError(f"{op}: layer: must be one of {listed(data.layers)}, got {layer!r}")
        return checked(op, argument, data.layers[layer])
    if data.X is None:
        there = f" (its layers: {listed(data.layers)})" if len(data.layers) else ""
        raise ValueError(f"{op}: {argument}: must have counts in X, got an AnnData without X{there}")
    return checked(op, argument, data.X)


def checked(op: str, argument: str, matrix: Any) -> Any:
    """The matrix. ValueError where it is CSR or CSC with indices out of range: scipy's compiled loops trust them, and
    end the process."""
    if getattr(matrix, "format", None) in ("csr", "csc"):
        ends, size = matrix.indptr, matrix.shape[-1 if matrix.format == "csr" else 0]
        if ends[0] != 0 or (ends[1:] < ends[:-1]).any() or ends[-1] > min(len(matrix.indices), len(matrix.data)):
            raise ValueError(f"{op}: {argument}: indptr must rise from 0 to the number of values, got others")
        used = matrix.indices[: ends[-1]]
        low, high = used.min(initial=0), used.max(initial=0)
        if not 0 <= low <= high < max(size, 1):
            raise ValueError(f"{op}: {argument}: indices must be in 0..{size - 1}, got {low if low < 0 else high}")
    return matrix


def of_layer(op: str, argument: str, value: Any, layer: str) -> Any:
    """An AnnData whose X is a layer of another. TypeError for a value that is no AnnData."""
    if not is_annotated(value):
        raise TypeError(f"{op}: layer: must be None but for AnnData, got {layer!r} for {type(value).__name__}")
    return type(value)(X=matrix_of(op, argument, value, layer), obs=value.obs, var=value.var)


def new_of(data: Any, counts: Any, layers: dict[str, Any] | None = None) -> Any:
    """An AnnData of the same cells and genes with other counts in X and in layers.

    Of obs and var the columns that may be figures of the counts of `data` stay behind, as all else does.
    """
    return type(data)(X=counts, obs=_described(data.obs), var=_described(data.var), layers=layers)


def _described(table: Any) -> Any:
    """A copy of obs or var without columns of numbers, and without the categories that scanpy computes from counts.
    Numbers that are categories are names."""
    kind_of = sys.modules["pandas"].api.types.infer_dtype
    kept = [
        _COMPUTED.fullmatch(str(name)) is None and kind_of(column, skipna=True) not in _NUMBERS
        for name, column in table.items()
    ]
    return table.loc[:, kept].copy()


def listed(names: Any) -> str:
    """Some names, for a message."""
    shown = [repr(str(name)) for name in names]
    more = f" and {len(shown) - 10} more" if len(shown) > 10 else ""
    return f"{', '.join(shown[:10])}{more}" if shown else "those there are, none"
