"""Training runs: a folder with checkpoints, a log and pictures, that survives being killed at any moment."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .checkpoint import Checkpoint, has_checkpoint, load_checkpoint
from .config import TrainConfig
from .data import BatchOrder, Dataset
from .journal import Journal
from .plots import loss_curve, sample_grid
from .runs import described, pick_device
from .trainer import Trainer
from .trainings import identity_of, remember


def train(
    dataset: Dataset,
    out: str | os.PathLike[str],
    config: TrainConfig | None = None,
    resume: bool = False,
    progress: bool = True,
    source: dict[str, Any] | None = None,
) -> Path:
    """Trains a Blackout Diffusion model and returns the folder of its last checkpoint.

    out: the run's folder. It must not exist, or be empty, unless `resume`; then training goes on from the newest
        checkpoint there and ends in the weights of a run never interrupted, to the bit (CPU, same torch, same threads).
    config: with `resume`, it must be that of the run but for the fields in `config.RESUMABLE`.
    source: how to load the data again, for `evaluate`: "root", the path of the data, goes into this machine's record of
        its trainings (see trainings.py), all else into the checkpoint.
    Everything random is keyed by (seed, step). Raises ValueError on bad input, OSError when the disk is full (the last
    checkpoint stays whole), FloatingPointError when the loss is no longer finite, and KeyboardInterrupt after a
    checkpoint when interrupted.
    """
    run = Path(out)
    checkpoint = _open(run, resume)
    config = config or TrainConfig()
    device = pick_device(config.device)
    about = {**(source or {})}
    root = about.pop("root", None)
    if checkpoint is not None:
        stored, _ = described(checkpoint)
        config = stored.resumed_with({k: v for k, v in config.to_dict().items() if v != stored.to_dict()[k]})
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _threads(config.threads), _interruption() as interrupted:
        trainer = Trainer(config, dataset, about, device)
        trainer.description["run"] = identity = identity_of({} if checkpoint is None else checkpoint.config)
        if checkpoint is not None:
            _check_same_data(checkpoint, trainer)
            trainer.restore(checkpoint)
        total = trainer.total
        run.mkdir(parents=True, exist_ok=True)  # as late as this, so that a bad argument leaves no folder
        if root is not None:
            remember(run, identity, dataset.name, root)
        with Journal(run, trainer.step, total, progress) as journal:
            saved = trainer.save(run) if checkpoint is None else checkpoint.path
            journal.say(f"{run}: {trainer.describe_size()}, {total} steps on {device}")
            return _loop(trainer, run, total, journal, interrupted, saved)


def _loop(trainer: Trainer, run: Path, total: int, journal: Journal, interrupted: threading.Event, saved: Path) -> Path:
    config, order = trainer.config, trainer.order
    losses: list[torch.Tensor] = []
    seconds = 0.0
    while trainer.step < total:
        began = time.perf_counter()
        losses.append(trainer.train_step())
        step, stopping = trainer.step, interrupted.is_set()
        epoch, last = order.epochs_done(step), step == total
        journal.advance()
        logging = step % config.log_every == 0 or last or stopping
        loss = float(torch.stack(losses).mean()) if logging else 0.0  # on a GPU this waits, so not at every step
        seconds += time.perf_counter() - began
        if logging:
            if not np.isfinite(loss):
                raise FloatingPointError(f"train: the loss is {loss} at step {step}; try a lower learning rate")
            speed = len(losses) * config.batch / seconds
            journal.record(step=step, epoch=epoch, loss=loss, learning_rate=trainer.rate, images_per_second=speed)
            journal.show(loss, speed)
            losses, seconds = [], 0.0
        if config.held_out_every and (last or _epoch_to_judge(order, step, config.held_out_every)):
            loss, constant = trainer.held_out_loss(), trainer.held_out.constant_loss
            journal.record(step=step, epoch=epoch, held_out_loss=loss, constant_loss=constant)
            journal.say(f"step {step}: held-out loss {loss:.4f}, best per-pixel constant {constant:.4f}")
        if step % config.checkpoint_every == 0 or last or stopping:
            saved = trainer.save(run)
            loss_curve(journal.records, run / "loss.png")
        if config.sample_every and (step % config.sample_every == 0 or last):
            sample_grid(trainer.samples(), trainer.dataset.max_count, run / f"samples-{step:08d}.png")
        if stopping:
            raise KeyboardInterrupt(f"stopped after step {step}; go on with --resume")
    return saved


def _epoch_to_judge(order: BatchOrder, step: int, every: int) -> bool:
    """Whether an epoch ends at this step, and a multiple of `every` steps was passed since the last that ended."""
    before = order.epochs_done(step - 1)
    last_end = -(-before * order.count // order.batch)
    return order.epochs_done(step) > before and step // every > last_end // every


def _open(run: Path, resume: bool) -> Checkpoint | None:
    """The checkpoint to go on from. ValueError for a folder in use, or a file in its place, without `resume`."""
    if run.exists() and not run.is_dir():
        raise ValueError(f"train: out: must be a folder, got the file {run}")
    if not resume and run.is_dir() and any(run.iterdir()):
        raise ValueError(f"train: out: {run} exists; go on with --resume, or choose another with --out")
    return load_checkpoint(run) if resume and has_checkpoint(run) else None


def _check_same_data(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """ValueError when a run would go on with other data: the mean count tells without keeping a copy."""
    stored = described(checkpoint)[1]["name"], checkpoint.config["model"].get("data_mean")
    given = trainer.dataset.name, trainer.model.data_mean
    if stored != given:
        raise ValueError(f"train: data: a resumed run keeps its data, {stored[0]} of mean {stored[1]}, got {given}")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """torch on so many CPU threads; 0: as it is."""
    before = torch.get_num_threads()
    try:
        if count:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _interruption() -> Iterator[threading.Event]:
    """An event that the first Ctrl-C sets, so that the step at hand ends and is saved; the second stops at once."""
    interrupted = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield interrupted
        return

    def note(number: int, frame: object) -> None:
        interrupted.set()
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield interrupted
    finally:
        signal.signal(signal.SIGINT, before)
