"""digits, sets of idx files such as MNIST, CIFAR-10 and CelebA, as torchvision lays them out; it only downloads."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic_files import read_plain
from ..ground.extras import lacking
from ..ground.pickles import unpickled
from .array_files import Npz, read_idx
from .dataset import Dataset, make_dataset
from .files import read_images

Root = str | os.PathLike[str]
_MOST_REASON = 500  # characters of what torchvision says, whose first line does not say why
_MOST_OF_A_BATCH = 1 << 28  # bytes; a batch of CIFAR-10 has 31 million
_OF_NUMPY = ("ndarray", "dtype", "core.multiarray._reconstruct", "_core.multiarray._reconstruct")
_NAMES = ("_codecs.encode", *(f"numpy.{name}" for name in _OF_NUMPY))
_INTEGERS = tuple(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))
TRAIN, VALIDATION, TEST = range(3)  # parts of CelebA
# 140: score_sde's central_crop, datasets.py. 148: Real NVP, Dinh et al. 2017, arXiv 1605.08803. Others do not compare.
CROPS = (140, 148)
_MOST_OF_LIST = 1 << 26  # bytes; CelebA's own has 2.8 million
_PARTITION = "list_eval_partition.txt"


def load_digits() -> Dataset:
    """The 1,797 handwritten 8x8 digits of scikit-learn, counts 0..16.

    Returns
    -------
    Dataset
        A keyed shuffle keeps 1,500 digits for training and holds out 297.

    Raises
    ------
    ValueError
        If scikit-learn is not installed.
    """
    try:
        from sklearn.datasets import load_digits as sklearn_digits
    except ImportError:
        raise lacking("load: digits", "scikit-learn") from None
    digits = sklearn_digits()
    images = digits.images.astype(np.uint8)[:, None]
    return make_dataset("digits", images, digits.target, max_count=16, held_out_count=297)


def load_cifar10(root: Root, download: bool = False) -> Dataset:
    """CIFAR-10 from root/cifar-10-batches-py (torchvision) or root/cifar10.npz. 50,000 for training, 10,000 held out.

    The .npz holds train_images (N, 32, 32, 3) uint8, train_labels, test_images, test_labels. Of the pickles only arrays
    and lists of integers are read.
    """
    folder, packed = Path(root) / "cifar-10-batches-py", Path(root) / "cifar10.npz"
    batches = [folder / name for name in (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")]
    if download and not packed.is_file() and not all(batch.is_file() for batch in batches):
        _download("CIFAR10", root)
    if folder.is_dir():
        *train, (test_images, test_labels) = [_read_cifar_batch(batch) for batch in batches]
        images = np.concatenate([part[0] for part in train])
        labels = np.concatenate([part[1] for part in train])
    elif packed.is_file():
        with Npz(packed) as arrays:
            images, labels, test_images, test_labels = (
                _of_cifar(packed, key, arrays.get(key), arrays.listed())
                for key in ("train_images", "train_labels", "test_images", "test_labels")
            )
    else:
        raise ValueError(f"load: data: no cifar-10-batches-py or cifar10.npz in {root}; --download fetches it")
    return make_dataset("cifar10", images, labels, max_count=255, held_out=test_images, held_out_labels=test_labels)


def load_idx(name: str, folder_name: str, root: Root, download: bool = False) -> Dataset:
    """A set of root/folder_name/raw, as torchvision lays it out: four idx files, plain or .gz, counts 0..255."""
    folder = Path(root) / folder_name / "raw"
    stems = [f"{part}-{kind}" for part in ("train", "t10k") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    if download and any(_find_idx(folder, stem) is None for stem in stems):
        _download(folder_name, root)
    files = []
    for stem in stems:
        if (file := _find_idx(folder, stem)) is None:
            raise ValueError(f"load: data: no {stem} in {folder}; --download fetches it")
        files.append(file)
    images, labels, held_out, held_out_labels = (read_idx(file) for file in files)
    if images.ndim != 3 or held_out.ndim != 3:
        raise ValueError(f"load: {folder}: image files must have 3 dimensions, got {images.ndim} and {held_out.ndim}")
    images, held_out = images[:, None], held_out[:, None]
    return make_dataset(name, images, labels, max_count=255, held_out=held_out, held_out_labels=held_out_labels)


def _find_idx(folder: Path, stem: str) -> Path | None:
    return next((path for path in (folder / stem, folder / f"{stem}.gz") if path.is_file()), None)


def _of_cifar(file: Path, key: str, array: NDArray[Any] | None, found: str) -> NDArray[Any]:
    """An array of cifar10.npz, images with the channels first."""
    if array is None:
        raise ValueError(f"load: {file}: must hold {key}, got only {found}")
    if not key.endswith("images"):
        return array
    if array.shape[1:] != (32, 32, 3):
        raise ValueError(f"load: {file}: {key}: shape must be (N, 32, 32, 3), got {array.shape}")
    return np.moveaxis(array, -1, 1)


def _read_cifar_batch(path: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    try:
        content = read_plain(path, _MOST_OF_A_BATCH)
        (batch,), size = unpickled(content, _NAMES, ("data", "labels"))
        if left := len(content) - size:
            raise ValueError(f"it goes on for {left} bytes after its end")
        if batch.keys is None:
            raise ValueError("it must hold a dictionary, got something else")
        images, labels = (_integers(key, batch.value[key]) for key in ("data", "labels"))
    except FileNotFoundError:
        raise ValueError(f"load: data: no {path.name} in {path.parent}") from None
    except KeyError as missing:
        raise ValueError(f"load: {path}: not a batch of CIFAR-10: it holds no {missing}") from None
    except ValueError as error:
        raise ValueError(f"load: {path}: not a batch of CIFAR-10: {error}") from None
    if images.ndim != 2 or images.shape[1] != 3072:
        raise ValueError(f"load: {path}: data must be an array (N, 3072), got {images.shape}")
    return images.reshape(-1, 3, 32, 32), labels


def _integers(key: str, value: Any) -> NDArray[Any]:
    """An array or a list of integers, as `unpickled` gives it. An array is made where its bytes are what it needs."""
    match value:
        case [*_] if all(type(number) is int for number in value):
            return np.array(value)
        case [_, _, [1, [*shape], ["numpy.dtype", [code, *_], [3, order, *flags]], by_columns, bytes(raw)]]:
            code, order = (part.decode("latin-1") if isinstance(part, bytes) else part for part in (code, order))
            if code not in _INTEGERS or order not in ("|", "<", ">") or flags != [None, None, None, -1, -1, 0]:
                raise ValueError(f"the dtype of {key} must be one of {', '.join(_INTEGERS)}, without fields or flags")
            if len(shape) > 2 or not all(type(size) is int and size >= 0 for size in shape):
                raise ValueError(f"the shape of {key} must be one or two integers of at least 0")
            kind = np.dtype(order + code)
            if len(raw) != (needed := math.prod(shape) * kind.itemsize):
                what = f"{key} of shape {tuple(shape)} and dtype {kind}"
                raise ValueError(f"{what} must have {needed} bytes, got {len(raw)}")
            return np.frombuffer(raw, kind).reshape(shape, order="F" if by_columns else "C")
    raise ValueError(f"{key} must be a list of integers or an array of them, got something else")


def _download(name: str, root: Root) -> None:
    try:
        import torchvision
    except ImportError:
        raise lacking("load: download", "torchvision") from None
    try:
        for train in (True, False):
            getattr(torchvision.datasets, name)(str(root), train=train, download=True)
    except (RuntimeError, OSError) as error:
        reason = " ".join(str(error).split())[:_MOST_REASON] or type(error).__name__
        raise ValueError(f"load: download: torchvision could not fetch {name}: {reason}") from None


def load_celeba(root: str | os.PathLike[str], crop: int, resize: int) -> Dataset:
    """CelebA from root/celeba: `list_eval_partition.txt`, and the images of 178x218 in `img_align_celeba/`.

    The training part, 162,770 images, is trained on, and the test part, 19,962, held out; the validation part is left
    aside. The middle crop x crop pixels, 140 or 148, are made resize x resize by `files.shaped`. No labels.
    Raises ValueError naming the file or the line that is missing or wrong.
    """
    if crop not in CROPS:
        raise ValueError(f"load: crop: must be {' or '.join(map(str, CROPS))} for CelebA, got {crop}")
    folder = Path(root) / "celeba"
    parts = _celeba_parts(folder)
    train, held_out = (read_images(parts[part], crop, resize) for part in (TRAIN, TEST))
    return make_dataset("celeba64", train, max_count=255, held_out=held_out)


def _celeba_parts(folder: Path) -> dict[int, list[Path]]:
    """The images of each part, in the order of the list. ValueError where one of them is not there."""
    file, images = folder / _PARTITION, folder / "img_align_celeba"
    try:
        lines = read_plain(file, _MOST_OF_LIST).decode().splitlines()
    except OSError:
        raise ValueError(f"load: data: no {_PARTITION} in {folder}, the folder that torchvision makes") from None
    except UnicodeDecodeError:
        raise ValueError(f"load: {file}: must be a text of names and parts, got other bytes") from None
    except ValueError as error:
        raise ValueError(f"load: {file}: {error}") from None
    try:
        there = {entry.name for entry in os.scandir(images) if entry.is_file()}
    except OSError:
        raise ValueError(f"load: data: no folder of images {images}") from None
    parts: dict[int, list[Path]] = {TRAIN: [], VALIDATION: [], TEST: []}
    for number, line in enumerate(lines, 1):
        match line.split():
            case [name, ("0" | "1" | "2") as part]:
                if name not in there:
                    raise ValueError(f"load: {file}: line {number}: no image {ascii(name)} in {images}")
                parts[int(part)].append(images / name)
            case []:
                pass
            case _:
                raise ValueError(f"load: {file}: line {number}: must be a name and 0, 1 or 2, got {ascii(line[:100])}")
    for needed, what in ((TRAIN, "0 (training)"), (TEST, "2 (test)")):
        if not parts[needed]:
            raise ValueError(f"load: {file}: must list images of part {what}, got none")
    return parts
