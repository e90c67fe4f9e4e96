"""Functions of public code bases beside the call that takes their place: their shapes, their dtypes, one thread.

docs/drop-in.md has each of them with the repository, the function and the lines that change. What is timed as theirs is
the torch call that their function makes on the same tensors.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases.harness import as_reference
from cases.workloads import SHAPE, images

GENERATOR = 5


def _uniform(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(GENERATOR))


def _cells(cells: int, genes: int) -> torch.Tensor:
    """Counts as single cells have them: most are 0, one in a million goes to 31,000."""
    rates = torch.exp(2.0 * torch.randn(cells, genes, generator=torch.Generator().manual_seed(GENERATOR)) - 2.0)
    return torch.poisson(rates, generator=torch.Generator().manual_seed(GENERATOR)).clamp(max=31_000)


def _parts(drawn: Any) -> tuple[Any, ...]:
    return drawn if isinstance(drawn, tuple) else (drawn,)


def test_corrupt_data(bench: Any) -> None:
    """CountsDiff, images: float counts and a probability for each image."""
    counts, p = images().float(), _uniform(SHAPE[0], 1, 1, 1)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.thin(counts[part], p[part], rng=fb.Philox(i), max_count=255, outputs=("x_t",), backend=backend).x_t

    others = {"torch.binomial": lambda i: torch.binomial(counts, p.expand_as(counts))}
    bench("corrupt_data, 64x3x32x32 float32", counts.numel(), ours, others, as_reference(ours))


@pytest.mark.parametrize("genes", [pytest.param(5000, marks=pytest.mark.long), 500])
def test_corrupt_cells(bench: Any, genes: int) -> None:
    """CountsDiff, single cells: large counts now and then."""
    counts, p = _cells(128, genes), _uniform(128, 1)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        how: dict[str, Any] = {"rng": fb.Philox(i), "max_count": 1 << 20, "outputs": ("x_t",), "backend": backend}
        return fb.thin(counts[part], p[part], **how).x_t

    others = {"torch.binomial": lambda i: torch.binomial(counts, p.expand_as(counts))}
    bench(f"corrupt_data, 128x{genes} cells, float32", counts.numel(), ours, others, as_reference(ours))


@pytest.mark.parametrize("cells", [pytest.param(4096, marks=pytest.mark.long), 128])
@pytest.mark.parametrize("law", ["binomial", "thin", "split"])
def test_sparse_cells(bench: Any, law: str, cells: int) -> None:
    """A tenth of the counts are not 0, as of single cells: the stored ones of a CSR matrix in float32, half of each."""
    sparse = pytest.importorskip("scipy.sparse")
    genes, generator = 5000, np.random.default_rng(GENERATOR)
    matrix = sparse.random(cells, genes, 0.1, "csr", np.float32, generator, lambda n: generator.geometric(0.4, n))
    counts = torch.from_numpy(matrix.toarray())
    half = torch.full_like(counts, 0.5)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> Any:
        how = {"rng": fb.Philox(i), "backend": backend}
        if law == "thin":
            return fb.thin(matrix[part], 0.5, max_count=255, outputs=("x_t",), **how).x_t
        return fb.binomial(matrix[part], 0.5, **how) if law == "binomial" else fb.split(matrix[part], **how)

    def theirs(i: int) -> Any:
        drawn = matrix.copy()
        drawn.data = generator.binomial(matrix.data.astype(np.int64), 0.5).astype(np.float32)
        return (drawn, matrix - drawn) if law == "split" else drawn

    def dense(i: int) -> Any:
        drawn = torch.binomial(counts, half)
        return (drawn, counts - drawn) if law == "split" else drawn

    def check() -> None:
        made = [ours(0, slice(0, 40), backend) for backend in ("auto", "reference")]
        assert all(
            np.array_equal(*pair) for pair in zip(*([each.data for each in _parts(m)] for m in made), strict=True)
        )

    others = {"numpy Generator, stored": theirs, "torch.binomial, dense": dense}
    bench(f"{law}, CSR {cells}x{genes}, a tenth stored", matrix.nnz, ours, others, check)


def test_annotated_cells(bench: Any) -> None:
    """An AnnData of such cells, each with an efficiency of its own: one of the same cells and genes comes back."""
    anndata, sparse = pytest.importorskip("anndata"), pytest.importorskip("scipy.sparse")
    generator = np.random.default_rng(GENERATOR)
    matrix = sparse.random(512, 2000, 0.1, "csr", np.float32, generator, lambda n: generator.geometric(0.4, n))
    cells, alive = anndata.AnnData(matrix), generator.random(matrix.shape[0])

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> Any:
        how: dict[str, Any] = {"rng": fb.Philox(i), "max_count": 255, "outputs": "x_t", "backend": backend}
        return fb.thin(cells[part], alive[part], **how).x_t

    def theirs(i: int) -> Any:
        drawn = cells.copy()
        each = np.repeat(alive, np.diff(drawn.X.indptr))
        drawn.X.data = generator.binomial(drawn.X.data.astype(np.int64), each).astype(np.float32)
        return drawn

    def check() -> None:
        made = [ours(0, slice(0, 40), backend).X.data for backend in ("auto", "reference")]
        assert np.array_equal(*made)

    bench("thin, AnnData 512x2000, a tenth stored", matrix.nnz, ours, {"numpy Generator, a copy": theirs}, check)


def test_backward_step(bench: Any) -> None:
    """CountsDiff's reverse step with remasking: whole numbers of births, and deaths of what is there."""
    state, births = images().float(), images().flip(0).float()
    state, births = torch.minimum(state, 255 - births).clamp(min=0), births
    birth, death = 0.07, 0.01

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        how = {"births": births[part], "rounding": "nearest", "attrition": death, "max_count": 255}
        return fb.bridge_step(state[part], step=birth, rng=fb.Philox(i), outputs=("x_s",), backend=backend, **how).x_s

    def theirs(i: int) -> torch.Tensor:
        born = torch.binomial(births, torch.full_like(births, birth))
        return state + born - torch.binomial(state, torch.full_like(state, death))

    bench(
        "backward_step_with_remasking, 64x3x32x32",
        state.numel(),
        ours,
        {"torch.binomial, twice": theirs},
        as_reference(ours),
    )


def test_q_sample(bench: Any) -> None:
    """poisson-jump's forward process: Poisson counts of scaled intensities, as floats."""
    rates = 20.0 * _uniform(*SHAPE)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.poisson(rates[part], rng=fb.Philox(i), backend=backend).float()

    bench(
        "q_sample, 64x3x32x32",
        rates.numel(),
        ours,
        {"torch.poisson": lambda i: torch.poisson(rates)},
        as_reference(ours),
    )
