"""What each training step sees: counts, labels, times and the numbers that go with them, on the device of the training.

All of it follows from the seed and the number of the step, so the host makes it without looking at the device. To a GPU
it goes by copies out of pinned memory, which neither side waits for, made ahead by a thread.
"""

from __future__ import annotations

import hashlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from ..arrays import to_device
from ..blackout.losses import Numbers, numbers_at
from ..data import flip_rows
from ..philox import Philox

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..blackout import BlackoutModel
    from ..data import BatchOrder, Dataset
    from .config import TrainConfig

RESIDENT_SHARE = 0.25  # training counts that need no more of a GPU's free memory lie there as a whole
_COPIED_AT_ONCE = 1 << 26  # bytes


class Batch(NamedTuple):
    """x_0: counts (B, C, H, W). labels: int64 (B,), or None. k: times, int64 (B,). numbers: of the loss at k."""

    x_0: Tensor
    labels: Tensor | None
    k: Tensor
    numbers: Numbers

    def rows(self, part: slice) -> Batch:
        """Some of the samples."""
        x_0, labels, k, numbers = self
        return Batch(x_0[part], None if labels is None else labels[part], k[part], Numbers(*(n[part] for n in numbers)))


class _OnHost(NamedTuple):
    """A batch before it is copied: an array of each dtype, and the images unless the device has them.

    Numbers have the dtypes that the ops use them in: nothing is converted on a GPU, and the ops take the short way.
    """

    integers: Tensor  # (4, B) int64: index, whether it is mirrored, label, k
    doubles: Tensor  # (3, B) float64: the first three fields of Numbers
    singles: Tensor  # (3, B) float32: the others
    images: Tensor | None


class Batches:
    """The batch of every step, or the rows `share` of it; `order` says which samples are in it."""

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        model: BlackoutModel,
        order: BatchOrder,
        device: torch.device,
        share: slice | None = None,
    ) -> None:
        self.config, self.dataset, self.model, self.order, self.device = config, dataset, model, order, device
        self.share = share or slice(0, config.batch)
        self.labels = dataset.train_labels if config.conditional else None
        self.no_class = dataset.classes or 0  # the label that means "no class"
        self._resident = _on_gpu(dataset.train, device) if device.type == "cuda" else None
        self._ahead = ThreadPoolExecutor(1, "batches", _use, (device,)) if device.type == "cuda" else None
        self._next: tuple[int, Future[_OnHost]] | None = None

    def at(self, step: int) -> Batch:
        """The batch of step 0, 1, ..., on the device. On a GPU nothing waits for it, and the next batch is begun."""
        if self._ahead is None:
            made = self._make(step)
        else:
            there = self._next is not None and self._next[0] == step
            made = (self._next[1] if self._next and there else self._ahead.submit(self._make, step)).result()
            self._next = step + 1, self._ahead.submit(self._make, step + 1)
        index, mirrored, labels, k = to_device(made.integers, self.device).unbind()
        numbers = Numbers(*to_device(made.doubles, self.device), *to_device(made.singles, self.device))
        if made.images is not None:
            x_0 = to_device(made.images, self.device)
        else:
            assert self._resident is not None  # else _make gathers the images
            x_0 = self._resident.index_select(0, index)
            if self.config.flip:
                x_0 = torch.where(mirrored.bool().view(-1, 1, 1, 1), x_0.flip(3), x_0)
        return Batch(x_0, None if self.labels is None else labels, k, numbers)

    def _make(self, step: int) -> _OnHost:
        """The host's part; for a GPU in pinned memory."""
        config, share = self.config, self.share
        index = self.order.indices(step)[share]
        mirrored = flip_rows(config.batch, config.seed, step)[share] if config.flip else np.zeros(len(index), bool)
        labels = self._labels(index, step)
        schedule = self.model.schedule
        rng = Philox(config.seed, first_sample=share.start, call=step)
        most = self.model.typical_count
        k = schedule.draw(
            len(index), rng=rng, like=index, global_batch=config.batch, times=self.model.times, max_count=most
        )
        integers = torch.from_numpy(np.stack((index, mirrored, labels, k)))
        rows = np.stack(numbers_at(self.model, schedule, self.model.weight, k))
        doubles, singles = torch.from_numpy(rows[:3]), torch.from_numpy(rows[3:].astype(np.float32))
        images = None
        if self._resident is None:
            x_0 = self.dataset.train[index]
            x_0[mirrored] = x_0[mirrored, :, :, ::-1]
            images = torch.from_numpy(x_0)
        if self.device.type == "cuda":
            integers, doubles, singles = integers.pin_memory(), doubles.pin_memory(), singles.pin_memory()
            images = None if images is None else images.pin_memory()
        return _OnHost(integers, doubles, singles, images)

    def _labels(self, index: NDArray[np.int64], step: int) -> NDArray[np.int64]:
        """The labels of some samples, hidden ones as the label of no class; 0 without labels."""
        if self.labels is None:
            return np.zeros(len(index), np.int64)
        # The draws of the step's seed in both cases. On a CPU, dropout goes on with the same generator, as it always
        # has; on a GPU it has the device's, and a thread must leave the default one alone.
        generator = None
        if self.device.type == "cuda":
            generator = torch.Generator().manual_seed(step_seed(self.config.seed, step))
        hidden = torch.rand(self.config.batch, generator=generator)[self.share] < self.config.label_dropout
        shown = self.labels[index]
        shown[hidden.numpy()] = self.no_class
        return shown


def step_seed(seed: int, step: int, *rank: int) -> int:
    """torch's seed for one step: step -1 initialises the weights. rank: of those but the first, for their dropout."""
    text = " ".join(map(str, (seed, step, *rank)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def _use(device: torch.device) -> None:
    """Makes a GPU the thread's own: its memory is pinned for that one."""
    if device.index is not None:
        torch.cuda.set_device(device)


def _on_gpu(counts: NDArray[np.integer], device: torch.device) -> Tensor | None:
    """The counts on the device, or None where they need more than RESIDENT_SHARE of its free memory."""
    if counts.nbytes > RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
        return None
    there = torch.empty(counts.shape, dtype=torch.from_numpy(counts[:0].copy()).dtype, device=device)
    rows = max(1, _COPIED_AT_ONCE // max(counts[0].nbytes, 1))
    for first in range(0, len(counts), rows):
        part = slice(first, first + rows)
        there[part].copy_(torch.from_numpy(counts[part].copy()))
    return there
