"""posterior_loss with its gradient, and posterior_step, of the Bayes head: against eager torch's sum over 256 states of
every pixel, and torch.multinomial over them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import Harness, same_as_reference
from cases.workloads import vector_isas

LAW: dict[str, Any] = {"family": "bayes-logistic"}


class Bayes:
    """A state at p_t whose image is half black, and a network's output of 3 K - 1 channels a pixel."""

    def __init__(self, shape: tuple[int, ...], components: int, p_t: float, step: float) -> None:
        generator, arrays = torch.Generator().manual_seed(7), 3 * components - 1
        x_0 = torch.round(255 * torch.rand(shape, generator=generator) ** 2)
        x_0[torch.rand(shape, generator=generator) < 0.5] = 0
        self.state = torch.binomial(x_0, torch.full(shape, p_t), generator=generator)
        self.x_t, self.births = self.state.to(torch.uint8), (x_0 - self.state).to(torch.uint8)
        output = 0.7 * torch.randn((shape[0], arrays * shape[1], *shape[2:]), generator=generator)
        output[:, components : 2 * components] -= 1.0
        self.output, self.arrays, self.step = output.requires_grad_(), arrays, step
        self.offset, self.upstream = math.log1p(-p_t), torch.ones(shape[0])
        self.x_0, self.factorials = x_0.long(), torch.lgamma(torch.arange(256.0) + 1)

    def log_weights(self) -> torch.Tensor:
        """As one would write it, with differences of distribution functions."""
        head, v, parts = self.output.chunk(self.arrays, 1), torch.arange(256.0), []
        components = (self.arrays + 1) // 3
        for j in range(components):
            mean = (127.5 * (1 + head[j] + 0.6 * (j - (components - 1) / 2)))[..., None]
            narrow = (32 / 255 * torch.exp(-head[components + j].clamp(-5, 5)))[..., None]
            below = torch.sigmoid((v[:-1] + 0.5 - mean) * narrow)
            edges = torch.cat([torch.zeros_like(below[..., :1]), below, torch.ones_like(below[..., :1])], -1)
            parts.append(edges.diff(dim=-1))
        if components > 1:
            logits = torch.stack([*head[2 * components :], torch.zeros_like(head[0])])
            parts = [part * share[..., None] for part, share in zip(parts, torch.softmax(logits, 0), strict=True)]
        n = v - self.state[..., None]
        likelihood = self.factorials - self.factorials[n.clamp(min=0).long()] + n * self.offset
        return torch.where(n >= 0, torch.log(sum(parts, torch.zeros(())).clamp(min=1e-12)) + likelihood, -torch.inf)

    def eager_loss(self, _: int) -> None:
        logs = self.log_weights()
        seen = logs.gather(-1, self.x_0[..., None])[..., 0]
        loss = (torch.logsumexp(logs, -1) - seen).flatten(1).sum(1)
        torch.autograd.grad(loss, self.output, self.upstream)

    @torch.no_grad()
    def eager_step(self, _: int) -> torch.Tensor:
        drawn = torch.multinomial(torch.softmax(self.log_weights(), -1).view(-1, 256), 1).view(self.state.shape)
        x_s = self.state + torch.binomial(drawn - self.state, torch.full_like(self.state, self.step))
        return (x_s - 3.0) * 0.1

    def loss(self, _: int, part: slice = slice(None), backend: str = "auto") -> Any:
        output = self.output if part == slice(None) else self.output.detach()[part].requires_grad_()
        given = output.chunk(self.arrays, 1), self.x_t[part], self.births[part], 1.0
        loss = fb.posterior_loss(*given, offset=self.offset, backend=backend, **LAW)
        return loss.detach(), *torch.autograd.grad(loss, output, self.upstream[part])

    def drawn(self, i: int, part: slice = slice(None), backend: str = "auto") -> fb.Stepped:
        head = self.output.detach()[part].chunk(self.arrays, 1)
        how = {"offset": self.offset, "rng": fb.Philox(i), "center": 3.0, "scale": 0.1, "backend": backend, **LAW}
        return fb.posterior_step(self.x_t[part], head, self.step, **how)

    def check_loss(self) -> None:
        same_as_reference(lambda part, backend: self.loss(0, part, backend))

    def check_step(self) -> None:
        same_as_reference(lambda part, backend: self.drawn(0, part, backend))


@pytest.mark.parametrize("components", [1, 2])
@pytest.mark.parametrize("isa", vector_isas())
def test_bayes_loss(bench: Any, harness: Harness, isa: str | None, components: int) -> None:
    law = Bayes((16, 1, 28, 28), components, 0.5, 0.2)
    work = f"posterior_loss + gradient, bayes-logistic, K = {components}, 16x1x28x28"
    bench(work, law.x_t.numel(), law.loss, {"eager torch": law.eager_loss}, law.check_loss, isa=isa)


@pytest.mark.parametrize("components", [1, 2])
@pytest.mark.parametrize("isa", vector_isas())
def test_bayes_step(bench: Any, isa: str | None, components: int) -> None:
    law = Bayes((16, 1, 28, 28), components, 0.5, 0.2)
    work = f"posterior_step, bayes-logistic, K = {components}, 16x1x28x28"
    others: peers.Calls = {"eager torch": law.eager_step}
    bench(work, law.x_t.numel(), law.drawn, others, law.check_step, isa=isa)
