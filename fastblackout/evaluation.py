"""How good samples are, in numbers that need no pretrained network and no download.

Every number about samples stands beside the same number about real images, because alone it says little: a Frechet
distance of raw pixels also falls for plain Gaussian noise, and a model that memorises scores best of all.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from .data import Dataset

NEAREST_TRAIN, NEAREST_QUERY = 10_000, 1_000  # most images used for nearest neighbours
JUDGE_TRAIN = 5_000  # most training images of the SVM, whose cost grows with the square
SURE_MARGIN = 0.5

Array = NDArray[Any]


class Gaussian:
    """The Gaussian fitted to samples (N, ...), N at least 2, flattened: `mean`, unbiased `covariance`, float64."""

    def __init__(self, samples: Array) -> None:
        flat = samples.reshape(len(samples), -1)
        if len(flat) < 2:
            raise ValueError(f"Gaussian: samples: must be at least 2, got {len(flat)}")
        self.mean = flat.mean(axis=0, dtype=np.float64)
        self.covariance = np.zeros((flat.shape[1], flat.shape[1]))
        for first in range(0, len(flat), 4096):  # in parts: CIFAR-10 in float64 takes 1.2 GB
            part = flat[first : first + 4096] - self.mean
            self.covariance += part.T @ part
        self.covariance /= len(flat) - 1

    @cached_property
    def root(self) -> Array:
        """The symmetric square root of the covariance, by eigh; eigenvalues that rounding made negative count as 0."""
        values, vectors = np.linalg.eigh(self.covariance)
        return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T

    def distance(self, other: Gaussian) -> float:
        """Squared Frechet distance: |mean - mean'|^2 + tr(C + C' - 2 (C^1/2 C' C^1/2)^1/2)."""
        cross = np.sqrt(np.linalg.eigvalsh(self.root @ other.covariance @ self.root).clip(min=0)).sum()
        traces = np.trace(self.covariance) + np.trace(other.covariance)
        return max(float(((self.mean - other.mean) ** 2).sum() + traces - 2 * cross), 0.0)

    def draw(self, count: int, seed: int) -> Array:
        """`count` draws (count, D)."""
        return self.mean + np.random.default_rng(seed).standard_normal((count, len(self.mean))) @ self.root


def frechet_distance(x: Array, y: Array) -> float:
    """Squared Frechet distance of the Gaussians fitted to two sets of samples (N, ...) and (M, ...), pixels in counts.

    Raises ValueError with fewer than two samples or for unequal sizes. Source: Dowson and Landau 1982.
    """
    if len(x) < 2 or len(y) < 2 or x[0].size != y[0].size:
        raise ValueError(f"frechet_distance: x, y: need 2 or more samples of one size, got {x.shape} and {y.shape}")
    return Gaussian(x).distance(Gaussian(y))


def gaussian_noise(images: Array, count: int, max_count: int, seed: int = 0) -> Array:
    """`count` draws from the Gaussian with the mean and covariance of `images`, rounded and clipped to 0..max_count."""
    return _counts(Gaussian(images).draw(count, seed), max_count).reshape(count, *images.shape[1:])


def _counts(values: Array, max_count: int) -> Array:
    return np.rint(values).clip(0, max_count)


def nearest_distance(queries: Array, references: Array) -> float:
    """Mean over `queries` of the Euclidean distance, in counts, to the nearest of `references`."""
    queries, references = (np.asarray(p, dtype=np.float64).reshape(len(p), -1) for p in (queries, references))
    squared_norms = (references**2).sum(axis=1)
    nearest = []
    for part in np.array_split(queries, -(-len(queries) // 256)):
        squared = (part**2).sum(axis=1)[:, None] - 2 * part @ references.T + squared_norms
        nearest.append(np.sqrt(squared.min(axis=1).clip(min=0)))
    return float(np.concatenate(nearest).mean())


class Judge:
    """An SVM (radial basis, C = 10) trained on real images, asked what samples show and whether it is sure.

    It is sure of an image when the class it names wins each of its contests with another class by a decision value of
    at least 0.5, half the margin.
    """

    def __init__(self, images: Array, labels: NDArray[np.int64], max_count: int) -> None:
        from sklearn.svm import SVC

        self.max_count = max_count
        self.svm = SVC(C=10.0, gamma="scale", decision_function_shape="ovo")
        self.svm.fit(self._flat(images[:JUDGE_TRAIN]), labels[:JUDGE_TRAIN])

    def _flat(self, images: Array) -> Array:
        return images.reshape(len(images), -1) / self.max_count

    def __call__(self, images: Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """(class named (N,), whether sure (N,))."""
        flat = self._flat(images)
        named = self.svm.predict(flat)
        values = self.svm.decision_function(flat).reshape(len(images), -1)  # one column for each pair of classes
        firsts, seconds = np.triu_indices(len(self.svm.classes_), k=1)
        if len(firsts) == 1:
            values = -values  # of two classes alone, positive means the second; else the first
        index = np.searchsorted(self.svm.classes_, named)[:, None]
        margins = np.where(firsts == index, values, np.where(seconds == index, -values, np.inf))
        return named, margins.min(axis=1) >= SURE_MARGIN


def compare(samples: Array, dataset: Dataset) -> dict[str, Any]:
    """Samples (N, C, H, W) against a data set. Distances in counts; the keys are those of `table`.

    Labelled data also get the SVM's verdicts and the class histogram. Raises ValueError when the shapes differ.
    """
    if samples.shape[1:] != dataset.shape or len(samples) < 2:
        raise ValueError(f"compare: samples: need 2 or more of shape {dataset.shape}, got {samples.shape}")
    train, held_out, count = dataset.train, dataset.held_out, len(samples)
    real = Gaussian(train)
    half_1, half_2 = np.array_split(np.random.default_rng(0).permutation(len(train)), 2)
    some_train = train[np.sort(np.random.default_rng(1).permutation(len(train))[:NEAREST_TRAIN])]
    result: dict[str, Any] = {
        "samples": count,
        "train": len(train),
        "held_out": len(held_out),
        "frechet_samples": real.distance(Gaussian(samples)),
        "frechet_noise": real.distance(Gaussian(_counts(real.draw(count, seed=0), dataset.max_count))),
        "frechet_split": frechet_distance(train[half_1], train[half_2]),
        "frechet_held_out": real.distance(Gaussian(held_out)) if len(held_out) > 1 else float("nan"),
        "nearest_samples": nearest_distance(samples[:NEAREST_QUERY], some_train),
        "nearest_held_out": nearest_distance(held_out[:NEAREST_QUERY], some_train),
    }
    labels, held_out_labels = dataset.train_labels, dataset.held_out_labels
    if labels is not None and held_out_labels is not None and len(np.unique(labels[:JUDGE_TRAIN])) > 1:
        judge = Judge(train, labels, dataset.max_count)
        named, sure = judge(samples)
        real_named, real_sure = judge(held_out[:NEAREST_QUERY])
        result["sure_samples"], result["sure_held_out"] = float(sure.mean()), float(real_sure.mean())
        result["judge_accuracy"] = float((real_named == held_out_labels[:NEAREST_QUERY]).mean())
        result["class_shares"] = (np.bincount(named, minlength=dataset.classes or 0) / count).tolist()
    return result


def table(result: dict[str, Any]) -> str:
    """The numbers of `compare`, for a reader."""
    lines = [
        f"{result['samples']} samples, {result['train']} training images, {result['held_out']} held-out images",
        "",
        "Frechet distance of raw pixels to the training images",
        f"  samples                                              {result['frechet_samples']:9.2f}",
        f"  rounded Gaussian noise, same mean and covariance     {result['frechet_noise']:9.2f}",
        f"  held-out images                                      {result['frechet_held_out']:9.2f}",
        f"  one random half of the training images to the other  {result['frechet_split']:9.2f}",
        "",
        "Mean distance to the nearest training image (far below held-out means memorised)",
        f"  samples                                              {result['nearest_samples']:9.2f}",
        f"  held-out images                                      {result['nearest_held_out']:9.2f}",
    ]
    if "class_shares" in result:
        lines += [
            "",
            f"Share that an SVM trained on real images ({result['judge_accuracy']:.1%} right on held-out) is sure of",
            f"  samples                                              {result['sure_samples']:9.1%}",
            f"  held-out images                                      {result['sure_held_out']:9.1%}",
            "",
            "Class of the samples, by the SVM",
        ]
        for label, share in enumerate(result["class_shares"]):
            lines.append(f"  {label:2d} {share:6.1%} {'#' * round(share * 100)}".rstrip())
    return "\n".join(lines)
