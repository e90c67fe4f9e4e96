"""birth_loss with its gradient: against eager torch as one would write it, and that under torch.compile."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch.nn.functional import softplus

import fastblackout as fb
from cases.harness import Harness, same_as_reference
from cases.workloads import thread_counts, vector_isas


class Loss:
    def __init__(self, shape: tuple[int, ...]) -> None:
        generator = torch.Generator().manual_seed(5)
        self.logits = (4 * torch.randn(shape, generator=generator)).requires_grad_()
        self.births = torch.randint(0, 64, shape, dtype=torch.uint8, generator=generator)
        self.weight = torch.rand(shape[:1], dtype=torch.float64, generator=generator)
        self.float_births, self.float_weight = self.births.float(), self.weight.float()
        self.upstream = torch.ones(shape[0])

    def gradient(self, loss: torch.Tensor) -> torch.Tensor:
        """Of the losses of all samples, without the sum or mean that a training loop takes: it is no part of the op."""
        return torch.autograd.grad(loss, self.logits, self.upstream)[0]

    def ours(self, _: int) -> None:
        self.gradient(fb.birth_loss(self.logits, self.births, self.weight))

    def theirs(self, function: Any) -> Any:
        return lambda _: self.gradient(function(self.logits, self.float_births, self.float_weight))

    def eager_from_uint8(self, _: int) -> None:
        self.gradient(eager(self.logits, self.births.float(), self.weight.float()))

    def check(self) -> None:
        def both(part: slice, backend: str) -> tuple[torch.Tensor, torch.Tensor]:
            logits = self.logits.detach()[part].requires_grad_()
            loss = fb.birth_loss(logits, self.births[part], self.weight[part], backend=backend)
            loss.sum().backward()
            return loss.detach(), logits.grad

        same_as_reference(both)
        theirs = eager(self.logits, self.float_births, self.float_weight).detach()
        torch.testing.assert_close(
            fb.birth_loss(self.logits, self.births, self.weight).detach(), theirs, rtol=1e-4, atol=1e-3
        )


def eager(logits: torch.Tensor, births: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    y = softplus(logits)
    return weight * (y - births * torch.log(y)).flatten(1).sum(1)


@pytest.mark.parametrize("isa", vector_isas())
def test_large(bench: Any, harness: Harness, isa: str | None) -> None:
    loss = Loss((256, 3, 32, 32))
    others = {"eager torch": loss.theirs(eager), "eager torch, uint8 births": loss.eager_from_uint8}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = loss.theirs(torch.compile(eager))
        try:
            compiled(0)
        except Exception as error:  # whatever the compiler lacks
            harness.failed_peers["torch.compile"] = f"it needs a C++ compiler ({type(error).__name__})"
        else:
            others["torch.compile"] = compiled
    bench("birth_loss + gradient, 256x3x32x32", loss.logits.numel(), loss.ours, others, loss.check, isa=isa)


@pytest.mark.parametrize("threads", thread_counts())
def test_threads(bench: Any, threads: int) -> None:
    loss = Loss((256, 3, 32, 32))

    def alone(i: int) -> None:
        with fb.use_backend(threads=1):
            loss.ours(i)

    others = {"fastblackout, 1 thread": alone}
    bench("birth_loss + gradient, 256x3x32x32", loss.logits.numel(), loss.ours, others, loss.check, threads=threads)


def test_one_small_image(bench: Any) -> None:
    """What a call costs beyond its work; the work alone is an image's share of a call on 64."""
    loss, share = Loss((1, 1, 28, 28)), "1/64 of a call on 64"
    others = {"eager torch": loss.theirs(eager), share: Loss((64, 1, 28, 28)).ours}
    elements = loss.logits.numel()
    bench("birth_loss + gradient, one 28x28 image", elements, loss.ours, others, loss.check, shares={share: 64})
