"""gamma, beta and what is drawn by them: shapes spread over 0.1..10, equally many in each octave, and large ones."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import SHAPE, uniforms, vector_isas

RANGES = {"0.1..10": (-1.0, 1.0), "10..1000": (1.0, 3.0)}


def _shapes(name: str) -> list[torch.Tensor]:
    low, high = RANGES[name]
    return [10 ** (low + (high - low) * u) for u in uniforms(SHAPE, torch.float32)[:2]]


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("name", RANGES)
def test_gamma(bench: Any, isa: str | None, name: str) -> None:
    shape = _shapes(name)[0]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.gamma(shape[part], 1.0, rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench(f"gamma, shapes {name}", shape.numel(), ours, peers.gamma(shape), check, isa=isa)


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("name", RANGES)
def test_beta(bench: Any, isa: str | None, name: str) -> None:
    a, b = _shapes(name)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.beta(a[part], b[part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench(f"beta, shapes {name}", a.numel(), ours, peers.beta(a, b), check, isa=isa)


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("name", RANGES)
def test_beta_binomial(bench: Any, isa: str | None, name: str) -> None:
    a, b = _shapes(name)
    n = (uniforms(SHAPE, torch.float32)[2] * 256).to(torch.uint8)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.beta_binomial(n[part], a[part], b[part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench(f"beta_binomial, shapes {name}", n.numel(), ours, peers.beta_binomial(n, a, b), check, isa=isa)


@pytest.mark.parametrize("isa", vector_isas())
@pytest.mark.parametrize("name", RANGES)
def test_negative_binomial(bench: Any, isa: str | None, name: str) -> None:
    r = _shapes(name)[0]
    mean = 50 * uniforms(SHAPE, torch.float32)[2]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.negative_binomial(r[part], mean[part], rng=fb.Philox(i), backend=backend)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(0, part, backend))

    bench(f"negative_binomial, r {name}", r.numel(), ours, peers.negative_binomial(r, mean), check, isa=isa)
