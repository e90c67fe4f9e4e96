"""Single cells split and downsampled: fb.cells beside count_split and scanpy, which are no extra of this package.

`pip install scanpy count_split` brings them; without them ours is timed alone.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastblackout as fb
from cases.peers import present
from cases.workloads import single_cells

DEPTHS = {"few": -2.6, "usual": -1.0, "many": 0.5}  # 420, 2,300 and 11,000 molecules a cell


@pytest.mark.parametrize("cells", [pytest.param(10_000, marks=pytest.mark.long), 1000])
@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("op", ["split", "downsample"])
def test_cells(bench: Any, op: str, depth: str, cells: int) -> None:
    anndata = pytest.importorskip("anndata")
    counts = single_cells(cells, DEPTHS[depth])
    data, half = anndata.AnnData(counts), np.asarray(counts.sum(1)).ravel().astype(np.int64) // 2

    def ours(i: int, part: slice = slice(None)) -> Any:
        if op == "split":
            return fb.cells.split(data[part], rng=fb.Philox(i))
        return fb.cells.downsample(data[part], half[part], rng=fb.Philox(i))

    others = {}
    if op == "split" and (count_split := present("count_split.count_split")):
        others["count_split"] = lambda i: count_split.split_sparse(counts, seed=i)
    if op == "downsample" and (scanpy := present("scanpy")):
        others["scanpy"] = lambda i: scanpy.pp.downsample_counts(data, half, random_state=i, copy=True)

    def check() -> None:
        made, part = ours(0), slice(0, 5)
        with fb.use_backend("reference"):
            few = ours(0, part)
        for whole, some in zip(*((each if op == "split" else [each]) for each in (made, few)), strict=True):
            assert (whole.X[part] != some.X).nnz == 0

    molecules = int(counts.sum() / cells)
    bench(f"{op}, CSR {cells}x2000, {molecules} molecules a cell", counts.nnz, ours, others, check)
