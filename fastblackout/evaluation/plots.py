"""Pictures of a run: grids of samples, film strips of the reverse process, loss curves. Every file is written whole."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..atomic_files import atomic_file, atomic_write

if TYPE_CHECKING:
    from PIL import Image

_GAP = 2  # pixels between images
_SMALLEST_SIDE = 64  # an image is enlarged by a whole factor until its side reaches this
_GAP_GREY = 40


def sample_grid(images: NDArray[Any], max_count: int, path: str | os.PathLike[str], columns: int | None = None) -> Path:
    """A PNG of images (N, C, H, W) with counts 0..max_count, row by row; black is 0, white is max_count.

    C = 3 is shown in colour, C = 1 in grey, any other number as the mean over the channels. columns: default sqrt(N).
    """
    columns = columns or int(np.ceil(np.sqrt(len(images))))
    return _write_png(_tile(as_bytes(images, max_count), columns), path)


def film_strip(frames: Sequence[NDArray[Any]], max_count: int, path: str | os.PathLike[str], rows: int = 4) -> Path:
    """A PNG of the reverse process: a column for each batch (N, C, H, W) of `frames`, a row for each sample."""
    rows = min(rows, len(frames[0]))
    cells = np.stack([frame[:rows] for frame in frames], axis=1)  # (rows, columns, C, H, W)
    return _write_png(_tile(as_bytes(cells.reshape(-1, *cells.shape[2:]), max_count), len(frames)), path)


def film_gif(frames: Sequence[NDArray[Any]], max_count: int, path: str | os.PathLike[str]) -> Path:
    """An animated GIF of the reverse process, for ever: a grid for each batch (N, C, H, W) of `frames`, in 4 seconds,
    of which the last is shown for 2 more. A GIF has 256 colours a frame."""
    columns = int(np.ceil(np.sqrt(len(frames[0]))))
    first, *others = (_picture(_tile(as_bytes(frame, max_count), columns)) for frame in frames)
    each = max(4000 // len(frames) // 10 * 10, 20)  # milliseconds; a GIF counts in hundredths of a second
    last = [*[each] * len(others), each + 2000]
    with atomic_file(path) as file:
        first.save(file, format="gif", save_all=True, append_images=others, duration=last, loop=0)
    return Path(path)


def loss_curve(records: Sequence[Mapping[str, Any]], path: str | os.PathLike[str]) -> Path | None:
    """A PNG of the losses in a run's log against the step; None, and no file, when the log has none yet."""
    train = [(r["step"], r["loss"]) for r in records if "loss" in r]
    held_out = [(r["step"], r["held_out_loss"], r["constant_loss"]) for r in records if "held_out_loss" in r]
    if not train:
        return None
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    FigureCanvasAgg(figure)  # Without pyplot, matplotlib asks for no window system and keeps no global state.
    axes = figure.add_subplot()
    axes.plot(*zip(*train, strict=True), label="training", linewidth=0.8)
    if held_out:
        steps, network, constant = zip(*held_out, strict=True)
        axes.plot(steps, network, label="held out", marker="." if len(steps) < 20 else None)
        axes.plot(steps, constant, label="held out, best per-pixel constant", linestyle="--")
    values = [value for _, value in train]
    # The few large losses of the first steps would squeeze the rest of the curve.
    low, high = min(values), float(np.percentile(values, 98))
    high = max([high, *(constant for _, _, constant in held_out)])
    if high > low:
        axes.set_ylim(low - 0.1 * (high - low), high + 0.2 * (high - low))
    axes.set_xlabel("step")
    axes.set_ylabel("loss")
    axes.legend()
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=120)
    return atomic_write(path, buffer.getvalue())


def as_bytes(images: NDArray[Any], max_count: int) -> NDArray[np.uint8]:
    """Counts 0..max_count (N, C, H, W) as 0..255, rounded to the nearest; where C is not 1 or 3, their mean over it."""
    if images.shape[1] not in (1, 3):
        images = images.mean(axis=1, keepdims=True)
    return np.rint(np.clip(images / max_count, 0, 1) * 255).astype(np.uint8)


def _tile(images: NDArray[np.uint8], columns: int) -> NDArray[np.uint8]:
    """(N, C, H, W) bytes as one picture (H', W', C)."""
    factor = max(1, -(-_SMALLEST_SIDE // min(images.shape[2:])))
    images = images.repeat(factor, axis=2).repeat(factor, axis=3)
    count, channels, height, width = images.shape
    rows = -(-count // columns)
    shape = (rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, channels)
    picture = np.full(shape, _GAP_GREY, dtype=np.uint8)
    for index, image in enumerate(images):
        top = _GAP + index // columns * (height + _GAP)
        left = _GAP + index % columns * (width + _GAP)
        picture[top : top + height, left : left + width] = np.moveaxis(image, 0, -1)
    return picture


def _write_png(picture: NDArray[np.uint8], path: str | os.PathLike[str]) -> Path:
    with atomic_file(path) as file:
        _picture(picture).save(file, format="png", optimize=True)
    return Path(path)


def _picture(pixels: NDArray[np.uint8]) -> Image.Image:
    """(H, W, C) bytes, C 1 or 3."""
    from PIL import Image

    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)
