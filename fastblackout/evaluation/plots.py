"""Pictures made of images: grids of samples, film strips of the reverse process. Every file is written whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..atomic_files import atomic_file

if TYPE_CHECKING:
    from PIL import Image

_GAP = 2  # pixels between images
_SMALLEST_SIDE = 64  # an image is enlarged by a whole factor until its side reaches this
_GAP_GREY = 40


class Frame(NamedTuple):
    """A state of the reverse process: the steps taken, the share of particles alive, the counts (N, C, H, W).

    In a film each frame is divided by its share of particles alive: nearly all frames would be nearly black otherwise,
    since the image is decided while few particles are alive. Where that exceeds max_count, as one particle alone does
    at first, a pixel is white.
    """

    steps: int
    alive: float
    counts: NDArray[Any]

    def as_bytes(self, max_count: int) -> NDArray[np.uint8]:
        """The counts as a film shows them; black where no particle is alive."""
        return as_bytes(self.counts, max_count * self.alive or 1)


def sample_grid(images: NDArray[Any], max_count: int, path: str | os.PathLike[str], classes: int = 1) -> Path:
    """A PNG of images (N, C, H, W) with counts 0..max_count, row by row; black is 0, white is max_count.

    C = 3 is shown in colour, C = 1 in grey, any other number as the mean over the channels. classes: how many classes
    the images are of in turn; each class then has columns of its own.
    """
    return _write_png(_tile(as_bytes(images, max_count), _columns(len(images), classes)), path)


def film_strip(frames: Sequence[Frame], max_count: int, path: str | os.PathLike[str]) -> Path:
    """A PNG of the reverse process: a column for each of `frames`, a row for each sample."""
    return _write_png(film_picture(frames, max_count), path)


def film_gif(frames: Sequence[Frame], max_count: int, path: str | os.PathLike[str], classes: int = 1) -> Path:
    """An animated GIF of the reverse process, for ever: a `sample_grid` for each of `frames`, in 4 seconds, of which
    the last is shown for 2 more. A GIF has 256 colours a frame."""
    columns = _columns(len(frames[0].counts), classes)
    first, *others = (_picture(_tile(frame.as_bytes(max_count), columns)) for frame in frames)
    each = max(4000 // len(frames) // 10 * 10, 20)  # milliseconds; a GIF counts in hundredths of a second
    last = [*[each] * len(others), each + 2000]
    with atomic_file(path) as file:
        first.save(file, format="gif", save_all=True, append_images=others, duration=last, loop=0)
    return Path(path)


def film_picture(frames: Sequence[Frame], max_count: int) -> NDArray[np.uint8]:
    """The picture (H', W', C) of `film_strip`, C = 1 or 3."""
    cells = np.stack([frame.as_bytes(max_count) for frame in frames], axis=1)  # (rows, columns, C, H, W)
    return _tile(cells.reshape(-1, *cells.shape[2:]), len(frames))


def grey_or_colour(images: NDArray[Any], max_count: int) -> NDArray[np.uint8]:
    """Images (N, C, H, W) as bytes (N, H, W, 1 or 3), as `sample_grid` shows them."""
    return np.moveaxis(as_bytes(images, max_count), 1, -1)


def as_bytes(images: NDArray[Any], max_count: float) -> NDArray[np.uint8]:
    """Counts 0..max_count (N, C, H, W) as 0..255, rounded to the nearest; where C is not 1 or 3, their mean over it."""
    if images.shape[1] not in (1, 3):
        images = images.mean(axis=1, keepdims=True)
    return np.rint(np.clip(images / max_count, 0, 1) * 255).astype(np.uint8)


def _columns(count: int, classes: int) -> int:
    """Of a grid of so many images: sqrt(count), or the nearest multiple of the number of classes that fits."""
    square = int(np.ceil(np.sqrt(count)))
    return classes * max(1, round(square / classes)) if classes <= count else square


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
