"""Methods that generate or impute cells, behind one interface.

A method is run by an interpreter of its own (child.py), as peers need other packages than ours. So these modules import
NumPy alone, and the package of their method where it is used.
"""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


class Imputed(NamedTuple):
    """The mean of hidden counts (N, G), and draws of them (draws, N, G) of a method that has a law."""

    mean: Array
    draws: Array | None


class Method(Protocol):
    """What the harness asks of a method; types are whole numbers from 0."""

    def fit(self, counts: Array, types: Array, seed: int, **settings: Any) -> None:
        """Learn from counts (N, G)."""

    def sample(self, types: Array, seed: int) -> Array:
        """Counts (N, G) of new cells of these types, with depths of the method's own; only where `Kind.samples`."""

    def impute(self, counts: Array, observed: Array, types: Array, draws: int, seed: int) -> Imputed:
        """Imputed counts (N, G). In the argument, counts that were not observed are 0. Only where `Kind.imputes`."""


class Kind(NamedTuple):
    """Where a method lies, what it does, and the settings that are tried."""

    module: str
    name: str
    words: str
    samples: bool
    imputes: bool
    trials: tuple[dict[str, Any], ...] = ({},)

    def new(self) -> Method:
        method: Method = getattr(importlib.import_module(f"cells.methods.{self.module}"), self.name)()
        return method


def _scvi(likelihood: str, latent: int, **more: Any) -> dict[str, Any]:
    return {"gene_likelihood": likelihood, "n_latent": latent, **more}


KINDS = {
    "ours": Kind(
        "ours", "Ours", "fb.cells.CellModel", True, True,
        ({}, {"dropout": 0.1}, {"width": 512}, {"steps": 2000}, {"learning_rate": 1e-3}, {"weight_decay": 0.01},
         {"blocks": 1}, {"width": 128}),
    ),
    "scvi": Kind(
        "scvi_tools", "Scvi", "scVI, posterior of training cells", True, True,
        (_scvi("nb", 10), _scvi("nb", 30), _scvi("zinb", 10), _scvi("zinb", 30), _scvi("nb", 10, n_layers=2),
         _scvi("nb", 10, n_hidden=256), _scvi("nb", 10, dropout_rate=0.3), _scvi("nb", 30, lr=5e-4)),
    ),
    "pln": Kind(
        "pln", "Pln", "PLN-PCA (pyPLNmodels)", True, False,
        tuple({"rank": rank} for rank in (10, 5, 20, 40, 60, 3, 30, 15)),
    ),
    "independent": Kind("simple", "Independent", "independent negative binomials by type", True, True),
    "copies": Kind("simple", "Copies", "copies of training cells with noise", True, False),
    "law": Kind("simple", "Law", "the law that made the cells", True, False),
    "magic": Kind(
        "magic", "Magic", "MAGIC", False, True,
        ({}, {"t": 1}, {"t": 5}, {"knn": 10}, {"knn": 20}, {"knn": 20, "t": 1}, {"knn": 40, "t": 1},
         {"knn": 10, "t": 2}),
    ),
    "neighbours": Kind(
        "simple", "Neighbours", "mean of nearest training cells", False, True,
        tuple({"k": k} for k in (15, 5, 10, 30, 60, 100, 20, 200)),
    ),
}  # fmt: skip


def depths_of(counts: Array, observed: Array, shares: Array) -> Array:
    """The depth (N, 1) that the observed counts let expect, of cells whose genes have these shares of it (N, G)."""
    return np.maximum((counts * observed).sum(axis=1), 1)[:, None] / (shares * observed).sum(axis=1)[:, None]
