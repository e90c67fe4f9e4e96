"""posterior_step of the beta-binomial head: against torch.distributions.Beta and torch.binomial."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import same_as_reference
from cases.workloads import vector_isas


class Law:
    """A state at p_t whose image is half black, and a network's output of two channels a pixel."""

    def __init__(self, shape: tuple[int, ...], p_t: float, step: float) -> None:
        generator = torch.Generator().manual_seed(6)
        x_0 = torch.round(255 * torch.rand(shape, generator=generator) ** 2)
        x_0[torch.rand(shape, generator=generator) < 0.5] = 0
        self.x_t = torch.binomial(x_0, torch.full(shape, p_t), generator=generator).to(torch.uint8)
        output = torch.randn((shape[0], 2 * shape[1], *shape[2:]), generator=generator)
        self.head = tuple(each * spread for each, spread in zip(output.chunk(2, 1), (2.0, 1.5), strict=True))
        self.offset, self.step = torch.log1p(-torch.tensor(p_t)).item(), step
        self.state = self.x_t.float()

    def ours(self, i: int, part: slice = slice(None), backend: str = "auto") -> fb.Stepped:
        law = {"family": "beta-binomial", "offset": self.offset, "center": 3.0, "scale": 0.1}
        head = tuple(each[part] for each in self.head)
        return fb.posterior_step(self.x_t[part], head, self.step, rng=fb.Philox(i), backend=backend, **law)

    def eager(self, _: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The state stays float32, as torch.binomial wants it."""
        mean = torch.sigmoid(self.head[0] + self.offset)
        concentration = torch.exp(torch.clamp(self.head[1] + 1, -5, 7))
        f = torch.distributions.Beta(mean * concentration, (1 - mean) * concentration).sample()
        x_s = self.state + torch.binomial(255 - self.state, f * self.step)
        return x_s, (x_s - 3.0) * 0.1

    def check(self) -> None:
        same_as_reference(lambda part, backend: self.ours(0, part, backend))


@pytest.mark.parametrize("shape", [(64, 1, 28, 28), (16, 3, 32, 32)], ids=["MNIST", "CIFAR"])
@pytest.mark.parametrize(("p_t", "step"), [(0.1, 0.2), (0.9, 0.5)], ids=["early", "late"])
@pytest.mark.parametrize("isa", vector_isas())
def test_posterior_step(bench: Any, isa: str | None, shape: tuple[int, ...], p_t: float, step: float) -> None:
    law = Law(shape, p_t, step)
    work = f"posterior_step, beta-binomial, p_t = {p_t}, {'x'.join(map(str, shape))}"
    others: peers.Calls = {"torch.distributions": law.eager}
    bench(work, law.x_t.numel(), law.ours, others, law.check, isa=isa)
