"""birth_loss and its gradient: weights or gains that differ within a sample, a mask, or the expected births."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn.functional import softplus

import fastblackout as fb
from cases.harness import same_as_reference
from cases.test_spread import EACH, LONG, WIDTHS, Numbers, rows, uniform
from cases.workloads import SHAPE


@pytest.mark.parametrize("width", EACH)
@pytest.mark.parametrize("name", ["weight", pytest.param("gain", marks=LONG), pytest.param("mask", marks=LONG)])
def test_of_logits(bench: Any, name: str, width: str) -> None:
    number = uniform(WIDTHS[width]) + 0.1
    _bench(bench, f"a {name} for each {width}", {name: number < 0.9 if name == "mask" else number}, expected=False)


def test_of_expected_births(bench: Any) -> None:
    _bench(bench, "of expected births", {}, expected=True)


def _bench(bench: Any, case: str, numbers: Numbers, expected: bool) -> None:
    plain = 8.0 * torch.randn(SHAPE, generator=torch.Generator().manual_seed(5))
    given = (softplus(plain) + 1e-3 if expected else plain).requires_grad_()
    births = torch.randint(0, 64, SHAPE, dtype=torch.uint8, generator=torch.Generator().manual_seed(6))
    upstream, counts, all_ones = torch.ones(SHAPE[0]), births.float(), {"weight": torch.ones(SHAPE[0])}

    def graded(
        part: slice = slice(None), backend: str = "auto", how: Numbers = all_ones | numbers
    ) -> tuple[torch.Tensor, ...]:
        own = given.detach()[part].requires_grad_()
        values = (None, births[part]) if expected else (own, births[part])
        named: Numbers = {name: rows(number, part) for name, number in how.items()}
        loss = fb.birth_loss(*values, backend=backend, **named, **({"expected": own} if expected else {}))
        return loss.detach(), torch.autograd.grad(loss, own, upstream[part])[0]

    def eager(_: int) -> torch.Tensor:
        y = given if expected else numbers.get("gain", 1.0) * softplus(given)
        costs = numbers.get("weight", 1.0) * (y - counts * torch.log(y))
        costs = torch.where(numbers["mask"], costs, 0.0) if "mask" in numbers else costs
        return torch.autograd.grad(costs.flatten(1).sum(1), given, upstream)[0]

    def of_logits(_: int) -> torch.Tensor:
        return torch.autograd.grad(fb.birth_loss(given, births, 1.0), given, upstream)[0]

    def check() -> None:
        same_as_reference(lambda part, backend: graded(part, backend))
        torch.testing.assert_close(graded()[1], eager(0), rtol=1e-3, atol=1e-3)

    others = {"eager torch": eager, "birth_loss, a weight a sample": of_logits}
    bench(f"birth_loss + gradient, {case}", births.numel(), lambda _: graded(), others, check)
