"""Counts that may be above 255, where the table draw ends, beside the same counts with a smaller declared maximum."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from cases.harness import same_as_reference

SHAPE = 64, 3, 32, 32
MOST = 100_000


def _pixels() -> torch.Tensor:
    return torch.randint(0, 256, SHAPE, dtype=torch.int32, generator=torch.Generator().manual_seed(1))


def _with_one(counts: torch.Tensor) -> torch.Tensor:
    counts = counts.clone()
    counts[5, 1, 7, 9] = 5_000
    return counts


def _photons() -> torch.Tensor:
    return torch.poisson(torch.full(SHAPE, 3_000.0), generator=torch.Generator().manual_seed(1)).int()


COUNTS = {"to 255": _pixels, "and one of 5,000": lambda: _with_one(_pixels()), "of 3,000": _photons}


@pytest.mark.parametrize(
    "which", ["and one of 5,000", *(pytest.param(name, marks=pytest.mark.long) for name in ("to 255", "of 3,000"))]
)
@pytest.mark.parametrize("op", ["thin", "bridge_step"])
def test_large_counts(bench: Any, op: str, which: str) -> None:
    counts, narrow = COUNTS[which](), _pixels()

    def draw(x: torch.Tensor, most: int, seed: int, backend: str = "auto") -> torch.Tensor:
        how: dict[str, Any] = {"rng": fb.Philox(seed), "max_count": most, "backend": backend}
        if op == "thin":
            return fb.thin(x, 0.37, outputs=("x_t",), **how).x_t
        return fb.bridge_step(most - x, step=0.37, births=0.9 * x, outputs=("x_s",), **how).x_s

    def check() -> None:
        same_as_reference(lambda part, backend: draw(counts[part], MOST, 1, backend), rows=2)

    others = {"max_count 255": lambda i: draw(narrow, 255, i)}
    bench(f"{op}, counts {which}", counts.numel(), lambda i: draw(counts, MOST, i), others, check)
