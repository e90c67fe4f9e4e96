"""What a training of a cell model leaves: the network, and what is known of the training cells but their counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..blackout import BlackoutModel
from ..data.cells import import_anndata
from .inputs import Cells, Columns
from .network import NUMBERS, CellNetwork

_FITTING_ROWS = 4096  # cells that centre and scale of the input are found in
_AT_ONCE = 1 << 22  # counts
_OWN = "cells."  # before the names of its tensors, among those of the model


class Fitted(NamedTuple):
    """shares: (types, genes), each gene's share of the depth, or None where a column gives the depth. The others are of
    the training cells, as in `Cells`."""

    model: BlackoutModel
    columns: Columns
    shares: Tensor | None
    labels: Tensor | None
    log_depth: Tensor
    known: Tensor

    @property
    def device(self) -> torch.device:
        """Where the model lies."""
        return next(self.model.parameters()).device

    def law(self, conditions: Tensor, labels: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and size, float64 (B, genes), of the negative binomial law of a count by the genes that are seen."""
        batch, genes = len(conditions), len(self.columns.genes)
        nothing = torch.zeros((batch, genes, 1, 1), device=conditions.device)
        with torch.inference_mode():
            outputs = self.model(nothing, self.model.schedule.steps, labels, conditions=conditions).double()
        mean, size = outputs.flatten(1).chunk(NUMBERS, 1)
        return torch.exp((mean + 0.5 * np.log(self.model.max_count)).clamp(-12, 36)), torch.exp(
            (size + 1).clamp(-7, 16)
        )

    def drawn_like(self, op: str, count: int, label: Any, batch: str | None, seed: int) -> NDArray[np.int64]:
        """The places of training cells of which `count` new ones take what they are not told."""
        eligible = np.ones(len(self.known), bool)
        if batch is not None:
            if batch not in self.columns.batches:
                there = ", ".join(map(repr, self.columns.batches)) or "None, for a model without batch_key"
                raise ValueError(f"{op}: batch: must be one of {there}, got {batch!r}")
            eligible = self.known[:, self.columns.batches.index(batch)].numpy() > 0
        random = np.random.default_rng((seed, 0))
        if label is None:
            return random.choice(np.flatnonzero(eligible), count)
        classes = self.columns.classes
        wanted = [label] * count if isinstance(label, str) or not isinstance(label, Sequence) else list(label)
        if len(wanted) != count:
            raise ValueError(f"{op}: label: must be one name or {count}, got {len(wanted)}")
        if new := next((each for each in wanted if each not in classes), None):
            there = ", ".join(map(repr, classes)) or "None, for a model without labels_key"
            raise ValueError(f"{op}: label: must be one of {there}, got {new!r}")
        return self.of_types(op, torch.tensor([classes.index(each) for each in wanted]), count, seed, eligible)

    def of_types(
        self, op: str, labels: Tensor | None, count: int, seed: int, eligible: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """The places of training cells of these types, at random."""
        random = np.random.default_rng((seed, 0))
        if labels is None or self.labels is None:
            return random.integers(0, len(self.known), count)
        places, wanted, own = np.empty(count, np.int64), labels.numpy(), self.labels.numpy()
        for label in np.unique(wanted):
            there = np.flatnonzero(own == label if eligible is None else (own == label) & eligible)
            if not len(there):
                raise ValueError(f"{op}: batch: must have cells of type {self.columns.classes[label]!r}, got none")
            places[wanted == label] = random.choice(there, int((wanted == label).sum()))
        return places

    def tensors(self) -> dict[str, Tensor]:
        """What a file holds beside the model's own tensors."""
        own = {"shares": self.shares, "labels": self.labels, "log_depth": self.log_depth, "known": self.known}
        return {_OWN + name: value for name, value in own.items() if value is not None}

    @classmethod
    def of(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device) -> Fitted:
        """From a file; any of the errors of a damaged one where it does not fit."""
        columns = Columns.of(config["columns"])
        own = {name.removeprefix(_OWN): value for name, value in tensors.items() if name.startswith(_OWN)}
        network = CellNetwork(**config["model"]["network"]["kwargs"])
        model = BlackoutModel.from_config(config["model"], network)
        model.load_weights({name: value for name, value in tensors.items() if not name.startswith(_OWN)})
        shares, labels, count, genes = own.get("shares"), own.get("labels"), len(own["known"]), len(columns.genes)
        types = len(columns.classes)
        wrong = [
            network.genes != genes,
            (network.num_classes or 0) != types,
            network.covariates != columns.conditions or own["known"].shape != (count, columns.conditions),
            own["log_depth"].shape != (count, 1) or not own["log_depth"].isfinite().all(),
            (shares is None) != (columns.size_factor_key is not None),
            shares is not None and shares.shape != (max(1, types), genes),
            (labels is None) != (columns.labels_key is None),
            labels is not None
            and (labels.shape != (count,) or not 0 <= int(labels.min()) <= int(labels.max()) < types),
        ]
        if not count or any(wrong):
            raise ValueError("its tables do not fit one another")
        return cls(
            model.to(device).eval(), columns, None if shares is None else shares.to(device), labels, own["log_depth"],
            own["known"],
        )  # fmt: skip


def begin(model: BlackoutModel, network: CellNetwork, cells: Cells, types: int) -> Tensor:
    """Let model and network begin at the law of each gene in itself, given the depth. Returned are each gene's shares
    (types, genes) of the depth, by type."""
    count = len(cells.log_depth)
    rows = np.sort(np.random.default_rng(0).permutation(count)[:_FITTING_ROWS])
    model.fit_input(torch.from_numpy(cells.counts[rows]).int())
    depth = torch.exp(cells.log_depth.double())
    genes = cells.counts.shape[1]
    of_type, squares, cross = (
        torch.zeros((types, genes), dtype=torch.float64),
        torch.zeros(genes, dtype=torch.float64),
        torch.zeros(genes, dtype=torch.float64),
    )
    depths = torch.zeros((types, 1), dtype=torch.float64)
    labels = torch.zeros(count, dtype=torch.long) if cells.labels is None else cells.labels
    for part in parts_of(count, genes):
        x = torch.from_numpy(cells.counts[part]).flatten(1).double()
        of_type.index_add_(0, labels[part], x)
        depths.index_add_(0, labels[part], depth[part])
        squares += x.square().sum(0)
        cross += (x * depth[part]).sum(0)
    share = (of_type.sum(0) + 0.5) / (depths.sum() + 0.5 * genes)
    expected = share.square() * depth.square().sum()  # the sum of squares of depth * share
    beyond = squares - 2 * share * cross + expected - share * depth.sum()
    size = (expected / beyond.clamp(min=1e-3)).clamp(0.05, 50)
    assert model.fitted is not None
    network.fit(cells.log_depth[:, 0], (torch.log(size).float() - 1) - model.fitted.start.flatten()[genes:])
    return ((of_type + 0.5) / (depths + 0.5 * genes)).float()


def parts_of(count: int, width: int) -> Iterator[slice]:
    """Slices of rows of this width, of as many as are dealt with at once."""
    rows = max(1, _AT_ONCE // width)
    return (slice(first, min(first + rows, count)) for first in range(0, count, rows))


def annotated(op: str, counts: Any, columns: Columns, labels: Tensor | None, log_depth: Tensor, known: Tensor) -> Any:
    """An AnnData of cells: counts (N, genes) in CSR format or dense."""
    import pandas

    module = import_anndata(op, "adata")
    obs = pandas.DataFrame(index=[f"cell-{n}" for n in range(len(known))])
    for key, names, codes in (
        (columns.labels_key, columns.classes, labels),
        (columns.batch_key, columns.batches, known[:, : len(columns.batches)].argmax(1) if columns.batches else None),
    ):
        if key is not None and codes is not None:
            obs[key] = pandas.Categorical.from_codes(codes.numpy(), list(names))
    for n, name in enumerate(columns.covariates):
        obs[name] = known[:, len(columns.batches) + n].double().numpy() * columns.spreads[n] + columns.centers[n]
    if columns.size_factor_key is not None:
        obs[columns.size_factor_key] = torch.exp(log_depth[:, 0].double()).numpy()
    return module.AnnData(counts, obs=obs, var=pandas.DataFrame(index=list(columns.genes)))
