"""The user's own data: a folder of images, or an array of integer counts."""

from __future__ import annotations

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..call.checks import max_count_of
from ..ground.values import check_memory
from .dataset import Dataset, make_dataset
from .stored import Npz, read_npy

if TYPE_CHECKING:
    from PIL import Image

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
# What these suffixes stand for. Without a list Pillow goes by the content alone, and hands PostScript to Ghostscript.
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
FEW_CHANNELS = 4  # an axis of at most this length may be the channels


def load_folder(path: str | os.PathLike[str]) -> Dataset:
    """Every image below a folder, in order of its path: 8-bit grey (L) or RGB, all of one size and mode. Counts 0..255.

    A tenth is held out by a keyed shuffle. Raises ValueError naming the first file that cannot be read or does not fit.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"load: data: must be a folder of images, got {folder}")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f"load: data: no image in {folder} (looked for {', '.join(sorted(IMAGE_SUFFIXES))})")
    with _image(files[0]) as image:
        first, bands = image.size, len(image.getbands())
    check_memory(f"load: {folder}: {len(files)} images like {files[0].name}", len(files) * math.prod(first) * bands)
    images: list[NDArray[np.uint8]] = []
    kind: tuple[str, tuple[int, int]] | None = None
    for file in files:
        with _image(file) as image:
            size = image.size
            pixels = np.array(image) if size == first else np.empty(0, np.uint8)
            mode = image.mode
        if mode not in ("L", "RGB"):
            raise ValueError(f"load: {file}: mode must be L or RGB, got {mode}")
        kind = kind or (mode, size)
        if (mode, size) != kind:
            raise ValueError(
                f"load: {file}: every image must be {kind[0]} {kind[1][0]}x{kind[1][1]} like {files[0].name}, "
                f"got {mode} {size[0]}x{size[1]}"
            )
        images.append(pixels)
    stack = np.stack(images)
    return make_dataset("folder", stack[:, None] if stack.ndim == 3 else np.moveaxis(stack, -1, 1), max_count=255)


@contextmanager
def _image(file: Path) -> Iterator[Image.Image]:
    """An image whose header alone is read: what asks for its pixels decodes them."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)  # Pillow refuses only twice as many pixels
            with Image.open(file, formats=IMAGE_FORMATS) as image:
                yield image
    except Exception as error:  # a decoder of a damaged file may fail in any way
        raise ValueError(f"load: {file}: not a readable image: {str(error) or type(error).__name__}") from None


def load_array(path: str | os.PathLike[str], max_count: int | None = None, channels: str | None = None) -> Dataset:
    """Integer counts from a .npy or .npz file, shape (N, H, W), (N, C, H, W) or (N, H, W, C), any integer dtype.

    .npz keys: `train_images` and `test_images` (then `train_labels`, `test_labels` if there are labels), or `images`
    (with `labels`), or a single array under any name. Without test_images a keyed shuffle holds out a tenth.
    max_count: the largest count possible; default the largest in the data. channels: "first" or "last" for four
    dimensions; by default the axis of length 1 to 4 among the second and the last, and ValueError when both or neither
    are. Pickled objects are never loaded.
    """
    file = Path(path)
    if channels not in (None, "first", "last"):
        raise ValueError(f"load: channels: must be first or last, got {channels!r}")
    if not file.is_file() or file.suffix not in (".npy", ".npz"):
        raise ValueError(f"load: data: must be a .npy or .npz file, got {file}")
    images: NDArray[Any] | None
    if file.suffix == ".npy":
        images, labels, held_out, held_out_labels = read_npy(file), None, None, None
    else:
        with Npz(file) as arrays:
            if "train_images" in arrays.names:
                keys = ("train_images", "train_labels", "test_images", "test_labels")
            elif "images" in arrays.names or len(arrays.names) != 1:
                keys = ("images", "labels", "", "")
            else:
                keys = (arrays.names[0], "", "", "")
            images, labels, held_out, held_out_labels = (arrays.get(key) for key in keys)
            if images is None:
                found = arrays.listed()
                raise ValueError(f"load: {file}: must hold train_images, images or one array, got {found}")
    parts = [_channels_first(file, part, channels) for part in (images, held_out) if part is not None]
    top = max(int(part.max()) for part in parts)
    max_count = max_count_of("load", max(top, 1) if max_count is None else max_count, "int64")
    return make_dataset(
        "array",
        parts[0],
        labels,
        max_count=max_count,
        held_out=parts[1] if len(parts) == 2 else None,
        held_out_labels=held_out_labels,
    )


def _channels_first(file: Path, images: NDArray[Any], channels: str | None) -> NDArray[Any]:
    if images.ndim not in (3, 4) or 0 in images.shape:
        raise ValueError(f"load: {file}: must have shape (N, H, W), (N, C, H, W) or (N, H, W, C), got {images.shape}")
    if images.ndim == 3:
        return images[:, None]
    if channels is None:
        first, last = images.shape[1] <= FEW_CHANNELS, images.shape[3] <= FEW_CHANNELS
        if first == last:
            raise ValueError(f"load: channels: pass first or last, since the shape {images.shape} does not tell which")
        channels = "first" if first else "last"
    return images if channels == "first" else np.moveaxis(images, -1, 1)
