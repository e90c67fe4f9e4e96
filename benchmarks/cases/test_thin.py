"""thin: workload A (counts uniform in 0..255, a p per image), one p, the Blackout grid; sizes, ISAs, threads."""

from __future__ import annotations

import concurrent.futures
from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import ISAS, SETS, SHAPE, Noising, blackout_grid, grid_indices, thread_counts, workload_a

OUTPUTS = {"x_t": ("x_t",), "three outputs": ("x_t", "births", "model_input")}
SCALE = 1 / 64  # of the model input


class Thin:
    """The call to time, and its check."""

    def __init__(self, work: Noising, outputs: str) -> None:
        self.work, self.outputs = work, OUTPUTS[outputs]
        self.center = 127.5 * work.alive[0].p
        self.eager_center = self.center.float().view(-1, 1, 1, 1)

    def __call__(self, i: int, part: slice = slice(None), backend: str = "auto", **rng: Any) -> fb.Thinned:
        x_0, alive, center = self.work.x_0, self.work.alive[i % SETS], self.center
        if backend == "reference":
            x_0, alive, center = x_0[part], fb.Prob(alive.p[part], alive.q[part]), center[part]
        inputs = {"center": center, "scale": SCALE} if "model_input" in self.outputs else {}
        return fb.thin(x_0, alive, **(rng or {"rng": fb.Philox(i)}), outputs=self.outputs, backend=backend, **inputs)

    def check(self) -> None:
        same_as_reference(lambda part, backend: self(0, part, backend))

    def eager(self, i: int) -> tuple[torch.Tensor, ...]:
        """All three outputs in eager torch, in the float32 that torch.binomial works in."""
        x_t = torch.binomial(self.work.counts, self.work.probs[i % SETS])
        return x_t, self.work.counts - x_t, (x_t - self.eager_center) * SCALE


WORK = {"A": workload_a, "one p": lambda: workload_a(shared=True), "Blackout grid": blackout_grid}


@pytest.mark.parametrize("work", WORK)
def test_x_t(bench: Any, work: str) -> None:
    """One p is what a step of the reverse process draws with; SciPy is given that one number, as by the authors."""
    noising = WORK[work]()
    thin, others = Thin(noising, "x_t"), peers.binomial(noising.counts, noising.probs)
    if work == "A":
        others["torch.binomial, uint8 in and out"] = lambda i: torch.binomial(
            noising.x_0.float(), noising.alive[i % SETS].p.float().view(-1, 1, 1, 1).expand_as(noising.x_0)
        ).to(torch.uint8)
    if work == "one p" and not isinstance(peers.load("scipy"), str):
        from scipy.stats import binom

        n, ps = noising.counts.numpy().astype(np.int64), [float(prob.p[0]) for prob in noising.alive]
        others["scipy rvs"] = lambda i: binom.rvs(n, ps[i % SETS])
    bench(_named("thin, x_t", work), noising.x_0.numel(), thin, others, thin.check)


@pytest.mark.parametrize("work", ("A", "Blackout grid"))
def test_three_outputs(bench: Any, work: str) -> None:
    """Against the same three in eager torch and, on the grid their table knows, against the authors' noising."""
    noising = WORK[work]()
    thin = Thin(noising, "three outputs")
    others: peers.Calls = {"eager torch.binomial": thin.eager}
    if work == "Blackout grid":
        x_0, ks = noising.x_0.long(), grid_indices()
        for name, noisifier in peers.noisifiers().items():
            others[name] = lambda i, make=noisifier: make(x_0, ks[i % SETS])

    def check() -> None:
        thin.check()
        for make in others.values():
            x_t = torch.cat([part.float() for part in _parts(make(0)[0])])
            _mean_agrees(x_t, noising)

    bench(_named("thin, three outputs", work), noising.x_0.numel(), thin, others, check)


def _named(what: str, work: str) -> str:
    return what if work == "A" else f"{what}, {work}"


def _parts(value: Any) -> list[torch.Tensor]:
    return value if isinstance(value, list) else [value]


def _mean_agrees(x_t: torch.Tensor, noising: Noising) -> None:
    """The mean of a peer's draws, within 6 standard deviations: it does the work it is timed for."""
    p = noising.probs[0].double()
    expected, variance = (noising.counts * p).sum(), (noising.counts * p * (1 - p)).sum()
    assert abs(x_t.double().sum() - expected) < 6 * variance.sqrt(), "a peer draws from another law: not timed"


@pytest.mark.parametrize(
    "size", [10**n for n in range(2, 7)] + [pytest.param(10**n, marks=pytest.mark.long) for n in (7, 8)]
)
def test_size(bench: Any, size: int) -> None:
    """Cost against size: images of 1,000 pixels, a p for each."""
    work = workload_a((max(1, size // 1000), 1, 1, min(size, 1000)), sets=1 if size > 10**6 else SETS)
    thin = Thin(work, "x_t")
    share = 0.1 if size == 10**8 else 1.0  # of the images; torch.binomial takes ten seconds for all of them
    some = slice(round(share * len(work.counts)))
    others = {"torch.binomial": lambda i: torch.binomial(work.counts[some], work.probs[i % SETS][some])}
    if size < 10**8:  # NumPy's int64 and float64 would fill a small machine
        others["numpy Generator"] = peers.numpy_generators(work.counts, work.probs, 1)[0]
    shares = dict.fromkeys(others, share)
    bench(f"thin, x_t, 10^{len(str(size)) - 1} pixels", size, thin, others, thin.check, shares=shares)


@pytest.mark.parametrize("shared", (False, True), ids=("a p per image", "one p"))
@pytest.mark.parametrize("isa", ISAS[:-1])
def test_isa(bench: Any, isa: str, shared: bool) -> None:
    """The instruction sets below this machine's best, which the other tests time."""
    work = workload_a(shared=shared)
    thin = Thin(work, "x_t")
    others = {"torch.binomial": lambda i: torch.binomial(work.counts, work.probs[i % SETS])}
    bench(_named("thin, x_t", "one p" if shared else "A"), work.x_0.numel(), thin, others, thin.check, isa=isa)


@pytest.mark.parametrize("threads", thread_counts())
@pytest.mark.parametrize("outputs", OUTPUTS)
def test_threads(bench: Any, outputs: str, threads: int) -> None:
    """Against one thread, and NumPy with as many generators; torch.binomial uses one thread however many it has."""
    work = workload_a((1024, *SHAPE[1:]))
    thin = Thin(work, outputs)

    def alone(i: int) -> None:
        with fb.use_backend(threads=1):
            thin(i)

    others: peers.Calls = {"fastblackout, 1 thread": alone}
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        if outputs == "x_t":
            draws = peers.numpy_generators(work.counts, work.probs, threads)
            others["numpy, a generator a thread"] = lambda i: list(pool.map(lambda draw: draw(i), draws))
            others["torch.binomial"] = lambda i: torch.binomial(work.counts, work.probs[i % SETS])
        bench(f"thin, {outputs}, 1,024 images", work.x_0.numel(), thin, others, thin.check, threads=threads)


@pytest.mark.parametrize("outputs", OUTPUTS)
def test_one_small_image(bench: Any, outputs: str) -> None:
    """What a call costs beyond its work; the work alone is an image's share of a call on 64."""
    work = workload_a((1, 1, 28, 28))
    thin, share = Thin(work, outputs), "1/64 of a call on 64"
    eager = thin.eager if "three" in outputs else lambda i: torch.binomial(work.counts, work.probs[i % SETS])
    others = {
        "eager torch.binomial": eager,
        "fastblackout, seed from torch": lambda i: thin(i, rng=None),
        share: Thin(workload_a((64, 1, 28, 28)), outputs),
    }
    bench(f"thin, {outputs}, one 28x28 image", work.x_0.numel(), thin, others, thin.check, shares={share: 64})
