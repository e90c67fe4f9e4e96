"""The Gaussian fitted to samples, and the Frechet distance of two."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.dataset import parts_of

Array = NDArray[Any]


class Gaussian:
    """The Gaussian fitted to samples (N, ...), N at least 2, flattened: `mean`, unbiased `covariance`, float64."""

    def __init__(self, samples: Array) -> None:
        if len(samples) < 2:
            raise ValueError(f"Gaussian: samples: must be at least 2, got {len(samples)}")
        self.mean = samples.mean(axis=0, dtype=np.float64).reshape(-1)
        self.covariance = np.zeros((self.mean.size, self.mean.size))
        for rows in parts_of(samples):  # CIFAR-10 in float64 takes 1.2 GB
            part = rows.reshape(len(rows), -1) - self.mean
            self.covariance += part.T @ part
        self.covariance /= len(samples) - 1

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
