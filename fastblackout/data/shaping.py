"""Images cut out, resized and made black or white, after they were read and before anything else is done with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .dataset import Dataset

MOST_RESIZED = 1 << 24  # float32, in which Pillow resizes, holds every integer up to here
MOST_SIDE = 1 << 14


def check_shaping(crop: int | None, resize: int | None, binarize: int | None) -> None:
    """TypeError or ValueError unless each is None or an integer in its range."""
    for name, value, most in (
        ("crop", crop, MOST_SIDE),
        ("resize", resize, MOST_SIDE),
        ("binarize", binarize, 1 << 53),
    ):
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"load: {name}: must be an integer, got {value!r}")
        if not 1 <= value <= most:
            raise ValueError(f"load: {name}: must be in 1..{most}, got {value}")


def shape_after(height: int, width: int, crop: int | None, resize: int | None) -> tuple[int, int]:
    """(H, W) of an image of height x width after `shaped`. ValueError where it is smaller than what is cut out."""
    if crop is not None:
        if crop > min(height, width):
            rule = f"must be at most {min(height, width)}, the shorter side of an image of {height}x{width}"
            raise ValueError(f"load: crop: {rule}, got {crop}")
        height = width = crop
    if resize is not None:
        short = min(height, width)
        height, width = resize * height // short, resize * width // short
    return height, width


def shaped(counts: NDArray[Any], crop: int | None, resize: int | None) -> NDArray[Any]:
    """Integer counts (..., H, W) with the middle crop x crop pixels cut out, then the shorter side made `resize` long.

    The rows above the cut are as many as below, or one fewer; columns likewise. The longer side is
    floor(resize long / short). Resizing is bilinear, and antialiased where it shrinks: a triangle of the width of a new
    pixel weighs the old ones, as in torchvision's Resize and tf.image.resize(antialias=True); the result is rounded to
    the nearest integer, halves to the even one. None leaves a step out.
    """
    height, width = counts.shape[-2:]
    new = shape_after(height, width, crop, resize)
    if crop is not None:
        top, left = (height - crop) // 2, (width - crop) // 2
        counts = counts[..., top : top + crop, left : left + crop]
    if new == counts.shape[-2:]:
        return counts
    from PIL import Image

    if (largest := int(counts.max())) > MOST_RESIZED:
        raise ValueError(f"load: resize: counts must be at most {MOST_RESIZED}, got {largest}")
    result = np.empty((*counts.shape[:-2], *new), counts.dtype)
    for place in np.ndindex(counts.shape[:-2]):
        plane = Image.fromarray(counts[place].astype(np.float32))
        result[place] = np.rint(np.asarray(plane.resize(new[::-1], Image.Resampling.BILINEAR)))
    return result


def shaped_dataset(data: Dataset, shaping: Mapping[str, int | None], done: Sequence[str] = ()) -> Dataset:
    """A data set after `shaped`, and then with counts that say whether x >= binarize, 0 or 1.

    done: what of crop, resize and binarize its loader has carried out already.
    """
    crop, resize, binarize = (None if name in done else shaping[name] for name in ("crop", "resize", "binarize"))
    if crop is not None or resize is not None:
        if data.is_table:
            raise ValueError(f"load: crop, resize: need images, got a table of {data.shape[0]} columns")
        train, held_out = (np.ascontiguousarray(shaped(part, crop, resize)) for part in (data.train, data.held_out))
        data = replace(data, train=train, held_out=held_out)
    if binarize is not None:
        if binarize > data.max_count:
            raise ValueError(f"load: binarize: must be in 1..{data.max_count}, the largest count, got {binarize}")
        train, held_out = ((part >= binarize).astype(np.uint8) for part in (data.train, data.held_out))
        data = replace(data, train=train, held_out=held_out, max_count=1)
    return replace(data, shaping={name: value for name, value in shaping.items() if value is not None})
