"""What `fastblackout sample` does."""

from __future__ import annotations

import time
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..atomic_files import own
from ..data.cells import import_anndata
from ..evaluation.plots import film_gif, film_strip, sample_grid
from ..evaluation.sample_files import FORMATS, SampleFiles
from ..ground.terminal import say, wrap
from ..philox import WORD_END, Philox
from ..training.ranks import current
from ..training.trained_model import Run
from .outputs import check_free, check_json, give_json
from .runs import Film, film_of, labels_for, load_for, parts_of, path_of, place_of, progress_of, share_of, steps_of

GRID_IMAGES = 64


def sample_command(options: Namespace) -> int:
    """Draws samples first .. first + num - 1 of the sequence that the seed stands for, and writes them.

    FILE.npz or a folder of PNG files, and of images FILE.png (a grid), FILE-film.png (black to image) and FILE.gif.
    """
    if not 0 <= options.first <= WORD_END - max(options.num, 1):
        raise ValueError(f"sample: first: must be in 0..2^32 - {max(options.num, 1)} (num), got {options.first}")
    path = path_of(options)
    run = load_for(path, options)
    labels = labels_for(run, options, options.first)
    film = film_of(run, options.steps, options.grid, options.num, options.gif)
    if not current().first:
        _draw(run, options, film, lambda part: None)
        return 0
    files = _files_for(run, options, path)
    pictures = _pictures_for(run, options, files.out)
    written = files.files if files.out.is_dir() else [files.out]  # a folder that is not there yet is made
    check_free("sample: out", [*written, *pictures.values()], options.force)
    check_json(options, options.force)
    with files:
        images, seconds, seen = _draw(run, options, film, files.add)
        if not options.out and files.out.parent == path:
            for file in (files.out, *pictures.values()):
                own(file)
        files.finish(None if labels is None else labels.cpu().numpy())
    if pictures:
        max_count = run.model.max_count
        classes = 1 if labels is None or options.label is not None else run.dataset["classes"]
        sample_grid(np.stack(images), max_count, pictures["grid"], classes)
        film_strip(film.strip, max_count, pictures["film"])
        if options.gif:
            film_gif(film.gif, max_count, pictures["gif"], classes)
    num = options.num
    say(f"model: {run.checkpoint.path}")
    print(wrap(f"sampler: {options.told}, seed {options.seed}"))
    print(f"{num} samples in {seconds:.1f} s, {num / seconds:.3g} a second, {seen / num:.0f} network calls each")
    say(files.out, *pictures.values())
    if files.out.is_dir() and (others := sum(file.suffix == ".png" for file in files.out.iterdir()) - num):
        say(f"{files.out} also holds other pictures: {others}")
    if pictures:
        print("film: counts divided by the share of particles alive, else most of it is black")
        if not options.gif and (old := _pictures_named(files.out, options)["gif"]).exists():
            say(f"{old} is of earlier samples; --gif --force makes it anew")
    done = {"checkpoint": run.checkpoint.path, "files": [files.out, *pictures.values()], "samples": num}
    done |= {"seconds": seconds, "samples_per_second": num / seconds, "network_calls": seen / num}
    done["label"] = None if labels is None or options.label is None else int(labels[0])
    names = ("seed", "first", "format")
    give_json(options, {**done, **{name: getattr(options, name) for name in names}, **steps_of(options)})
    return 0


def _files_for(run: Run, options: Namespace, path: Path) -> SampleFiles:
    """Where the samples go. ValueError for a name or a format that does not fit them."""
    is_table = run.shape[1:] == (1, 1)
    if options.format is None:
        options.format = "h5ad" if options.out and options.out.endswith(".h5ad") else "npz"
    kind = FORMATS[options.format]
    if options.format == "h5ad":
        if not is_table:
            raise ValueError(f"sample: format: h5ad needs a table, got samples of shape {run.shape}")
        import_anndata("sample", "format")
    elif options.format != "npz" and (is_table or run.shape[0] not in (1, 3)):
        got = "a table" if is_table else f"{run.shape[0]} channels"
        rule = "must be npz, or h5ad of a table, but for images of 1 or 3 channels"
        raise ValueError(f"sample: format: {rule}, got {options.format}, {got}")
    if options.gif and is_table:
        raise ValueError("sample: gif: needs images, got a table")
    name = f"samples-{options.first}" if options.first and kind.suffix else "samples"
    where = place_of(run, path, name)
    out = Path(options.out) if options.out else where.with_name(f"{where.name}{kind.suffix}")
    if kind.suffix and out.suffix != kind.suffix:
        raise ValueError(f"sample: out: must end in {kind.suffix}, got {out}")
    if not kind.suffix and (out.suffix == ".npz" or (out.exists() and not out.is_dir())):
        raise ValueError(f"sample: out: must be a folder for format {options.format}, got {out}")
    return kind(out, options.num, run.shape, run.model.max_count, options.first, run.dataset)


def _pictures_for(run: Run, options: Namespace, out: Path) -> dict[str, Path]:
    """The pictures beside the samples, none of a table. Where parts fill one folder, each has pictures of its own."""
    if run.shape[1:] == (1, 1):
        return {}
    pictures = _pictures_named(out, options)
    return {name: path for name, path in pictures.items() if name != "gif" or options.gif}


def _pictures_named(out: Path, options: Namespace) -> dict[str, Path]:
    stem = out.stem if out.suffix == ".npz" else f"{out.name}-{options.first}" if options.first else out.name
    ends = {"grid": ".png", "film": "-film.png", "gif": ".gif"}
    return {picture: out.with_name(stem + end) for picture, end in ends.items()}


def _draw(
    run: Run, options: Namespace, film: Film, take: Callable[[NDArray[Any]], None]
) -> tuple[list[NDArray[Any]], float, float]:
    """Gives all samples to `take` and their states to `film`; the first samples, the seconds, and how many images the
    network was called with. Of several ranks each draws its share, and the first is given all."""
    ranks, share = current(), share_of(options, options.first)
    labels = labels_for(run, share, share.first)
    seen = 0
    kept: list[NDArray[Any]] = []

    def count(module: torch.nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        nonlocal seen
        seen += len(given[0])

    counting = run.model.register_forward_pre_hook(count)
    began = time.perf_counter()
    progress = progress_of(share, options)
    with progress, options.execution.of(run.model.network):

        def see(n: int, k: int, x: torch.Tensor) -> None:
            progress.update(len(x) if n else 0)
            film.see(n, x)

        for part in ranks.gather(parts_of(run, share, labels, Philox(options.seed, first_sample=share.first), see)):
            take(part)
            if len(kept) < GRID_IMAGES:
                kept.extend(part[: GRID_IMAGES - len(kept)].copy())
    seconds = time.perf_counter() - began
    counting.remove()
    film.join(ranks.gather([film.states]))
    return kept, seconds, ranks.sums([seen])[0]
