"""The short way of fb.energy_loss into the CPU kernels: equal to the long way, silent where a call is not plain."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import fastblackout as fb
from fastblackout.call import short
from support import short_way
from support.short_way import LAYOUTS, SPREAD, WEIGHT, B, X, same

pytestmark = short_way.only

OFFSET = torch.tensor([-0.3, 0.0, -9.0])
BIRTHS = torch.randint(0, 90, X.shape, generator=torch.Generator().manual_seed(3))


def logits_of(draws: int, x: torch.Tensor = X) -> torch.Tensor:
    return torch.randn(draws, *x.shape, generator=torch.Generator().manual_seed(draws))


LOGITS = logits_of(2)


def energy(*numbers: Any, logits: Any = LOGITS, x_t: Any = X, births: Any = BIRTHS, backend: str = "auto") -> Any:
    """numbers: weight, 1 where it is not given, and offset, 0."""
    weight, offset = numbers + (1.0, 0.0)[len(numbers) :]
    return short.call("quick_energy", x_t, backend, (x_t, logits, births, weight, offset, None))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("draws", (2, 3, 8))
@pytest.mark.parametrize("dtype", ("uint8", "int64", "float32", "bfloat16"))
def test_energy_is_the_long_way(layout: str, draws: int, dtype: str) -> None:
    """Gradients of sums, and of another order; logits whose draws lie apart, and in dimension 1."""
    x, births = LAYOUTS[layout], BIRTHS.to(getattr(torch, dtype))
    drawn = logits_of(draws, x)
    upstream = torch.tensor([2.0, 0.0, -0.7, 0.0, 1e-3])[::2]
    for logits in (drawn, drawn.transpose(0, 1).contiguous().transpose(0, 1), drawn.repeat_interleave(2, 0)[::2]):
        for weight, offset in ((WEIGHT, OFFSET), (0.5, OFFSET.double()), (WEIGHT.float(), -1.0)):
            results = []
            for backend in ("auto", "reference"):
                leaf = logits.detach().requires_grad_()
                assert (energy(weight, offset, logits=leaf, x_t=x, births=births, backend=backend) is None) == (
                    backend == "reference"
                )
                made = fb.energy_loss(leaf, x, births, weight, offset=offset, backend=backend)
                grads = [torch.autograd.grad(made, leaf, up, retain_graph=True)[0] for up in (torch.ones(B), upstream)]
                (expanded,) = torch.autograd.grad(made.sum(), leaf)
                results.append((made.detach(), *grads, expanded))
            assert same(*results)


def test_energy_without_a_gradient_and_of_another_backend_later() -> None:
    made = fb.energy_loss(LOGITS, X, BIRTHS, WEIGHT, offset=OFFSET)
    assert not made.requires_grad and torch.equal(made, energy(WEIGHT, OFFSET)[0])
    leaf = LOGITS.clone().requires_grad_()
    loss = fb.energy_loss(leaf, X, BIRTHS, WEIGHT, offset=OFFSET)
    with fb.use_backend("reference"):  # the gradient is of the backend that made the loss
        (grad,) = torch.autograd.grad(loss.sum(), leaf)
    assert torch.equal(grad, torch.autograd.grad(fb.energy_loss(leaf, X, BIRTHS, WEIGHT, offset=OFFSET).sum(), leaf)[0])


@pytest.mark.parametrize("changed", ("logits", "x_t", "births", "weight", "offset"))
def test_a_changed_argument_is_told(changed: str) -> None:
    given = {"x_t": X.clone(), "births": BIRTHS.clone(), "weight": WEIGHT.clone(), "offset": OFFSET.clone()}
    given["logits"] = LOGITS.clone().requires_grad_()
    made = fb.energy_loss(**given)
    with torch.no_grad():
        given[changed].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        made.sum().backward()


@pytest.mark.parametrize(
    "given",
    (
        {"x_t": X.int()},
        {"x_t": X.numpy()},
        {"x_t": X[:2]},
        {"logits": LOGITS.double()},
        {"logits": LOGITS.bfloat16()},
        {"logits": LOGITS.numpy()},
        {"logits": LOGITS[:1]},
        {"logits": logits_of(9)},
        {"logits": LOGITS[:, :, :1]},
        {"logits": LOGITS[0]},
        {"births": BIRTHS.numpy()},
        {"births": BIRTHS[:, :1]},
        {"weight": float("nan")},
        {"weight": WEIGHT[:2]},
        {"offset": float("inf")},
        {"offset": SPREAD.half()},
        {"backend": "reference"},
    ),
    ids=lambda given: next(iter(given)),
)
def test_what_is_not_plain_goes_the_long_way(given: dict[str, Any]) -> None:
    numbers = given.get("weight", 1.0), given.get("offset", 0.0)
    others = {name: value for name, value in given.items() if name not in ("weight", "offset")}
    assert energy() is not None and energy(*numbers, **others) is None


def test_a_second_backward_gives_the_same() -> None:
    """The first makes its gradient in memory that the loss has prepared, which then is no more what it was."""
    leaf = LOGITS.clone().requires_grad_()
    loss = fb.energy_loss(leaf, X, BIRTHS, WEIGHT, offset=OFFSET)
    first, second = (torch.autograd.grad(loss.sum(), leaf, retain_graph=True)[0] for _ in range(2))
    assert first.data_ptr() != second.data_ptr() and torch.equal(first, second) and first.any()


def test_gradients_of_what_is_not_plain_go_the_long_way() -> None:
    values = X, LOGITS, BIRTHS, WEIGHT, OFFSET, None
    _, norms, _ = short.call("quick_energy", values[0], "auto", values)
    ones = torch.ones(B)
    assert short.call("quick_energy_gradient", values[0], "auto", values, norms, ones, None) is not None
    assert short.call("quick_energy_gradient", values[0], "reference", values, norms, ones, None) is None
    assert short.call("quick_energy_gradient", values[0], "auto", values, norms, ones.double(), None) is None
    assert short.call("quick_energy_gradient", values[0], "auto", values, norms, ones[:2], None) is None
    assert short.call("quick_energy_gradient", values[0], "auto", values, norms.numpy(), ones, None) is None


def test_wrong_values_are_told_as_on_the_long_way() -> None:
    for wrong in ({"x_t": X, "max_count": 9}, {"logits": LOGITS * float("nan")}, {"births": BIRTHS.float() - 1}):
        texts = []
        for x_t in (X, X.int()):
            given = {"logits": LOGITS, "births": BIRTHS, "weight": 1.0, "max_count": 255} | wrong | {"x_t": x_t}
            with pytest.raises(ValueError, match="energy_loss: ") as raised:
                fb.energy_loss(**given)
            texts.append(str(raised.value))
        assert texts[0] == texts[1]
