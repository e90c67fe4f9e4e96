"""normal: standard normal numbers, float32 and float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import SHAPE, vector_isas


def _standard_normal_peers(shape: tuple[int, ...], dtype: torch.dtype) -> peers.Calls:
    """Normal(0, 1) of a shape, float32 or float64."""
    generator, numpy_dtype = np.random.default_rng(0), np.float32 if dtype == torch.float32 else np.float64
    calls: peers.Calls = {
        "torch.randn": lambda i: torch.randn(shape, dtype=dtype),
        "numpy Generator": lambda i: generator.standard_normal(shape, numpy_dtype),
    }
    if (jax := peers.present("jax")) and dtype == torch.float32:
        sample = jax.jit(lambda key: jax.random.normal(key, shape))
        key = jax.random.key(0)
        calls["jax.random"] = lambda i: sample(jax.random.fold_in(key, i)).block_until_ready()
    if (mkl := peers.present("mkl_random")) and dtype == torch.float64:
        state = mkl.MKLRandomState(0, brng="PHILOX4X32X10")
        calls["mkl_random, inverse function"] = lambda i: state.standard_normal(shape, method="ICDF")
    return calls


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_standard_normal(bench: Any, isa: str | None, dtype: torch.dtype) -> None:
    mean = torch.zeros(SHAPE, dtype=dtype)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.normal(mean[part], 1.0, rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    name = f"standard normal, {str(dtype).removeprefix('torch.')}"
    bench(name, mean.numel(), ours, _standard_normal_peers(SHAPE, dtype), check, isa=isa)
