"""Bits per dimension of a few held-out samples while a network is trained: the bound in continuous time."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch

from ..likelihood.blackout import Line
from ..likelihood.estimate import Bound, estimate
from ..philox import Philox

if TYPE_CHECKING:
    from torch import Tensor

    from ..blackout import BlackoutModel
    from ..data import Dataset

MOST_SAMPLES, REPEATS = 64, 4
# Draws of the time for each sample and repeat: with 64 samples 2,048 in all, as many as a held-out loss has.
DRAWS = 8
# The same for an implicit head, and how many of its draws make the mean that its bound is taken of.
DRAWS_OF_MANY, NOISES = 2, 8
_KEYS = [Philox(seed=298, call=2 * repeat) for repeat in range(REPEATS)]  # the same noise each time and in every run


class HeldOutBits:
    """An upper bound of -log2 p(x_0) per dimension of up to 64 held-out samples, spread evenly over all of them.

    The estimate is fb.bits_per_dim(...).continuous of these samples, with draws 8, repeats 4 and the key Philox(298).
    An implicit head takes draws 2 and 8 noises. Every head has it.
    """

    def __init__(self, dataset: Dataset, model: BlackoutModel, conditional: bool, device: torch.device) -> None:
        available = len(dataset.held_out)
        count = min(available, MOST_SAMPLES)
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

        return estimate([cost], self.x_0, self.draws, batch, _KEYS)[0]
