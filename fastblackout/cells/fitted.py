"""What a training of a cell model leaves: the network, and what is known of the training cells but their counts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..blackout import BlackoutModel, saved
from ..data.cells import import_anndata
from ..heads.negative_binomial import size_and_mean, size_output
from .inputs import Cells, Columns
from .network import NUMBERS, CellNetwork
from .training import Depths

_FITTING_ROWS = 4096  # cells that centre and scale of the input are found in
_AT_ONCE = 1 << 22  # counts
_OWN = "cells."  # begins the names of the tensors that are not the network's


class Fitted(NamedTuple):
    """depths: None where a column gives the depth. The last four are of the training cells: three as in `Cells`, and
    by what their counts are known again, which models of an earlier version do not have."""

    model: BlackoutModel
    columns: Columns
    depths: Depths | None
    labels: Tensor | None
    log_depth: Tensor
    known: Tensor
    prints: Tensor | None = None

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
        arrays = outputs.flatten(1).chunk(NUMBERS, 1)
        most = torch.tensor(float(self.model.max_count), dtype=torch.float64, device=outputs.device)
        size, mean = size_and_mean(arrays, most, torch.zeros_like(most), self.model.max_count)
        return mean, size

    def drawn_like(self, op: str, count: int, label: Any, batch: Any, seed: int) -> NDArray[np.int64]:
        """The places of training cells of which `count` new ones take what they are not told."""
        groups = {
            "label": (label, self.columns.classes, "labels_key"),
            "batch": (batch, self.columns.batches, "batch_key"),
        }
        wanted = []
        for name, (given, there, key) in groups.items():
            listed = given is not None and not isinstance(given, str) and isinstance(given, Iterable)
            each = list(given) if listed else [given] * count
            if len(each) != count:
                raise ValueError(f"{op}: {name}: must be one name or {count}, got {len(each)}")
            places = {one: place for place, one in enumerate(there)}
            for one in each:
                if given is not None and str(one) not in places:
                    known = ", ".join(map(repr, there)) or f"None, for a model without {key}"
                    raise ValueError(f"{op}: {name}: must be one of {known}, got {one!r}")
            wanted.append(np.array([-1 if given is None else places[str(one)] for one in each]))
        return self.of_groups(op, wanted[0], wanted[1], seed)

    def of_groups(self, op: str, types: NDArray[Any], batches: NDArray[Any], seed: int) -> NDArray[np.int64]:
        """The places of training cells of these types and batches (N,), at random; -1 stands for any."""
        random, own = np.random.default_rng((seed, 0)), self._groups(self.labels, self.known)
        places = np.empty(len(types), np.int64)
        for pair in np.unique(np.stack((types, batches)), axis=1).T:
            there = np.flatnonzero(np.all([(one == some) | (one < 0) for one, some in zip(pair, own, strict=True)], 0))
            if not len(there):
                names = self.columns.classes[pair[0]], self.columns.batches[pair[1]]
                raise ValueError(f"{op}: batch: must have cells of type {names[0]!r} in the training, got {names[1]!r}")
            alike = (types == pair[0]) & (batches == pair[1])
            places[alike] = random.choice(there, int(alike.sum()))
        return places

    def like(self, op: str, labels: Tensor | None, known: Tensor, seed: int) -> NDArray[np.int64]:
        """The places of training cells of the types and batches of others, of the type alone where there is no such
        cell of the batch."""
        (types, batches), own = self._groups(labels, known), self._groups(self.labels, self.known)
        count = max(1, len(self.columns.batches))
        there = np.isin(types * count + batches, own[0] * count + own[1])
        return self.of_groups(op, types, np.where(there, batches, -1), seed)

    def _groups(self, labels: Tensor | None, known: Tensor) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Type and batch of each cell, 0 for a model without."""
        nothing = np.zeros(len(known), np.int64)
        return nothing if labels is None else labels.numpy(), self.columns.batch_of(known).numpy()

    def tensors(self) -> dict[str, Tensor]:
        """What a file holds beside the model's own tensors."""
        own = {"labels": self.labels, "log_depth": self.log_depth, "known": self.known, "prints": self.prints}
        own |= {} if self.depths is None else self.depths._asdict()
        return {_OWN + name: value for name, value in own.items() if value is not None}

    @classmethod
    def of(cls, config: Mapping[str, Any], tensors: Mapping[str, Tensor], device: torch.device) -> Fitted:
        """From a file; any of the errors of a damaged one where it does not fit."""
        columns = Columns.of(config["columns"])
        own = {name.removeprefix(_OWN): value for name, value in tensors.items() if name.startswith(_OWN)}
        saved.check_size(config["model"], tensors)
        network = CellNetwork(**config["model"]["network"]["kwargs"])
        model = BlackoutModel.from_config(config["model"], network)
        model.load_weights({name: value for name, value in tensors.items() if not name.startswith(_OWN)})
        labels, count, genes = own.get("labels"), len(own["known"]), len(columns.genes)
        depths = Depths(*(own[name].to(device) for name in Depths._fields)) if "shares" in own else None
        types, prints = len(columns.classes), own.get("prints")
        wrong = [
            network.genes != genes,
            (network.types or 0) != types,
            network.covariates != columns.conditions or own["known"].shape != (count, columns.conditions),
            own["log_depth"].shape != (count, 1) or not own["log_depth"].isfinite().all(),
            (depths is None) != (columns.size_factor_key is not None),
            depths is not None and depths.shares.shape != (max(1, types), genes),
            depths is not None and not depths.shape.shape == depths.rate.shape == (max(1, types), 1),
            (labels is None) != (columns.labels_key is None),
            prints is not None and (prints.shape != (count,) or prints.dtype != torch.int64),
            labels is not None
            and (labels.shape != (count,) or not 0 <= int(labels.min()) <= int(labels.max()) < types),
        ]
        if not count or any(wrong):
            raise ValueError("its tables do not fit one another")
        model = model.to(device).eval()
        return cls(model, columns, depths, labels, own["log_depth"], own["known"], prints)


def begin(model: BlackoutModel, network: CellNetwork, cells: Cells, types: int) -> Depths:
    """Let model and network begin at the law of each gene in itself, given the depth."""
    count, genes = len(cells.log_depth), cells.counts.shape[1]
    rows = np.sort(np.random.default_rng(0).permutation(count)[:_FITTING_ROWS])
    model.fit_input(torch.from_numpy(cells.counts[rows]).int())
    depth = torch.exp(cells.log_depth.double())
    labels = torch.zeros(count, dtype=torch.long) if cells.labels is None else cells.labels
    of_type, moments = torch.zeros((types, genes), dtype=torch.float64), torch.zeros((types, 3), dtype=torch.float64)
    squares, cross = torch.zeros((2, genes), dtype=torch.float64)
    moments.index_add_(0, labels, torch.cat((torch.ones_like(depth), depth, depth.square()), 1))
    for part in parts_of(count, genes):
        x = torch.from_numpy(cells.counts[part]).flatten(1).double()
        of_type.index_add_(0, labels[part], x)
        squares += x.square().sum(0)
        cross += (x * depth[part]).sum(0)
    number, total, total_square = moments.T[..., None].clamp(min=1e-9)
    share = (of_type.sum(0) + 0.5) / (total.sum() + 0.5 * genes)
    expected = share.square() * total_square.sum()  # the sum of squares of depth * share
    beyond = squares - 2 * share * cross + expected - share * total.sum()
    assert model.fitted is not None
    network.fit(cells.log_depth[:, 0], size_output(expected, beyond) - model.fitted.start.flatten()[genes:])
    mean = total / number
    shape = (mean.square() / (total_square / number - mean.square()).clamp(min=1e-9)).clamp(0.1, 100)
    shares = (of_type + 0.5) / (total + 0.5 * genes)
    return Depths(shares.float(), shape.float(), (shape / mean).float())


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
        (columns.batch_key, columns.batches, columns.batch_of(known)),
    ):
        if key is not None and codes is not None:
            obs[key] = pandas.Categorical.from_codes(codes.numpy(), list(names))
    for n, name in enumerate(columns.covariates):
        obs[name] = known[:, len(columns.batches) + n].double().numpy() * columns.spreads[n] + columns.centers[n]
    obs[columns.size_factor_key or "depth"] = torch.exp(log_depth[:, 0].double()).numpy()
    return module.AnnData(counts, obs=obs, var=pandas.DataFrame(index=list(columns.genes)))
