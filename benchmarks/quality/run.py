"""Judges samples of a model by networks that took no part in choosing how they are drawn.

python benchmarks/quality MODEL [--data ROOT] [--setting "steps=5 grid=early guidance=.25 last_step=mean"] ...
    [--num 1000] [--seeds 101 102 103] [--out FILE.json] [--keep] [--work FOLDER]

MODEL: the name of a model that comes with the package, or the folder of a run. For each --setting (steps; grid: a name,
survival probabilities from 0 to 1, or times down to 0; guidance: a number, or one a step; last_step; what is not named
is left to fb.sample) --num samples are drawn with each seed, of all classes in turn where the model knows classes. Sets
of mnist and fashion-mnist are judged by two classifiers that are trained here at first use (judges.py; --work keeps
them, and the features of training images) and by the package's own ("package"), in whose features settings may have
been chosen; other images of three channels by EfficientNet-Lite0, where it is installed, and other data by raw pixels.

All distances are to the training images; `fastblackout tune` chose by the held-out ones, in the features of the
package's own network and with another key. The real images beside the samples are subsets of the held-out ones: with as
many of each class as the samples have ("equal"), and at random ("random"). A ratio is the distance of samples over the
mean one of real images, "equal" ones for a model that knows classes, else "random" ones.

--out is written after each setting, and a setting that it holds is not drawn again, unless it leaves something to the
model's config.json, with what was tuned, and that has changed. Its first samples lie beside it in
FILE-N.png, N its place in the report, and with --keep all of them in FILE-N-SEED.npz. All runs on one thread.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from fastblackout import Philox
from fastblackout.atomic_files import atomic_write, write_npz
from fastblackout.cli.runs import path_of
from fastblackout.data import load
from fastblackout.evaluation.plots import sample_grid
from fastblackout.sampling import sample_in_batches
from fastblackout.training.checkpoint import EMA
from fastblackout.training.trained_model import Run, load_run, read_by
from quality.judges import judges_for
from quality.measures import Measures, told
from quality.settings import Setting, setting_of
from quality.table import table

WORK = Path(__file__).resolve().parents[2] / "build" / "quality"
SEEDS = (101, 102, 103)
BATCH = 100  # images that go through the network at once
SHOWN = 40

Report = dict[str, Any]


def draw(run: Run, setting: Setting, num: int, seed: int) -> tuple[NDArray[Any], NDArray[Any] | None, list[int]]:
    """Samples (num, C, H, W), their classes (num,), if any, and the times they were drawn at."""
    labels = torch.arange(num) % run.dataset["classes"] if run.config.conditional else None
    times: dict[int, None] = {}  # in the order of the steps

    def see(n: int, k: int, x: torch.Tensor) -> None:
        times[k] = None

    options = {"labels": labels, "callback": see, **setting.options}
    parts = sample_in_batches(run.model, run.schedule, (num, *run.shape), BATCH, Philox(seed), **options)
    return torch.cat(list(parts)).numpy(), None if labels is None else labels.numpy(), list(times)


def entry_of(run: Run, setting: Setting, measures: Measures, report: Report, files: Path | None, keep: bool) -> Report:
    """What the report says of a setting. files: the name of its picture and kept samples, without what follows N."""
    real, found = report["real"][report["beside"]]["numbers"], []
    for seed in report["seeds"]:
        began = time.process_time()  # of the one thread, whatever else the machine does
        images, labels, times = draw(run, setting, measures.num, seed)
        numbers = {"seconds": time.process_time() - began, **measures.of(images, labels)}
        numbers |= {
            f"{name} ratio": numbers[f"{name} frechet"] / real[f"{name} frechet"]["mean"] for name in measures.judges
        }
        found.append(numbers)
        if files is not None and seed == report["seeds"][0] and not measures.data.is_table:
            classes = 1 if labels is None else run.dataset["classes"]
            sample_grid(images[:SHOWN], run.model.max_count, f"{files}.png", classes)
        if files is not None and keep:
            write_npz(f"{files}-{seed}.npz", images=images, **({} if labels is None else {"labels": labels}))
    alive = [float(f"{run.schedule.p[k]:.4g}") for k in times]
    return {"setting": setting.text, "times": times, "alive": alive, "numbers": told(found)}


def begun(out: Path | None, facts: Report) -> Report:
    """The report that a file holds of the same facts, where there is one, else an empty one."""
    if out is None or not out.exists():
        return {**facts, "real": {}, "settings": []}
    try:
        report = json.loads(out.read_text())
        other = [name for name, value in facts.items() if report[name] != value]
    except (ValueError, TypeError, KeyError):
        raise ValueError(f"quality: out: must be a new file, or one that this command wrote, got {out}") from None
    if other:
        raise ValueError(f"quality: out: must be of the same {', '.join(other)}, got {out} of another")
    return report


def quality(options: argparse.Namespace) -> Report:
    """Makes or completes the report."""
    settings = [setting_of(text) for text in options.setting]
    if options.num < 2:
        raise ValueError(f"quality: num: must be at least 2, got {options.num}")
    if options.out is not None and not options.out.parent.is_dir():
        raise ValueError(f"quality: out: must lie in a folder that is there, got {options.out}")
    seeds = [Philox(seed).seed for seed in options.seeds]
    run = load_run(path_of(options), "cpu")
    for setting in settings:  # what fb.sample refuses is refused here, before hours of draws
        draw(run, setting, 1, 0)
    data = load(run.dataset["name"], options.data, **read_by(run.dataset, run.model.max_count))
    judges = judges_for(data, options.work)
    facts = {"model": options.path, "sha256": run.checkpoint.digests[EMA], "data": data.sha256, "num": options.num}
    facts |= {"seeds": seeds, "judges": {name: judge.hash for name, judge in judges.items()}}
    facts["beside"] = "equal" if run.config.conditional else "random"
    report = begun(options.out, facts)
    config = hashlib.sha256((run.checkpoint.path / "config.json").read_bytes()).hexdigest()
    wanted = {(setting.text, None if setting.is_whole else config): setting for setting in settings}
    done = {(entry["setting"], entry["config"]) for entry in report["settings"]}
    todo = {key: setting for key, setting in wanted.items() if key not in done}
    if report["real"] and not todo:
        return report
    measures = Measures(judges, data, options.num, options.work)
    if not report["real"]:
        report["real"] = {"random": measures.of_real(equal=False)}
        if data.classes is not None:
            report["real"]["equal"] = measures.of_real(equal=True)
        write(report, options.out)
    for (_, config), setting in todo.items():
        files = options.out and options.out.with_name(f"{options.out.stem}-{len(report['settings']) + 1}")
        entry = entry_of(run, setting, measures, report, files, options.keep)
        report["settings"].append({**entry, "config": config})
        write(report, options.out)
    return report


def write(report: Report, out: Path | None) -> None:
    if out is not None:
        atomic_write(out, (json.dumps(report, indent=1) + "\n").encode())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/quality", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("path", metavar="MODEL", help="the name of a model, or the folder of a run")
    parser.add_argument("--data", metavar="ROOT", help="the folder that holds the data, as for `train`")
    parser.add_argument("--setting", action="append", default=[], metavar="TEXT", help="how to draw, several times")
    parser.add_argument("--num", type=int, default=1000, help="samples of each seed (1000)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="(101 102 103)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the JSON file to write, or to go on with")
    parser.add_argument("--keep", action="store_true", help="keep the samples beside --out")
    parser.add_argument("--work", type=Path, default=WORK, metavar="FOLDER", help=f"of the judges ({WORK})")
    options = parser.parse_args(arguments, argparse.Namespace(command="quality"))
    torch.set_num_threads(1)
    try:
        print(table(quality(options)))
    except (ValueError, TypeError, OSError) as error:
        print(f"quality: {str(error).removeprefix('quality: ')}", file=sys.stderr)
        return 2
    return 0
