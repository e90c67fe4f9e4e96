"""Training runs: a folder with checkpoints, a log and pictures, that survives being killed at any moment.

`train` opens the folder, tries whether compiling is worth it, and loops over steps; between them it saves, logs, makes
what is due of held-out numbers and pictures, and stops early.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

import torch

from ..atomic_files import own, remove_unfinished
from ..call.foreign import is_annotated
from ..data import Dataset
from ..data.cells import dataset_of, read_cells
from ..evaluation.charts import loss_curve
from ..evaluation.plots import sample_grid
from ..ground.extras import is_there, pip_line
from ..heads import head_named
from .checkpoint import EMA, TRIED, Checkpoint, as_first_has_it, has_checkpoint, load_checkpoint, save_best, tidy
from .config import TrainConfig, preset
from .execution import why_not_compiled
from .journal import Journal, NoJournal, check_installed
from .progress import Progress
from .rank_group import together
from .ranks import current
from .run_folder import LOCK, holding, identity_of, remember
from .stopping import Stop, stop_on_signals
from .trained_model import described, pick_device
from .trainer import Trainer

if TYPE_CHECKING:
    from anndata import AnnData

# Of early stopping: how the log and the reader have the number that it goes by.
_RECORDED = {"loss": "held_out_loss", "bits": "bits_per_dim"}
_CALLED = {"loss": "held-out loss", "bits": "bits per dimension"}
# Of the trial of compiling.
FEWEST = 2_000  # samples through the network that are worth a look at how long a step takes; the largest takes 1 s each
LONG = 20 * 60.0  # seconds of a training that is worth a trial: compiling takes a minute or two, and gains a fifth
ROUNDS, STEPS = 3, 3  # rounds of the trial, and the steps of each way in a round
GAIN = 0.97  # the most that a compiled step may take of the time of a step as written: less gain is noise


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
        trainings (run_folder.py). All else ("channels_at") goes into the checkpoint, as do crop, resize and binarize.
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
    """`train` for a caller that keeps the run's folder for itself: see run_folder.holding."""
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
            if trainer.total < (done := checkpoint.step):
                raise ValueError(f"train: steps: must be at least the {done} that are done, got {trainer.total}")
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
            means, epoch, speed = (
                since_log.take_means(),
                trainer.order.epochs_done(step),
                steps * config.batch / seconds,
            )
            journal.record(step=step, epoch=epoch, **means, learning_rate=trainer.rate, images_per_second=speed)
            journal.show(means["loss"], speed)
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


def _end_here(trainer: Trainer, run: Path, journal: Journal, stop: Stop) -> Path:
    """Does what the last step does; where the checkpoint lies."""
    trainer.total = trainer.step
    trainer.find_times()
    saved = trainer.save(run)
    look(trainer, run, journal, stop)
    return saved


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
        kept, got = ("{} of mean {} and SHA-256 {}".format(*data) for data in (stored, given))
        raise ValueError(f"train: data: a resumed run keeps its data, {kept}, got {got}")


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


class _CutShort(Exception):
    """Raised in the held-out evaluation or the sampling of pictures when a signal asks the training to stop."""


def look(trainer: Trainer, run: Path, journal: Journal, stop: Stop) -> None:
    """Make the held-out loss and bits, the loss curve and the samples that are due at this step and not there yet.

    This may take long, so a stop ends it at once, and the resumed run makes what is missing. Rank 0 does it, and the
    others wait for their next step.
    """
    config, order, step = trainer.config, trainer.order, trainer.step
    last = step == trainer.total
    if stop or step == 0 or not trainer.ranks.first:
        return

    def tick_of(part: Progress) -> Callable[[int], None]:
        def tick(pieces: int) -> None:
            part.update(pieces)
            if stop:
                raise _CutShort

        return tick

    with suppress(_CutShort):
        if due(trainer, config.held_out_every) and not journal.knows("held_out_loss", step):
            held_out = trainer.held_out
            with journal.part("held-out loss", len(held_out.x_0), "images") as part:
                loss = trainer.held_out_loss(tick_of(part))
            journal.judged(
                "held-out loss",
                f"{loss:.4f} (lower is better; without a network {held_out.constant_loss:.4f})",
                step=step,
                epoch=order.epochs_done(step),
                held_out_loss=loss,
                constant_loss=held_out.constant_loss,
                held_out_images=held_out.count,
                held_out_draws=len(held_out.x_0),
            )
        if due(trainer, config.bits_every) and not journal.knows("bits_per_dim", step):
            with journal.part("bits per dimension", trainer.bits.total, "draws") as part:
                bound = trainer.held_out_bits(tick_of(part))
            journal.judged(
                "bits per dimension",
                f"{bound.bits:.3f} +- {bound.monte_carlo_error:.3f} (lower is better)",
                step=step,
                epoch=order.epochs_done(step),
                bits_per_dim=bound.bits,
                bits_error=bound.monte_carlo_error,
                bits_images=len(trainer.bits.x_0),
            )
        if step % config.checkpoint_every == 0 or last:
            draw_losses(journal, run)
        picture = run / f"samples-{step:08d}.png"
        pictured = config.sample_every and not trainer.dataset.is_table
        if pictured and (step % config.sample_every == 0 or last):
            there = picture.exists()
            if not there:
                with journal.part(f"64 samples for {picture.name}", trainer.sample_steps, "steps") as part:
                    classes = trainer.batches.no_class if config.conditional else 1
                    sample_grid(trainer.samples(tick_of(part)), trainer.dataset.max_count, own(picture), classes)
            if not there or step > journal.begun_at:
                journal.picture(step, picture)


def due(trainer: Trainer, every: int) -> bool:
    """Whether a held-out number is taken at this step: at the last, and where an epoch ends and a multiple of `every`
    steps was passed since the last epoch's end."""
    step, order = trainer.step, trainer.order
    if every == 0 or step == 0:
        return False
    if step == trainer.total:
        return True
    before = order.epochs_done(step - 1)
    last_end = -(-before * order.count // order.batch)
    return order.epochs_done(step) > before and step // every > last_end // every


def draw_losses(journal: Journal, run: Path) -> None:
    """Draw the run's loss.png, where matplotlib is installed."""
    if is_there("matplotlib"):
        loss_curve(journal.records, own(run / "loss.png"))


def since_best(numbers: Sequence[float]) -> int:
    """How many of the numbers come after the least of them, the first of equal ones; -1 of none."""
    return len(numbers) - 1 - numbers.index(min(numbers)) if numbers else -1


def _is_over(trainer: Trainer, run: Path, journal: Journal) -> bool:
    """Whether the last `patience` held-out numbers were no better than one before them. Rank 0 knows them, and all end.

    All follows from the log, so a resumed training stops where one that was never interrupted does. A checkpoint whose
    number is the best so far is kept as RUN/best, as `fastblackout export` writes one.
    """
    by, patience = trainer.config.stop_by, trainer.config.patience
    every = trainer.config.held_out_every if by == "loss" else trainer.config.bits_every
    if not patience or not due(trainer, every):
        return False

    def judge() -> bool:
        records = [record for record in journal.records if _RECORDED[by] in record]
        later = since_best([record[_RECORDED[by]] for record in records])
        if later == 0 and records[-1]["step"] == trainer.step:
            about = {name: value for name, value in trainer.description.items() if name not in ("run", TRIED)}
            save_best(run, trainer.step, about, {EMA: trainer.averaged.weights()})
        if later >= patience and trainer.step < trainer.total:
            best = records[-1 - later]
            journal.say(
                f"step {trainer.step}: stopped, as the {_CALLED[by]} has not fallen {patience} times in a row; the "
                f"best, {best[_RECORDED[by]]:.4f} at step {best['step']}, is in {run / 'best'}"
            )
        return later >= patience

    return trainer.ranks.from_first(judge)


class Trial(NamedTuple):
    """What a trial has found. compiled: whether the training is to be compiled. seen: by what, in a line."""

    compiled: bool
    seen: str


def trial_of(config: TrainConfig, dataset: Dataset, device: torch.device, shown: bool) -> Trial | None:
    """Takes steps of two trainings that are thrown away, as written and compiled, in turns, and finds the faster way by
    the medians of their times.

    None where nothing is tried, and `compile` alone decides: it is not "auto", the device is no CPU, or torch.compile
    lacks something on it; several processes share the training; or it has less than FEWEST samples, or takes less than
    LONG as written.
    """
    draws = config.draws if head_named(config.head).takes_noise else 1
    samples = config.total_steps(len(dataset.train)) * config.batch * draws
    if config.compile != "auto" or device.type != "cpu" or current().count > 1 or samples < FEWEST:
        return None
    if why_not_compiled(device) is not None:
        return None
    written = Trainer(replace(config, compile="off"), dataset, {}, device)
    _seconds(written)  # a first step has more to do, once
    if min(_seconds(written) for _ in range(STEPS)) * written.total < LONG:
        return None
    if shown:
        told = "compiling the network, a minute or more, to see whether its steps are faster"
        print(told, file=sys.stderr, flush=True)
    compiled = Trainer(replace(config, compile="on"), dataset, {}, device)
    try:
        began = time.perf_counter()
        _seconds(compiled)
        making = time.perf_counter() - began
    except Exception as error:  # torch has many classes for what its compilers may meet
        return Trial(False, f"compiling failed ({' '.join(str(error).split())[:200]}): as written")
    seconds: dict[Trainer, list[float]] = {written: [], compiled: []}
    for _ in range(ROUNDS):
        for trainer, times in seconds.items():
            times += [_seconds(trainer) for _ in range(STEPS)]
    was, then = (median(times) for times in seconds.values())
    faster = then < GAIN * was
    seen = f"a step takes {was:.3g} s as written, {then:.3g} s compiled (in {making:.0f} s)"
    return Trial(faster, f"{seen}: {'compiled' if faster else 'as written'}")


def _seconds(trainer: Trainer) -> float:
    """What its next step takes of the time of this thread, which waits for no other: other programs on the machine make
    no short training long, and no way slower than the other."""
    began = time.thread_time()
    trainer.train_step()
    return time.thread_time() - began
