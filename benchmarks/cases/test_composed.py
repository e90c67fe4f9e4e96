"""split, multinomial and skellam, which are made of other draws: counts and rates as of single cells, and larger."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import SHAPE, uniforms, vector_isas


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("most", [20, 10_000])
def test_split(bench: Any, isa: str | None, most: int) -> None:
    counts = (uniforms(SHAPE)[0] * (most + 1)).int()

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> tuple[torch.Tensor, ...]:
        return fb.split(counts[part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench(f"split in 2, counts to {most:,}", counts.numel(), ours, peers.split(counts), check, isa=isa)


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("categories", [4, 64])
def test_multinomial(bench: Any, isa: str | None, categories: int) -> None:
    shape = 64, 3 * 32 * 32 // categories
    count, probs = (uniforms(shape)[0] * 1001).long(), uniforms((*shape, categories))[1]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.multinomial(count[part], probs[part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    work = f"multinomial, {categories} categories, counts to 1,000"
    bench(work, probs.numel(), ours, peers.multinomial(count, probs), check, isa=isa)


@pytest.mark.parametrize("isa", vector_isas())
def test_skellam(bench: Any, isa: str | None) -> None:
    rates = [50 * rate for rate in uniforms(SHAPE, torch.float32)[:2]]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.skellam(*(rate[part] for rate in rates), rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench("skellam, rates 0..50", rates[0].numel(), ours, peers.skellam(*rates), check, isa=isa)
