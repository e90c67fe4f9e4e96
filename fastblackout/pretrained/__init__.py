"""Small trained models that come with the package: `load_pretrained`, and names for `fastblackout sample`.

Each is a checkpoint folder beside this file that `fastblackout export` made of a run: the averaged weights and their
description. docs/results.md has the commands that trained them, and how good their samples are.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..training.trained_model import Run

_HERE = Path(__file__).parent


def names() -> list[str]:
    """The models there are, by the data set that they were trained on."""
    return sorted(folder.parent.name for folder in _HERE.glob("*/config.json"))


def folder_of(name: str) -> Path | None:
    """The checkpoint folder of a model; None where there is none of that name."""
    return _HERE / name if name in names() else None


def load_pretrained(name: str, device: str = "auto") -> Run:
    """A model that comes with the package, ready to sample: `.model`, in eval mode, its `.schedule`, and `.shape`.

    name: that of the data it was trained on: "digits" (8x8, counts 0..16), "mnist" or "fashion-mnist" (28x28, counts
    0..255, with the classes 0..9 as labels). shape: (C, H, W) of one sample. device: as of the command line: "auto",
    "cpu", "cuda" or "cuda:N".
    Raises ValueError for an unknown name, and where the device is not there.

        >>> run = fb.load_pretrained("digits", device="cpu")
        >>> fb.sample(run.model, run.schedule, (2, *run.shape), steps=5, rng=fb.Philox(1)).shape
        torch.Size([2, 1, 8, 8])
    """
    folder = folder_of(name) if isinstance(name, str) else None
    if folder is None:
        raise ValueError(f"load_pretrained: name: must be one of {', '.join(names())}, got {name!r}")
    from ..training.trained_model import load_run

    return load_run(folder, device)
