"""Features of images in a network: the numbers of a late layer, in which images that look alike lie close together."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..ground.extras import is_there
from . import efficientnet_lite
from .classifier import HASHES, MAX_COUNT, SHAPE, load_classifier

if TYPE_CHECKING:
    from ..data import Dataset

_SAID = {"mnist": "our MNIST classifier", "fashion-mnist": "our Fashion-MNIST classifier"}

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

    MNIST and Fashion-MNIST, 28x28 pixels and counts 0..255, have a classifier of our own (classifier.py); images of
    three channels EfficientNet-Lite0, where the package with its weights is installed. Both stand in for the network of
    FID. Raises ValueError when a file of weights is not the one that this version pins.

        features = features_for(data)
        Gaussian(features(samples)).distance(Gaussian(features(data.train)))
    """
    if dataset.name in HASHES and dataset.shape == SHAPE and dataset.max_count == MAX_COUNT:
        classifier = load_classifier(dataset.name).to(device)
        return Features(_SAID[dataset.name], HASHES[dataset.name], _of_counts(classifier, MAX_COUNT), device)
    if dataset.shape[0] == 3 and not dataset.is_table and is_there(efficientnet_lite.PACKAGE):
        network = efficientnet_lite.load_efficientnet_lite().to(device)
        of_counts = _of_counts(network, dataset.max_count)
        return Features("EfficientNet-Lite0", efficientnet_lite.SHA256, of_counts, device, batch=50)
    return None


def _of_counts(network: nn.Module, max_count: int) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    """A network of images in 0..1 as one of counts."""
    return lambda counts: network(counts / max_count)
