"""What `fastblackout sample` and `fastblackout evaluate` do."""

from __future__ import annotations

import json
import math
import os
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..atomic_files import atomic_write, write_npz
from ..data import Dataset, load
from ..evaluation.plots import film_strip, sample_grid
from ..evaluation.samples import compare, table
from ..evaluation.tables import compare_tables, rows_table
from ..ground.terminal import wrap
from ..likelihood.blackout import bits_per_dim
from ..models import BlackoutModel
from ..philox import Philox
from ..sampling.sampler import grid_for, sample, sample_in_batches
from ..training.progress import Progress
from ..training.record import recall
from ..training.trained_model import Run, default_run, load_run, read_by

NOISES = 8  # draws of an implicit head, whose mean its bound is of
GRID_IMAGES, FILM_ROWS, FILM_FRAMES = 64, 4, 12


def sample_command(options: Namespace) -> int:
    """Draws samples; writes FILE.npz (counts, labels if any), and of images FILE.png (a grid) and FILE-film.png (black
    to image)."""
    path = Path(options.path or default_run())
    run = _load(path, options)
    out = Path(options.out) if options.out else path / "samples.npz"
    if out.suffix != ".npz":
        raise ValueError(f"sample: out: must end in .npz, got {out}")
    grid_file, film_file = out.with_suffix(".png"), out.with_name(f"{out.stem}-film.png")
    is_table = run.shape[1:] == (1, 1)
    files = [out] if is_table else [out, grid_file, film_file]
    _check_free("sample: out", files, options.force)
    labels = _labels(run, options)
    began = time.perf_counter()
    images = _draw(run, options, labels, [options.seed], guidance=options.guidance)[0]
    seconds = time.perf_counter() - began
    max_count = run.model.max_count
    counts = {"counts": images[:, :, 0, 0]} if is_table else {"images": images}
    write_npz(out, **counts, **({} if labels is None else {"labels": labels.cpu().numpy()}))
    if not is_table:
        sample_grid(images[:GRID_IMAGES], max_count, grid_file)
        film_strip(_film(run, options, labels), max_count, film_file)
    print(run.checkpoint.path, f"{len(images)} samples in {seconds:.1f} s", *files, sep="\n")
    return 0


def evaluate_command(options: Namespace) -> int:
    """Draws sets of samples and prints `evaluation.table` of them and the run's data, then bits of held-out images."""
    if options.bits < 0:
        raise ValueError(f"evaluate: bits: must be at least 0, got {options.bits}")
    if options.num < 2:
        raise ValueError(f"evaluate: num: must be at least 2, got {options.num}")
    if options.seeds < 1:
        raise ValueError(f"evaluate: seeds: must be at least 1, got {options.seeds}")
    seeds = [Philox(options.seed + n).seed for n in range(options.seeds)]
    if options.json:
        _check_free("evaluate: json", (Path(options.json),), options.force)
    run = _load(Path(options.path or default_run()), options)
    source = run.dataset
    root = options.data or _data_of(run)
    data = load(source["name"], root, **read_by(source, run.model.max_count))
    began = time.perf_counter()
    sets = _draw(run, options, _labels(run, options), seeds)
    seconds = time.perf_counter() - began
    result = {"seeds": seeds, **(compare_tables(sets, data) if data.is_table else compare(sets, data))}
    drawn = f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}, drawn in {seconds:.1f} s"
    print(run.checkpoint.path)
    print(wrap(f"{options.sampler}, {options.steps} steps ({options.grid} grid), {drawn}"))
    print(rows_table(result) if data.is_table else table(result))
    images_of_bits = min(options.bits, len(data.held_out))
    if images_of_bits:
        result["bits_per_dim"] = _bits(run, options, data, images_of_bits)
    if options.json:
        atomic_write(options.json, (json.dumps(_without_nan(result), indent=1) + "\n").encode())
    return 0


def _data_of(run: Run) -> str | None:
    """Where the data of a run lie, as this machine recorded when it trained it; the run's own word is not taken."""
    name, folder = run.dataset["name"], run.checkpoint.path.parent.parent
    root = recall(folder, run.checkpoint.config.get("run"), name)
    if root is None and name != "digits":
        raise ValueError(
            f"evaluate: data: must be named with --data for a run that this machine has no record of training where it "
            f"lies (a moved or copied run, or one from elsewhere), got none for {folder}"
        )
    return root


def _bits(run: Run, options: Namespace, data: Dataset, count: int) -> dict[str, Any]:
    """Prints the two bounds for the first held-out images, and returns them for the JSON file."""
    device = next(run.model.parameters()).device
    labels = None
    if run.config.conditional and data.held_out_labels is not None:
        labels = torch.from_numpy(data.held_out_labels[:count]).to(device)
    x_0 = torch.from_numpy(data.held_out[:count]).to(device)
    # Each image is drawn 16 times, or 4, in each of 8 repeats, for each of the two bounds.
    draws, noises = (4, NOISES) if run.model.head == "implicit" else (16, 1)
    with Progress(
        count * draws * 8 * 2 * noises, "draws", "bits of held-out images", shown=not options.quiet
    ) as progress:
        bounds = bits_per_dim(
            _Counted(run.model, progress), run.schedule, x_0, rng=Philox(options.seed), labels=labels,
            steps=options.steps, grid=options.grid, batch=options.batch, draws=draws, repeats=8,
            noises=noises,
        )  # fmt: skip
    what = "rows" if data.is_table else "images"
    print(f"\nBits per dimension of {count} held-out {what}, at most")
    print(f"(in brackets: error of the draws; error of so few {what})")
    kind = "tau-leaping steps" if run.model.head == "mean" else "steps of its law"
    rows = {"continuous": "continuous time", "discrete": f"{options.steps} {kind}, {options.grid} grid"}
    if run.model.head == "implicit":  # its other bound is that of a sampler which is not the one that drew
        rows = {"continuous": f"continuous time, the mean of {noises} draws"}
    result: dict[str, Any] = {"images": count}
    for name, row in rows.items():
        bound = getattr(bounds, name)
        few = f"{bound.image_error:.3f}" if bound.image_error > 0 else "-"  # hidden by the error of the draws
        print(f"  {row:42} {bound.bits:9.3f}  ({bound.monte_carlo_error:.3f}; {few})")
        numbers = bound._asdict()
        del numbers["per_image"]
        result[name] = numbers
    return result


def _without_nan(value: Any) -> Any:
    """JSON has no NaN, which stands for a number that so few images do not give: None instead."""
    if isinstance(value, dict):
        return {name: _without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _check_free(what: str, files: Sequence[Path], force: bool) -> None:
    """ValueError, before any work, unless the files can be written: their folder exists, they do not, or by force."""
    for file in files:
        if not file.parent.is_dir():
            raise ValueError(f"{what}: no such folder: {file.parent}")
        if file.is_dir() or (file.exists() and not force):
            kind = "is a folder" if file.is_dir() else "exists; overwrite it with --force"
            raise ValueError(f"{what}: {file} {kind}, or choose another")


def _load(path: Path, options: Namespace) -> Run:
    if options.num < 1:
        raise ValueError(f"{options.command}: num: must be at least 1, got {options.num}")
    Philox(options.seed)  # raises the error for a seed out of range
    if options.threads < 0:
        raise ValueError(f"{options.command}: threads: must be at least 0, got {options.threads}")
    run = load_run(path, options.device, options.weights)
    if options.steps is None:  # an implicit head draws all births at once, so more steps gain it nothing
        options.steps = 10 if run.model.head == "implicit" else 100
    if options.grid is None:
        options.grid = grid_for(run.model.head)
    if threads := options.threads or min(run.config.threads, os.cpu_count() or 1):
        torch.set_num_threads(threads)
    return run


def _labels(run: Run, options: Namespace) -> torch.Tensor | None:
    """The classes to draw: the one asked for, or all in turn; None for a run without classes."""
    wanted = getattr(options, "label", None)
    if not run.config.conditional:
        if wanted is not None:
            raise ValueError(f"sample: label: needs a run trained with --conditional, got {run.checkpoint.path}")
        return None
    classes = run.dataset["classes"]
    if wanted is not None and not 0 <= wanted < classes:
        raise ValueError(f"sample: label: must be in 0..{classes - 1}, got {wanted}")
    turn = torch.arange(options.num) % classes
    return (turn if wanted is None else torch.full_like(turn, wanted)).to(next(run.model.parameters()).device)


def _steps(options: Namespace) -> dict[str, Any]:
    names = ("steps", "grid", "sampler", "rounding", "attrition")
    return {name: getattr(options, name) for name in names}


def _draw(
    run: Run, options: Namespace, labels: torch.Tensor | None, seeds: list[int], guidance: float = 0.0
) -> list[NDArray[Any]]:
    """One set of options.num samples for each seed."""
    sets, number = [], len(seeds) * options.num
    with Progress(number * options.steps, "steps", f"{number} samples", shown=not options.quiet) as progress:
        if len(seeds) > 1:
            say = f"{len(seeds)} sets of {options.num} samples take {len(seeds)} times as long as one (--seeds 1)"
            progress.say(say)
        for seed in seeds:
            parts = [
                part.cpu().numpy()
                for part in sample_in_batches(
                    run.model, run.schedule, (options.num, *run.shape), options.batch, Philox(seed), labels,
                    guidance=guidance, callback=lambda n, k, x: progress.update(len(x) if n else 0), **_steps(options),
                )
            ]  # fmt: skip
            sets.append(np.concatenate(parts))
    return sets


class _Counted:
    """A model that tells how many samples it has seen."""

    def __init__(self, model: BlackoutModel, progress: Progress) -> None:
        self.model, self.progress = model, progress

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    def __call__(self, model_input: torch.Tensor, *arguments: Any) -> torch.Tensor:
        logits = self.model(model_input, *arguments)
        self.progress.update(len(logits))
        return logits


def _film(run: Run, options: Namespace, labels: torch.Tensor | None) -> list[NDArray[Any]]:
    """The first samples once more, kept at some steps from the black start to the image."""
    rows = min(FILM_ROWS, options.num)
    times = run.schedule.grid(options.steps, options.grid, run.model.max_count)
    kept = set(frames_of(run.schedule.p[times]))
    frames: list[NDArray[Any]] = []

    def keep(n: int, k: int, x: torch.Tensor) -> None:
        if n in kept:
            frames.append(x.cpu().numpy().copy())

    some = None if labels is None else labels[:rows]
    how = {"rng": Philox(options.seed), "labels": some, "guidance": options.guidance, **_steps(options)}
    sample(run.model, run.schedule, (rows, *run.shape), callback=keep, **how)
    return frames


def frames_of(alive: NDArray[np.float64]) -> list[int]:
    """Which states of a sampler a film shows, the first and the last among them. alive: p of each, rising.

    They are as even as can be in arcsin sqrt(p), whatever the grid of the sampler: most steps of the grid "early" end
    where nearly nothing is to be seen yet.
    """
    angle, shown = np.arcsin(np.sqrt(alive)), min(FILM_FRAMES, len(alive))
    frames: list[int] = []
    for at, wanted in enumerate(np.linspace(angle[0], angle[-1], shown)):
        first, end = frames[-1] + 1 if frames else 0, len(alive) - (shown - 1 - at)  # room for those that follow
        frames.append(first + int(np.abs(angle[first:end] - wanted).argmin()))
    return [0, *frames[1:-1], len(alive) - 1]
