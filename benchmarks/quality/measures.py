"""What is measured of a set of images, in the features of each judge and in pixels, and of real images beside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastblackout.atomic_files import atomic_file
from fastblackout.data import Dataset
from fastblackout.evaluation.features import Features
from fastblackout.evaluation.samples import NEAREST_TRAIN, Gaussian, nearest_distance, on_pixels, spread_out

NEIGHBOURS = 5
SUBSETS = 5  # of the real images, for the mean and its standard deviation

Array = NDArray[Any]
Told = dict[str, dict[str, Any]]  # name: mean, spread and each of a number


def neighbours(x: Array, real: Array) -> dict[str, float]:
    """Precision, recall, density and coverage of features x (N, D) beside real ones (M, D).

    The ball of an image reaches to its fifth nearest of the same kind. precision: share of x in a ball of a real image;
    density: how many balls of real images hold one of x, over 5; coverage: share of the balls of real images that hold
    one of x; recall: share of the real images in a ball of x. Sources: Kynkaanniemi et al. 2019, Naeem et al. 2020.
    NaN for no more than five of either.
    """
    if min(len(x), len(real)) <= NEIGHBOURS:
        return dict.fromkeys(("precision", "recall", "density", "coverage"), float("nan"))
    between = _distances(x, real)
    in_real = between < _distances(real, real).kthvalue(NEIGHBOURS + 1, dim=0).values  # the nearest is the image itself
    in_x = between < _distances(x, x).kthvalue(NEIGHBOURS + 1, dim=1).values[:, None]
    return {
        "precision": float(in_real.any(dim=1).double().mean()),
        "recall": float(in_x.any(dim=0).double().mean()),
        "density": float(in_real.double().sum() / (NEIGHBOURS * len(x))),
        "coverage": float(in_real.any(dim=0).double().mean()),
    }


def _distances(x: Array, y: Array) -> torch.Tensor:
    return torch.cdist(torch.from_numpy(x), torch.from_numpy(y))


class Measures:
    """The numbers of sets of `num` images, by the judges, against the training images of a data set.

    work: the folder that keeps the features of these, which take more time than several settings.
    """

    def __init__(self, judges: dict[str, Features], data: Dataset, num: int, work: Path) -> None:
        self.judges, self.data, self.num = judges, data, num
        self.laws, self.near = {}, {}
        for name, judge in judges.items():
            features = _of_training_images(judge, data, work)
            self.laws[name], self.near[name] = Gaussian(features), spread_out(features, num)
        order = np.random.default_rng(1).permutation(len(data.train))[:NEAREST_TRAIN]
        self.nearest = data.train[np.sort(order)]

    def of(self, images: Array, labels: Array | None) -> dict[str, float]:
        """The numbers of one set, by name; labels (N,): the classes that were asked for, or are right."""
        found = {"lit": on_pixels(images, self.data.max_count), "nearest": nearest_distance(images, self.nearest)}
        for name, judge in self.judges.items():
            features, probabilities = judge.with_probabilities(images)
            numbers = {"frechet": self.laws[name].distance(Gaussian(features)), **neighbours(features, self.near[name])}
            if labels is not None and probabilities.shape[1] == self.data.classes:
                numbers["accuracy"] = float((probabilities.argmax(axis=1) == labels).mean())
            found |= {f"{name} {number}": value for number, value in numbers.items()}
        return found

    def of_real(self, equal: bool) -> dict[str, Any]:
        """How many images the subsets of the real ones have, and the numbers of those.

        equal: with as many of each class as samples that are of all classes in turn; of a class with fewer, all.
        """
        images, labels = self.data.held_out, self.data.held_out_labels
        found = []
        for subset in range(SUBSETS if equal or self.num < len(images) else 1):
            rows = np.random.default_rng(subset).permutation(len(images))
            if equal:
                asked = np.bincount(np.arange(self.num) % self.data.classes)
                rows = np.concatenate([rows[labels[rows] == label][:few] for label, few in enumerate(asked)])
            rows = rows[: self.num]
            found.append(self.of(images[rows], None if labels is None else labels[rows]))
        return {"images": len(rows), "numbers": told(found)}


def _of_training_images(judge: Features, data: Dataset, work: Path) -> Array:
    if not judge.hash:  # raw pixels
        return judge(data.train)
    path = work / f"{data.name}-{data.sha256[:16]}-{judge.hash[:16]}.npy"
    if not path.is_file():
        work.mkdir(parents=True, exist_ok=True)
        with atomic_file(path) as file:
            np.save(file, judge(data.train).astype(np.float32))  # as the network gave them
    return np.load(path).astype(np.float64)


def told(found: list[dict[str, float]]) -> Told:
    """Mean and standard deviation over several sets of images, and each set's number; one set has no deviation."""
    result = {}
    for name in found[0]:
        each = [numbers[name] for numbers in found]
        spread = float(np.std(each, ddof=1)) if len(each) > 1 else None
        result[name] = {"mean": float(np.mean(each)), "spread": spread, "each": each}
    return result
