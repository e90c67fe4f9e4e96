"""thin: workload A (counts uniform in 0..255, a p per image), the Blackout grid, ISAs, threads, one small image."""

from __future__ import annotations

from typing import Any

import peers
import pytest
import torch
from harness import same_as_reference
from workloads import SETS, SHAPE, Noising, blackout_grid, grid_indices, schedule, workload_a

import fastblackout as fb
from fastblackout import natives

OUTPUTS = {"x_t": ("x_t",), "three outputs": ("x_t", "births", "model_input")}
SCALE = 1 / 64  # of the model input


class Thin:
    """The call to time, and its check."""

    def __init__(self, work: Noising, outputs: str) -> None:
        self.work, self.outputs = work, OUTPUTS[outputs]
        self.center = 127.5 * work.alive[0].p
        self.eager_center = self.center.float().view(-1, 1, 1, 1)

    def __call__(self, i: int, part: slice = slice(None), backend: str = "auto") -> fb.Thinned:
        x_0, alive, center = self.work.x_0, self.work.alive[i % SETS], self.center
        if backend == "reference":
            x_0, alive, center = x_0[part], fb.Prob(alive.p[part], alive.q[part]), center[part]
        inputs = {"center": center, "scale": SCALE} if "model_input" in self.outputs else {}
        return fb.thin(x_0, alive, rng=fb.Philox(i), outputs=self.outputs, backend=backend, **inputs)

    def check(self) -> None:
        same_as_reference(lambda part, backend: self(0, part, backend))

    def eager(self, i: int) -> tuple[torch.Tensor, ...]:
        """All three outputs in eager torch, in the float32 that torch.binomial works in."""
        x_t = torch.binomial(self.work.counts, self.work.probs[i % SETS])
        return x_t, self.work.counts - x_t, (x_t - self.eager_center) * SCALE


@pytest.mark.parametrize("grid", (False, True), ids=("A", "Blackout grid"))
def test_x_t(bench: Any, grid: bool) -> None:
    work = blackout_grid() if grid else workload_a()
    thin, others = Thin(work, "x_t"), peers.binomial(work.counts, work.probs)
    if not grid:
        others["torch.binomial, uint8 in and out"] = lambda i: torch.binomial(
            work.x_0.float(), work.alive[i % SETS].p.float().view(-1, 1, 1, 1).expand_as(work.x_0)
        ).to(torch.uint8)
    bench("thin, x_t" + ", Blackout grid" * grid, work.x_0.numel(), thin, others, thin.check)


@pytest.mark.parametrize("grid", (False, True), ids=("A", "Blackout grid"))
def test_three_outputs(bench: Any, grid: bool) -> None:
    """Against the same three in eager torch and, on the grid their table knows, against the authors' noising."""
    work = blackout_grid() if grid else workload_a()
    thin = Thin(work, "three outputs")
    others: peers.Calls = {"eager torch.binomial": thin.eager}
    if grid:
        noisifier, x_0, ks = peers.Noisifier(schedule().p), work.x_0.long(), grid_indices()
        others["authors' noisifier, 16 at a time"] = lambda i: noisifier(x_0, ks[i % SETS])
    bench("thin, three outputs" + ", Blackout grid" * grid, work.x_0.numel(), thin, others, thin.check)


@pytest.mark.parametrize("shared", (False, True), ids=("a p per image", "one p"))
@pytest.mark.parametrize("isa", natives.load("_cpu").isas())
def test_isa(bench: Any, isa: str, shared: bool) -> None:
    work = workload_a(shared=shared)
    thin = Thin(work, "x_t")
    others = {"torch.binomial": lambda i: torch.binomial(work.counts, work.probs[i % SETS])}
    bench("thin, x_t" + ", one p" * shared, work.x_0.numel(), thin, others, thin.check, isa=isa)


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_threads(bench: Any, outputs: str) -> None:
    work = workload_a((1024, *SHAPE[1:]))
    thin = Thin(work, outputs)

    def alone(i: int) -> None:
        with fb.use_backend(threads=1):
            thin(i)

    others = {"fastblackout, 1 thread": alone}
    bench(f"thin, {outputs}, 1,024 images", work.x_0.numel(), thin, others, thin.check, threads=2)


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_one_small_image(bench: Any, outputs: str) -> None:
    """What a call costs beyond its work; the work alone is an image's share of a call on 64."""
    work = workload_a((1, 1, 28, 28))
    thin, share = Thin(work, outputs), "1/64 of a call on 64"
    eager = thin.eager if "three" in outputs else lambda i: torch.binomial(work.counts, work.probs[i % SETS])
    others = {"eager torch.binomial": eager, share: Thin(workload_a((64, 1, 28, 28)), outputs)}
    bench(f"thin, {outputs}, one 28x28 image", work.x_0.numel(), thin, others, thin.check, shares={share: 64})
