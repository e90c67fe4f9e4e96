"""posterior_loss with its gradient, and posterior_step, of the negative binomial head: against eager torch.lgamma, and
a gamma and a Poisson draw of torch."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

import fastblackout as fb
from cases import peers
from cases.harness import Harness, same_as_reference
from cases.workloads import vector_isas

LAW: dict[str, Any] = {"family": "negative-binomial"}


class NegativeBinomial:
    """A state at p_t of counts that vary more than Poisson numbers, and a network's output of two channels a pixel."""

    def __init__(self, shape: tuple[int, ...], p_t: float, step: float, most: int) -> None:
        generator = torch.Generator().manual_seed(8)
        rate = torch._standard_gamma(torch.full(shape, 1.5), generator=generator) * (math.sqrt(most) / 1.5)
        x_0 = torch.poisson(rate, generator=generator).clamp(max=most)
        self.state = torch.binomial(x_0, torch.full(shape, p_t), generator=generator)
        self.x_t, self.births = (
            each.to(torch.uint8 if most < 256 else torch.int32) for each in (self.state, x_0 - self.state)
        )
        output = 0.5 * torch.randn((shape[0], 2 * shape[1], *shape[2:]), generator=generator)
        self.output, self.left = output.requires_grad_(), x_0 - self.state
        self.how, self.step, self.upstream = (
            {"offset": math.log1p(-p_t), "max_count": most, **LAW},
            step,
            torch.ones(shape[0]),
        )

    def size_and_theta(self) -> tuple[torch.Tensor, torch.Tensor]:
        """As one would write it."""
        o_1, o_2 = self.output.chunk(2, 1)
        m = torch.exp((o_1 + 0.5 * math.log(self.how["max_count"])).clamp(-12, 36))
        r, p = torch.exp((o_2 + 1).clamp(-7, 16)), -math.expm1(self.how["offset"])
        return r + self.state, (1 - p) * m / (r + p * m)

    def eager(self) -> torch.Tensor:
        size, theta = self.size_and_theta()
        rising = torch.lgamma(size + self.left) - torch.lgamma(size) - torch.lgamma(self.left + 1)
        share = torch.log(theta) - torch.log1p(theta)
        return (size * torch.log1p(theta) - self.left * share - rising).flatten(1).sum(1)

    def eager_loss(self, _: int) -> None:
        torch.autograd.grad(self.eager(), self.output, self.upstream)

    @torch.no_grad()
    def eager_step(self, _: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The state stays float32, as torch.poisson wants it."""
        size, theta = self.size_and_theta()
        births = torch.poisson(torch._standard_gamma(size) * (theta * self.step))
        x_s = (self.state + births).clamp(max=self.how["max_count"])
        return x_s, (x_s - 3.0) * 0.1

    def loss(self, _: int, part: slice = slice(None), backend: str = "auto") -> Any:
        output = self.output if part == slice(None) else self.output.detach()[part].requires_grad_()
        loss = fb.posterior_loss(
            output.chunk(2, 1), self.x_t[part], self.births[part], 1.0, backend=backend, **self.how
        )
        return loss.detach(), *torch.autograd.grad(loss, output, self.upstream[part])

    def drawn(self, i: int, part: slice = slice(None), backend: str = "auto") -> fb.Stepped:
        head, more = self.output.detach()[part].chunk(2, 1), {"rng": fb.Philox(i), "backend": backend}
        return fb.posterior_step(self.x_t[part], head, self.step, center=3.0, scale=0.1, **more, **self.how)

    def check_loss(self) -> None:
        same_as_reference(lambda part, backend: self.loss(0, part, backend))
        torch.testing.assert_close(self.loss(0)[0], self.eager().detach(), rtol=1e-4, atol=1e-2)

    def check_step(self) -> None:
        same_as_reference(lambda part, backend: self.drawn(0, part, backend))


@pytest.mark.parametrize("most", [255, 10_000])
@pytest.mark.parametrize("isa", vector_isas())
def test_loss(bench: Any, harness: Harness, isa: str | None, most: int) -> None:
    law = NegativeBinomial((64, 1, 28, 28), 0.5, 0.2, most)
    work = f"posterior_loss + gradient, negative-binomial, max_count {most}, 64x1x28x28"
    bench(work, law.x_t.numel(), law.loss, {"eager torch": law.eager_loss}, law.check_loss, isa=isa)


@pytest.mark.parametrize("most", [255, 10_000])
@pytest.mark.parametrize("isa", vector_isas())
def test_step(bench: Any, isa: str | None, most: int) -> None:
    law = NegativeBinomial((64, 1, 28, 28), 0.5, 0.2, most)
    work = f"posterior_step, negative-binomial, max_count {most}, 64x1x28x28"
    others: peers.Calls = {"torch._standard_gamma, torch.poisson": law.eager_step}
    bench(work, law.x_t.numel(), law.drawn, others, law.check_step, isa=isa)
