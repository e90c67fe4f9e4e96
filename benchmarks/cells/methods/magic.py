"""MAGIC of magic-impute, over training cells and the cells to impute together, as it is used."""

from __future__ import annotations

from typing import Any

import numpy as np

from cells.methods import Array, Imputed, depths_of


class Magic:
    """Counts per 10,000, square rooted, are smoothed; their squares are shares of the depth."""

    def fit(self, counts: Array, types: Array, seed: int, **settings: Any) -> None:
        self.counts, self.seed, self.settings = counts, seed, settings

    def impute(self, counts: Array, observed: Array, types: Array, draws: int, seed: int) -> Imputed:
        import magic

        both = np.concatenate([self.counts, np.where(observed, counts, 0)]).astype(float)
        roots = np.sqrt(both * (1e4 / np.maximum(both.sum(axis=1, keepdims=True), 1)))
        smooth = magic.MAGIC(random_state=self.seed, verbose=0, **self.settings).fit_transform(roots)
        shares = np.maximum(np.asarray(smooth)[len(self.counts) :], 0) ** 2 + 1e-3
        return Imputed(shares * depths_of(counts, observed, shares), None)
