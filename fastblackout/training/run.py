"""Training runs: a folder with checkpoints, a log and pictures, that survives being killed at any moment."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..atomic_files import remove_unfinished
from ..call.foreign import is_annotated
from ..data import Dataset
from ..data.cells import dataset_of, read_cells
from ..ground.extras import is_there, pip_line
from .board import check_installed
from .checkpoint import TRIED, Checkpoint, has_checkpoint, load_checkpoint, tidy
from .config import TrainConfig, preset
from .looks import draw_losses, due, look
from .patience import is_over
from .progress_log import Journal, NoJournal
from .ranks import current, together
from .ranks.checkpoints import as_first_has_it
from .record import identity_of, remember
from .run_lock import LOCK, holding
from .stopping import Stop, stop_on_signals
from .trained_model import described, pick_device
from .trainer import Trainer
from .trial import trial_of

if TYPE_CHECKING:
    from anndata import AnnData


def train(
    dataset: Dataset | AnnData | str | os.PathLike[str],
    out: str | os.PathLike[str],
    config: TrainConfig | None = None,
    resume: bool = False,
    progress: bool = True,
    source: dict[str, Any] | None = None,
    layer: str | None = None,
    labels_key: str | None = None,
) -> Path:
    """Train a Blackout Diffusion model.

    Everything random is keyed by (seed, step).

    Parameters
    ----------
    dataset : Dataset, AnnData, str or os.PathLike
        The data: a data set, or an AnnData or the path of an .h5ad file or a .zarr store, which are read as by
        `fb.data.from_anndata`.
    out : str or os.PathLike
        The run's folder. It must not exist, or be empty, unless `resume`. No other training may use it meanwhile.
    config : TrainConfig, optional
        The options. By default `TrainConfig()`; of an AnnData or a file `preset("h5ad")`. With `resume` they must
        be the options of the run but for the fields in `config.RESUMABLE`.
    resume : bool, default False
        Go on from the newest checkpoint in `out`. The training then ends in the weights of a run that was never
        interrupted, to the bit (on the CPU, with the same torch and as many threads).
    progress : bool, default True
        Show a bar.
    source : dict, optional
        How to load the data again, for `evaluate`. "root", the path of the data, goes into this machine's record of its
        trainings (see record.py). All else ("channels_at") goes into the checkpoint, as do crop, resize and binarize.
    layer : str, optional
        The layer of an AnnData that holds the counts. By default X does.
    labels_key : str, optional
        The column of obs of an AnnData that holds the classes. Without `config` the model is then conditional.

    Returns
    -------
    pathlib.Path
        The folder of the last checkpoint.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range, the data do not fit, or the folder cannot be used.
    OSError
        If the disk is full. The last checkpoint stays whole.
    FloatingPointError
        If the loss is no longer finite.
    KeyboardInterrupt
        If it was interrupted, after a checkpoint.
    SystemExit
        With status 143, if the process got SIGTERM, after a checkpoint.

    Notes
    -----
    In a program that torchrun starts in several processes, every process calls `train`. Each takes its share of a
    batch, and rank 0 writes the run (https://github.com/fastblackout/fastblackout/blob/main/docs/training.md, "Several
    GPUs and hosts").

    Examples
    --------
    On the digits that come with scikit-learn::

        config = fastblackout.training.config.preset("digits", steps=500)
        folder = fb.train(fb.data.load("digits"), "runs/digits", config)

    On cells, with a model that knows their types::

        folder = fb.train(adata, "runs/cells", layer="counts", labels_key="cell_type")
    """
    if isinstance(dataset, Dataset):
        if not (layer is None and labels_key is None):
            raise TypeError("train: layer, labels_key: must be None but for AnnData and .h5ad files, got a Dataset")
    else:
        source = {"root": dataset, **(source or {})} if isinstance(dataset, (str, os.PathLike)) else source
        dataset = _of_cells(dataset, layer, labels_key)
        config = config or preset("h5ad")
    if config is not None and not isinstance(config, TrainConfig):
        raise TypeError(f"train: config: must be a TrainConfig, got {type(config).__name__}")
    if labels_key is not None:
        config = replace(config or TrainConfig(), conditional=True)
    with together("train") as ranks, holding(out) if ranks.first else nullcontext():
        return train_in_held_folder(dataset, out, config, resume, progress, source)


def _of_cells(data: Any, layer: str | None, labels_key: str | None) -> Dataset:
    """The data set of an AnnData or of the path of one. TypeError for all else."""
    data = read_cells("train", "dataset", data)
    if not is_annotated(data):
        make = 'fastblackout.data.make_dataset("array", counts, max_count=N) makes one of counts (N, C, H, W)'
        rule = f"must be a fastblackout.data.Dataset ({make}), an AnnData or the path of an .h5ad file or a .zarr store"
        raise TypeError(f"train: dataset: {rule}, got {type(data).__name__}")
    return dataset_of("train", "dataset", data, layer, labels_key)


def train_in_held_folder(
    dataset: Dataset,
    out: str | os.PathLike[str],
    config: TrainConfig | None,
    resume: bool,
    progress: bool,
    source: dict[str, Any] | None,
) -> Path:
    """`train` for a caller that keeps the run's folder for itself: see run_lock.holding."""
    run, ranks = Path(out), current()
    checkpoint = as_first_has_it(lambda: open_run(run, resume))
    config = config or TrainConfig()
    device = pick_device(config.device)
    about = {**(source or {})}
    root = about.pop("root", None)
    if checkpoint is not None:
        stored, _ = described(checkpoint)
        config = stored.resumed_with({k: v for k, v in config.to_dict().items() if v != stored.to_dict()[k]})
    if config.tensorboard:
        check_installed()
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), _threads(config.threads), stop_on_signals() as stop:
        before = {} if checkpoint is None else checkpoint.config
        trial = trial_of(config, dataset, device, progress) if checkpoint is None else None
        tried = before.get(TRIED) is True if trial is None else trial.compiled
        trainer = Trainer(config, dataset, about, device, tried)
        trainer.description["run"] = identity = identity_of(before)
        if checkpoint is not None:
            if ranks.first:
                tidy(run, config.keep)
                remove_unfinished(run, ("log.jsonl", "loss.png", "samples-*.png"))
            _check_same_data(checkpoint, trainer)
            _check_length(checkpoint, trainer)
            trainer.restore(checkpoint)
        trainer.join()
        total = trainer.total
        stop.at_once = None  # from here on what is begun is written
        with trainer.execution.settings(), trainer.writer:
            if not ranks.first:
                with NoJournal(trainer.step, total) as journal:
                    return _loop(trainer, run, journal, stop, run)
            if root is not None:
                remember(run, identity, dataset.name, root)
            with Journal(run, trainer.step, total, progress, config.tensorboard) as journal:
                saved = trainer.save(run) if checkpoint is None else checkpoint.path
                trainer.writer.wait()  # a disk that is full already is told before the first step
                journal.say(f"{run}: {trainer.describe_size()}, {total} steps on {device}")
                if trial is not None:
                    journal.say(trial.seen)
                if config.held_out_every:
                    journal.say(trainer.held_out.describe())
                shown = {"loss": 1, "held out": config.held_out_every, "bits/dim": config.bits_every}
                names = ", ".join(name for name, every in shown.items() if every)
                journal.say(f"{names}: lower is better; img/s: samples trained on in a second")
                if not is_there("matplotlib"):
                    journal.say(f"loss.png is not drawn, as matplotlib is missing; {pip_line('matplotlib')}")
                return _loop(trainer, run, journal, stop, saved)


def _loop(trainer: Trainer, run: Path, journal: Journal, stop: Stop, saved: Path) -> Path:
    config, ranks, saved_at, since_log = trainer.config, trainer.ranks, trainer.step, trainer.since_log
    begun_at, steps, seconds = trainer.step, 0, 0.0  # steps and seconds count since the last record
    # A run that was stopped at this very step may have left its evaluation or pictures undone.
    look(trainer, run, journal, stop)
    if trainer.step < trainer.total and _is_over(trainer, run, journal):
        saved, saved_at = _end_here(trainer, run, journal, stop), trainer.step
    while not ranks.agree(stop) and trainer.step < trainer.total:
        began = time.perf_counter()
        if trainer.execution.compiled and trainer.step == begun_at:
            stop.at_once = f"stopped after step {trainer.step}; go on with --resume"
        loss = trainer.train_step()
        stop.at_once = None
        since_log.add(loss, trainer.gradient_norm)
        step = trainer.step
        last = step == trainer.total
        logging, saving = (step % every == 0 or last for every in (config.log_every, config.checkpoint_every))
        if logging or saving:  # not at every step, for it waits for a GPU
            since_log.read(step)
        steps, seconds = steps + 1, seconds + time.perf_counter() - began
        if logging:
            _log(trainer, journal, steps * config.batch / seconds)
            steps, seconds = 0, 0.0
        journal.advance()
        if last:
            trainer.find_times()
        if saving:
            saved, saved_at = trainer.save(run), step
        trainer.writer.check()
        look(trainer, run, journal, stop)
        if _is_over(trainer, run, journal) and not last:
            saved, saved_at = _end_here(trainer, run, journal, stop), step
    if ranks.agree(stop):
        since_log.read(trainer.step)
        if saved_at != trainer.step:
            trainer.save(run)
        trainer.writer.wait()
        if ranks.first:
            draw_losses(journal, run)
        ranks.agree(stop)  # the others leave once rank 0 has written all
        raise stop.error(f"stopped after step {trainer.step}; go on with --resume")
    return ranks.from_first(lambda: saved)


def _is_over(trainer: Trainer, run: Path, journal: Journal) -> bool:
    """Whether all ranks end here: rank 0 knows the held-out numbers."""
    config = trainer.config
    every = config.held_out_every if config.stop_by == "loss" else config.bits_every
    if not config.patience or not due(trainer, every):
        return False
    return trainer.ranks.from_first(lambda: is_over(trainer, run, journal))


def _end_here(trainer: Trainer, run: Path, journal: Journal, stop: Stop) -> Path:
    """Does what the last step does; where the checkpoint lies."""
    trainer.total = trainer.step
    trainer.find_times()
    saved = trainer.save(run)
    look(trainer, run, journal, stop)
    return saved


def _log(trainer: Trainer, journal: Journal, speed: float) -> None:
    means, epoch = trainer.since_log.take_means(), trainer.order.epochs_done(trainer.step)
    journal.record(step=trainer.step, epoch=epoch, **means, learning_rate=trainer.rate, images_per_second=speed)
    journal.show(means["loss"], speed)


def open_run(run: Path, resume: bool) -> Checkpoint | None:
    """The checkpoint to go on from; None for a new run, or one that was ended before its first checkpoint.

    ValueError for a folder that holds files, and with `resume` for one that holds none.
    """
    begun = any(path.name != LOCK for path in run.iterdir())
    if resume and not begun:
        raise ValueError(f"train: out: must be the folder of a training to resume, got {run}, which holds none")
    if begun and not resume:
        raise ValueError(f"train: out: {run} exists; go on with --resume, or choose another with --out")
    return load_checkpoint(run) if resume and has_checkpoint(run) else None


def _check_same_data(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """ValueError when a run would go on with other data, told apart by their name, mean count and SHA-256. A run that
    an earlier version began has none of the last."""
    about, dataset = described(checkpoint)[1], trainer.dataset
    stored = about["name"], checkpoint.config["model"].get("data_mean"), about.get("sha256", dataset.sha256)
    given = dataset.name, trainer.model.data_mean, dataset.sha256
    if stored != given:
        kept, got = ("{} of mean {} and SHA-256 {}".format(*each) for each in (stored, given))
        raise ValueError(f"train: data: a resumed run keeps its data, {kept}, got {got}")


def _check_length(checkpoint: Checkpoint, trainer: Trainer) -> None:
    if trainer.total < checkpoint.step:
        raise ValueError(f"train: steps: must be at least the {checkpoint.step} that are done, got {trainer.total}")


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Lets torch use `count` CPU threads inside the block; 0 changes nothing."""
    before = torch.get_num_threads()
    try:
        if count:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
