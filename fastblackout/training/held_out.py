"""What held-out samples say of a network while it is trained: its loss on them, beside the loss of the best predictor
that looks at nothing but the pixel's place, and bits per dimension of a few, by the bound in continuous time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..blackout.losses import blackout_loss
from ..likelihood.blackout import Line
from ..likelihood.estimate import Bound, estimate
from ..ops import thin
from ..philox import Philox

if TYPE_CHECKING:
    from torch import Tensor

    from ..blackout import BlackoutModel
    from ..data import Dataset

# Of the loss, and of the bits; the same noise at every epoch and in every run, so that the numbers compare.
MOST_SAMPLES, FEWEST_DRAWS = 2048, 2048
_KEY = Philox(seed=297)
MOST_FOR_BITS, REPEATS = 64, 4
_BITS_KEYS = [Philox(seed=298, call=2 * repeat) for repeat in range(REPEATS)]
# Draws of the time for each sample and repeat: with 64 samples 2,048 in all, as many as a held-out loss has.
DRAWS = 8
# The same for an implicit head, and how many of its draws make the mean that its bound is taken of.
DRAWS_OF_MANY, NOISES = 2, 8


def images_allowed(steps_between: int, batch: int) -> int:
    """How many images one evaluation may take when so many steps lie between two: a twentieth of those trained on.

    With the one at the end of the training all evaluations together then take at most a tenth of the images that the
    training takes, and less of its time, because a held-out image needs no backward pass. Counts decide this, not a
    clock, so that a loss does not depend on the machine.
    """
    return max(1, steps_between * batch // 20)


class HeldOut:
    """Held-out samples, thinned once and for all: loss in the training's unit, for a model and for the constant.

    The times are drawn as the training draws them (BlackoutModel.times), so that its loss is comparable.

    The loss of an implicit head is the energy score of two draws. What the constant is, `Head.constant_loss` says.

    Up to 2,048 samples, repeated with other noise until at least 2,048 are drawn, but no more draws than `most`. The
    samples are spread evenly over the first 2,048 where `most` is less. The constant of pixel i at time k is
    y = (1 - p_k) mean_i, mean_i the mean training count of the pixel: E[x_0 - x_t] when nothing else is known. Where a
    pixel was 0 in all N training samples mean_i is 1 / (2 N), lest one held-out count cost infinity.
    """

    def __init__(
        self,
        dataset: Dataset,
        model: BlackoutModel,
        unit: float,
        device: torch.device,
        most: int,
    ) -> None:
        available = min(len(dataset.held_out), MOST_SAMPLES)
        self.count = count = min(available, most)
        chosen = np.arange(count) * available // count
        self.draws = repeats = max(1, min(-(-FEWEST_DRAWS // count), most // count))
        self.schedule, self.head, self.weight, self.unit = model.schedule, model.head_object, model.weight, unit
        self.x_0 = torch.from_numpy(np.tile(dataset.held_out[chosen], (repeats, 1, 1, 1))).to(device)
        self.labels = None
        if dataset.held_out_labels is not None:
            self.labels = torch.from_numpy(np.tile(dataset.held_out_labels[chosen], repeats)).to(device)
        self.k = self.schedule.draw(
            len(self.x_0), rng=_KEY, like=self.x_0, times=model.times, max_count=model.typical_count
        )
        self.of = len(dataset.train)
        mean = np.maximum(dataset.train.mean(axis=0, dtype=np.float64), 0.5 / self.of)
        self.constant_loss = self._constant_loss(torch.from_numpy(mean).to(device), dataset.max_count)

    def describe(self) -> str:
        """How many samples the loss is taken of, and what it is to be compared with."""
        sample, place = ("row", "column") if self.x_0.shape[2:] == (1, 1) else ("image", "pixel")
        noise = f", each {self.draws} times" if self.draws > 1 else ""
        constant = f"{self.head.constant} for each {place}"
        of = f"{self.count} {sample}{'s' if self.count > 1 else ''}{noise}"
        return f"held-out loss: of {of}; {self.constant_loss:.4f} without a network, by {constant}"

    @torch.inference_mode()
    def loss(self, model: Any, conditional: bool, batch: int, tick: Callable[[int], None] = lambda rows: None) -> float:
        """The model's mean loss; `model` is any with the interface of BlackoutModel, in the mode it is in.

        tick: called with the number of images each time some are done.
        """
        total = 0.0
        for first in range(0, len(self.x_0), batch):
            part = slice(first, first + batch)
            labels = self.labels[part] if conditional and self.labels is not None else None
            key = _KEY.at(first_sample=first)
            x_0, k = self.x_0[part], self.k[part]
            total += float(blackout_loss(model, self.schedule, x_0, k, key, self.weight, labels).double().sum())
            tick(len(x_0))
        return total / len(self.x_0) * self.unit

    def _constant_loss(self, mean: Tensor, max_count: int) -> float:
        total, share = 0.0, (mean / max_count).clamp(max=1 - 0.5 / (self.of * max_count))
        for first in range(0, len(self.x_0), 256):
            k = self.k[first : first + 256]
            alive = self.schedule.survival(k)
            key = _KEY.at(first_sample=first)
            x_0 = self.x_0[first : first + 256]
            births = thin(x_0, alive, rng=key, max_count=max_count, outputs=("births",)).births.double()
            q = alive.q.view(-1, *[1] * mean.dim())
            cost = self.head.constant_loss(births, max_count - (x_0 - births), mean, share, q)
            loss = cost * self.schedule.weight(self.weight, k)
            total += float(loss.sum())
        return total / len(self.x_0) * self.unit

    from ..blackout import BlackoutModel
    from ..data import Dataset


class HeldOutBits:
    """An upper bound of -log2 p(x_0) per dimension of up to 64 held-out samples, spread evenly over all of them.

    The estimate is fb.bits_per_dim(...).continuous of these samples, with draws 8, repeats 4 and the key Philox(298).
    An implicit head takes draws 2 and 8 noises. Every head has it.
    """

    def __init__(self, dataset: Dataset, model: BlackoutModel, conditional: bool, device: torch.device) -> None:
        available = len(dataset.held_out)
        count = min(available, MOST_FOR_BITS)
        chosen = np.arange(count) * available // count
        self.x_0 = torch.from_numpy(dataset.held_out[chosen]).to(device)
        self.labels = None
        if conditional and dataset.held_out_labels is not None:
            self.labels = torch.from_numpy(dataset.held_out_labels[chosen]).to(device)
        self.draws, self.noises = (DRAWS_OF_MANY, NOISES) if model.head_object.takes_noise else (DRAWS, 1)
        self.line = Line(model.schedule, device, self.noises)

    @property
    def total(self) -> int:
        """How many noised samples the network sees, those with other noise beside them counted once."""
        return len(self.x_0) * self.draws * REPEATS

    @torch.inference_mode()
    def bound(self, model: BlackoutModel, batch: int, tick: Callable[[int], None] = lambda rows: None) -> Bound:
        """The bound of a model in eval mode, and its errors. tick: called with the number of samples that are done."""

        def cost(u: Tensor, which: Tensor, key: Philox) -> Tensor:
            labels = None if self.labels is None else self.labels[which]
            nats = self.line.cost(model, self.x_0[which], u, labels, key)
            tick(len(u))
            return nats

        return estimate([cost], self.x_0, self.draws, batch, _BITS_KEYS)[0]
