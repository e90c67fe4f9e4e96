"""The user's own data: a folder of images, or an array of integer counts."""

from __future__ import annotations

import os
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset, make_dataset

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
FEW_CHANNELS = 4  # an axis of at most this length may be the channels
_UNREADABLE = (OSError, ValueError, EOFError)


def load_folder(path: str | os.PathLike[str]) -> Dataset:
    """Every image below a folder, in order of its path: 8-bit grey (L) or RGB, all of one size and mode. Counts 0..255.

    A tenth is held out by a keyed shuffle. Raises ValueError naming the first file that cannot be read or does not fit.
    """
    from PIL import Image

    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"load: data: must be a folder of images, got {folder}")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in IMAGE_SUFFIXES and file.is_file())
    if not files:
        raise ValueError(f"load: data: no image in {folder} (looked for {', '.join(sorted(IMAGE_SUFFIXES))})")
    images: list[NDArray[np.uint8]] = []
    kind: tuple[str, tuple[int, int]] | None = None
    for file in files:
        try:
            with Image.open(file) as image:
                image.load()
                mode, size = image.mode, image.size
                pixels = np.array(image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # SyntaxError: a broken PNG
            raise ValueError(f"load: {file}: not a readable image: {error}") from None
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
    arrays = {"images": _open_npy(file)} if file.suffix == ".npy" else open_npz(file)
    if "train_images" in arrays:
        keys = ("train_images", "train_labels", "test_images", "test_labels")
    elif "images" in arrays or len(arrays) != 1:
        keys = ("images", "labels", "", "")
    else:
        keys = (next(iter(arrays)), "", "", "")
    if keys[0] not in arrays:
        found = ", ".join(arrays) or "none"
        raise ValueError(f"load: {file}: must hold train_images, images or one array, got {found}")
    images, labels, held_out, held_out_labels = (arrays.get(key) for key in keys)
    parts = [_channels_first(file, part, channels) for part in (images, held_out) if part is not None]
    top = max(int(part.max()) for part in parts)
    if max_count is None:
        max_count = max(top, 1)
    elif max_count < 1:
        raise ValueError(f"load: max_count: must be at least 1, got {max_count}")
    return make_dataset(
        "array", parts[0], labels, max_count=max_count, held_out=parts[1] if len(parts) == 2 else None,
        held_out_labels=held_out_labels,
    )  # fmt: skip


def open_npz(file: Path) -> dict[str, NDArray[Any]]:
    """All arrays of a .npz file. ValueError when it is not one, is truncated, or would need pickle."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            return {key: archive[key] for key in archive.files}
    except (*_UNREADABLE, KeyError, AttributeError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"load: {file}: not a readable .npz file of plain arrays: {_first_line(error)}") from None


def _open_npy(file: Path) -> NDArray[Any]:
    try:
        return np.load(file, allow_pickle=False)
    except _UNREADABLE as error:
        raise ValueError(f"load: {file}: not a readable .npy file of a plain array: {_first_line(error)}") from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]


def _channels_first(file: Path, images: NDArray[Any], channels: str | None) -> NDArray[Any]:
    if images.dtype.kind not in "iu":
        raise ValueError(f"load: {file}: must hold integer counts, got dtype {images.dtype}")
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
