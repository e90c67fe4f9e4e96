"""The state of a training run, and the step that moves it on."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from ..data import BatchOrder, Dataset, flip_rows
from ..models import BlackoutModel, ema_of
from ..philox import Philox
from ..sampling.sampler import grid_for, sample
from .checkpoint import EMA, NETWORK, OPTIMIZER, Checkpoint, save_checkpoint
from .config import TrainConfig
from .held_out import HeldOut, images_allowed
from .held_out_bits import HeldOutBits
from .loss import blackout_loss, loss_unit
from .ranks import current
from .ranks.batch import parts_of_share, share_of_batch
from .trained_model import describe, load_weights, make_model

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..likelihood.blackout import Bound


class Trainer:
    """Network, moving average, optimizer and step count: all the state a run has."""

    def __init__(self, config: TrainConfig, dataset: Dataset, source: dict[str, Any], device: torch.device) -> None:
        self.config, self.dataset, self.device = config, dataset, device
        torch.manual_seed(_step_seed(config.seed, -1))
        self.model = make_model(config, dataset).to(device)
        self.schedule = self.model.schedule
        self.description = describe(config, dataset, self.model, source)
        self.ema = ema_of(self.model, config.ema)
        self.averaged = cast(BlackoutModel, self.ema.model)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate)
        self.no_class = dataset.classes or 0  # the label that means "no class"
        self.step = 0
        self.rate = 0.0
        self.gradient_norm = torch.zeros((), device=device)  # before it is clipped
        self.total = config.total_steps(len(dataset.train))
        self.order = BatchOrder(len(dataset.train), config.batch, config.seed)
        self.ranks = current()
        self.share = share_of_batch(self.ranks, config)
        self.replica: torch.nn.Module = self.model  # what a step calls; `join` puts another in its place
        elements = int(np.prod(dataset.shape))
        self.unit = loss_unit(self.schedule, config.weight, dataset.max_count, elements, config.head)
        # There is at most one evaluation an epoch, and one at the end: see _look in run.py.
        between = min(max(config.held_out_every, -(-len(dataset.train) // config.batch)), self.total)
        most = images_allowed(between, config.batch)
        self.held_out = HeldOut(dataset, self.model, config.weight, self.unit, device, most)
        self.bits = HeldOutBits(dataset, self.model, config.conditional, device)

    def batch(self) -> tuple[Tensor, Tensor | None]:
        """The counts and labels of the rank's share of the current step, on the device."""
        batch, share = self.config.batch, self.share
        index = self.order.indices(self.step)[share]
        x_0 = self.dataset.train[index]
        if self.config.flip:
            mirrored = flip_rows(batch, self.config.seed, self.step)[share]
            x_0[mirrored] = x_0[mirrored, :, :, ::-1]
        labels = None
        if self.config.conditional and self.dataset.train_labels is not None:
            hidden = torch.rand(batch)[share] < self.config.label_dropout
            labels = torch.from_numpy(self.dataset.train_labels[index]).masked_fill(hidden, self.no_class)
            labels = labels.to(self.device)
        return torch.from_numpy(x_0).to(self.device), labels

    def train_step(self) -> Tensor:
        """One descent step and one update of the moving average; the rank's part of the loss, a scalar still on the
        device: the sum over all ranks is the loss of the batch."""
        config, first = self.config, self.share.start
        rng = Philox(config.seed, first, call=self.step)
        torch.manual_seed(_step_seed(config.seed, self.step))  # for the choice of labels to hide, and for dropout
        self.model.train()
        x_0, labels = self.batch()
        k = self.schedule.draw(len(x_0), rng=rng, like=x_0, global_batch=config.batch)
        if not self.ranks.first:
            torch.manual_seed(_step_seed(config.seed, self.step, self.ranks.rank))
        self.optimizer.zero_grad(set_to_none=True)
        parts = parts_of_share(len(x_0), config.accumulate)
        done = []
        for part in parts:
            weight = (part.stop - part.start) / config.batch
            with nullcontext() if part is parts[-1] else self.ranks.no_sync(self.replica):
                with self._mixed_precision():
                    losses = blackout_loss(
                        self.replica, self.schedule, x_0[part], k[part], rng.at(first_sample=first + part.start),
                        config.weight, None if labels is None else labels[part], config.draws,
                    )  # fmt: skip
                    # A replica's gradients are means over the ranks, those of the batch the sum.
                    loss = losses.mean() * (self.unit * weight * self.ranks.count)
                loss.backward()
            done.append(loss.detach() / self.ranks.count)
        self.gradient_norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        self.rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate
        self.optimizer.step()
        self.ema.update(self.model)
        self.step += 1
        return torch.stack(done).sum()

    def join(self) -> None:
        """Every rank begins with the state of rank 0, and its gradients become those of the whole batch."""
        dataset = self.dataset
        data = {"data": dataset.name, "samples": len(dataset.train), "mean": self.model.data_mean, "step": self.step}
        self.ranks.same("train", {**data, **self.config.to_dict()})
        self.replica = self.ranks.replica(self.model)

    def held_out_loss(self, tick: Callable[[int], None]) -> float:
        """The held-out loss of the averaged weights; tick is called with the images done, part by part."""
        return self.held_out.loss(self.averaged, self.config.conditional, max(self.config.batch, 256), tick)

    def held_out_bits(self, tick: Callable[[int], None]) -> Bound:
        """Bits per dimension of held-out samples by the averaged weights; tick as above, with those noised."""
        return self.bits.bound(self.averaged, max(self.config.batch, 256), tick)

    @property
    def sample_steps(self) -> int:
        """Reverse steps of `samples`."""
        return min(10 if self.config.head == "implicit" else 50, self.schedule.steps)

    def samples(self, tick: Callable[[int], None]) -> NDArray[Any]:
        """64 samples of the averaged weights; the same noise each time, so that pictures of one run compare.

        tick: called with 1 after each reverse step.
        """
        labels = None
        if self.config.conditional:
            labels = torch.arange(64, device=self.device) % self.no_class
        shape = (64, *self.dataset.shape)
        drawn = sample(
            self.averaged, self.schedule, shape, self.sample_steps, rng=Philox(1), labels=labels,
            grid=grid_for(self.config.head),
            callback=lambda n, k, x: tick(1) if n else None,
        )  # fmt: skip
        return drawn.cpu().numpy()

    def save(self, run: Path) -> Path:
        """Write a checkpoint of everything `restore` needs, on rank 0, which returns its folder; the run on others."""
        if not self.ranks.first:
            return run
        network, ema = self.model.network.state_dict(), self.averaged.network.state_dict()
        tensors = {NETWORK: network, EMA: ema, OPTIMIZER: self._optimizer_tensors()}
        return save_checkpoint(run, self.step, self.description, tensors, self.config.keep)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up the state a checkpoint holds. ValueError when it does not fit."""
        load_weights(self.model.network, checkpoint, NETWORK)
        load_weights(self.averaged.network, checkpoint, EMA)
        named = checkpoint.tensors(OPTIMIZER)
        state: dict[int, dict[str, Tensor]] = {}
        # Adam has no state before its first step.
        for index, parameter in enumerate(self.model.parameters() if named else ()):
            shapes = {"step": torch.Size(()), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
            state[index] = {field: named.pop(f"{index}.{field}", torch.empty(0)) for field in shapes}
            if any(state[index][field].shape != shape for field, shape in shapes.items()):
                raise ValueError(f"checkpoint: {checkpoint.path / OPTIMIZER}: does not fit the network: {index}")
        if named:
            raise ValueError(f"checkpoint: {checkpoint.path / OPTIMIZER}: does not fit the network: {min(named)}")
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.step = self.ema.updates = checkpoint.step

    def describe_size(self) -> str:
        """How large the network is."""
        return f"{sum(p.numel() for p in self.model.parameters()):,} parameters"

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        state = self.optimizer.state_dict()["state"]
        return {f"{index}.{field}": value for index, fields in state.items() for field, value in fields.items()}

    def _learning_rate(self) -> float:
        rate = self.config.learning_rate * min(1.0, (self.step + 1) / max(self.config.warmup, 1))
        if self.config.decay:
            rate *= 0.5 * (1 + math.cos(math.pi * self.step / self.total))
        return rate

    def _mixed_precision(self) -> AbstractContextManager[object]:
        on = self.device.type == "cuda"  # on most CPUs bfloat16 is slower than float32
        return torch.autocast("cuda", torch.bfloat16) if on else nullcontext()


def _step_seed(seed: int, step: int, *rank: int) -> int:
    """torch's seed for one step: step -1 initialises the weights. rank: of those but the first, for their dropout."""
    text = " ".join(map(str, (seed, step, *rank)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1
