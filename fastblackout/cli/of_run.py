"""What `fastblackout sample` and `fastblackout evaluate` share: a run, the classes asked for, and draws from it."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..call.annotated import listed
from ..data import Dataset, load
from ..ground.terminal import wrap
from ..models.tuned import Tuned
from ..philox import WORD_END, Philox
from ..pretrained import folder_of, names
from ..sampling.plan import Asked, plan_of
from ..sampling.rules import COMPAT
from ..sampling.sampler import sample_in_batches
from ..training.config import MOST_THREADS
from ..training.execution import execution_for
from ..training.progress import Progress
from ..training.ranks import current, speaks
from ..training.record import recall
from ..training.trained_model import Run, default_run, load_run, read_by


def path_of(options: Namespace) -> Path:
    """The run or checkpoint that is meant: a folder, or where there is none of the name a model of the package."""
    path = Path(options.path or default_run())
    if path.exists():
        return path
    if (shipped := folder_of(str(path))) is None:
        known = f"nor does a model of that name come with the package ({', '.join(names())})"
        raise ValueError(f"{options.command}: run: there is no folder {path}, {known}")
    return shipped


def place_of(run: Run, path: Path, name: str) -> Path:
    """Where a command puts what it makes of the run at `path`: into its folder. A checkpoint, which export writes too,
    is left as it is: what is made of it goes to the working folder, under the checkpoint's name and this one."""
    return Path(f"{path.resolve().name}-{name}") if run.checkpoint.path == path else path / name


def check_threads(options: Namespace) -> None:
    if not 0 <= options.threads <= MOST_THREADS:
        rule = f"must be at least 0 and at most {MOST_THREADS}"
        raise ValueError(f"{options.command}: threads: {rule}, got {options.threads}")


def load_for(path: Path, options: Namespace) -> Run:
    if options.num < 1:
        raise ValueError(f"{options.command}: num: must be at least 1, got {options.num}")
    if options.num > WORD_END:
        raise ValueError(f"{options.command}: num: must be at most 2^32, got {options.num}")
    Philox(options.seed)  # raises the error for a seed out of range
    check_threads(options)
    run = load_run(path, options.device, options.weights)
    if run.checkpoint.step == 0 and speaks():
        untrained = f"warning: {run.checkpoint.path} is of step 0: its network is not trained"
        print(wrap(f"fastblackout {options.command}: {untrained}"), file=sys.stderr)
    if options.compat is not None:
        _draw_as(options.compat, run, options)
    for name, default in (("sampler", "bridge"), ("rounding", "stochastic"), ("attrition", 0.0)):
        if getattr(options, name) is None:
            setattr(options, name, default)
    _plan(run, options)
    device = next(run.model.parameters()).device
    calls = options.steps + np.count_nonzero(np.broadcast_to(options.guidance, options.steps))  # twice where guided
    work = options.num * getattr(options, "seeds", 1) * calls
    options.execution = execution_for(options.command, options.compile, options.precision, device, work)
    if threads := options.threads or min(run.config.threads, os.cpu_count() or 1):
        torch.set_num_threads(threads)
    return run


def _plan(run: Run, options: Namespace) -> None:
    """Settles when and how steps are taken: as was asked for, else as the model was tuned, else as is usual."""
    head, guidance = run.model.head_object, options.guidance
    if not run.config.conditional and guidance is not None and np.any(guidance):
        raise _needs_labels(run, options, "guidance", guidance)
    asked = Asked(options.steps, options.grid, guidance, options.last_step, options.sampler)
    usual_last = head.last_step(run.shape, run.model.max_count)
    plan = plan_of(options.command, run.model, run.schedule, asked, run.config.conditional, usual_last)
    options.grid_told = "times as given" if plan.grid is None else f"{plan.grid} grid"
    if plan.tuned:
        options.grid_told = _told_of(plan.tuned, len(plan.guidance) in run.model.tuned)
    options.grid = plan.grid or plan.times
    options.steps, options.last_step = len(plan.times) - 1, plan.last_step
    options.searched = plan.tuned is not None and plan.tuned.distance is not None
    options.guidance = plan.guidance if len({*plan.guidance}) > 1 else plan.guidance[0]
    last = "" if plan.last_step == "draw" else ", the last to the mean"
    weights = " ".join(f"{w:g}" for w in np.atleast_1d(options.guidance))
    guided = f", guidance {weights}" if run.config.conditional else ""
    options.told = f"{options.sampler}, {options.steps} steps ({options.grid_told}){last}{guided}"


def _told_of(tuned: Tuned, there: bool) -> str:
    """there: whether it was found for the very number of steps, and not for one near it."""
    if tuned.distance is None:
        return "even times"
    return f"times {'' if there else 'by those '}tuned on {tuned.day}"


def _needs_labels(run: Run, options: Namespace, name: str, value: Any) -> ValueError:
    rule = "needs a run trained with --conditional (cells: --labels-key)"
    return ValueError(f"{options.command}: {name}: {rule}, got {value} for {run.checkpoint.path}")


def _draw_as(compat: str, run: Run, options: Namespace) -> None:
    """Sets the options of another program's sampler: its rule at every time, or at every n-th, down to the first."""
    for name in ("grid", "sampler", "rounding", "attrition", "last_step"):
        if (value := getattr(options, name)) is not None:
            raise ValueError(f"{options.command}: {name}: must be left out with --compat {compat}, got {value}")
    if run.model.head != COMPAT[compat]:
        rule = f"{compat} needs a run of head {COMPAT[compat]}"
        raise ValueError(f"{options.command}: compat: {rule}, got {run.model.head}")
    options.steps = run.schedule.steps if options.steps is None else options.steps
    if options.steps < 1 or run.schedule.steps % options.steps:
        rule = f"must divide the {run.schedule.steps} times of the schedule with --compat {compat}"
        raise ValueError(f"{options.command}: steps: {rule}, got {options.steps}")
    options.sampler, options.grid = compat, "index"


def data_of(run: Run, options: Namespace) -> Dataset:
    """The data of a run: where --data says, else where this machine recorded that they lay when it trained it. The
    run's own word for that is not taken."""
    name, folder = run.dataset["name"], run.checkpoint.path.parent.parent
    root = options.data or recall(folder, run.checkpoint.config.get("run"), name)
    if root is None and name != "digits":
        raise ValueError(
            f"{options.command}: data: must be named with --data for a run that this machine has no record of training "
            f"where it lies (a moved or copied run, or one from elsewhere), got none for {run.checkpoint.path}"
        )
    how = read_by(run.dataset, run.model.max_count)
    if (layer := getattr(options, "layer", None)) is not None:  # which only `evaluate` has as an option
        how["layer"] = layer
    data = load(name, root, **how)
    if data.shape != run.shape:
        rule = f"must have samples of shape {run.shape}, as the run has"
        raise ValueError(f"{options.command}: data: {rule}, got {data.shape}")
    return data


def share_of(options: Namespace, first: int = 0) -> Namespace:
    """The options with `num` and `first` of this rank's share of samples first .. first + options.num - 1.

    It is made of whole batches where there are enough: the network is then called with the batches of one process.
    """
    share = current().place.share(options.num, max(options.batch, 1))
    return Namespace(**{**vars(options), "num": share.stop - share.start, "first": first + share.start})


def progress_of(share: Namespace, options: Namespace, sets: int = 1) -> Progress:
    """The bar of the first rank's share of so many sets of samples."""
    number = sets * share.num
    of_all = "" if share.num == options.num else f" of {sets * options.num}"
    shown = current().first and not options.quiet
    return Progress(number * options.steps, "steps", f"{number}{of_all} samples", shown=shown)


def labels_for(run: Run, options: Namespace, first: int = 0) -> torch.Tensor | None:
    """The classes of samples first .. first + options.num - 1: the one asked for, or all in turn; None for a run
    without classes."""
    wanted = getattr(options, "label", None)
    if not run.config.conditional:
        if wanted is not None:
            raise _needs_labels(run, options, "label", wanted)
        return None
    turn = torch.arange(first, first + options.num) % run.dataset["classes"]
    labels = turn if wanted is None else torch.full_like(turn, _class_of(run, options, wanted))
    return labels.to(next(run.model.parameters()).device)


def _class_of(run: Run, options: Namespace, wanted: str) -> int:
    """The label of a class, by its name where classes have names, else by its number."""
    names = run.dataset.get("class_names") or []
    if wanted in names:
        return names.index(wanted)
    classes = run.dataset["classes"]
    if wanted.isdecimal() and int(wanted) < classes:
        return int(wanted)
    rule = f"must be one of {listed(names)}, or" if names else "must be"
    raise ValueError(f"{options.command}: label: {rule} in 0..{classes - 1}, got {wanted}")


def steps_of(options: Namespace) -> dict[str, Any]:
    names = ("steps", "grid", "guidance", "sampler", "rounding", "attrition", "last_step")
    return {name: getattr(options, name) for name in names}


def parts_of(
    run: Run,
    options: Namespace,
    labels: torch.Tensor | None,
    rng: Philox,
    see: Callable[[int, int, torch.Tensor], None],
) -> Iterator[NDArray[Any]]:
    """Samples rng.first_sample .. rng.first_sample + options.num - 1 in parts of options.batch; `see` is the callback
    of `sample`."""
    shape, how = (options.num, *run.shape), {"callback": see, **steps_of(options)}
    for part in sample_in_batches(run.model, run.schedule, shape, options.batch, rng, labels, **how):
        yield part.cpu().numpy()
