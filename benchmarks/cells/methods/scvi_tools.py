"""scVI of scvi-tools, trained as its documentation does, with early stopping."""

from __future__ import annotations

from typing import Any

import numpy as np

from cells.methods import Array, Imputed, depths_of

EPOCHS = 400
LATENT = 25  # draws of a latent state, over which the mean of hidden counts is taken


class Scvi:
    """A new cell has a latent state drawn from the posterior of a training cell of its type, and this cell's depth.

    A latent state from the prior makes worse cells. For imputation hidden counts are replaced by the mean of the type
    at the depth that the observed ones let expect, which does better than zeros.
    """

    def fit(self, counts: Array, types: Array, seed: int, lr: float = 1e-3, **settings: Any) -> None:
        import scvi

        scvi.settings.seed = seed
        data = _annotated(counts)
        scvi.model.SCVI.setup_anndata(data)
        self.model = scvi.model.SCVI(data, **settings)
        self.model.train(
            max_epochs=EPOCHS, early_stopping=True, accelerator="cpu", train_size=0.9, enable_progress_bar=False,
            logger=None, plan_kwargs={"lr": lr},
        )  # fmt: skip
        self.model.module.eval()
        self.states = self.model.get_latent_representation(data, return_dist=True)
        self.types, self.log_depths = types, np.log(np.maximum(counts.sum(axis=1), 1))
        rows = [counts[types == kind].sum(axis=0) + 0.5 for kind in range(types.max() + 1)]
        self.shares = np.stack([row / row.sum() for row in rows])

    def sample(self, types: Array, seed: int) -> Array:
        random = np.random.default_rng(seed)
        cells = np.array([random.choice(np.flatnonzero(self.types == kind)) for kind in types])
        mean, variance = (each[cells] for each in self.states)
        law = self._law(mean, variance, self.log_depths[cells], random, seed)
        return np.asarray(law.sample().numpy()).astype(np.int64)

    def impute(self, counts: Array, observed: Array, types: Array, draws: int, seed: int) -> Imputed:
        shares, random = self.shares[types], np.random.default_rng(seed)
        depths = depths_of(counts, observed, shares)
        filled = _annotated(np.where(observed, counts, shares * depths))
        mean, variance = self.model.get_latent_representation(filled, return_dist=True)
        laws = (self._law(mean, variance, np.log(depths[:, 0]), random, seed + n) for n in range(LATENT))
        total, drawn = np.zeros(counts.shape), []
        for law in laws:
            total += law.mean.numpy()
            if len(drawn) < draws:
                drawn.append(law.sample().numpy())
        return Imputed(total / LATENT, np.stack(drawn).astype(np.int64))

    def _law(self, mean: Array, variance: Array, log_depths: Array, random: np.random.Generator, seed: int) -> Any:
        import torch

        state = mean + np.sqrt(variance) * random.normal(size=mean.shape)
        torch.manual_seed(seed)
        with torch.no_grad():
            none = torch.zeros(len(state), 1, dtype=torch.long)
            depths = torch.tensor(log_depths, dtype=torch.float32)[:, None]
            return self.model.module.generative(torch.tensor(state, dtype=torch.float32), depths, none)["px"]


def _annotated(counts: Array) -> Any:
    import anndata

    return anndata.AnnData(counts.astype(np.float32))
