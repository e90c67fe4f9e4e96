"""Small trained models that come with the package: `load_pretrained`, and names for `fastblackout sample`.

Each is a checkpoint folder beside this file that `fastblackout export` made of a run: the averaged weights and their
description. https://github.com/fastblackout/fastblackout/blob/main/docs/results.md has the commands that trained them,
and how good their samples are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..training.trained_model import Run
    from ..typing import Pretrained

_HERE = Path(__file__).parent


def names() -> list[str]:
    """The names of the models. Each is the name of the data set that the model was trained on.

    Returns
    -------
    list of str
        The names.
    """
    return sorted(folder.parent.name for folder in _HERE.glob("*/config.json"))


def folder_of(name: str) -> Path | None:
    """The checkpoint folder of a model.

    Parameters
    ----------
    name : str
        The name.

    Returns
    -------
    pathlib.Path or None
        The folder; None where there is no model of that name.
    """
    return _HERE / name if name in names() else None


def load_pretrained(name: Pretrained, device: str = "auto") -> Run:
    """A model that comes with the package, ready to sample.

    Parameters
    ----------
    name : {"digits", "mnist", "fashion-mnist"}
        The data it was trained on. "digits" has 8x8 images with counts 0..16. "mnist" and "fashion-mnist" have 28x28
        images with counts 0..255, and the classes 0..9 as labels.
    device : str, default "auto"
        "auto", "cpu", "cuda" or "cuda:N", as in the command line.

    Returns
    -------
    Run
        Its `model` is in eval mode. It also has the `schedule`, and `shape`, (C, H, W) of one sample.

    Raises
    ------
    ValueError
        If the name is unknown, or the device is not there.

    Examples
    --------
    >>> run = fb.load_pretrained("digits", device="cpu")
    >>> fb.sample(run.model, run.schedule, (2, *run.shape), steps=5, rng=fb.Philox(1)).shape
    torch.Size([2, 1, 8, 8])
    """
    folder = folder_of(name) if isinstance(name, str) else None
    if folder is None:
        raise ValueError(f"load_pretrained: name: must be one of {', '.join(names())}, got {name!r}")
    from ..training.trained_model import load_run

    return load_run(folder, device)
