"""The table of data sets: what loads each, what it needs, and how it is trained on."""

from __future__ import annotations

from typing import Any, NamedTuple

CELLS = ("layer", "labels_key", "var_names", "class_names")  # what belongs to AnnData alone


class DataSet(NamedTuple):
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
    "digits": DataSet(
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
    "mnist": DataSet("named:load_idx", _IMAGES, fixed=("mnist", "MNIST")),
    "fashion-mnist": DataSet("named:load_idx", _IMAGES, fixed=("fashion-mnist", "FashionMNIST")),
    "mnist-binary": DataSet(
        "named:load_idx",
        {**_IMAGES, "input": "unit", "t_end": 10.0},  # the paper's end time for these data
        fixed=("mnist-binary", "MNIST"),
        shaping={"resize": 32, "binarize": 128},
    ),
    "cifar10": DataSet("named:load_cifar10", {**_IMAGES, "flip": True}),
    "celeba64": DataSet(
        "celeba:load_celeba",
        {**_IMAGES, "flip": True},
        takes=("root", "crop", "resize"),
        shaping={"crop": 140, "resize": 64},
    ),
    "folder": DataSet("files:load_folder", _IMAGES, takes=("root", "crop", "resize")),
    "array": DataSet("files:load_array", _IMAGES, takes=("root", "max_count", "channels")),
    "h5ad": DataSet(
        "cells:load_h5ad",
        {**_IMAGES, **OF_TABLE, "head": WIDE_HEAD},  # counts of genes have no bound and vary much
        takes=("root", "max_count", *CELLS),
    ),
}  # fmt: skip
