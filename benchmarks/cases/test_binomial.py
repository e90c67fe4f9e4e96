"""binomial: workload B, counts uniform in 0..10,000 with a p for each element."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import SETS, SHAPE, uniforms, vector_isas


@pytest.mark.parametrize("isa", vector_isas())
def test_workload_b(bench: Any, isa: str | None) -> None:
    count = torch.randint(0, 10_001, SHAPE, generator=torch.Generator().manual_seed(6)).float()
    probs = uniforms(SHAPE, torch.float32)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.binomial(count[part], probs[i % SETS][part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    integers = count.int()
    others = peers.binomial(count, probs)
    others["torch.binomial, int32 in and out"] = lambda i: torch.binomial(integers.float(), probs[i % SETS]).int()
    bench("binomial, counts to 10,000", count.numel(), ours, others, check, isa=isa)
