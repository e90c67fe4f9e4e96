"""tau_leap_step on the path of test_bridge: 20 evenly spaced steps of the 1,000-step grid, times summed."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import softplus

import fastblackout as fb
from cases.harness import same_as_reference
from cases.workloads import Reverse, reverse_path


def ours(reverse: Reverse, key: fb.Philox, part: slice = slice(None), backend: str = "auto") -> fb.Leaped:
    return fb.tau_leap_step(
        reverse.x_t[part], reverse.logits[part], reverse.step, rng=key, center=reverse.center, backend=backend
    )


def eager(reverse: Reverse) -> tuple[torch.Tensor, torch.Tensor]:
    """Does not count the clamped elements, which ours does."""
    births = torch.poisson(softplus(reverse.logits) * reverse.step.p)
    x_s = reverse.state + torch.minimum(births, 255 - reverse.state)
    return x_s, x_s - reverse.center


def test_tau_leap(bench: Any) -> None:
    path = reverse_path(64)

    def run(i: int) -> None:
        for n, reverse in enumerate(path):
            ours(reverse, fb.Philox(i, call=n))

    def check() -> None:
        for reverse in path[:: len(path) // 4]:
            same_as_reference(lambda part, backend, r=reverse: ours(r, fb.Philox(1), part, backend))

    others = {"eager torch.poisson": lambda _: [eager(reverse) for reverse in path]}
    bench("tau-leap, 20 steps, 64x3x32x32", sum(reverse.x_t.numel() for reverse in path), run, others, check)
