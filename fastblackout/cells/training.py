"""The training of a cell model: thinned cells as well as whole ones, some with genes hidden, as long as it helps."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ..blackout import BlackoutModel
from ..data.order import BatchOrder, permutation
from ..models import ema_of
from ..ops import thin
from ..philox import Philox
from ..training.progress import Progress
from .inputs import MOST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .inputs import Cells

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
