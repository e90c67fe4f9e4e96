"""energy_loss with its gradient: against eager torch as one would write it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from cases.harness import Harness, same_as_reference
from cases.workloads import vector_isas
from gpu.work import energy_of


class Energy:
    def __init__(self, shape: tuple[int, ...], draws: int) -> None:
        generator = torch.Generator().manual_seed(5)
        x_0 = torch.randint(0, 256, shape, generator=generator)
        self.x_t = (x_0 * torch.rand(shape, generator=generator)).to(torch.uint8)
        self.births = x_0.to(torch.uint8) - self.x_t
        self.logits = torch.randn((draws, *shape), generator=generator).requires_grad_()
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
        return torch.autograd.grad(loss, self.logits, self.upstream)[0]

    def ours(self, _: int) -> None:
        self.gradient(fb.energy_loss(self.logits, self.x_t, self.births, self.weight, offset=self.offset))

    def theirs(self, _: int) -> None:
        self.gradient(self.eager())

    def eager(self) -> torch.Tensor:
        return energy_of(self.logits, self.room, self.float_births, self.float_weight, self.offset)

    def check(self) -> None:
        def both(part: slice, backend: str) -> tuple[torch.Tensor, torch.Tensor]:
            logits = self.logits.detach()[:, part].requires_grad_()
            numbers = self.x_t[part], self.births[part], self.weight[part]
            loss = fb.energy_loss(logits, *numbers, offset=self.offset[part], backend=backend)
            loss.sum().backward()
            return loss.detach(), logits.grad.movedim(1, 0)

        same_as_reference(both)
        made = fb.energy_loss(self.logits, self.x_t, self.births, self.weight, offset=self.offset)
        torch.testing.assert_close(made.detach(), self.eager().detach(), rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(self.gradient(made), self.gradient(self.eager()), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("draws", [2, 4])
@pytest.mark.parametrize("isa", vector_isas())
def test_images(bench: Any, harness: Harness, isa: str | None, draws: int) -> None:
    energy = Energy((64, 1, 28, 28), draws)
    work = f"energy_loss + gradient, {draws} draws, 64x1x28x28"
    bench(work, energy.logits.numel(), energy.ours, {"eager torch": energy.theirs}, energy.check, isa=isa)
