"""Cases of device_worker.py about training: nothing in a step waits for the device, and what a GPU's way changes."""

import dataclasses
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch.utils._pytree import tree_leaves

from fastblackout.data.dataset import make_dataset
from fastblackout.heads import HEADS
from fastblackout.training import batches, execution
from fastblackout.training.checkpoint import load_checkpoint
from fastblackout.training.config import TrainConfig, preset
from fastblackout.training.trainer import Trainer
from support import pretend_cuda
from support.pretend_cuda import CUDA

CASES = []


def case(function):
    CASES.append(function)
    return function


def raises(call):
    try:
        call()
    except (RuntimeError, TypeError) as error:
        return f"{type(error).__name__}: {error}"
    raise AssertionError("nothing was raised")


WAITING = {
    "a number read": lambda x: float(x.sum()),
    "a copy back": lambda x: x.cpu(),
    "a mask": lambda x: x[x > 1],
    "indices on the host": lambda x: x[torch.tensor([0, 1])],
    "a number made there": lambda x: torch.tensor([1.0], device=CUDA),
    "memory that is not pinned": lambda x: torch.zeros(2).to(CUDA, non_blocking=True),
    "a blocking copy of pinned memory": lambda x: torch.zeros(2).pin_memory().to(CUDA),
    "a copy into it": lambda x: x.copy_(torch.zeros(3)),
    "AveragedModel": lambda x: AVERAGED.update_parameters(AVERAGED.module),
}
AVERAGED = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(1, 1))


@case
def waits_are_refused():
    """What torch.cuda.set_sync_debug_mode("error") refuses on a card, the device that pretends refuses too."""
    AVERAGED.to(CUDA).n_averaged = torch.tensor(1)
    for what, call in WAITING.items():
        x = torch.arange(3.0).to(CUDA)
        call(x)
        with pretend_cuda.no_waits():
            assert "synchronizing" in raises(lambda call=call, x=x: call(x)), what
            torch.zeros(2).pin_memory().to(CUDA, non_blocking=True).add_(1.0)


def few():
    """Eighteen images to train on, of two classes."""
    counts = np.arange(20 * 16).reshape(20, 1, 4, 4) % 7
    return make_dataset("few", counts, np.arange(20) % 2, max_count=6, held_out_count=2)


@case
def no_training_step_waits():
    """Every head, with labels and flips, the training data on the device or on the host."""
    data = few()
    options = {"batch": 4, "channels": 4, "schedule_steps": 20, "warmup": 1, "flip": True, "conditional": True}
    for head in HEADS:
        for share in (1.0, 0.0) if head in ("mean", "implicit") else (1.0,):
            batches.RESIDENT_SHARE = share
            trainer = Trainer(preset("digits", head=head, steps=2, **options), data, {}, CUDA)
            assert (trainer.batches._resident is None) == (share == 0.0)
            with pretend_cuda.no_waits():
                losses = [trainer.train_step() for _ in range(2)]
            assert all(torch.isfinite(loss.cpu()) for loss in losses), (head, share)


@case
def a_graph_of_the_step_takes_the_same_steps():
    """Other images, labels, keys, dropout masks and learning rates at every replay."""
    rates = {"learning_rate": 2.0**-9, "warmup": 16}  # whose float32 is exact
    options = {"batch": 4, "network": "mlp", "channels": 4, "schedule_steps": 20, "dropout": 0.3, "conditional": True}
    for head in ("mean", "implicit"):
        config = preset("array", head=head, steps=6, flip=True, **options, **rates)
        plain = Trainer(config, few(), {}, CUDA)
        graphed = Trainer(dataclasses.replace(config, cuda_graph=True), few(), {}, CUDA)
        for step in range(6):
            losses = plain.train_step(), graphed.train_step()
            numbers = [[*losses], [plain.gradient_norm, graphed.gradient_norm]]
            numbers += zip(plain.averaged.parameters(), graphed.averaged.parameters(), strict=True)
            assert all(torch.equal(one.cpu(), other.cpu()) for one, other in numbers), (head, step)
            assert plain.rate == graphed.rate
        assert graphed.graph._graph.replays == 6 - execution.EAGER_STEPS


@case
def saving_waits_for_nothing_and_a_restored_run_goes_on():
    config = TrainConfig(batch=8, steps=3, network="mlp", channels=4, schedule_steps=20, dropout=0.0, cuda_graph=True)
    one, other = (Trainer(config, few(), {}, CUDA) for _ in range(2))
    with tempfile.TemporaryDirectory() as run:
        one.train_step()
        with pretend_cuda.no_waits():
            one.save(Path(run))
            one.train_step()
        one.writer.wait()
        other.restore(load_checkpoint(run))
    other.train_step()
    states = [[*each.model.state_dict().values(), *each.averaged.state_dict().values()] for each in (one, other)]
    assert all(torch.equal(a.cpu(), b.cpu()) for a, b in zip(*states, strict=True))


@case
def batches_are_those_of_the_host():
    """The counts, labels, times and numbers of a step, in order and out of it, from the device's memory or not."""
    data = few()
    config = TrainConfig(batch=40, steps=90, channels=4, flip=True, conditional=True, label_dropout=0.3)
    made = {}
    for share, device in ((1.0, CUDA), (0.0, CUDA), (0.0, torch.device("cpu"))):
        batches.RESIDENT_SHARE = share
        trainer = Trainer(config, data, {}, device)
        for step in (0, 1, 2, 40, 41, 7):
            torch.manual_seed(batches.step_seed(config.seed, step))
            values = [value.cpu() for value in tree_leaves(trainer.batches.at(step))]
            for one, other in zip(made.setdefault(step, values), values, strict=True):
                assert one.dtype == other.dtype and torch.equal(one, other), (step, share, device)
    for share in (slice(0, 15), slice(15, 40)):
        torch.manual_seed(batches.step_seed(config.seed, 41))
        part = batches.Batches(config, data, trainer.model, trainer.order, torch.device("cpu"), share)
        for whole, values in zip(made[41], tree_leaves(part.at(41)), strict=True):
            assert torch.equal(whole[share], values)
    assert all((labels == 2).any() and (labels < 2).any() for _, labels, *_ in made.values())
