"""torch-fidelity's functions, from features that are already there: FID, KID, Inception score, precision, recall."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

KID_SUBSET = 1000  # most images of each of KID's 100 random subsets
MOST_NEIGHBOURS = 10_000  # most images of precision and recall, which compare each image with each
NEIGHBOURS = 3
SPLITS = 10  # parts of the samples, over which the Inception score is a mean
_SMALLEST = 1e-300  # a probability of 0 has no logarithm

Array = NDArray[Any]


def version() -> str | None:
    """The version of torch-fidelity; None where it, or the torchvision that it needs, is not installed or not whole."""
    try:
        import torch_fidelity
    except (ImportError, RuntimeError):  # RuntimeError: a torchvision made for another torch
        return None
    return torch_fidelity.__version__


class Statistics:
    """Mean and covariance of features (N, D), N at least 2, as torch-fidelity takes them; `Gaussian` of FID."""

    def __init__(self, features: Array) -> None:
        self.numbers = _part("fid").fid_features_to_statistics(_tensor(features))

    def distance(self, other: Statistics) -> float:
        """FID: the squared Frechet distance. Source: Heusel et al. 2017."""
        found = _part("fid").fid_statistics_to_metric(self.numbers, other.numbers, verbose=False)
        return found["frechet_inception_distance"]


def kernel_distance(x: Array, y: Array) -> float:
    """KID: the mean over 100 random subsets of the unbiased squared distance of kernel means; NaN for fewer than two.

    The kernel is (a b / D + 1)^3. Source: Binkowski et al. 2018.
    """
    if (size := min(KID_SUBSET, len(x), len(y))) < 2:
        return float("nan")
    found = _part("kid").kid_features_to_metric(_tensor(x), _tensor(y), kid_subset_size=size, verbose=False)
    return found["kernel_inception_distance_mean"]


def inception_score(probabilities: Array) -> float:
    """exp of the mean divergence of an image's classes (N, K) from all images', by tenths; NaN for fewer than ten."""
    if len(probabilities) < SPLITS:
        return float("nan")
    logits = torch.from_numpy(np.log(np.maximum(probabilities, _SMALLEST)))
    return _part("isc").isc_features_to_metric(logits, splits=SPLITS)["inception_score_mean"]


def precision_and_recall(x: Array, real: Array) -> tuple[float, float]:
    """Share of samples near real images, and of real ones near samples; NaN for no more than three of either.

    Near is at most as far as the third nearest of the same kind. Source: Kynkaanniemi et al. 2019.
    """
    if min(len(x), len(real)) <= NEIGHBOURS:
        return float("nan"), float("nan")
    options = {"prc_neighborhood": NEIGHBOURS, "save_cpu_ram": True, "verbose": False}
    found = _part("prc").prc_features_to_metric(_tensor(x), _tensor(real), **options)
    return found["precision"], found["recall"]


def _part(name: str) -> Any:
    return importlib.import_module(f"torch_fidelity.metric_{name}")


def _tensor(features: Array) -> torch.Tensor:
    return torch.from_numpy(features.astype(np.float32))
