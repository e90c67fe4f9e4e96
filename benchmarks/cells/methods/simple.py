"""Methods of a few lines, which show what the others are worth."""

from __future__ import annotations

import numpy as np

from cells.methods import Array, Imputed, depths_of
from cells.sets import simulate

PSEUDO = 0.5  # counts of each gene that a type has before the data


def _log(counts: Array) -> Array:
    return np.log1p(counts * (1e4 / np.maximum(counts.sum(axis=1, keepdims=True), 1)))


class Independent:
    """Of each type: the depth of a training cell, and of each gene a negative binomial number around its share of it.

    The sizes are those of moments, for means that grow with the depth.
    """

    def fit(self, counts: Array, types: Array, seed: int) -> None:
        self.depths = [counts[types == kind].sum(axis=1) for kind in range(types.max() + 1)]
        self.shares, self.sizes = [], []
        for kind, depths in enumerate(self.depths):
            rows = counts[types == kind]
            share = (rows.sum(axis=0) + PSEUDO) / (depths.sum() + PSEUDO * counts.shape[1])
            mean = depths[:, None] * share
            spread = ((rows - mean) ** 2 - mean).sum(axis=0)
            self.shares.append(share)
            self.sizes.append(np.clip((mean**2).sum(axis=0) / np.maximum(spread, 1e-3), 0.02, 100.0))

    def sample(self, types: Array, seed: int) -> Array:
        random = np.random.default_rng(seed)
        depths = np.array([random.choice(self.depths[kind]) for kind in types])
        return self._draw(depths[:, None] * np.stack(self.shares)[types], types, random)

    def impute(self, counts: Array, observed: Array, types: Array, draws: int, seed: int) -> Imputed:
        shares, random = np.stack(self.shares)[types], np.random.default_rng(seed)
        mean = shares * depths_of(counts, observed, shares)
        return Imputed(mean, np.stack([self._draw(mean, types, random) for _ in range(draws)]))

    def _draw(self, mean: Array, types: Array, random: np.random.Generator) -> Array:
        sizes = np.stack(self.sizes)[types]
        return random.poisson(random.gamma(sizes, 1 / sizes) * mean)


class Copies:
    """A training cell of the type of which four fifths of the counts are kept, and the rest drawn again around it."""

    def fit(self, counts: Array, types: Array, seed: int) -> None:
        self.counts, self.types = counts, types

    def sample(self, types: Array, seed: int) -> Array:
        random = np.random.default_rng(seed)
        cells = self.counts[[random.choice(np.flatnonzero(self.types == kind)) for kind in types]]
        return random.binomial(cells, 0.8) + random.poisson(0.2 * cells)


class Law:
    """New cells of the law that made the simulated ones, which no method can better."""

    def fit(self, counts: Array, types: Array, seed: int) -> None:
        self.genes = counts.shape[1]

    def sample(self, types: Array, seed: int) -> Array:
        counts = simulate(types, 1000 + seed)
        if counts.shape[1] != self.genes:
            raise ValueError(f"cells: genes: must be all of the simulated set for the law, got {self.genes}")
        return counts


class Neighbours:
    """The mean of the k training cells that are nearest by the cosine of log-normalized observed counts."""

    def fit(self, counts: Array, types: Array, seed: int, k: int = 15) -> None:
        self.counts, self.k = counts, min(k, len(counts))
        self.mean = counts.sum(axis=0) / counts.sum()

    def impute(self, counts: Array, observed: Array, types: Array, draws: int, seed: int) -> Imputed:
        shares = np.empty(counts.shape)
        for row, (cell, seen) in enumerate(zip(counts, observed, strict=True)):
            there, here = _log(self.counts[:, seen]), _log(cell[None, seen])[0]
            length = np.linalg.norm(there, axis=1) * np.linalg.norm(here)
            near = np.argsort(-(there @ here) / np.maximum(length, 1e-9), kind="stable")[: self.k]
            total = self.counts[near].sum(axis=0) + self.mean  # one count more, so that no share is 0
            shares[row] = total / total.sum()
        return Imputed(shares * depths_of(counts, observed, shares), None)
