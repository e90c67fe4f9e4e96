"""What `fastblackout sample` does."""

from __future__ import annotations

import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..atomic_files import write_npz
from ..evaluation.plots import film_strip, sample_grid
from ..philox import Philox
from ..sampling.sampler import sample
from ..training.progress import Progress
from ..training.trained_model import Run, default_run
from .json_output import check_json, give_json
from .of_run import check_free, draw, labels_for, load_for, steps_of

GRID_IMAGES, FILM_ROWS, FILM_FRAMES = 64, 4, 12


def sample_command(options: Namespace) -> int:
    """Draws samples; writes FILE.npz (counts, labels if any), and of images FILE.png (a grid) and FILE-film.png (black
    to image)."""
    path = Path(options.path or default_run())
    run = load_for(path, options)
    out = Path(options.out) if options.out else path / "samples.npz"
    if out.suffix != ".npz":
        raise ValueError(f"sample: out: must end in .npz, got {out}")
    grid_file, film_file = out.with_suffix(".png"), out.with_name(f"{out.stem}-film.png")
    is_table = run.shape[1:] == (1, 1)
    files = [out] if is_table else [out, grid_file, film_file]
    check_free("sample: out", files, options.force)
    check_json(options, options.force)
    labels = labels_for(run, options)
    began = time.perf_counter()
    images = draw(run, options, labels, [options.seed], guidance=options.guidance)[0]
    seconds = time.perf_counter() - began
    max_count = run.model.max_count
    counts = {"counts": images[:, :, 0, 0]} if is_table else {"images": images}
    write_npz(out, **counts, **({} if labels is None else {"labels": labels.cpu().numpy()}))
    if not is_table:
        sample_grid(images[:GRID_IMAGES], max_count, grid_file)
        film_strip(film(run, options, labels), max_count, film_file)
    print(run.checkpoint.path, f"{len(images)} samples in {seconds:.1f} s", *files, sep="\n")
    how = {"seed": options.seed, "label": options.label, "guidance": options.guidance, **steps_of(options)}
    done = {"checkpoint": run.checkpoint.path, "samples": len(images), "seconds": seconds, "files": files}
    give_json(options, {**done, **how})
    return 0


def film(run: Run, options: Namespace, labels: torch.Tensor | None) -> list[NDArray[Any]]:
    """The first samples once more, kept at some steps from the black start to the image."""
    rows = min(FILM_ROWS, options.num)
    times = run.schedule.grid(options.steps, options.grid, run.model.max_count)
    kept = set(frames_of(run.schedule.p[times]))
    frames: list[NDArray[Any]] = []

    some = None if labels is None else labels[:rows]
    how = {"rng": Philox(options.seed), "labels": some, "guidance": options.guidance, **steps_of(options)}
    with Progress(options.steps, "steps", f"film of {rows} samples", shown=not options.quiet, keep=False) as progress:

        def keep(n: int, k: int, x: torch.Tensor) -> None:
            progress.update(1 if n else 0)
            if n in kept:
                frames.append(x.cpu().numpy().copy())

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
