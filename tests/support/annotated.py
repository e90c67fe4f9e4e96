"""Cells for the tests of AnnData, dense or sparse."""

import numpy as np
import pytest
import scipy.sparse as sp

anndata = pytest.importorskip("anndata")
pandas = pytest.importorskip("pandas")

CELLS, GENES = 60, 6
KINDS = [np.asarray, sp.csr_matrix, sp.csc_array]
COUNTS = np.random.default_rng(0).poisson([3.0, 0.1, 0.0, 40.0, 1.0, 0.5], (CELLS, GENES))
TYPES = np.array(["T cell", "B cell", "NK"])[np.arange(CELLS) % 3]
TINY = {"steps": 4, "batch": 8, "channels": 4, "threads": 1, "held_out_every": 2}


def cells(lay=np.asarray, dtype="float32", counts=COUNTS):
    """X has no counts, and the layer "counts" has the counts."""
    obs = pandas.DataFrame({"type": TYPES, "number": np.arange(CELLS) % 4, "age": 0.5})[: len(counts)]
    obs.index = [f"cell-{n}" for n in range(len(counts))]
    obs["cluster"] = pandas.Categorical(obs["number"].astype(str), categories=["3", "7", "2", "1", "0"])
    obs["control"] = obs["number"] > 1
    var = pandas.DataFrame(index=names(counts.shape[1]))
    data = anndata.AnnData(lay(np.sqrt(np.abs(counts)) + 0.25 * (counts > 0)), obs=obs, var=var)
    data.layers["counts"] = lay(counts.astype(dtype))
    return data


def names(number=GENES):
    return [f"gene-{n}" for n in range(number)]
