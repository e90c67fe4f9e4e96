"""Cells of a known law: two types, programs of genes that go together, a depth for each cell."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastblackout.data.cell_files import elements

anndata = pytest.importorskip("anndata")
pandas = pytest.importorskip("pandas")

GENES = 24
TYPES = np.array(["large", "small", "small", "small"])
SHARES = {name: np.random.default_rng(n).gamma(0.7, 1.0, GENES) + 0.05 for n, name in enumerate(["large", "small"])}
SHARES = {name: shares / shares.sum() for name, shares in SHARES.items()}


def simulated(count, seed=0, lay=sp.csr_matrix):
    """An AnnData of cells; `.layers["rates"]` has the rates of which its counts are Poisson draws."""
    random = np.random.default_rng(seed)
    types = TYPES[np.arange(count) % len(TYPES)]
    depth = np.exp(random.normal(np.where(types == "large", 5.5, 4.5), 0.4))
    program = random.normal(0.0, 1.0, (count, 2)) @ np.repeat(np.eye(2), GENES // 2, 1)
    alternate = np.where(np.arange(GENES) % 2, 1.0, -1.0)
    rates = np.stack([SHARES[name] for name in types]) * np.exp(0.7 * program * alternate)
    rates *= (depth / rates.sum(1))[:, None]
    obs = pandas.DataFrame({"type": types, "batch": np.array(["one", "two"])[random.integers(0, 2, count)]})
    obs["age"] = random.normal(50.0, 9.0, count)
    obs["control"] = random.random(count) < 0.5
    obs.index = [f"cell-{n}" for n in range(count)]
    var = pandas.DataFrame({"chosen": np.arange(GENES) % 3 > 0}, index=[f"gene-{n}" for n in range(GENES)])
    counts = np.maximum(random.poisson(rates), np.arange(GENES) == 0).astype(np.float32)  # none without a count
    data = anndata.AnnData(lay(counts), obs=obs, var=var)
    data.obs["depth"] = counts.sum(1)
    data.layers["rates"] = rates
    return data


def write_zarr(data, path):
    """A store of an AnnData, in the format of zarr that all its releases read."""
    zarr = pytest.importorskip("zarr")
    with zarr.config.set(default_zarr_format=2):  # write_zarr of anndata warns of it
        elements().write_elem(zarr.open_group(str(path), mode="w"), "/", data)


def dense(data):
    """The counts of an AnnData as an array."""
    return np.asarray(data.X.todense() if sp.issparse(data.X) else data.X)
