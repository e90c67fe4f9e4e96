"""The networks that judge samples: two classifiers of 28x28 grey images that the package does not ship.

They differ from the package's classifier, and from one another, in form and seed, so that what was tuned in the
features of one of them is told by the others. They see the training images alone. A judge is trained once, in minutes
of a core, and kept as DATASET-JUDGE.safetensors in a work folder, beside a .json of its seed, accuracy and SHA-256.
On one thread the same seed gives the same bytes on machines of one kind.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from fastblackout.atomic_files import atomic_write
from fastblackout.data import Dataset
from fastblackout.evaluation.features import CLASSES, HASHES, MAX_COUNT, Features, checked, features_for
from fastblackout.evaluation.train_classifier import EPOCHS, MIRRORED, accuracy, fit


class LeNet(nn.Module):
    """Two 5x5 convolutions with average pooling, then a dense layer, whose 120 numbers are the features."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 24, 5, padding=2), nn.BatchNorm2d(24), nn.ReLU(), nn.AvgPool2d(2),
            nn.Conv2d(24, 48, 5), nn.BatchNorm2d(48), nn.ReLU(), nn.AvgPool2d(2),
            nn.Flatten(), nn.Linear(48 * 5 * 5, 120), nn.BatchNorm1d(120), nn.ReLU(),
        )  # fmt: skip
        self.last = nn.Linear(120, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        features = self.layers(images)
        return features, self.last(features)


class Patches(nn.Module):
    """Overlapping patches of 7x7 pixels, every fourth, then four residual blocks of 7x7 patches; the features are the
    means of its 96 channels over the patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Sequential(nn.Conv2d(1, 96, 7, stride=4, padding=2), nn.BatchNorm2d(96), nn.GELU())
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(96, 96, 3, padding=1),
                nn.BatchNorm2d(96),
                nn.GELU(),
                nn.Conv2d(96, 96, 1),
                nn.BatchNorm2d(96),
            )  # fmt: skip
            for _ in range(4)
        )
        self.last = nn.Linear(96, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        values = self.patches(images)
        for block in self.blocks:
            values = nn.functional.gelu(values + block(values))
        features = values.mean(dim=(2, 3))
        return features, self.last(features)


class Kind(NamedTuple):
    """A judge before its training: what makes its network, and the seed of weights and order."""

    network: Callable[[], nn.Module]
    seed: int


JUDGES = {"lenet": Kind(LeNet, 4401), "patches": Kind(Patches, 4402)}
LEARNING_RATE = 0.003
_PIXELS = Features("raw pixels", "", lambda counts: (counts.flatten(1), counts.new_zeros(len(counts), 1)))


def judges_for(data: Dataset, work: Path) -> dict[str, Features]:
    """Networks that judge samples of a data set, by name; the ones in `JUDGES` are trained where `work` has none."""
    own = features_for(data)
    if data.name in HASHES and own is not None:
        return {**{name: judge_of(name, data, work, EPOCHS[data.name]) for name in JUDGES}, "package": own}
    return {"pixels": _PIXELS} if own is None else {"package": own}


def judge_of(name: str, data: Dataset, work: Path, epochs: int) -> Features:
    """A judge of `JUDGES` for a data set. ValueError where its file is not the one that was written."""
    path = work / f"{data.name}-{name}.safetensors"
    about = path.with_suffix(".json")
    if not about.is_file():
        work.mkdir(parents=True, exist_ok=True)
        network = trained(name, data, epochs)
        content = save(network.state_dict())
        atomic_write(path, content)
        facts = {"seed": JUDGES[name].seed, "epochs": epochs, "sha256": hashlib.sha256(content).hexdigest()}
        facts["accuracy"] = accuracy(network, data.held_out, data.held_out_labels)
        atomic_write(about, (json.dumps(facts, indent=1) + "\n").encode())
    sha256 = json.loads(about.read_text())["sha256"]
    network = JUDGES[name].network()
    network.load_state_dict(load(checked(f"judge {name}: {path}", path.read_bytes(), sha256)))
    network.eval().requires_grad_(False)
    return Features(f"{name}, of {data.name}", sha256, lambda counts: network(counts / MAX_COUNT))


def trained(name: str, data: Dataset, epochs: int) -> nn.Module:
    """A judge after its training on data.train, in eval mode."""
    torch.manual_seed(JUDGES[name].seed)
    network = JUDGES[name].network()
    with contextlib.redirect_stdout(sys.stderr):
        fit(network, data, epochs, MIRRORED[data.name], LEARNING_RATE)
    return network.eval()
