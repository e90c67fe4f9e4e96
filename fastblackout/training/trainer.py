"""The state of a training run, and the step that moves it on."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from ..blackout import BlackoutModel
from ..blackout.losses import Numbers, blackout_loss
from ..data import BatchOrder, Dataset
from ..ground.process import signals_wait
from ..models import ema_of
from ..philox import Philox
from ..sampling.sampler import sample
from ..tuning.even_times import NUMBER, PLACES, even_times
from .batches import Batch, Batches, step_seed
from .checkpoint import EMA, NETWORK, OPTIMIZER, SINCE_LOG, TRIED, Checkpoint, CheckpointWriter, step_folder
from .config import TrainConfig
from .execution import StepGraph, execution_for
from .held_out import HeldOut, HeldOutBits, images_allowed
from .journal import SinceLog, check_finite
from .ranks import Place, current, share_of_batch
from .trained_model import describe, load_weights, make_model

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..likelihood.estimate import Bound


class Trainer:
    """Network, moving average, optimizer and step count: all the state a run has.

    tried: whether a trial has found that `compile` "auto" on a CPU is faster compiled (see run.trial_of).
    """

    def __init__(
        self,
        config: TrainConfig,
        dataset: Dataset,
        source: dict[str, Any],
        device: torch.device,
        tried: bool = False,
    ) -> None:
        self.config, self.dataset, self.device = config, dataset, device
        torch.manual_seed(step_seed(config.seed, -1))
        self.execution = execution_for("train", config.compile, config.precision, device, tried=tried)
        self.ranks = current()
        self.share = share_of_batch(self.ranks, config)
        if config.cuda_graph and device.type != "cuda":
            raise ValueError(f"train: cuda_graph: needs a GPU, got device {device}")
        if config.cuda_graph and (self.ranks.count > 1 or config.accumulate > 1):
            got = f"{self.ranks.count} processes and accumulate {config.accumulate}"
            raise ValueError(f"train: cuda_graph: takes a whole batch in one process, got {got}")
        self.model = make_model(config, dataset).to(device)
        self.execution.lay_out(self.model.network)
        self.schedule, self.head = self.model.schedule, self.model.head_object
        self.description = describe(config, dataset, self.model, source) | ({TRIED: True} if tried else {})
        self.ema = ema_of(self.model, config.ema)
        self.averaged = cast(BlackoutModel, self.ema.model)
        self.execution.compile(self.model.network)  # after the average has copied it
        self.optimizer = self._adam()
        self.graph = StepGraph(self._descend_on_tensors, device) if config.cuda_graph else None
        for model in (self.model, self.averaged):
            model.register_forward_hook(self._check_output)
        self.writer = CheckpointWriter()
        self.step = 0
        self.rate = 0.0
        self.gradient_norm = torch.zeros((), device=device)  # before it is clipped
        self.since_log = SinceLog(self.ranks)
        self.total = config.total_steps(len(dataset.train))
        self.order = BatchOrder(len(dataset.train), config.batch, config.seed)
        self.batches = Batches(config, dataset, self.model, self.order, device, self.share)
        self.replica: torch.nn.Module = self.model  # what a step calls; `join` puts another in its place
        self.unit = self.model.loss_unit(int(np.prod(dataset.shape)))
        # There is at most one evaluation an epoch, and one at the end: see run.due.
        between = min(max(config.held_out_every, -(-len(dataset.train) // config.batch)), self.total)
        most = images_allowed(between, config.batch)
        self.held_out = HeldOut(dataset, self.model, self.unit, device, most)
        self.bits = HeldOutBits(dataset, self.model, config.conditional, device)

    def batch(self) -> Batch:
        """What the rank's share of the current step sees, on the device."""
        return self.batches.at(self.step)

    def train_step(self) -> Tensor:
        """One descent step and one update of the moving average; the rank's part of the loss, a scalar still on the
        device: the sum over all ranks is the loss of the batch.

        On a GPU the host waits for nothing in it: what it makes goes there by `Batches`, and nothing comes back.
        """
        seed, step = self.config.seed, self.step
        torch.manual_seed(step_seed(seed, step))  # for the choice of labels to hide, and for dropout
        self.model.train()
        batch, rng = self.batch(), Philox(seed, first_sample=self.share.start, call=step)
        if not self.ranks.first:
            torch.manual_seed(step_seed(seed, step, self.ranks.rank))
        self._set_rate()
        if self.graph is None:
            loss, self.gradient_norm = self._descend(batch, rng)
        else:
            k, labels = batch.k, [] if batch.labels is None else [batch.labels]
            loss, self.gradient_norm = self.graph([batch.x_0, k, rng.tensor(self.device), *batch.numbers, *labels])
        self.ema.update(self.model)
        self.step += 1
        return loss

    def _check_output(self, model: torch.nn.Module, given: Any, output: Tensor) -> None:
        """A network that has gone astray is told as such, and not by the op that refuses its output.

        Not on a GPU, where looking at it would wait for it; see SinceLog.read.
        """
        if output.device.type == "cpu" and not output.isfinite().all():
            check_finite("loss", math.nan, self.step + 1 if model.training else self.step)

    def _descend(self, batch: Batch, rng: Philox | Tensor) -> tuple[Tensor, Tensor]:
        """The rank's part of the loss, and the norm of the batch's gradient before it is clipped; the weights take one
        step."""
        self.optimizer.zero_grad(set_to_none=True)
        parts = [Place(n, self.config.accumulate).share(len(batch.k)) for n in range(self.config.accumulate)]
        done = []
        for part in parts:
            with nullcontext() if part is parts[-1] else self.ranks.no_sync(self.replica):
                done.append(self._add_gradient(batch if len(parts) == 1 else batch.rows(part), rng, part.start))
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        return torch.stack(done).sum(), norm

    def _add_gradient(self, batch: Batch, rng: Philox | Tensor, after: int) -> Tensor:
        """The part of the loss, and of its gradient, of a part of the share, which comes after so many samples of it.

        rng: the key of the share; a tensor only of one that is taken as a whole.
        """
        x_0, labels, k, numbers = batch
        key = rng.at(first_sample=rng.first_sample + after) if isinstance(rng, Philox) else rng
        weight, draws = self.model.weight, self.config.draws
        share = len(k) / self.config.batch
        with self.execution.autocast():
            losses = blackout_loss(self.replica, self.schedule, x_0, k, key, weight, labels, draws, numbers)
            # A replica's gradients are means over the ranks, the gradients of the batch their sum.
            loss = losses.mean() * (self.unit * share * self.ranks.count)
        loss.backward()
        return loss.detach() / self.ranks.count

    def _descend_on_tensors(self, x_0: Tensor, k: Tensor, key: Tensor, *more: Tensor) -> tuple[Tensor, Tensor]:
        """`_descend` as a graph has it: of the numbers, and of labels where there are any."""
        count = len(Numbers._fields)
        labels = more[count] if len(more) > count else None
        return self._descend(Batch(x_0, labels, k, Numbers(*more[:count])), key)

    def join(self) -> None:
        """Every rank begins with the state of rank 0, and its gradients become the gradients of the whole batch."""
        dataset = self.dataset
        data = {"data": dataset.name, "samples": len(dataset.train), "sha256": dataset.sha256, "step": self.step}
        self.ranks.same("train", {**data, **self.config.to_dict()})
        self.replica = self.ranks.replica(self.model)

    def held_out_loss(self, tick: Callable[[int], None]) -> float:
        """The held-out loss of the averaged weights, in the precision of the training; tick is called with the images
        done, part by part."""
        with self.execution.autocast():
            return self.held_out.loss(self.averaged, self.config.conditional, max(self.config.batch, 256), tick)

    def held_out_bits(self, tick: Callable[[int], None]) -> Bound:
        """Bits per dimension of held-out samples by the averaged weights; tick as above, with those noised."""
        return self.bits.bound(self.averaged, max(self.config.batch, 256), tick)

    @property
    def sample_steps(self) -> int:
        """Reverse steps of `samples`."""
        return min(50, self.head.most_steps, self.schedule.steps)

    def samples(self, tick: Callable[[int], None]) -> NDArray[Any]:
        """64 samples of the averaged weights; the same noise each time, so that pictures of one run compare.

        tick: called with 1 after each reverse step.
        """
        labels = None
        if self.config.conditional:
            labels = torch.arange(64, device=self.device) % self.batches.no_class
        shape = (64, *self.dataset.shape)
        with self.execution.autocast():
            drawn = sample(
                self.averaged, self.schedule, shape, self.sample_steps, rng=Philox(1), labels=labels,
                grid=self.head.grid, last_step=self.head.last_step(self.dataset.shape, self.dataset.max_count),
                callback=lambda n, k, x: tick(1) if n else None,
            )  # fmt: skip
        return drawn.cpu().numpy()

    def find_times(self) -> None:
        """Find when few steps of the model are taken, for the description of the last checkpoint (even_times.py).

        Nothing is done where the training saw fewer than 20 times as many images as this does. Heads that take noise
        are left out, as they draw alike with any times, and tables, where a gain was not measured.
        """
        seen, known = self.total * self.config.batch, not (self.head.takes_noise or self.dataset.is_table)
        if known and seen >= 20 * sum(n for _, n in PLACES) * NUMBER and self.ranks.first:
            held_out, labels = self.held_out, None
            rows = slice(0, held_out.count, max(held_out.count // NUMBER, 1))
            if self.config.conditional and held_out.labels is not None:
                labels = held_out.labels[rows][:NUMBER]
            x_0 = held_out.x_0[rows][:NUMBER]
            self.model.tuned = even_times(self.averaged, self.schedule, x_0, labels, Philox(self.config.seed))
            self.description["model"] = self.model.to_config()

    def save(self, run: Path) -> Path:
        """Begin to write a checkpoint of everything `restore` needs, and say where it will be; see CheckpointWriter.
        On rank 0 alone: others are told the run's folder."""
        if not self.ranks.first:
            return run
        network, ema = self.model.weights(), self.averaged.weights()
        tensors = {NETWORK: network, EMA: ema, OPTIMIZER: self._optimizer_tensors()}
        about = {**self.description, SINCE_LOG: self.since_log.state}
        self.writer.save(run, self.step, about, tensors, self.config.keep)
        return step_folder(run, self.step)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up the state a checkpoint holds. ValueError when it does not fit."""
        load_weights(self.model, checkpoint, NETWORK)
        load_weights(self.averaged, checkpoint, EMA)
        named = checkpoint.tensors(OPTIMIZER)
        state: dict[int, dict[str, Tensor]] = {}
        # Adam has no state before its first step.
        for index, parameter in enumerate(self.model.parameters() if named else ()):
            shapes = {"step": torch.Size(()), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
            state[index] = {field: named.pop(f"{index}.{field}", torch.empty(0)) for field in shapes}
            if any(state[index][field].shape != shape for field, shape in shapes.items()):
                raise ValueError(f"checkpoint: {checkpoint.path / OPTIMIZER}: does not fit the network: {index}")
            for field in ("exp_avg", "exp_avg_sq"):  # in the order in memory that the parameter has: see Execution
                state[index][field] = torch.empty_like(parameter, device="cpu").copy_(state[index][field])
        if named:
            raise ValueError(f"checkpoint: {checkpoint.path / OPTIMIZER}: does not fit the network: {min(named)}")
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": state})
        self.since_log.restore(checkpoint.config.get(SINCE_LOG))
        self.step = self.ema.updates = checkpoint.step

    def describe_size(self) -> str:
        """How large the network is."""
        return f"{sum(p.numel() for p in self.model.parameters()):,} parameters"

    def _optimizer_tensors(self) -> dict[str, Tensor]:
        state = self.optimizer.state_dict()["state"]
        return {f"{index}.{field}": value for index, fields in state.items() for field, value in fields.items()}

    def _adam(self) -> torch.optim.Adam:
        """On a GPU in one kernel, with its count of steps there; a graph reads the learning rate from there, too."""
        on_gpu, graph = self.device.type == "cuda", self.config.cuda_graph
        rate = torch.tensor(self.config.learning_rate, device=self.device) if graph else self.config.learning_rate
        with signals_wait():  # torch.optim imports torch._dynamo, which imports Triton
            return torch.optim.Adam(self.model.parameters(), lr=rate, fused=on_gpu or None, capturable=graph)

    def _set_rate(self) -> None:
        """The step's learning rate, for the optimizer."""
        self.rate = self._learning_rate()
        for group in self.optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(self.rate)
            else:
                group["lr"] = self.rate

    def _learning_rate(self) -> float:
        rate = self.config.learning_rate * min(1.0, (self.step + 1) / max(self.config.warmup, 1))
        if self.config.decay:
            rate *= 0.5 * (1 + math.cos(math.pi * self.step / self.total))
        return rate
