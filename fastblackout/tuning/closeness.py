"""How far samples are from real ones: the number that a search makes small."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.features import features_for
from ..evaluation.samples import Gaussian

if TYPE_CHECKING:
    import torch

    from ..data import Dataset

Array = NDArray[Any]
Closeness = Callable[[Array], float]


class InFeatures:
    """The Frechet distance (Dowson and Landau 1982) of images to `real` ones in features."""

    def __init__(self, features: Callable[..., Any], real: Array) -> None:
        self.features, self.law = features, Gaussian(features(real))

    def __call__(self, samples: Array) -> float:
        return self.law.distance(Gaussian(self.features(samples)))


class ByEnergy:
    """The energy distance 2 E|x - y| - E|x - x'| - E|y - y'| of rows to `real` ones, of log(1 + count).

    The means are over all pairs of rows, also of a row and itself. So the distance is never negative.
    Source: Szekely and Rizzo 2013.
    """

    def __init__(self, real: Array) -> None:
        self.real = _logs(real)
        self.among = _mean_distance(self.real, self.real)

    def __call__(self, samples: Array) -> float:
        x = _logs(samples)
        return max(2 * _mean_distance(x, self.real) - _mean_distance(x, x) - self.among, 0.0)


def closeness_for(data: Dataset, real: Array, device: str | torch.device = "cpu") -> tuple[Closeness, str]:
    """The distance to `real` samples of a data set, and what it is called.

    Images: the Frechet distance in the features of the network that evaluation has for them, else in their pixels.
    Tables: the energy distance.
    """
    if data.is_table:
        return ByEnergy(real), "energy distance of log(1 + count)"
    if features := features_for(data, device):
        return InFeatures(lambda images: features(images), real), f"Frechet distance in features of {features.name}"
    return InFeatures(_flat, real), "Frechet distance of raw pixels"


def _flat(images: Array) -> Array:
    return images.reshape(len(images), -1)


def _logs(rows: Array) -> Array:
    return np.log1p(_flat(rows).astype(np.float64))


def _mean_distance(x: Array, y: Array) -> float:
    total, norms = 0.0, (y**2).sum(axis=1)
    for part in np.array_split(x, -(-len(x) // 256)):
        squared = (part**2).sum(axis=1)[:, None] + norms - 2 * part @ y.T
        total += float(np.sqrt(squared.clip(min=0)).sum())
    return total / (len(x) * len(y))
