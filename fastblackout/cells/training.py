"""The network of a cell model, its training, and what a training leaves: the network, and what is known of the cells.

The training is on thinned cells as well as whole ones, some with genes hidden, for as long as it helps.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from ..blackout import BlackoutModel, saved
from ..data.cells import import_anndata
from ..data.order import BatchOrder, permutation
from ..heads.negative_binomial import size_and_mean, size_output
from ..models import ema_of
from ..models.config import NetworkConfig, register_network
from ..ops import thin
from ..philox import Philox
from ..training.progress import Progress
from .inputs import MOST, Cells, Columns

NUMBERS = 2  # of the head "negative-binomial": of a count's mean and size
_ANGLES = 32


class CellNetwork(nn.Module):
    """Two numbers of each gene, from what is left of a cell and what is known of it.

    conditions: (B, 1 + covariates), the log of the depth before the covariates; or (B, 1 + covariates + 2 genes), where
    these are followed by flags of the genes that were observed, 1 or 0, and by their inputs at the time 0. Inputs of
    genes that were not observed are not looked at.
    """

    log_depth: Tensor

    def __init__(
        self, genes: int, num_classes: int | None, covariates: int = 0, width: int = 256, blocks: int = 2,
        dropout: float = 0.3, steps: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__()
        how = {"genes": genes, "num_classes": num_classes, "covariates": covariates, "width": width, "blocks": blocks}
        self.config = NetworkConfig("cells", {**how, "dropout": dropout, "steps": steps})
        self.genes, self.types, self.covariates, self.steps = genes, num_classes, covariates, steps
        known = 2 * _ANGLES + 1 + covariates + (num_classes or 0)
        self.register_buffer("log_depth", torch.tensor([math.log(1e3), math.log(1e3), 1.0]))
        self.input, self.flags = nn.Linear(genes, width), nn.Linear(genes, width, bias=False)
        self.about = nn.Sequential(nn.Linear(known, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(blocks))
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, NUMBERS * genes)
        for layer in (self.flags, self.output):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.output.bias)

    def fit(self, log_depth: Tensor, size: Tensor) -> None:
        """Take up what the training cells say: the logs of their depths (N,), and the log of each gene's size around
        its depth, as a number of the head, less the one that the head begins with."""
        mean = torch.logsumexp(log_depth, 0) - math.log(len(log_depth))
        self.log_depth.copy_(torch.stack((mean, log_depth.mean(), log_depth.std().clamp(min=0.1))))
        with torch.no_grad():
            self.output.bias[self.genes :] = size

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None, conditions: Tensor) -> Tensor:
        x = x.flatten(1)
        each = conditions.shape[1] - 1 - self.covariates
        depth, covariates = conditions[:, :1], conditions[:, 1 : 1 + self.covariates]
        at_mean, center, spread = self.log_depth
        angles = (time + 1)[:, None] / self.steps * (math.pi / 2) * torch.logspace(0, 8, _ANGLES, 2, device=x.device)
        about = [angles.sin(), angles.cos(), (depth - center) / spread, covariates]
        if self.types is not None:
            if labels is None:
                raise ValueError("CellNetwork: labels: must be given, as every cell has a type, got None")
            about.append(F.one_hot(labels, self.types).to(x.dtype))
        if each:
            observed, given = conditions[:, 1 + self.covariates :].split(self.genes, 1)
            h = self.input(torch.where(observed > 0, given, x)) + self.flags(observed)
        else:
            h = self.input(x)
        about = self.about(torch.cat(about, 1))
        h = h + about
        for block in self.blocks:
            h = block(h, about)
        mean, size = self.output(F.silu(self.norm(h))).chunk(2, 1)
        return torch.cat((mean + (depth - at_mean), size), 1)[:, :, None, None]


class _Block(nn.Module):
    """A residual block, scaled and shifted by what is known of the cell."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width, elementwise_affine=False), nn.Dropout(dropout)
        self.about, self.first, self.last = (
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
            nn.Linear(width, width),
        )
        nn.init.zeros_(self.last.weight)

    def forward(self, h: Tensor, about: Tensor) -> Tensor:
        scale, shift = self.about(F.silu(about)).chunk(2, 1)
        inside = F.silu(self.first(F.silu(self.norm(h) * (1 + scale) + shift)))
        return h + self.last(self.dropout(inside))


register_network("cells", CellNetwork)


HELD_OUT, MOST_HELD_OUT = 10, 2048  # every tenth cell, and so many at most, says which weights are the best
FEWEST_DRAWS = 640  # few held-out cells are noised several times
MASKED = 0.3  # the share of cells of which genes are hidden, as many of each as a uniform number says
THINNED, LEAST_SHARE = 0.5, 0.5  # the share of cells that are thinned, and the least share that is left of one
WARMUP, CLIP, AVERAGE = 100, 1.0, 0.995
LOOKS, PATIENCE = 20, 8  # how often the held-out cells are asked, and how often in vain until the training stops
_SEED = 297  # of the noise of the held-out cells


class Options(NamedTuple):
    """What a training is told."""

    steps: int
    batch: int
    learning_rate: float
    weight_decay: float
    seed: int
    device: torch.device


class Depths(NamedTuple):
    """How deep a cell is, by the genes that are seen of it: of each type the posterior mean under the law

        depth ~ Gamma(shape) / rate,    sum of the counts seen ~ Poisson(depth * their shares of it)

    shares: (types, genes), shape and rate: (types, 1); all float32.
    """

    shares: Tensor
    shape: Tensor
    rate: Tensor

    def log_depth(self, seen: Tensor, observed: Tensor, labels: Tensor | None) -> Tensor:
        """seen: counts (B, genes), 0 where they are not observed."""
        shares, shape, rate = (each[:1] if labels is None else each[labels] for each in self)
        depth = (seen.sum(1, keepdim=True) + shape) / ((shares * observed).sum(1, keepdim=True) + rate)
        return torch.log(depth.float())


def conditions_of(
    model: BlackoutModel, x: Tensor, observed: Tensor, labels: Tensor | None, known: Tensor, depth: Depths | Tensor
) -> Tensor:
    """What the network is told of cells x (B, genes, 1, 1), of which it sees the genes `observed` (B, genes).

    depth: its log (B, 1), or what says it by the genes that are seen.
    """
    seen = torch.where(observed, x.flatten(1), 0)
    log_depth = depth if isinstance(depth, Tensor) else depth.log_depth(seen, observed, labels)
    assert model.fitted is not None
    given = model.fitted(seen.view(x.shape), torch.zeros(len(x), dtype=torch.long, device=x.device)).flatten(1)
    return torch.cat((log_depth, known, observed.float(), given), 1)


def train(
    model: BlackoutModel, depths: Depths | None, cells: Cells, batches_of: Tensor, told: Options, shown: bool
) -> list[dict[str, float]]:
    """Fit the model to the cells. It ends with the moving average of the weights that had the least held-out loss.

    batches_of: (N,), the batch of each. Returned are the steps at which the held-out cells were asked, with both
    losses, in nats a count.
    """
    order = permutation(len(cells.log_depth), told.seed, 0)
    groups = [batches_of] if cells.labels is None else [batches_of, cells.labels]
    rest, aside = _set_aside(order, [each.numpy() for each in groups])
    batches, history = BatchOrder(len(rest), told.batch, told.seed), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=told.learning_rate, weight_decay=told.weight_decay)
    average = ema_of(model, AVERAGE)
    every, best, losses = -(-told.steps // LOOKS), average.model.state_dict(), []
    least, in_vain = math.inf, 0
    with Progress(told.steps, "step", "training", shown=shown) as progress:
        for step in range(told.steps):
            rate = min(1.0, (step + 1) / WARMUP) * 0.5 * (1 + math.cos(math.pi * step / told.steps))
            for group in optimizer.param_groups:
                group["lr"] = rate * told.learning_rate
            model.train()
            batch = cells.rows(rest[batches.indices(step)], told.device)
            loss = _loss(model, depths, batch, Philox(told.seed).at(call=step), THINNED)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            average.update(model)
            losses.append(float(loss.detach()))
            progress.update()
            if (step + 1) % every == 0 or step + 1 == told.steps:
                held_out = _held_out_loss(cast(BlackoutModel, average.model), depths, cells, aside, told)
                history.append({"step": step + 1, "loss": sum(losses) / len(losses), "held_out_loss": held_out})
                losses.clear()
                if not math.isfinite(held_out):
                    raise FloatingPointError(f"CellModel.fit: the loss is no longer finite at step {step + 1}")
                if held_out < least:
                    least, in_vain, best = held_out, 0, copy.deepcopy(average.model.state_dict())
                elif (in_vain := in_vain + 1) >= PATIENCE:
                    progress.say(f"stopped after step {step + 1}, as the held-out loss has not fallen {PATIENCE} times")
                    break
    model.load_state_dict(best)
    model.eval()
    return history


def _set_aside(order: NDArray[np.int64], groups: list[NDArray[np.int64]]) -> tuple[NDArray[np.int64], ...]:
    """The cells to train on and those held out: the first in order, but for the last one of each group. Where no cell
    can be spared, the training sees the one that is held out, too."""
    spare = np.full(len(order), True)
    for each in groups:
        spare[len(order) - 1 - np.unique(each[order[::-1]], return_index=True)[1]] = False
    aside = np.flatnonzero(spare)[: min(max(1, len(order) // HELD_OUT), MOST_HELD_OUT)]
    return (np.delete(order, aside), order[aside]) if len(aside) else (order, order[:1])


def _loss(
    model: BlackoutModel, depths: Depths | None, batch: tuple[Tensor, Tensor | None, Tensor, Tensor], key: Philox,
    thinned: float = 0.0,
) -> Tensor:  # fmt: skip
    """The mean loss of cells, in nats a count. A share `thinned` of them loses counts, and of some genes are hidden, at
    random by the key: not by their place in the batch, along which the times grow."""
    x_0, labels, log_depth, known = batch
    random = np.random.default_rng((key.seed, key.call))
    draw = [torch.from_numpy(random.random((len(x_0), 1))) for _ in range(4)]
    if thinned:
        share = torch.where(draw[0] < thinned, LEAST_SHARE ** draw[1], 1.0)
        x_0 = thin(x_0, share[:, 0].to(x_0.device), max_count=MOST, rng=key.at(call=2 * key.call), outputs=("x_t",)).x_t
        log_depth = log_depth + torch.log(share).to(log_depth)
    seen = torch.from_numpy(random.random((len(x_0), x_0[0].numel()))) < draw[2]
    observed = (seen & (draw[3] < MASKED)).to(x_0.device)
    if depths is not None:  # as it is imputed: by what is seen; but a cell of which nothing is seen is one to be drawn
        by_genes = depths.log_depth(torch.where(observed, x_0.flatten(1), 0), observed, labels)
        log_depth = torch.where(observed.any(1, keepdim=True), by_genes, log_depth)
    conditions = conditions_of(model, x_0, observed, labels, known, log_depth)
    mask = ~observed.view(x_0.shape)
    return model.loss(x_0, labels, conditions=conditions, rng=key.at(call=2 * key.call + 1), mask=mask).mean()


@torch.inference_mode()
def _held_out_loss(
    model: BlackoutModel, depths: Depths | None, cells: Cells, aside: NDArray[np.int64], told: Options
) -> float:
    """The loss of cells that the training does not see, with the same noise each time."""
    model.eval()
    often = np.tile(aside, max(1, -(-FEWEST_DRAWS // len(aside))))
    total = 0.0
    for n, first in enumerate(range(0, len(often), told.batch)):
        batch = cells.rows(often[first : first + told.batch], told.device)
        total += float(_loss(model, depths, batch, Philox(_SEED, call=n))) * len(batch[0])
    return total / len(often)


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
