"""A state between two states: cells, and counts up to 195, with slack and without."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import as_reference
from cases.workloads import vector_isas


def _ends(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    w = torch.rand(256, dtype=torch.float64, generator=generator)
    if name == "cells":
        x_0, x_1 = (torch.poisson(20 * torch.rand(256, 500, generator=generator) ** 4, generator) for _ in range(2))
        return x_0.int(), x_1.int(), w
    return (*torch.randint(196, (2, 256, 500), generator=generator).int(), w)


def _peers(x_0: torch.Tensor, x_1: torch.Tensor, w: torch.Tensor) -> peers.Calls:
    """The law without slack, and fb.thin alone, which is most of it."""
    generator, first, second, share = np.random.default_rng(0), x_0.float(), x_1.float(), w.float()[:, None]
    arrays, jumps = [each.numpy() for each in (x_0, x_1)], (x_1 - x_0).abs()

    def eager(_: int) -> torch.Tensor:
        d = second - first
        return first + d.sign() * torch.binomial(d.abs(), share.expand_as(d))

    def numpy(_: int) -> np.ndarray[Any, Any]:
        d = arrays[1] - arrays[0]
        return arrays[0] + np.sign(d) * generator.binomial(np.abs(d), w.numpy()[:, None])

    def thin(i: int) -> torch.Tensor:
        return fb.thin(jumps, w, max_count=(1 << 31) - 1, outputs="x_t", rng=fb.Philox(i)).x_t

    return {"torch.binomial": eager, "numpy Generator": numpy, "fb.thin": thin}


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("slack", [0.0, 5.0])
@pytest.mark.parametrize("name", ["cells", "counts to 195"])
def test_count_bridge(bench: Any, isa: str | None, name: str, slack: float) -> None:
    x_0, x_1, w = _ends(name)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.count_bridge(x_0[part], x_1[part], w[part], slack=slack, rng=fb.Philox(i), backend=backend)

    others = {} if slack else _peers(x_0, x_1, w)
    bench(f"count_bridge, {name}, slack {slack:g}", x_0.numel(), ours, others, as_reference(ours), isa=isa)
