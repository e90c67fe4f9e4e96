"""What callers ask of a cell model: depths, covariates, a batch, and which counts are observed."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..call.annotated import listed
from ..ground.values import shown
from .inputs import Cells, Columns


def logs_of(op: str, depth: Any, count: int) -> Tensor:
    """The logs (count, 1) of depths, one for all or one for each."""
    values = _numbers(op, "depth", depth, count)
    if not ((values > 0) & np.isfinite(values)).all():
        raise ValueError(f"{op}: depth: must be above 0 and finite, got {shown(depth)}")
    return torch.from_numpy(np.log(values))[:, None].float()


def with_covariates(op: str, columns: Columns, known: Tensor, covariates: Any) -> Tensor:
    """Conditions `known` (N, conditions) with values of covariates in place of those that they have."""
    if not isinstance(covariates, Mapping):
        rule = "must be a mapping of names to numbers"
        raise TypeError(f"{op}: covariates: {rule}, got {type(covariates).__name__}")
    known = known.clone()
    for name, value in covariates.items():
        if name not in columns.covariates:
            there = listed(columns.covariates) if columns.covariates else "none, for a model without covariates"
            raise ValueError(f"{op}: covariates: names must be among {there}, got {name!r}")
        place = columns.covariates.index(name)
        values = _numbers(op, f"covariates: {name}", value, len(known))
        own = torch.from_numpy((values - columns.centers[place]) / columns.spreads[place]).float()
        if not own.isfinite().all():
            raise ValueError(f"{op}: covariates: {name}: must be finite in float32, got {shown(value)}")
        known[:, len(columns.batches) + place] = own
    return known


def in_batch(op: str, columns: Columns, known: Tensor, batch: Any) -> Tensor:
    """Conditions `known` (N, conditions) with another batch."""
    if not columns.batches or str(batch) not in columns.batches:
        there = listed(columns.batches) if columns.batches else "None, for a model without batch_key"
        raise ValueError(f"{op}: batch: must be one of {there}, got {batch!r}")
    known = known.clone()
    known[:, : len(columns.batches)] = 0
    known[:, columns.batches.index(str(batch))] = 1
    return known


def flags_of(op: str, observed: Any, cells: Cells) -> NDArray[np.bool_]:
    """Which counts are known, with the genes in the order of the model."""
    if hasattr(observed, "columns"):
        rule = "must be an array of bools in the order of the genes"
        raise TypeError(f"{op}: observed: {rule} (.to_numpy() makes one), got {type(observed).__name__}")
    flags = np.asarray(observed)
    if flags.dtype != np.bool_:
        raise TypeError(f"{op}: observed: must be an array of bools, got {flags.dtype}")
    count, own = len(cells.known), len(cells.order)
    for genes, order in ((cells.genes, cells.order), (own, slice(None))):
        with contextlib.suppress(ValueError):
            return np.broadcast_to(flags, (count, genes))[:, order]
    shapes = f"({count}, {own})" if own == cells.genes else f"({count}, {cells.genes}) or ({count}, {own})"
    raise ValueError(f"{op}: observed: must have the shape {shapes}, or broadcast to it, got {flags.shape}")


def _numbers(op: str, name: str, value: Any, count: int) -> NDArray[np.float64]:
    """Numbers (count,), one for all or one for each."""
    with contextlib.suppress(ValueError):  # of lists of several lengths
        values = np.asarray(value)
        if values.dtype.kind in "iuf" and values.shape in ((), (count,)):
            return np.broadcast_to(values, count).astype(np.float64)
    raise TypeError(f"{op}: {name}: must be a number or {count} numbers, got {shown(value)}")
