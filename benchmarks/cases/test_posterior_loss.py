"""posterior_loss with its gradient: against eager torch.lgamma as one would write it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from cases.harness import Harness, same_as_reference
from cases.workloads import vector_isas
from gpu.work import beta_binomial_of


class BetaBinomial:
    """A network's output of two channels a pixel, of which both sides take the chunks."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        generator = torch.Generator().manual_seed(5)
        x_0 = torch.randint(0, 256, shape, generator=generator)
        self.x_t = (x_0 * torch.rand(shape, generator=generator)).to(torch.uint8)
        self.births = x_0.to(torch.uint8) - self.x_t
        self.output = torch.randn((shape[0], 2 * shape[1], *shape[2:]), generator=generator).requires_grad_()
        self.weight = torch.rand(shape[:1], dtype=torch.float64, generator=generator)
        self.offset = -torch.rand(shape[:1], generator=generator)
        self.room, self.float_births, self.float_weight = (
            255 - self.x_t.float(),
            self.births.float(),
            self.weight.float(),
        )
        self.upstream = torch.ones(shape[0])

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        """Of the losses of all samples, without the sum or mean that a training loop takes: it is no part of the op."""
        return torch.autograd.grad(loss, self.output, self.upstream)[0]

    def loss(self) -> torch.Tensor:
        head, law = self.output.chunk(2, 1), {"family": "beta-binomial", "offset": self.offset}
        return fb.posterior_loss(head, self.x_t, self.births, self.weight, **law)

    def ours(self, _: int) -> None:
        self.gradient(self.loss())

    def theirs(self, _: int) -> None:
        self.gradient(self.eager())

    def eager(self) -> torch.Tensor:
        return beta_binomial_of(*self.output.chunk(2, 1), self.room, self.float_births, self.float_weight, self.offset)

    def check(self) -> None:
        def both(part: slice, backend: str) -> tuple[torch.Tensor, torch.Tensor]:
            output, law = self.output.detach()[part].requires_grad_(), {"family": "beta-binomial"}
            numbers = self.x_t[part], self.births[part], self.weight[part]
            loss = fb.posterior_loss(output.chunk(2, 1), *numbers, offset=self.offset[part], backend=backend, **law)
            loss.sum().backward()
            return loss.detach(), output.grad

        same_as_reference(both)
        made = self.loss()
        torch.testing.assert_close(made.detach(), self.eager().detach(), rtol=1e-4, atol=1e-2)
        torch.testing.assert_close(self.gradient(made), self.gradient(self.eager()), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("isa", vector_isas())
def test_images(bench: Any, harness: Harness, isa: str | None) -> None:
    law = BetaBinomial((64, 1, 28, 28))
    work = "posterior_loss + gradient, beta-binomial, 64x1x28x28"
    bench(work, law.x_t.numel(), law.ours, {"eager torch": law.theirs}, law.check, isa=isa)
