"""A small convolutional classifier of 28x28 grey images, whose last layer but one gives the features of evaluations.

Its weights, one file for each data set, ship with the package; `train_classifier` makes them. It stands in for the
Inception network of the published Frechet distances (FID), which knows photographs and cannot ship with a package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .pinned import checked

FOLDER = Path(__file__).with_name("weights")
SHAPE, MAX_COUNT, CLASSES = (1, 28, 28), 255, 10
WIDTHS = (16, 48, 48, 96, 96)  # channels after each 3x3 convolution; the last is the number of features
POOLED = (0, 2)  # the convolutions after which the larger of each 2x2 pixels is kept

# SHA-256 of the files of weights.
HASHES = {
    "mnist": "7b069eeee8de55f3955c6b92e73ec79cbc1a6faacfa77dc0639f967cadf8a065",
    "fashion-mnist": "2c290a970e3e63cbef5e018155bc473829ec0271e962ba1c364ee0f5d809f2eb",
}


class Classifier(nn.Module):
    """Images (N, 1, 28, 28) in 0..1, float32, to features (N, 96) and the logits of 10 classes (N, 10).

    Five 3x3 convolutions with ReLU; the features are the means over the pixels of the last one's output, and the
    logits a linear map of these. normalize: with batch normalization after each convolution, for the training.
    """

    def __init__(self, normalize: bool = False) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, padding=1)
            for before, after in zip((SHAPE[0], *WIDTHS[:-1]), WIDTHS, strict=True)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) if normalize else nn.Identity() for width in WIDTHS)
        self.last = nn.Linear(WIDTHS[-1], CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        values = images.contiguous(memory_format=torch.channels_last)  # faster on a CPU
        for index, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            values = norm(convolution(values))
            values = torch.relu(nn.functional.max_pool2d(values, 2) if index in POOLED else values)
        features = values.mean(dim=(2, 3))
        return features, self.last(features)

    @torch.no_grad()
    def folded(self) -> Classifier:
        """The same function without normalization: each one's scale and shift multiplied into its convolution."""
        plain = Classifier()
        plain.last.load_state_dict(self.last.state_dict())
        layers: Any = zip(self.convolutions, self.norms, plain.convolutions, strict=True)
        for mine, norm, new in layers:
            scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
            new.weight.copy_(mine.weight * scale[:, None, None, None])
            new.bias.copy_((mine.bias - norm.running_mean) * scale + norm.bias)
        return plain.eval()


def weights_path(name: str) -> Path:
    """Where the weights for a data set lie in the installed package."""
    return FOLDER / f"{name}.safetensors"


def load_classifier(name: str) -> Classifier:
    """The classifier of "mnist" or "fashion-mnist", in eval mode.

    Raises ValueError when the file is missing, or its SHA-256 is not the one of `HASHES`.
    """
    from safetensors.torch import load

    path = weights_path(name)
    if not path.is_file():
        raise ValueError(f"evaluate: classifier of {name}: no {path.name} in {path.parent}; install fastblackout anew")
    content = checked(f"classifier of {name}: {path}", path.read_bytes(), HASHES[name])
    network = Classifier()
    network.load_state_dict(load(content))  # float16 numbers, read into float32 ones
    return network.eval().requires_grad_(False)
