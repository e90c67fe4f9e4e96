"""Tensors whose memory is not what it seems: a negation or zeros that torch has put off, or no values at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fastblackout as fb
from fastblackout.call.declared import DECLARED
from support import short_way
from support.arrays import bits
from support.op_table import OPS
from support.right_calls import OF_ELEMENTS, calls, variants
from support.short_way import same
from support.short_way_device import on_device
from support.simt import _simt

RNG = fb.Philox(seed=5)
SHAPE = (4, 2, 3)
X = torch.randint(0, 90, SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LOGITS = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
P = torch.tensor([0.125, 0.25, 0.5, 0.75], dtype=torch.float64)
NAMES = {*OPS, *OF_ELEMENTS, "birth_loss of each", "bridge_step of each", "split", "multinomial", "CategoricalTable"}
# Calls with another value of an argument, and a value of it: of the argument that decides the path, and of the others.
FIRST: dict[str, tuple[Callable[[Any], Any], torch.Tensor]] = {}
SECOND: dict[str, tuple[Callable[[Any], Any], torch.Tensor]] = {}
for _op, (_call, _right) in calls(torch.from_numpy, SHAPE).items():
    if _op in NAMES:
        _all = {
            name: (lambda v, call=_call, right=_right, change=change: call(**right | change(v)), value)
            for name, (change, value) in variants(_op, _right, torch.from_numpy, SHAPE)
        }
        _first = DECLARED[_op].arguments[0].names[0] if _op in DECLARED else ""
        _deciding = _first if _first in _all else next(iter(_all))
        FIRST[f"{_op} {_deciding}"] = _all.pop(_deciding)
        SECOND |= {f"{_op} {name}": variant for name, variant in _all.items()}
ALL = SECOND | FIRST
FLOATS = [name for name, (_, value) in ALL.items() if value.is_floating_point()]


def negated(value: torch.Tensor) -> torch.Tensor:
    """The same numbers, but in memory with the other sign, and every second number of it."""
    made = torch.complex(value.detach(), -value.detach()).conj().imag
    assert made.is_neg() and torch.equal(made, value)
    return made


def dense(value: torch.Tensor) -> torch.Tensor:
    """The same in memory of their own."""
    made = torch._neg_view(-value.detach())
    assert made.is_neg() and torch.equal(made, value) and made.stride() == value.stride()
    return made


def all_bits(result: Any) -> Any:
    result = getattr(result, "thresholds", result)
    return [bits(each) for each in result] if isinstance(result, tuple) else bits(result)


@pytest.mark.parametrize("name", [name for name, (_, value) in ALL.items() if value.dtype is not torch.bool])
def test_a_negation_put_off(name: str, backend: str) -> None:
    call, value = ALL[name]
    for way in (dense, negated) if name in FLOATS else (dense,):
        assert all_bits(call(way(value))) == all_bits(call(value))


@short_way.only
@pytest.mark.skipif(_simt is None, reason="fastblackout._simt is not built")
@pytest.mark.parametrize("way", (dense, negated))
def test_a_negation_put_off_on_a_device(way: Callable[[torch.Tensor], torch.Tensor], monkeypatch: Any) -> None:
    with on_device(monkeypatch) as calls:
        for call in (
            lambda change: fb.thin(X, fb.Prob(change(P), 1 - P), center=change(P.float()), rng=RNG),
            lambda change: fb.bridge_step(X, change(LOGITS), 0.5, rng=RNG),
            lambda change: (fb.birth_loss(change(LOGITS), X, change(P)),),
        ):
            given = calls.short(call, lambda value: value)
            before = len(calls.long)
            assert same(call(way), given) and len(calls.long) == before + 1


@pytest.mark.parametrize(
    "view", [lambda v: v[:1], lambda v: v[0].reshape(1), lambda v: v[1][None], lambda v: v[:1, None, None]]
)
def test_a_negation_put_off_of_one_sample(view: Any) -> None:
    """Strides tell nothing of a tensor of one number."""
    for value in (P, P.float()):
        one = view(negated(value))
        assert one.is_neg()
        assert all_bits(fb.thin(X[:1], 0.5, center=one, scale=one, rng=RNG)) == all_bits(
            fb.thin(X[:1], 0.5, center=one.item(), scale=one.item(), rng=RNG)
        )
        assert bits(fb.birth_loss(LOGITS[:1], X[:1], one)) == bits(fb.birth_loss(LOGITS[:1], X[:1], one.item()))


def test_gradients_through_negations_put_off() -> None:
    def gradient(before: bool, after: bool) -> torch.Tensor:
        leaf = LOGITS.clone().requires_grad_()
        loss = fb.birth_loss(torch.complex(leaf, -leaf).conj().imag if before else leaf, X, P)
        (torch.complex(loss, -loss).conj().imag if after else loss).sum().backward()
        assert leaf.grad is not None
        return leaf.grad

    for before, after in ((True, False), (False, True), (True, True)):
        assert torch.equal(gradient(before, after), gradient(False, False))


@pytest.mark.parametrize(
    "name", ["thin center", "birth_loss weight", "birth_loss logits", "poisson rate", "normal mean", "binomial count"]
)
def test_zeros_put_off(name: str, backend: str) -> None:
    call, value = ALL[name]
    zeros = torch._efficientzerotensor(value.shape, dtype=value.dtype)
    assert zeros.data_ptr() == 0
    assert all_bits(call(zeros)) == all_bits(call(torch.zeros_like(value)))


@pytest.mark.parametrize("name", SECOND)
def test_no_values_in_memory(name: str, backend: str) -> None:
    """Of a FakeTensor, of one that has left torch.func, of one on "meta"; beside a first argument that has them."""
    call, value = SECOND[name]
    kept: list[torch.Tensor] = []
    torch.vmap(lambda row: kept.append(row) or row)(torch.stack([value, value]))
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(value)
    op, argument = name.split()[0], name.split()[-1]
    for other in (fake, kept[0]):
        with pytest.raises(TypeError, match=rf"^{op}: {re.escape(argument)}: must have its values in memory, got a"):
            call(other)
    with pytest.raises(ValueError, match=rf"^{op}: {re.escape(argument)}: .*, got .*meta"):
        call(value.to("meta"))


def test_an_output_without_memory_of_its_own() -> None:
    with FakeTensorMode():
        fake = torch.empty(SHAPE)
    with pytest.raises(TypeError, match="^thin: out.model_input: must have its values in memory, got a FakeTensor"):
        fb.thin(X, 0.5, rng=RNG, out=fb.Thinned(model_input=fake))
    for out in (negated(LOGITS), torch._efficientzerotensor(SHAPE)):
        with pytest.raises(ValueError, match="^thin: out.model_input: must have its values in memory, got"):
            fb.thin(X, 0.5, rng=RNG, out=fb.Thinned(model_input=out))
    with pytest.raises(TypeError, match="^categorical: out: must have its values in memory, got a FakeTensor"):
        fb.categorical(X, torch.full((90, 90), 1 / 90), rng=RNG, out=fake)
