"""The short way of fb.energy_loss, and of a training step, into the CUDA kernels, as the SIMT shim runs them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.blackout.losses import Numbers, blackout_loss, numbers_at
from fastblackout.data.dataset import make_dataset
from fastblackout.training.config import preset
from fastblackout.training.trainer import Trainer
from support import short_way
from support.short_way import SPREAD, WEIGHT, B, same
from support.short_way_device import Calls, long_way_only, on_device
from support.simt import _simt

pytestmark = [short_way.only, pytest.mark.skipif(_simt is None, reason="fastblackout._simt is not built")]

OFFSET = torch.tensor([-0.3, 0.0, -9.0])
SMALL, LARGE = (B, 2, 9), (B, 1030)  # of one chunk, and of two


def made_of(shape: tuple[int, ...], draws: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(draws)
    x_t = torch.randint(0, 256, shape, dtype=torch.uint8, generator=source)
    births = torch.randint(0, 90, shape, generator=source)
    return x_t, torch.randn(draws, *shape, generator=source), births


X, LOGITS, BIRTHS = made_of(SMALL, 2)


@pytest.fixture
def calls(monkeypatch: Any) -> Iterator[Calls]:
    with on_device(monkeypatch) as started:
        yield started


def graded(x_t: Any, logits: Any, births: Any, weight: Any, offset: Any, **options: Any) -> Any:
    """The loss, and its gradients for an upstream gradient of all samples and one for each."""
    leaf = logits.detach().requires_grad_()
    made = fb.energy_loss(leaf, x_t, births, weight, offset=offset, **options)
    summed = torch.autograd.grad(made.sum(), leaf, retain_graph=True)[0]
    return made.detach(), summed, torch.autograd.grad(made, leaf, torch.tensor([2.0, 0.0, -0.7]))[0]


@pytest.mark.parametrize(("shape", "draws"), [(SMALL, 2), (SMALL, 3), (SMALL, 8), (LARGE, 2)])
def test_energy_is_the_long_way(calls: Calls, monkeypatch: Any, shape: tuple[int, ...], draws: int) -> None:
    """Numbers by value and in tensors; counts of several dtypes, logits whose draws lie apart, and in dimension 1."""
    x_t, drawn, births = made_of(shape, draws)
    for logits in (drawn, drawn.transpose(0, 1).contiguous().transpose(0, 1), drawn.repeat_interleave(2, 0)[::2]):
        for x, weight, offset in ((x_t, 0.3, -1.0), (x_t.int(), WEIGHT, OFFSET), (x_t, SPREAD, OFFSET[:1].expand(B))):
            launches = _simt.launches()
            made = graded(x, logits, births, weight, offset, max_count=255)
            assert calls.long == [] and _simt.launches() == launches + 3
            with long_way_only(monkeypatch):
                assert same(made, graded(x, logits, births, weight, offset, max_count=255)) and len(calls.long) > 0
            calls.long.clear()


def test_it_is_the_reference(calls: Calls) -> None:
    made = calls.short(fb.energy_loss, LOGITS, X, BIRTHS, WEIGHT, offset=OFFSET)
    wanted = fb.energy_loss(LOGITS.numpy(), X.numpy(), BIRTHS.numpy(), WEIGHT.numpy(), offset=OFFSET.numpy())
    assert same(made, torch.from_numpy(wanted))


def test_a_loss_without_a_gradient_keeps_nothing(calls: Calls) -> None:
    leaf = LOGITS.clone().requires_grad_()
    with torch.no_grad():
        assert calls.short(fb.energy_loss, leaf, X, BIRTHS, 0.5).grad_fn is None
    assert calls.short(fb.energy_loss, LOGITS, X, BIRTHS, 0.5).grad_fn is None
    assert calls.short(fb.energy_loss, leaf, X, BIRTHS, 0.5).grad_fn is not None


def test_what_is_not_plain_goes_the_long_way(calls: Calls) -> None:
    for given in (
        {"logits": LOGITS.half()},
        {"x_t": X.numpy()},
        {"offset": OFFSET.double()},
        {"weight": WEIGHT.float()},
        {"births": BIRTHS.view(B, 1, 18).expand(B, 1, 18).reshape(X.shape).to(torch.int8)},
    ):
        values = {"logits": LOGITS, "x_t": X, "births": BIRTHS, "weight": 0.5} | given
        launches = _simt.launches()
        try:
            fb.energy_loss(**values)
        except (TypeError, ValueError):
            assert _simt.launches() == launches
        assert len(calls.long) == 1 or "x_t" in given, given
        calls.long.clear()


def test_what_it_cannot_take_is_told_as_by_the_long_way(calls: Calls, monkeypatch: Any) -> None:
    for wrong in ({"weight": float("inf")}, {"offset": float("nan")}, {"births": BIRTHS[:2]}, {"logits": LOGITS[:1]}):
        given = {"logits": LOGITS, "births": BIRTHS, "weight": 1.0} | wrong
        with pytest.raises((TypeError, ValueError)) as raised:
            fb.energy_loss(x_t=X, **given)
        with long_way_only(monkeypatch), pytest.raises(raised.type) as wanted:
            fb.energy_loss(x_t=X, **given)
        assert str(raised.value) == str(wanted.value)
    for name, wrong in (("logits", LOGITS * float("nan")), ("offset", OFFSET * float("nan"))):
        given = {"logits": LOGITS, "offset": OFFSET} | {name: wrong}
        what = "logits" if name == "logits" else "finite"
        with pytest.raises(ValueError, match=f"energy_loss: .*{what}"), fb.check_values():
            calls.short(fb.energy_loss, x_t=X, births=BIRTHS, weight=0.5, **given)


def test_its_gradient_may_go_the_long_way(calls: Calls, monkeypatch: Any) -> None:
    leaf = LOGITS.clone().requires_grad_()
    made = calls.short(fb.energy_loss, leaf, X, BIRTHS, WEIGHT, offset=OFFSET)
    (short_one,) = torch.autograd.grad(made.sum(), leaf, retain_graph=True)
    with long_way_only(monkeypatch):
        (long_one,) = torch.autograd.grad(made.sum(), leaf)
    assert same(short_one, long_one) and calls.long == ["energy_loss_backward"]


@pytest.mark.parametrize("head", ("mean", "implicit"))
def test_what_a_training_step_makes_goes_the_short_way(monkeypatch: Any, head: str) -> None:
    """Noise and loss take its numbers as they are; from float64 rows, converted, they have the same bits."""
    config = preset("digits", head=head, compile="off", batch=4, channels=8, schedule_steps=20)
    images = np.random.default_rng(1).integers(0, 17, (8, 1, 8, 8), dtype=np.uint8)
    trainer = Trainer(config, make_dataset("digits", images, max_count=16), {}, torch.device("cpu"))
    x_0, _, k, numbers = trainer.batch()
    given = trainer.model, trainer.schedule, x_0, k, fb.Philox(7).tensor(), config.weight

    def loss(numbers: Numbers) -> Any:
        torch.manual_seed(1)  # for dropout
        return blackout_loss(*given, numbers=numbers)

    wide = numbers_at(trainer.model, trainer.schedule, config.weight, k)
    assert {row.dtype for row in wide} == {torch.float64}
    expected = loss(wide)
    with on_device(monkeypatch) as calls:
        made = loss(numbers)
        assert set(calls.long) <= {"normal"}  # the noise of head "implicit"
    assert torch.equal(made, expected)
