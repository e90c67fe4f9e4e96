"""bridge_step: 20 evenly spaced steps of the 1,000-step grid from float32 logits with y = x_0 - x_t, times summed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import Reverse, reverse_path, thread_counts, vector_isas


def ours(r: Reverse, key: fb.Philox, rounding: str, part: slice = slice(None), backend: str = "auto") -> fb.Stepped:
    x_t, logits = r.x_t[part], r.logits[part]
    return fb.bridge_step(x_t, logits, r.step, rng=key, rounding=rounding, center=r.center, backend=backend)


def eager(reverse: Reverse, rounding: str) -> tuple[torch.Tensor, torch.Tensor]:
    """The state stays float32, as torch.binomial wants it."""
    y = softplus(reverse.logits)
    wish = torch.round(y) if rounding == "nearest" else torch.floor(y + torch.rand_like(y))
    n = torch.minimum(wish, 255 - reverse.state)
    x_s = reverse.state + torch.binomial(n, torch.full_like(n, reverse.step.p))
    return x_s, x_s - reverse.center


def scipy_round_trip(reverse: Reverse) -> tuple[torch.Tensor, torch.Tensor]:
    """The authors' step: the network's output to NumPy, rounded, clipped, SciPy's binomial, and back."""
    from scipy.stats import binom

    x_t = reverse.state.numpy()
    n = np.clip(np.rint(softplus(reverse.logits).numpy()), 0, 255 - x_t).astype(np.int64)
    x_s = torch.from_numpy(x_t + binom.rvs(n, reverse.step.p)).float()
    return x_s, x_s - reverse.center


@pytest.mark.parametrize("rounding", ("nearest", "stochastic"))
@pytest.mark.parametrize("batch", (64, pytest.param(512, marks=pytest.mark.long)))
@pytest.mark.parametrize("isa", vector_isas())
def test_bridge(bench: Any, isa: str | None, batch: int, rounding: str) -> None:
    path = reverse_path(batch)

    def run(i: int) -> None:
        for n, reverse in enumerate(path):
            ours(reverse, fb.Philox(i, call=n), rounding)

    def check() -> None:
        for reverse in path[:: len(path) // 4]:
            same_as_reference(lambda part, backend, r=reverse: ours(r, fb.Philox(1), rounding, part, backend))

    others: peers.Calls = {"eager torch.binomial": lambda _: [eager(reverse, rounding) for reverse in path]}
    if rounding == "nearest" and not isinstance(peers.load("scipy"), str):
        others["scipy round trip"] = lambda _: [scipy_round_trip(reverse) for reverse in path]
    elements = sum(reverse.x_t.numel() for reverse in path)
    bench(f"bridge, 20 steps, {rounding}, {batch}x3x32x32", elements, run, others, check, isa=isa)


@pytest.mark.parametrize("threads", thread_counts())
def test_threads(bench: Any, threads: int) -> None:
    path = reverse_path(512)[::4]

    def run(i: int) -> None:
        for n, reverse in enumerate(path):
            ours(reverse, fb.Philox(i, call=n), "nearest")

    def alone(i: int) -> None:
        with fb.use_backend(threads=1):
            run(i)

    def check() -> None:
        same_as_reference(lambda part, backend: ours(path[2], fb.Philox(1), "nearest", part, backend))

    others = {"fastblackout, 1 thread": alone}
    elements = sum(reverse.x_t.numel() for reverse in path)
    bench(f"bridge, {len(path)} steps, nearest, 512x3x32x32", elements, run, others, check, threads=threads)
