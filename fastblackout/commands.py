"""What `fastblackout sample` and `fastblackout evaluate` do."""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .data import Dataset, load
from .evaluation import compare, table
from .files import atomic_write, write_npz
from .likelihood import bits_per_dim
from .philox import Philox
from .plots import film_strip, sample_grid
from .runs import Run, default_run, load_run
from .sampling import sample, sample_in_batches
from .trainings import recall

GRID_IMAGES, FILM_ROWS, FILM_FRAMES = 64, 4, 12


def sample_command(options: Namespace) -> int:
    """Draws samples; writes FILE.npz (counts, labels if any), FILE.png (a grid) and FILE-film.png (black to image)."""
    path = Path(options.path or default_run())
    run = _load(path, options)
    out = Path(options.out) if options.out else path / "samples.npz"
    if out.suffix != ".npz":
        raise ValueError(f"sample: out: must end in .npz, got {out}")
    grid_file, film_file = out.with_suffix(".png"), out.with_name(f"{out.stem}-film.png")
    for file in (out, grid_file, film_file):
        if file.exists():
            raise ValueError(f"sample: out: {file} exists; choose another with --out")
    if not out.parent.is_dir():
        raise ValueError(f"sample: out: no such folder: {out.parent}")
    labels = _labels(run, options)
    images, seconds = _draw(run, options, labels, guidance=options.guidance)
    max_count = run.model.max_count
    write_npz(out, images=images, **({} if labels is None else {"labels": labels.cpu().numpy()}))
    sample_grid(images[:GRID_IMAGES], max_count, grid_file)
    film_strip(_film(run, options, labels), max_count, film_file)
    print(f"{len(images)} samples in {seconds:.1f} s ({run.checkpoint.path})\n{out}\n{grid_file}\n{film_file}")
    return 0


def evaluate_command(options: Namespace) -> int:
    """Draws samples and prints `evaluation.table` for them against the run's data, then bits of held-out images."""
    if options.bits < 0:
        raise ValueError(f"evaluate: bits: must be at least 0, got {options.bits}")
    run = _load(Path(options.path or default_run()), options)
    source = run.dataset
    root = options.data or _data_of(run)
    max_count = run.model.max_count if source["name"] == "array" else None
    data = load(source["name"], root, max_count=max_count, channels=source.get("channels_at"))
    images, seconds = _draw(run, options, _labels(run, options))
    result = compare(images, data)
    print(f"{run.checkpoint.path}: {options.sampler}, {options.steps} steps ({options.grid} grid), {seconds:.1f} s")
    print(table(result))
    if images_of_bits := min(options.bits, len(data.held_out)):
        result["bits_per_dim"] = _bits(run, options, data, images_of_bits)
    if options.json:
        atomic_write(options.json, (json.dumps(result, indent=1) + "\n").encode())
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
    bounds = bits_per_dim(
        run.model, run.schedule, torch.from_numpy(data.held_out[:count]).to(device), rng=Philox(options.seed),
        labels=labels, steps=options.steps, grid=options.grid, batch=options.batch,
    )  # fmt: skip
    print(f"\nBits per dimension of {count} held-out images, at most (error of the draws; error of so few images)")
    rows = {"continuous": "continuous time", "discrete": f"{options.steps} tau-leaping steps, {options.grid} grid"}
    result: dict[str, Any] = {"images": count}
    for name, bound in bounds._asdict().items():
        print(f"  {rows[name]:42} {bound.bits:9.3f}  ({bound.monte_carlo_error:.3f}; {bound.image_error:.3f})")
        image_error = bound.image_error if count > 1 else None  # JSON has no NaN
        result[name] = {"bits": bound.bits, "monte_carlo_error": bound.monte_carlo_error, "image_error": image_error}
    return result


def _load(path: Path, options: Namespace) -> Run:
    if options.num < 1:
        raise ValueError(f"{options.command}: num: must be at least 1, got {options.num}")
    if options.threads < 0:
        raise ValueError(f"{options.command}: threads: must be at least 0, got {options.threads}")
    run = load_run(path, options.device, options.weights)
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
    run: Run, options: Namespace, labels: torch.Tensor | None, guidance: float = 0.0
) -> tuple[NDArray[Any], float]:
    from tqdm import tqdm

    began, parts = time.perf_counter(), []
    with tqdm(total=options.num * options.steps, disable=options.quiet, file=sys.stderr, unit="step") as bar:
        parts = [
            part.cpu().numpy()
            for part in sample_in_batches(
                run.model, run.schedule, (options.num, *run.shape), options.batch, Philox(options.seed), labels,
                guidance=guidance, callback=lambda n, k, x: bar.update(len(x) if n else 0), **_steps(options),
            )
        ]  # fmt: skip
    return np.concatenate(parts), time.perf_counter() - began


def _film(run: Run, options: Namespace, labels: torch.Tensor | None) -> list[NDArray[Any]]:
    """The first samples once more, kept at evenly spaced steps from the black start to the image."""
    rows = min(FILM_ROWS, options.num)
    kept = set(np.linspace(0, options.steps, min(FILM_FRAMES, options.steps + 1)).round().astype(int).tolist())
    frames: list[NDArray[Any]] = []

    def keep(n: int, k: int, x: torch.Tensor) -> None:
        if n in kept:
            frames.append(x.cpu().numpy().copy())

    some = None if labels is None else labels[:rows]
    how = {"rng": Philox(options.seed), "labels": some, "guidance": options.guidance, **_steps(options)}
    sample(run.model, run.schedule, (rows, *run.shape), callback=keep, **how)
    return frames
