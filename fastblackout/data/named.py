"""digits, sets of idx files such as MNIST, and CIFAR-10, as torchvision lays them out; torchvision only downloads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..atomic_files import read_plain
from ..ground.extras import lacking
from .dataset import Dataset, make_dataset
from .pickled import read_dictionary
from .stored import Npz, read_idx

Root = str | os.PathLike[str]
_MOST_REASON = 500  # characters of what torchvision says, whose first line does not say why
_MOST_OF_A_BATCH = 1 << 28  # bytes; a batch of CIFAR-10 has 31 million


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

    The .npz holds train_images (N, 32, 32, 3) uint8, train_labels, test_images, test_labels. The pickles are read by
    what builds arrays of integers and nothing else.
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
        batch = read_dictionary(read_plain(path, _MOST_OF_A_BATCH))
        images, labels = batch["data"], batch["labels"]
    except FileNotFoundError:
        raise ValueError(f"load: data: no {path.name} in {path.parent}") from None
    except KeyError as missing:
        raise ValueError(f"load: {path}: not a batch of CIFAR-10: it holds no {missing}") from None
    except ValueError as error:
        raise ValueError(f"load: {path}: not a batch of CIFAR-10: {error}") from None
    if not isinstance(images, np.ndarray) or images.ndim != 2 or images.shape[1] != 3072:
        raise ValueError(f"load: {path}: data must be an array (N, 3072), got {getattr(images, 'shape', type(images))}")
    if not isinstance(labels, np.ndarray) and not (type(labels) is list and all(type(one) is int for one in labels)):
        raise ValueError(f"load: {path}: labels must be a list of integers, got {type(labels).__name__} of others")
    return images.reshape(-1, 3, 32, 32), np.asarray(labels)


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
