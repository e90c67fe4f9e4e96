"""Data sets of integer counts: `load` by name, `Dataset` to hold one, keyed batch order and flips."""

from __future__ import annotations

import os

from .dataset import Dataset
from .files import load_array, load_folder
from .named import load_cifar10, load_digits, load_fashion_mnist, load_mnist
from .order import BatchOrder, flip_rows

NAMES = ("digits", "mnist", "fashion-mnist", "cifar10", "folder", "array")

__all__ = ["NAMES", "BatchOrder", "Dataset", "flip_rows", "load", "load_array", "load_digits", "load_folder"]


def load(
    name: str,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    max_count: int | None = None,
    channels: str | None = None,
) -> Dataset:
    """The data set `name`, one of `NAMES`.

    root: the folder that holds mnist, fashion-mnist or cifar10; the folder of images; the .npy or .npz file.
    download: let torchvision fetch mnist, fashion-mnist or cifar10 into root. max_count, channels: for `array`.
    Raises ValueError when the name is unknown, an argument does not belong to it, or the data are not usable.
    """
    if name not in NAMES:
        raise ValueError(f"load: name: must be one of {', '.join(NAMES)}, got {name!r}")
    if name != "array" and (max_count is not None or channels is not None):
        raise ValueError(f"load: max_count, channels: belong to array data alone, got them for {name}")
    if name == "digits":
        if root is not None or download:
            raise ValueError(
                "load: data, download: digits come with scikit-learn, leave out --data and --download, got one"
            )
        return load_digits()
    if root is None:
        raise ValueError(f"load: data: {name} needs a path (--data PATH), got none")
    if name == "folder" or name == "array":
        if download:
            raise ValueError(f"load: download: belongs to mnist, fashion-mnist and cifar10, got it for {name}")
        return load_folder(root) if name == "folder" else load_array(root, max_count=max_count, channels=channels)
    loader = {"mnist": load_mnist, "fashion-mnist": load_fashion_mnist, "cifar10": load_cifar10}[name]
    return loader(root, download=download)
