"""The two laws, and how far samples are from one of them: definitions of Count Bridges (arXiv 2603.04730)."""

import numpy as np
from scipy.spatial.distance import cdist
from sklearn.datasets import make_moons

HIGH, SCALE, OFFSET, NOISE = 195, 30.0, 80.0, 0.1
ROWS = 1000  # of a matrix of distances at once


def laws(count, seed):
    """(x_0, x_1): whole numbers (count, 2) of two moons and of eight Gaussians on a circle, each on its own."""
    rng = np.random.default_rng(seed)
    angles = rng.integers(8, size=count) * (np.pi / 4)
    gaussians = 2 * np.stack((np.cos(angles), np.sin(angles)), 1) + NOISE * rng.normal(size=(count, 2))
    moons = make_moons(count, noise=NOISE, random_state=seed)[0] - (0.5, 0.25)
    return tuple(np.rint(np.clip(SCALE * x + OFFSET, 0, HIGH)).astype(np.int32) for x in (moons, gaussians))


def mean_of(x, y, of, metric):
    parts = [of(cdist(x[at : at + ROWS], y, metric)).mean(1) for at in range(0, len(x), ROWS)]
    return float(np.concatenate(parts).mean())


def between(x, y, of=lambda distance: distance, metric="euclidean"):
    """2 E of(x, y) - E of(x, x') - E of(y, y'), over all pairs, each with itself too."""
    return 2 * mean_of(x, y, of, metric) - mean_of(x, x, of, metric) - mean_of(y, y, of, metric)


def measures(x, y):
    """Of samples x and as many y of the true law, (N, 2)."""
    a, b = x / 100, y / 100
    directions = np.random.default_rng(0).normal(size=(2, 100))
    directions /= np.linalg.norm(directions, axis=0)
    sliced = np.sort(a @ directions, axis=0) - np.sort(b @ directions, axis=0)
    return {
        "energy distance": between(x, y),
        "MMD": max(0.0, between(a, b, lambda square: -np.exp(-square), "sqeuclidean")) ** 0.5,
        "sliced W": float(np.sqrt(np.mean(sliced**2))),
    }
