"""poisson: workload C, a rate uniform in 0..50 for each element."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import SETS, SHAPE, uniforms, vector_isas


@pytest.mark.parametrize("isa", vector_isas())
def test_workload_c(bench: Any, isa: str | None) -> None:
    rates = [50 * u for u in uniforms(SHAPE, torch.float32)]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.poisson(rates[i % SETS][part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench("poisson, rates 0..50", rates[0].numel(), ours, peers.poisson(rates), check, isa=isa)
