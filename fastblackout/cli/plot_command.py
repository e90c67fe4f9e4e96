"""What `fastblackout plot` does."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..atomic_files import own
from ..data import Dataset, load
from ..evaluation.charts import check_matplotlib, film_chart, laws_chart, loss_curve, pixel_laws, schedule_chart
from ..evaluation.plots import Frame
from ..ground.terminal import say, wrap
from ..philox import Philox
from ..training.journal import read_log
from ..training.progress import Progress
from ..training.run_folder import recall
from ..training.trained_model import Run, read_by
from .outputs import check_free, check_json, give_json
from .runs import film_of, labels_for, load_for, parts_of, path_of, place_of

PICTURES = ("loss.png", "film.png", "schedule.png", "laws.png")


class _Image(NamedTuple):
    """What is said of the image whose pixels' laws are drawn: its name, and why no other was taken."""

    what: str
    why: str = ""


def plot_command(options: Namespace) -> int:
    """Draws PICTURES of a run into a folder, RUN/plots by default; prints them, and which were left out and why."""
    check_matplotlib("plot")
    path = path_of(options)
    run = load_for(path, options)
    out = Path(options.out) if options.out else place_of(run, path, "plots")
    records = read_log(run.checkpoint.path.parent.parent / "log.jsonl")
    left_out = _left_out(run, records)
    files = {name: out / name for name in PICTURES if name not in left_out}
    if out.exists() and not out.is_dir():
        raise ValueError(f"plot: out: must be a folder, got {out}")
    check_free("plot: out", list(files.values()) if out.is_dir() else [out], options.force)
    check_json(options, options.force)
    draw, image = _drawing(run, options, records, left_out)
    in_run = not options.out and out.parent == path
    out.mkdir(exist_ok=True)
    for name, file in files.items():
        draw[name](own(file) if in_run else file)
    say(f"model: {run.checkpoint.path}", *files.values())
    if image is not None:
        print(wrap(f"laws.png: of {image.what}{image.why}"))
    for name, why in left_out.items():
        print(wrap(f"left out: {name}: {why}"))
    laws_of = None if image is None else image.what
    drawn = {"checkpoint": run.checkpoint.path, "files": list(files.values())}
    give_json(options, {**drawn, "left_out": left_out, "laws_of": laws_of})
    return 0


def _left_out(run: Run, records: Sequence[dict[str, Any]]) -> dict[str, str]:
    """The pictures that cannot be drawn, and why."""
    head, reasons = run.model.head_object, {}
    if not any("loss" in record for record in records):
        reasons["loss.png"] = "the run has no log.jsonl with a loss"
    if run.shape[1:] == (1, 1):
        reasons["film.png"] = "the run's data are a table, which has no images"
    if not head.gives_law:
        reasons["laws.png"] = f"head {head.name} gives {head.gives} and no law of a pixel"
    return reasons


def _drawing(
    run: Run, options: Namespace, records: Sequence[dict[str, Any]], left_out: Container[str]
) -> tuple[dict[str, Callable[[Path], Any]], _Image | None]:
    """What draws each picture into a file, with all that takes long done; and the image of the laws."""
    most = run.model.max_count
    draw: dict[str, Callable[[Path], Any]] = {
        "loss.png": lambda file: loss_curve(records, file),
        "schedule.png": lambda file: schedule_chart(run.schedule, most, options.steps, options.grid, file),
        "film.png": lambda file: film_chart(frames, most, file),
        "laws.png": lambda file: laws_chart(laws, image.what, file),
    }
    held_out = "" if "laws.png" in left_out else _held_out(run, options)
    labels, frames = labels_for(run, options), []
    if "film.png" not in left_out or isinstance(held_out, str):
        frames = _film(run, options, labels)
    if "laws.png" in left_out:
        return draw, None
    kind, device = "row" if run.shape[1:] == (1, 1) else "image", next(run.model.parameters()).device
    if isinstance(held_out, str):  # why they are not at hand
        x_0, image = frames[-1].counts[0], _Image(f"the first sampled {kind}", f" ({held_out})")
    else:
        x_0, image = held_out.held_out[0], _Image(f"the first held-out {kind}")
        given = held_out.held_out_labels if run.config.conditional else None
        labels = None if given is None else torch.from_numpy(given).to(device)
    label = None if labels is None else labels[:1]
    laws = pixel_laws(run.model, run.schedule, torch.from_numpy(x_0).to(device), label, Philox(options.seed))
    return draw, image


def _film(run: Run, options: Namespace, labels: torch.Tensor | None) -> list[Frame]:
    """The states of the first samples that a film shows."""
    film, number = film_of(run, options.steps, options.grid, options.num, gif=False), options.num
    what = f"film of {number} samples"
    with Progress(number * options.steps, "steps", what, shown=not options.quiet, keep=False) as progress:

        def see(n: int, k: int, x: torch.Tensor) -> None:
            progress.update(len(x) if n else 0)
            film.see(n, x)

        list(parts_of(run, options, labels, Philox(options.seed), see))
    return film.strip


def _held_out(run: Run, options: Namespace) -> Dataset | str:
    """The run's data, or why they are not at hand. ValueError where the user named them and they are not the run's."""
    source, root = run.dataset, options.data
    if root is None:
        root = recall(run.checkpoint.path.parent.parent, run.checkpoint.config.get("run"), source["name"])
        if root is None and source["name"] != "digits":
            return "this machine has no record of where the data lie, see --data"
    try:
        data = load(source["name"], root, **read_by(source, run.model.max_count))
        if data.shape != run.shape:
            raise ValueError(f"plot: data: must have the run's shape {run.shape}, got {data.shape}")
        return data
    except (OSError, ValueError) as error:
        if options.data is not None:
            raise
        return f"the data are not at hand: {error}"
