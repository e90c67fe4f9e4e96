"""The model of this package."""

from __future__ import annotations

from typing import Any

import numpy as np

from cells.methods import Array, Imputed


class Ours:
    """fb.cells.CellModel, told the types."""

    def fit(self, counts: Array, types: Array, seed: int, **settings: Any) -> None:
        from fastblackout.cells import CellModel

        model = CellModel(labels_key="type", rng=seed, device="cpu", **settings)
        self.model = model.fit(_annotated(counts, types), progress=False)

    def sample(self, types: Array, seed: int) -> Array:
        cells = self.model.sample(len(types), label=_names(types), rng=seed)
        return np.asarray(cells.X.toarray())

    def impute(self, counts: Array, observed: Array, types: Array, draws: int, seed: int) -> Imputed:
        cells = _annotated(counts, types)
        return Imputed(self.model.impute(cells, observed), self.model.impute(cells, observed, draws=draws, rng=seed))


def _names(types: Array) -> list[str]:
    return [str(kind) for kind in types]


def _annotated(counts: Array, types: Array) -> Any:
    import anndata

    data = anndata.AnnData(counts.astype(np.float32))
    data.obs["type"] = _names(types)
    return data
