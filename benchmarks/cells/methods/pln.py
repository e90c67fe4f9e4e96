"""The Poisson log-normal model with a covariance of low rank, of pyPLNmodels."""

from __future__ import annotations

import numpy as np

from cells.methods import Array


class Pln:
    """log rate = log depth + mean of the type + loadings z, z normal. The depth is drawn from training cells."""

    def fit(self, counts: Array, types: Array, seed: int, rank: int = 10) -> None:
        import torch
        from pyPLNmodels import PlnPCA

        torch.manual_seed(seed)
        self.depths = [counts[types == kind].sum(axis=1) for kind in range(types.max() + 1)]
        offsets = np.log(np.maximum(counts.sum(axis=1, keepdims=True), 1)) + np.zeros(counts.shape)
        told = np.eye(len(self.depths))[types]
        model = PlnPCA(counts.astype(float), exog=told, offsets=offsets, add_const=False, rank=rank)
        model.fit(verbose=False)
        self.coef, self.components = (np.asarray(each.detach().cpu()) for each in (model.coef, model.components))

    def sample(self, types: Array, seed: int) -> Array:
        random = np.random.default_rng(seed)
        depths = np.array([random.choice(self.depths[kind]) for kind in types])
        log = np.log(np.maximum(depths, 1))[:, None] + self.coef[types]
        log = log + random.normal(size=(len(types), self.components.shape[1])) @ self.components.T
        return random.poisson(np.exp(np.minimum(log, 20.0)))
