"""normal: standard normal numbers, float32 and float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import SHAPE, vector_isas


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standard_normal(bench: Any, isa: str | None, dtype: torch.dtype) -> None:
    mean = torch.zeros(SHAPE, dtype=dtype)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.normal(mean[part], 1.0, rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    name = f"standard normal, {str(dtype).removeprefix('torch.')}"
    bench(name, mean.numel(), ours, peers.standard_normal(SHAPE, dtype), check, isa=isa)
