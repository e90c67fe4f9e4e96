"""categorical: uint8 images, S = 256, one transition matrix an image out of 1,000; and its bridge."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from cases.harness import as_reference
from cases.workloads import ISAS, SETS, grid_indices, images, schedule

PART = 16  # images at once where a peer gathers a row of 256 float64 a pixel: 100 MB


@pytest.fixture(scope="module")
def steps() -> torch.Tensor:
    """P(t) of the 1,000 times of the schedule, float64 (1000, 256, 256)."""
    alive = schedule().survival(torch.arange(1, 1001))
    return fb.transition_rows(alive, 255)


def forward_peers(x_0: torch.Tensor, steps: torch.Tensor, index: list[torch.Tensor]) -> dict[str, Any]:
    """Each call draws PART of the images: a peer's takes seconds on all of them."""
    long, cdf = x_0.long(), steps.cumsum(-1)
    cdf[..., -1] = 1.0

    def multinomial(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        rows = steps[k[:, None, None, None], x]
        return torch.multinomial(rows.view(-1, 256), 1).view(x.shape)

    def race(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        rows = steps[k[:, None, None, None], x]
        return (rows / torch.empty_like(rows).exponential_()).argmax(-1)  # Gumbel's trick without its logarithms

    def compare(x: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        above = cdf[k[:, None, None, None], x] > torch.rand(x.shape, dtype=torch.float64)[..., None]
        return torch.from_numpy(above.numpy().argmax(-1))

    calls = {"torch.multinomial": multinomial, "exponential race, argmax": race, "table of cdf, argmax": compare}
    parts = [part for k in index for part in zip(long.split(PART), k.split(PART), strict=True)]
    return {name: lambda i, call=call: call(*parts[i % len(parts)]) for name, call in calls.items()}


@pytest.mark.parametrize("isa", [*ISAS[:-1], pytest.param(ISAS[-1], marks=pytest.mark.long)])
def test_from_probabilities(bench: Any, steps: torch.Tensor, isa: str) -> None:
    """Thresholds included: nothing is known before the call but the matrices."""
    x_0, index = images(), [k - 1 for k in grid_indices()]

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.categorical(x_0[part], steps, index=index[i % SETS][part], rng=fb.Philox(i), backend=backend)

    others = forward_peers(x_0, steps, index) if isa == ISAS[-1] else {}
    shares = dict.fromkeys(others, PART / len(x_0))
    bench("categorical, 1,000 matrices", x_0.numel(), ours, others, as_reference(ours), isa=isa, shares=shares)


@pytest.mark.long
def test_from_a_table(bench: Any, steps: torch.Tensor) -> None:
    x_0, index, table = images(), [k - 1 for k in grid_indices()], fb.CategoricalTable(steps)

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.categorical(x_0[part], table, index=index[i % SETS][part], rng=fb.Philox(i), backend=backend)

    others = forward_peers(x_0, steps, index)
    shares = dict.fromkeys(others, PART / len(x_0))
    bench("categorical, table of 1,000", x_0.numel(), ours, others, as_reference(ours), shares=shares)


def test_bridge_from_logits(bench: Any) -> None:
    """A reverse step of the uniform process: x_0 from logits, then x_s, beside the posterior of D3PM drawn directly."""
    x_t = images((PART, 3, 32, 32))
    logits = torch.randn((*x_t.shape, 256), generator=torch.Generator().manual_seed(7))
    eye, flat = torch.eye(256, dtype=torch.float64), torch.full((256, 256), 1 / 256, dtype=torch.float64)
    before, after = 0.7 * eye + 0.3 * flat, 0.9 * eye + 0.1 * flat

    def ours(i: int, part: slice = slice(None), backend: str = "auto") -> torch.Tensor:
        return fb.categorical_bridge(
            x_t[part], logits=logits[part], before=before, after=after, rng=fb.Philox(i), backend=backend
        )

    def direct(i: int) -> torch.Tensor:
        x_0 = torch.multinomial(logits.softmax(-1).view(-1, 256), 1)[:, 0]
        paths = before[x_0] * after.T[x_t.long().view(-1)]
        return torch.multinomial(paths, 1).view(x_t.shape)

    bench("categorical_bridge, logits", x_t.numel(), ours, {"gather, torch.multinomial": direct}, as_reference(ours))
