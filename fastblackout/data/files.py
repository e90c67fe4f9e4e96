"""The user's own data: folders of images, TIFF stacks, arrays of integer counts; images cut out and resized."""

from __future__ import annotations

import math
import os
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..atomic_files import atomic_path
from ..call.numbers import max_count_of
from ..ground.values import check_memory
from .array_files import INFLATES, Npz, Unfit, read_npy, whole
from .dataset import MOST_CLASSES, Dataset, make_dataset

if TYPE_CHECKING:
    from ..typing import Channels

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
# What these suffixes stand for. Without a list Pillow goes by the content alone, and hands PostScript to Ghostscript.
IMAGE_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_STACK_MODES = {"L": "u1", "I;16": "u2", "I;16L": "u2", "I;16B": "u2", "I": "i4", "F": "f4"}
# Raw modes by which Pillow swaps the bytes that libtiff has already brought into the order of this machine.
_SWAPPED = {"I;16BS": "i2", "I;32BS": "i4", "F;32BF": "f4"}
_BITS, _COMPRESSION, _PHOTOMETRIC, _DESCRIPTION, _SAMPLE_FORMAT = 258, 259, 262, 270, 339  # tags of TIFF
_UNSIGNED, _SIGNED = 1, 2  # of _SAMPLE_FORMAT
_BOUNDED = (1, 8, 32946)  # of _COMPRESSION, none and deflate: a byte of the file becomes at most INFLATES
_COPIES_OF_PAGE = 5  # that Pillow and NumPy have of an image while it is decoded, beside the stack
_MOST_OF_STACK = (1 << 32) - 1
_STACK_HEADER = 512  # bytes beside the pixels of an image, and more than Pillow writes
STACKS = (".tif", ".tiff")
FEW_CHANNELS = 4  # an axis of at most this length may be the channels
MOST_RESIZED = 1 << 24  # float32, in which Pillow resizes, holds every integer up to here
MOST_SIDE = 1 << 14


def load_folder(path: str | os.PathLike[str], crop: int | None = None, resize: int | None = None) -> Dataset:
    """Every image below a folder, in order of its path. Counts are 0..255.

    Links are followed; hidden files and folders are left out.

    Parameters
    ----------
    path : str or os.PathLike
        The folder. Its images are 8-bit grey (L) or RGB, all of one size and mode.
    crop : int, optional
        Cut out the middle crop x crop pixels.
    resize : int, optional
        Then make the shorter side so many pixels long. The images need one size after these two only.

    Returns
    -------
    Dataset
        The images. A keyed shuffle holds out a tenth.

    Raises
    ------
    TypeError
        If `crop` or `resize` is no integer.
    ValueError
        If there is no image, if `crop` or `resize` is out of range, or if a file cannot be read or does not fit. The
        error names the first such file.

    Notes
    -----
    Where no image lies in the folder itself, its sub-folders are classes, 0 for the first by name. There are no labels
    where one of them has no image left to train on.
    """
    check_shaping(crop, resize, binarize=None)
    folder = Path(path)
    if not folder.is_dir():
        raise ValueError(f"load: data: must be a folder of images, got {folder}")
    if not (files := sorted(_images_below(folder))):
        raise ValueError(f"load: data: no image in {folder} (looked for {', '.join(sorted(IMAGE_SUFFIXES))})")
    images = read_images(files, crop, resize)
    return make_dataset("folder", images, _classes(folder, files), max_count=255, labels_may_lack=True)


def _images_below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The images in a folder and in its sub-folders. A sub-folder that links to a folder in `above` is left out."""
    if (real := folder.resolve()) in above:
        return
    try:
        paths = list(folder.iterdir())
    except OSError as error:
        raise ValueError(f"load: {folder}: cannot be read: {error.strerror}") from None
    for path in paths:
        if path.name[0] == ".":  # a cache, or what a program left that was killed
            continue
        if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
            yield path
        elif path.is_dir():
            yield from _images_below(path, (*above, real))


def _classes(folder: Path, files: Sequence[Path]) -> NDArray[np.int64] | None:
    """The place of each file's sub-folder among all of them by name, as torchvision's ImageFolder has it."""
    names = [file.relative_to(folder).parts[0] for file in files]
    if any(file.parent == folder for file in files):
        return None
    known = {name: label for label, name in enumerate(sorted(set(names)))}
    if len(known) > MOST_CLASSES:
        return None
    return np.array([known[name] for name in names], np.int64)


def read_images(files: Sequence[Path], crop: int | None = None, resize: int | None = None) -> NDArray[np.uint8]:
    """Images of one mode, L or RGB, and after `shaped` of one size: (N, 1 or 3, H, W).

    ValueError names the first file that is not one; of all of them the headers are read before the first pixel.
    """
    mode, height, width = first = _kind(files[0], crop, resize)
    for file in files:
        if (kind := _kind(file, crop, resize)) != first:
            after = "" if crop is None and resize is None else " once cut out and resized"
            rule = f"every image must be {mode} {width}x{height} like {files[0].name}{after}"
            raise ValueError(f"load: {file}: {rule}, got {kind[0]} {kind[2]}x{kind[1]}")
    shape = len(files), 3 if mode == "RGB" else 1, height, width
    check_memory(f"load: {files[0].parent}: {len(files)} images like {files[0].name}", math.prod(shape))
    images = np.empty(shape, np.uint8)
    for n, file in enumerate(files):
        with _image(file) as image:
            pixels = np.array(image)
        images[n] = shaped(np.moveaxis(pixels.reshape(*pixels.shape[:2], shape[1]), -1, 0), crop, resize)
    return images


def _kind(file: Path, crop: int | None, resize: int | None) -> tuple[str, int, int]:
    """Mode, height and width of an image, these after cutting out and resizing, by its header."""
    with _image(file) as image:
        mode, (width, height) = image.mode, image.size
    if mode not in ("L", "RGB"):
        raise ValueError(f"load: {file}: mode must be L or RGB, got {mode}")
    try:
        return mode, *shape_after(height, width, crop, resize)
    except ValueError as error:
        raise ValueError(f"load: {file}: {str(error).removeprefix('load: ')}") from None


def read_stack(file: Path) -> NDArray[Any]:
    """The images (N, H, W) of a TIFF file of one channel, as integers.

    Of floats each must be a whole number. ValueError names what is wrong. All images have one size and one mode, and
    what their headers promise is compared with the size of the file, or of memory, before memory is taken for it.
    """
    with _image(file, stack=True) as stack:
        number, mode, (width, height) = getattr(stack, "n_frames", 1), stack.mode, stack.size
        if mode not in _STACK_MODES:
            raise Unfit(f"load: {file}: must be of one channel of 8, 16 or 32 bits, got mode {mode}")
        dtype = _stack_dtype(file, stack)
        told = re.match(r"ImageJ=.*^images=(\d+)", str(stack.tag_v2.get(_DESCRIPTION)), re.DOTALL | re.MULTILINE)
        if told and int(told[1]) > number:  # ImageJ writes stacks of more than 4 GB so
            rule = f"must have a page for each of its {told[1]} images: save them as separate pages or as .npy"
            raise Unfit(f"load: {file}: {rule}, got {number}")
        page = height * width * dtype.itemsize
        size = number * page
        if _tag(stack, _COMPRESSION, 1) in _BOUNDED and size > (most := file.stat().st_size * INFLATES):
            raise ValueError(f"it must hold {size} bytes of pixels, got {most} at most")
        check_memory("its pixels and their copy", 2 * size + _COPIES_OF_PAGE * page)  # as counts, by whoever asks
        images = np.empty((number, height, width), np.int32 if dtype.kind == "f" else dtype)
        for n in range(number):
            stack.seek(n)
            if (stack.mode, stack.size) != (mode, (width, height)):
                kinds = f"{mode} {width}x{height}, got {stack.mode} {stack.size[0]}x{stack.size[1]}"
                raise Unfit(f"load: {file}: image {n} must be like the first, {kinds}")
            if (own := _stack_dtype(file, stack)) != dtype:
                raise Unfit(f"load: {file}: image {n} must be like the first, {dtype}, got {own}")
            swapped = next((_SWAPPED.get(args[0]) for codec, *_, args in stack.tile if codec == "libtiff"), None)
            pixels = np.asarray(stack)
            if swapped is not None:
                pixels = pixels.astype(swapped).byteswap()
            images[n] = pixels.view(dtype) if dtype == np.uint32 else whole(str(file), pixels)
    return images


def _tag(stack: Any, tag: int, default: int) -> int:
    """The number that a TIFF image has under a tag, the first where there are several."""
    value = stack.tag_v2.get(tag, default)
    return int(value[0] if isinstance(value, tuple) else value)


def _stack_dtype(file: Path, stack: Any) -> np.dtype[Any]:
    """The dtype of an image's pixels. Pillow gives unsigned numbers of 32 bits as int32, signed ones of 8 as uint8."""
    if _tag(stack, _PHOTOMETRIC, 1) == 0:
        raise Unfit(f"load: {file}: black must be zero, got a file in which white is zero (photometric 0)")
    kind, bits = _tag(stack, _SAMPLE_FORMAT, 1), _tag(stack, _BITS, 1)
    if (kind, bits) == (_SIGNED, 8):
        raise Unfit(f"load: {file}: numbers of 8 bits must be unsigned, got signed ones")
    return np.dtype("u4" if (kind, bits) == (_UNSIGNED, 32) else _STACK_MODES[stack.mode])


def check_stack(what: str, shape: Sequence[int]) -> None:
    """ValueError where images (N, H, W) of float32 are more than a TIFF file holds, whose places are of 32 bits."""
    size = 4 * math.prod(shape) + _STACK_HEADER * shape[0]
    if size > _MOST_OF_STACK:
        raise ValueError(f"{what}: a TIFF file must hold at most {_MOST_OF_STACK} bytes, got {size}; a .npy file may")


def write_stack(file: Path, images: NDArray[np.float32]) -> None:
    """A TIFF file of images (N, H, W) of float32, whole or not at all."""
    from PIL import Image

    check_stack(f"write: {file}", images.shape)
    first, *others = (Image.fromarray(image) for image in images)
    with atomic_path(file) as made:  # by its name: Pillow reads what it has written
        first.save(made, format="TIFF", save_all=True, append_images=others)


@contextmanager
def _image(file: Path, stack: bool = False) -> Iterator[Any]:
    """An image whose header alone is read: what asks for its pixels decodes them. stack: it is a TIFF file."""
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            # Of this many pixels Pillow warns, of twice as many it raises an error.
            warnings.simplefilter("ignore" if stack else "error", Image.DecompressionBombWarning)
            with Image.open(file, formats=("TIFF",) if stack else IMAGE_FORMATS) as image:
                yield image
    except Unfit:
        raise
    except Exception as error:  # a decoder of a damaged file may fail in any way
        reason = str(error) or type(error).__name__
        if stack and isinstance(error, UnidentifiedImageError):
            reason = "Pillow must know its pixels, of one channel of 8, 16 or 32 bits; a .npy file may hold others"
        raise ValueError(f"load: {file}: not a readable image: {reason}") from None


def load_array(path: str | os.PathLike[str], max_count: int | None = None, channels: Channels | None = None) -> Dataset:
    """Integer counts from a .npy, .npz or TIFF file.

    Parameters
    ----------
    path : str or os.PathLike
        The file. Its arrays have the shape (N, H, W), (N, C, H, W) or (N, H, W, C), and any integer dtype, or floats
        that are whole numbers of at most 2^24. A table (N, D) is read as images (N, D, 1, 1). Of a TIFF file every
        image is a sample of one channel, of 8, 16 or 32 bits.
    max_count : int, optional
        The largest count that is possible. By default it is the largest in the data.
    channels : {"first", "last"}, optional
        Where the channels of four dimensions lie. By default they are the axis of length 1 to 4 among the second and
        the last.

    Returns
    -------
    Dataset
        The counts.

    Raises
    ------
    ValueError
        If the file cannot be read, if it holds other arrays or labels of one of two parts alone, or if both or neither
        of the two axes may be the channels.

    Notes
    -----
    The keys of a .npz file are `train_images` and `test_images`, with `train_labels` and `test_labels` if there are
    labels. Or they are `images`, with `labels`. Each may have `counts` in place of `images`. A single array may have
    any name. Without test_images a keyed shuffle holds out a tenth. Pickled objects are never loaded.
    """
    if channels not in (None, "first", "last"):
        raise ValueError(f"load: channels: must be first or last, got {channels!r}")
    images, labels, held_out, held_out_labels = read_counts("load: data", Path(path), channels)
    top = max(int(part.max()) for part in (images, held_out) if part is not None)
    max_count = max_count_of("load", max(top, 1) if max_count is None else max_count, "int64")
    return make_dataset(
        "array", images, labels, max_count=max_count, held_out=held_out, held_out_labels=held_out_labels
    )


def read_counts(what: str, file: Path, channels: Channels | None = None) -> tuple[Any, Any, Any, Any]:
    """The counts (N, C, H, W) of a file and their labels, and the same of its held-out part; None for what it lacks.

    what: the op and the argument, for errors.
    """
    suffix = file.suffix.lower()
    if not file.is_file() or suffix not in (".npy", ".npz", *STACKS):
        there = "" if file.exists() else ", which does not exist"
        raise ValueError(f"{what}: must be a .npy, .npz or .tif file, got {file}{there}")
    images: NDArray[Any] | None
    if suffix != ".npz":
        read = read_npy if suffix == ".npy" else read_stack
        images, labels, held_out, held_out_labels = read(file), None, None, None
    else:
        with Npz(file) as arrays:
            kind = "counts" if {"counts", "train_counts"} & set(arrays.names) else "images"
            if f"train_{kind}" in arrays.names:
                keys = (f"train_{kind}", "train_labels", f"test_{kind}", "test_labels")
            elif kind in arrays.names or len(arrays.names) != 1:
                keys = (kind, "labels", "", "")
            else:
                keys = (arrays.names[0], "", "", "")
            images, labels, held_out, held_out_labels = (arrays.get(key) for key in keys)
            if images is None:
                found = arrays.listed()
                raise ValueError(f"load: {file}: must hold train_images, images, counts or one array, got {found}")
    if held_out is not None:
        held_out = _channels_first(file, held_out, channels)
    return _channels_first(file, images, channels), labels, held_out, held_out_labels


def _channels_first(file: Path, images: NDArray[Any], channels: str | None) -> NDArray[Any]:
    if images.ndim not in (2, 3, 4) or 0 in images.shape:
        shapes = "(N, D), (N, H, W), (N, C, H, W) or (N, H, W, C)"
        raise ValueError(f"load: {file}: must have shape {shapes}, got {images.shape}")
    if images.ndim == 2:
        return images[:, :, None, None]
    if images.ndim == 3:
        return images[:, None]
    if channels is None:
        first, last = images.shape[1] <= FEW_CHANNELS, images.shape[3] <= FEW_CHANNELS
        if first == last:
            raise ValueError(f"load: channels: pass first or last, since the shape {images.shape} does not tell which")
        channels = "first" if first else "last"
    return images if channels == "first" else np.moveaxis(images, -1, 1)


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
