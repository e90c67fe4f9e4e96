"""posterior_loss with its gradient, and posterior_step, of heads with a logit for every state: against eager torch's
log_softmax and gather, and softmax, torch.multinomial and torch.binomial."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import Harness, same_as_reference
from cases.workloads import vector_isas

FAMILIES = ("categorical", "bayes-categorical")


class States:
    """A state at p_t whose image is half black, and a network's output of `states` channels a pixel."""

    def __init__(self, family: str, shape: tuple[int, ...], states: int, p_t: float, step: float) -> None:
        generator, self.most = torch.Generator().manual_seed(7), states - 1
        x_0 = torch.round(self.most * torch.rand(shape, generator=generator) ** 2)
        x_0[torch.rand(shape, generator=generator) < 0.5] = 0
        self.state = torch.binomial(x_0, torch.full(shape, p_t), generator=generator)
        self.x_t, self.births = self.state.to(torch.uint8), (x_0 - self.state).to(torch.uint8)
        self.output = torch.randn((shape[0], states, *shape[2:]), generator=generator).requires_grad_()
        self.law: dict[str, Any] = {"family": family, "offset": math.log1p(-p_t), "max_count": self.most}
        self.x_0, self.upstream, self.step = x_0.long(), torch.ones(shape[0]), step
        self.factorials, self.v = torch.lgamma(torch.arange(states) + 1.0), torch.arange(states)[:, None, None]

    def log_weights(self) -> torch.Tensor:
        """States in dimension 1, where the network has them."""
        n, logs = self.v - self.state, self.output
        if self.law["family"] == "bayes-categorical":
            known = self.factorials[self.v] - self.factorials[n.clamp(min=0).long()] + n * self.law["offset"]
            logs = logs + known
        return logs.masked_fill(n < 0, -torch.inf)

    def eager_loss(self, _: int) -> None:
        logs = torch.log_softmax(self.log_weights(), 1)
        torch.autograd.grad(-logs.gather(1, self.x_0).flatten(1).sum(1), self.output, self.upstream)

    @torch.no_grad()
    def eager_step(self, _: int) -> torch.Tensor:
        law = torch.softmax(self.log_weights(), 1).movedim(1, -1).reshape(-1, self.most + 1)
        drawn = torch.multinomial(law, 1).view(self.state.shape)
        x_s = self.state + torch.binomial(drawn - self.state, torch.full_like(self.state, self.step))
        return (x_s - 3.0) * 0.1

    def logits(self, output: torch.Tensor) -> torch.Tensor:
        return output[:, None].movedim(2, -1)

    def loss(self, _: int, part: slice = slice(None), backend: str = "auto") -> Any:
        output = self.output if part == slice(None) else self.output.detach()[part].requires_grad_()
        given = self.logits(output), self.x_t[part], self.births[part], 1.0
        loss = fb.posterior_loss(*given, backend=backend, **self.law)
        return loss.detach(), *torch.autograd.grad(loss, output, self.upstream[part])

    def drawn(self, i: int, part: slice = slice(None), backend: str = "auto") -> fb.Stepped:
        how = {"rng": fb.Philox(i), "center": 3.0, "scale": 0.1, "backend": backend, **self.law}
        return fb.posterior_step(self.x_t[part], self.logits(self.output.detach()[part]), self.step, **how)

    def check_loss(self) -> None:
        same_as_reference(lambda part, backend: self.loss(0, part, backend))

    def check_step(self) -> None:
        same_as_reference(lambda part, backend: self.drawn(0, part, backend))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("isa", vector_isas())
def test_states_loss(bench: Any, harness: Harness, isa: str | None, family: str) -> None:
    law = States(family, (16, 1, 28, 28), 256, 0.5, 0.2)
    work = f"posterior_loss + gradient, {family}, 256 states, 16x1x28x28"
    bench(work, law.x_t.numel(), law.loss, {"eager torch": law.eager_loss}, law.check_loss, isa=isa)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("isa", vector_isas())
def test_states_step(bench: Any, isa: str | None, family: str) -> None:
    law = States(family, (16, 1, 28, 28), 256, 0.5, 0.2)
    work = f"posterior_step, {family}, 256 states, 16x1x28x28"
    others: peers.Calls = {"eager torch": law.eager_step}
    bench(work, law.x_t.numel(), law.drawn, others, law.check_step, isa=isa)
