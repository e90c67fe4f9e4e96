"""Data sets of integer counts: `load` by name, `Dataset` to hold one, keyed batch order and flips.

All but the table of data sets is loaded at first use: the command line's help reads their names without NumPy.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any, NamedTuple, TypedDict, Unpack

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ..typing import Channels, DataName
    from .cells import from_anndata as from_anndata
    from .cells import to_anndata as to_anndata
    from .dataset import Dataset as Dataset
    from .dataset import make_dataset as make_dataset
    from .files import load_array as load_array
    from .files import load_folder as load_folder
    from .named import load_digits as load_digits
    from .order import BatchOrder as BatchOrder
    from .order import flip_rows as flip_rows

CELLS = ("layer", "labels_key", "var_names", "class_names")  # what belongs to AnnData alone


class NamedSet(NamedTuple):
    """A data set as `load` and the command line know it. No more than names, so that a help page needs no NumPy.

    loader: "module:function" of this folder. takes: the arguments of `load` that it is called with. preset: the options
    of a training (training/config.py) that are not the defaults. fixed: what the loader is called with beside them.
    origin: the package that brings the data, of a set that needs no path. shaping: what crop, resize and binarize are
    where they are not given; a loader that takes crop and resize sees to them itself, as it reads each image.
    """

    loader: str
    preset: dict[str, Any]
    takes: tuple[str, ...] = ("root", "download")
    fixed: tuple[str, ...] = ()
    origin: str = ""
    shaping: dict[str, int] = {}


# Options of a table of counts where they are not given. On rows of ten columns with long tails, a beta-binomial head
# had the variances, the correlations and the zeros right after 2,000 steps. A mean head had halved the variances.
OF_TABLE: dict[str, Any] = {
    "network": "mlp", "head": "beta-binomial", "steps": 10_000, "batch": 256, "decay": True,
    "times": "uniform",
}  # fmt: skip
WIDE_COUNTS = 256  # a table with a larger max_count gets a head for counts that vary by orders of magnitude
WIDE_HEAD = "negative-binomial"

# Counts to 16 and to 1 keep the input `unit`: with it one particle already differs from none.
_IMAGES = {"learning_rate": 5e-4, "warmup": 100, "dropout": 0.0}
# Where a number of a preset is not the paper's, it was chosen by measurements; docs/results.md has the results.
SETS = {
    "digits": NamedSet(
        "named:load_digits",
        {
            "head": "beta-binomial", "steps": 4000, "learning_rate": 2e-3, "warmup": 100, "decay": True, "dropout": 0.0,
            "channels": 16, "input": "unit", "ema": 0.999,
            "held_out_every": 500, "sample_every": 1000, "checkpoint_every": 500,
            "threads": 1,  # a second thread gains a third on an idle machine and loses all on a busy one
        },
        takes=(),
        origin="scikit-learn",
    ),
    "mnist": NamedSet("named:load_idx", _IMAGES, fixed=("mnist", "MNIST")),
    "fashion-mnist": NamedSet("named:load_idx", _IMAGES, fixed=("fashion-mnist", "FashionMNIST")),
    "mnist-binary": NamedSet(
        "named:load_idx",
        {**_IMAGES, "input": "unit", "t_end": 10.0},  # the paper's end time for these data
        fixed=("mnist-binary", "MNIST"),
        shaping={"resize": 32, "binarize": 128},
    ),
    "cifar10": NamedSet("named:load_cifar10", {**_IMAGES, "flip": True}),
    "celeba64": NamedSet(
        "named:load_celeba",
        {**_IMAGES, "flip": True},
        takes=("root", "crop", "resize"),
        shaping={"crop": 140, "resize": 64},
    ),
    "folder": NamedSet("files:load_folder", _IMAGES, takes=("root", "crop", "resize")),
    "array": NamedSet("files:load_array", _IMAGES, takes=("root", "max_count", "channels")),
    "h5ad": NamedSet(
        "cells:load_h5ad",
        {**_IMAGES, **OF_TABLE, "head": WIDE_HEAD},  # counts of genes have no bound and vary much
        takes=("root", "max_count", *CELLS),
    ),
}  # fmt: skip
NAMES = tuple(SETS)
SHAPING = ("crop", "resize", "binarize")
_HOME = {
    "BatchOrder": "order",
    "Dataset": "dataset",
    "flip_rows": "order",
    "from_anndata": "cells",
    "load_array": "files",
    "load_digits": "named",
    "load_folder": "files",
    "make_dataset": "dataset",
    "to_anndata": "cells",
}

__all__ = [
    "NAMES",
    "SHAPING",
    "BatchOrder",
    "Dataset",
    "flip_rows",
    "from_anndata",
    "load",
    "load_array",
    "load_digits",
    "load_folder",
    "make_dataset",
    "shaping_of",
    "to_anndata",
]


if not TYPE_CHECKING:  # which would take any name for one that there is

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = globals()[name] = getattr(importlib.import_module(f".{_HOME[name]}", __name__), name)
        return value


class Cells(TypedDict, total=False):
    """What `load` takes for an .h5ad file or a .zarr store alone."""

    layer: str | None
    labels_key: str | None
    var_names: Sequence[str] | None
    class_names: Sequence[str] | None


def load(
    name: DataName,
    root: str | os.PathLike[str] | None = None,
    download: bool = False,
    max_count: int | None = None,
    channels: Channels | None = None,
    crop: int | None = None,
    resize: int | None = None,
    binarize: int | None = None,
    **cells: Unpack[Cells],
) -> Dataset:
    """Load a data set by name.

    Parameters
    ----------
    name : {"digits", "mnist", "fashion-mnist", "mnist-binary", "cifar10", "celeba64", "folder", "array", "h5ad"}
        Which data set, one of `NAMES`.
    root : str or os.PathLike, optional
        The folder that holds the files of mnist, fashion-mnist, cifar10 or celeba64; the folder of images; or the .npy
        or .npz file; the .h5ad file.
    download : bool, default False
        Let torchvision fetch mnist, fashion-mnist or cifar10 into `root`.
    max_count : int, optional
        The largest count that is possible, for "array" and "h5ad". By default it is the largest in the data.
    channels : {"first", "last"}, optional
        Where the channels lie, for "array".
    crop : int, optional
        Cut out the middle crop x crop pixels. By default it is as the data set has it, as `resize` and `binarize` are.
    resize : int, optional
        Then make the shorter side so many pixels long (see data/files.py).
    binarize : int, optional
        Then make counts 1 where they are at least this number, else 0.
    **cells : object
        layer, labels_key, var_names and class_names of an .h5ad file or a .zarr store, as `from_anndata` takes them.

    Returns
    -------
    Dataset
        The data.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If the name is unknown, an argument does not belong to the data set, or the data are not usable.

    Examples
    --------
    >>> fb.data.load("digits").shape
    (1, 8, 8)
    """
    if name not in SETS:
        raise ValueError(f"load: name: must be one of {', '.join(SETS)}, got {name!r}")
    shaping = shaping_of(name, crop=crop, resize=resize, binarize=binarize)
    if unknown := cells.keys() - set(CELLS):
        raise TypeError(f"load: arguments: must be in the signature or {', '.join(CELLS)}, got {min(unknown)}")
    known, own = SETS[name], {"max_count": max_count, "channels": channels, **cells}
    for argument, value in own.items():
        if value is not None and argument not in known.takes:
            raise ValueError(f"load: {argument}: belongs to {_takers(argument)} data alone, got it for {name}")
    given = {"download": download, **own, **shaping}
    if "root" not in known.takes and (root is not None or download):
        come = f"{name} come with {known.origin}, leave out --data and --download"
        raise ValueError(f"load: data, download: {come}, got one")
    if "root" in known.takes and root is None:
        raise ValueError(f"load: data: {name} needs a path (--data PATH), got none")
    if "download" not in known.takes and download:
        raise ValueError(f"load: download: belongs to {_takers('download')}, got it for {name}")
    module, function = known.loader.split(":")
    loader = getattr(importlib.import_module(f".{module}", __name__), function)
    path = (root,) if "root" in known.takes else ()
    shaper = importlib.import_module(".files", __name__)
    shaper.check_shaping(**shaping)
    data = loader(*known.fixed, *path, **{argument: given[argument] for argument in known.takes if argument in given})
    return shaper.shaped_dataset(data, shaping, done=known.takes)


def shaping_of(name: DataName, **given: int | None) -> dict[str, int | None]:
    """How images of a data set are cut out, resized and made black or white.

    Parameters
    ----------
    name : str
        The name of the data set.
    **given : int or None
        crop, resize and binarize as given.

    Returns
    -------
    dict of str to int or None
        crop, resize and binarize: as given, else as the data set has them, else None.

    Examples
    --------
    >>> fb.data.shaping_of("celeba64")
    {'crop': 140, 'resize': 64, 'binarize': None}
    """
    return {
        option: SETS[name].shaping.get(option) if given.get(option) is None else given[option] for option in SHAPING
    }


def _takers(argument: str) -> str:
    """ "a, b and c": the data sets that take an argument."""
    *first, last = (name for name, known in SETS.items() if argument in known.takes)
    return f"{', '.join(first)} and {last}" if first else last
