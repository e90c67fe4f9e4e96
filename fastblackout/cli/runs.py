"""The run that a command is given: the way it is drawn from, its data, the classes asked for, draws and their film."""

from __future__ import annotations

import os
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..call.foreign import listed
from ..data import Dataset, load
from ..evaluation.plots import Frame
from ..ground.terminal import wrap
from ..philox import WORD_END, Philox
from ..pretrained import folder_of, names
from ..sampling.names import COMPAT
from ..sampling.plan import Asked, Tuned, plan_of
from ..sampling.sampler import sample_in_batches
from ..training.config import MOST_THREADS
from ..training.execution import execution_for
from ..training.progress import Progress
from ..training.ranks import current, speaks
from ..training.run_folder import recall
from ..training.trained_model import Run, default_run, load_run, read_by

if TYPE_CHECKING:
    from ..typing import Grid

STRIP_ROWS, STRIP_FRAMES = 4, 12
GIF_IMAGES, GIF_FRAMES = 20, 48


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


class Film:
    """The states that a film strip, and if asked for a GIF, are made of; filled while the samples are drawn.

    alive: p at each state of the sampler, rising. num: how many samples there will be. gif: whether one is asked for.
    states: what was seen, by the number of steps; see `join`.
    """

    def __init__(self, alive: NDArray[np.float64], max_count: int, num: int, gif: bool) -> None:
        self._alive = alive
        self._strip = frames_of(alive, max_count, STRIP_FRAMES)
        self._gif = frames_of(alive, max_count, GIF_FRAMES) if gif else []
        self._images = min(GIF_IMAGES if gif else STRIP_ROWS, num)
        self.states: dict[int, list[NDArray[Any]]] = {n: [] for n in {*self._strip, *self._gif}}

    def see(self, n: int, x: torch.Tensor) -> None:
        """The counts x of a batch after n steps; called for every n of a batch, and for one batch after another."""
        if n in self.states and (missing := self._images - sum(map(len, self.states[n]))) > 0:
            self.states[n].append(x[:missing].cpu().numpy().copy())

    def join(self, parts: Iterable[dict[int, list[NDArray[Any]]]]) -> None:
        """Takes the states of films in their order, each of samples that follow the samples of the film before."""
        every = list(parts)
        self.states = {n: [x for states in every for x in states[n]] for n in self.states}

    @property
    def strip(self) -> list[Frame]:
        """The frames of a film strip."""
        return [self._frame(n, STRIP_ROWS) for n in self._strip]

    @property
    def gif(self) -> list[Frame]:
        """As `strip`, of more frames and samples."""
        return [self._frame(n, GIF_IMAGES) for n in self._gif]

    def _frame(self, n: int, images: int) -> Frame:
        return Frame(n, float(self._alive[n]), np.concatenate(self.states[n])[:images])


def film_of(run: Run, steps: int, grid: Grid | list[int], num: int, gif: bool) -> Film:
    """The film of so many samples of a run."""
    times = run.schedule.grid(steps, grid, run.model.max_count)
    return Film(run.schedule.p[times], run.model.max_count, num, gif)


def frames_of(alive: NDArray[np.float64], max_count: int, most: int) -> list[int]:
    """At which states a film has a frame, the first and the last included; at all where these are no more than `most`.

    A film shall brighten evenly. Frames that are even in the steps stay dark for long, or are alike at the end. Of a
    pixel with N particles N p / (1 - p) is the signal-to-noise ratio (the squared mean of what is alive by its
    variance): from 0 to infinity. Frames are even in ratio / (1 + ratio), from 0 to 1, with N = max_count.
    """
    if len(alive) <= most:
        return list(range(len(alive)))
    shown = max_count * alive / (1 - alive + max_count * alive)
    return sorted({int(np.abs(shown - level).argmin()) for level in np.linspace(0, 1, most)})
