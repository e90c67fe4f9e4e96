"""Samples of few elements, such as the values of a sparse matrix as one sample each, beside the same numbers as one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import fastblackout as fb
from cases.harness import same_as_reference

COUNT = 100_000
SHAPES = {"one element": (COUNT,), "8": pytest.param((COUNT // 8, 8), marks=pytest.mark.long)}
Draw = Callable[[torch.Tensor, torch.Tensor, fb.Philox, str], torch.Tensor]
OPS: dict[str, Draw] = {
    "binomial": lambda counts, rates, rng, backend: fb.binomial(counts, 0.5, rng=rng, backend=backend),
    "thin": lambda counts, rates, rng, backend: (
        fb.thin(counts, 0.5, rng=rng, max_count=255, outputs=("x_t",), backend=backend).x_t
    ),
    "poisson": lambda counts, rates, rng, backend: fb.poisson(rates, rng=rng, backend=backend),
    "normal": lambda counts, rates, rng, backend: fb.normal(rates, 1.0, rng=rng, backend=backend),
    "gamma": lambda counts, rates, rng, backend: fb.gamma(rates, scale=1.0, rng=rng, backend=backend),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
@pytest.mark.parametrize("op", OPS)
def test_short_rows(bench: Any, op: str, shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(1)
    counts, rates = torch.randint(0, 60, shape, generator=generator), 30 * torch.rand(shape, generator=generator) + 0.1
    draw, long = OPS[op], (counts.reshape(1, -1), rates.reshape(1, -1))

    def check() -> None:
        same_as_reference(lambda part, backend: draw(counts[part], rates[part], fb.Philox(1), backend), rows=600)

    others = {"one sample of all": lambda i: draw(*long, fb.Philox(i), "auto")}
    case = f"{op}, {'x'.join(map(str, shape))}"
    bench(case, COUNT, lambda i: draw(counts, rates, fb.Philox(i), "auto"), others, check)
