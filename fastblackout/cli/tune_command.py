"""What `fastblackout tune` does."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ..atomic_files import own
from ..ground.terminal import say, wrap
from ..sampling.plan import Tuned, to_json, tuned_from, usual_steps
from ..schedule.schedule import Schedule
from ..training.checkpoint import describe_anew, load_checkpoint
from ..training.progress import Progress
from ..training.trained_model import load_run
from ..tuning.tune import Judged, Told, tune
from .outputs import check_json, check_writable, give_json
from .runs import check_threads, data_of, path_of

STATE = "tuning.json"


def tune_command(options: Namespace) -> int:
    """Searches times and guidance for each number of steps, writes them into the run's checkpoint, and says what they
    do for images and keys that the search did not see."""
    path = path_of(options)
    if options.path and not Path(options.path).exists():  # it comes with the package
        raise ValueError(f"tune: run: must be a folder, got {options.path}; fastblackout export {options.path} FOLDER")
    if not 0 <= options.minutes < float("inf"):
        raise ValueError(f"tune: minutes: must be at least 0, got {options.minutes}")
    check_threads(options)
    check_json(options, options.force)
    run = load_run(path, options.device)
    check_writable("tune: run", run.checkpoint.path)
    data = data_of(run, options)
    torch.set_num_threads(options.threads or min(run.config.threads, os.cpu_count() or 1) or torch.get_num_threads())
    state = own(run.checkpoint.path / STATE)
    telling = _Telling(options, run.schedule)
    with telling.progress:
        judged = tune(
            run.model, run.schedule, data, options.steps, options.minutes, num=options.num,
            rng=options.seed, state=state, tell=telling,
        )  # fmt: skip
    checkpoint = load_checkpoint(run.checkpoint.path)  # another tuning may have ended meanwhile
    model = checkpoint.config["model"]
    found = {number: one.tuned for number, one in judged.items()}
    tuned = to_json(tuned_from({**model.get("tuned", {}), **to_json(found)}, run.schedule))
    describe_anew(checkpoint, {**checkpoint.config, "model": {**model, "tuned": tuned}})
    say(f"model: {run.checkpoint.path}")
    print(_table(judged, run.schedule))
    usual = usual_steps(run.model.tuned)
    print(wrap(f"next: fastblackout sample {path}   ({usual} steps, or --steps N)"))
    steps = {str(number): {**one._asdict(), "tuned": one.tuned._asdict()} for number, one in judged.items()}
    give_json(options, {"checkpoint": run.checkpoint.path, "state": state, "usual_steps": usual, "steps": steps})
    return 0


class _Telling:
    """Shows the seconds of the search that are over, and tells of every better trial."""

    def __init__(self, options: Namespace, schedule: Schedule) -> None:
        self.schedule, self.seconds = schedule, dict.fromkeys(options.steps, 0)
        self.least = dict.fromkeys(options.steps, float("inf"))
        total = max(round(60 * options.minutes), 1)
        self.progress = Progress(total, "s", "search", shown=not options.quiet, keep=False)

    def __call__(self, told: Told) -> None:
        if told.distance < self.least[told.steps]:
            self.least[told.steps] = told.distance
            distance = f"distance to held-out data {told.distance:.4g} (lower is better; at first {told.start:.4g})"
            self.progress.say(f"{told.steps} steps, trial {told.trials}: {distance}, {_how(told.best, self.schedule)}")
        spent = round(told.seconds)
        self.progress.update(max(spent - self.seconds[told.steps], 0))
        self.seconds[told.steps] = spent


def _shares(tuned: Tuned, schedule: Schedule) -> str:
    return " ".join(f"{p:.2g}" for p in schedule.p[list(tuned.times[1:-1])])


def _guidance(guidance: Sequence[float]) -> str:
    return f", guidance {' '.join(f'{w:g}' for w in guidance)}" if any(guidance) else ""


def _how(tuned: Tuned, schedule: Schedule) -> str:
    shares = f"shares alive {_shares(tuned, schedule)}"
    return f"{shares}{_guidance(tuned.guidance)}, last step {tuned.last_step}"


def _table(judged: dict[int, Judged], schedule: Schedule) -> str:
    what = "Distance of new samples to the training data, as a multiple of the distance of as many real ones: lower is "
    what += "better, 1 is as good as real. The mean of several draws, which stand in brackets."
    lines = ["", wrap(what), "", f"  {'steps':>5}  {'grid early':>16}  {'tuned':>16}"]
    for number, one in judged.items():
        cells = [f"{np.mean(each):.2f} ({', '.join(f'{value:.2f}' for value in each)})" for each in one[:2]]
        lines.append(f"  {number:5d}  {cells[0]:>16}  {cells[1]:>16}")
    lines += [""]
    for number, one in judged.items():
        lines.append(wrap(f"{number} steps: {_how(one.tuned, schedule)}", "  ", "    "))
    return "\n".join(lines)
