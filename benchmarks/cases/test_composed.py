"""split, multinomial and skellam, which are made of other draws: counts and rates as of single cells, and larger."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import as_reference
from cases.workloads import SHAPE, uniforms, vector_isas


def _split_peers(counts: torch.Tensor) -> peers.Calls:
    """Counts in two parts of equal share."""
    generator, floats, half, wide = np.random.default_rng(0), counts.float(), torch.tensor(0.5), counts.numpy()

    def eager(_: int) -> tuple[torch.Tensor, torch.Tensor]:
        part = torch.binomial(floats, half.expand_as(floats))
        return part, floats - part

    def numpy(_: int) -> tuple[np.ndarray, np.ndarray]:
        part = generator.binomial(wide, 0.5)
        return part, wide - part

    return {"torch.binomial": eager, "numpy Generator": numpy}


def _multinomial_peers(count: torch.Tensor, probs: torch.Tensor) -> peers.Calls:
    """Multinomial(count, probs) over the last axis: torch's own takes one count for all and draws its particles."""
    generator, n, p = np.random.default_rng(0), count.numpy(), probs.double().numpy()
    p = p / p.sum(-1, keepdims=True)
    return {"numpy Generator": lambda i: generator.multinomial(n, p)}


def _skellam_peers(rate_1: torch.Tensor, rate_2: torch.Tensor) -> peers.Calls:
    """Poisson(rate_1) - Poisson(rate_2)."""
    generator, given = np.random.default_rng(0), [rate.double().numpy() for rate in (rate_1, rate_2)]
    return {
        "torch.poisson": lambda i: torch.poisson(rate_1) - torch.poisson(rate_2),
        "numpy Generator": lambda i: generator.poisson(given[0]) - generator.poisson(given[1]),
    }


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("most", [20, 10_000])
def test_split(bench: Any, isa: str | None, most: int) -> None:
    counts = (uniforms(SHAPE)[0] * (most + 1)).int()

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> tuple[torch.Tensor, ...]:
        return fb.split(counts[part], rng=fb.Philox(i), backend=backend)

    bench(f"split in 2, counts to {most:,}", counts.numel(), ours, _split_peers(counts), as_reference(ours), isa=isa)


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("categories", [4, 64])
def test_multinomial(bench: Any, isa: str | None, categories: int) -> None:
    shape = 64, 3 * 32 * 32 // categories
    count, probs = (uniforms(shape)[0] * 1001).long(), uniforms((*shape, categories))[1]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.multinomial(count[part], probs[part], rng=fb.Philox(i), backend=backend)

    work = f"multinomial, {categories} categories, counts to 1,000"
    bench(work, probs.numel(), ours, _multinomial_peers(count, probs), as_reference(ours), isa=isa)


@pytest.mark.parametrize("isa", vector_isas())
def test_skellam(bench: Any, isa: str | None) -> None:
    rates = [50 * rate for rate in uniforms(SHAPE, torch.float32)[:2]]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.skellam(*(rate[part] for rate in rates), rng=fb.Philox(i), backend=backend)

    bench("skellam, rates 0..50", rates[0].numel(), ours, _skellam_peers(*rates), as_reference(ours), isa=isa)
