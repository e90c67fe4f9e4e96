"""Tensors whose memory is not what it seems: a negation or zeros that torch has put off, or no values at all."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

import fastblackout as fb
from support.arrays import bits

RNG = fb.Philox(seed=11)
SHAPE = (4, 2, 3)
X = torch.randint(0, 90, SHAPE, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LOGITS = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
DRAWS = torch.stack([LOGITS, -LOGITS])
P = torch.tensor([0.125, 0.25, 0.5, 0.75], dtype=torch.float64)
MATRICES = torch.full((3, 90, 90), 1 / 90, dtype=torch.float64)
ONE = MATRICES[0]
INDEX, KEY = torch.tensor([0, 1, 2, 0]), RNG.tensor()


def _posterior(head: Any, births: Any = None, weight: Any = 1.0, offset: Any = 0.0) -> Any:
    born = X // 16 if births is None else births
    return fb.posterior_loss(head, X, born, weight, family="beta-binomial", offset=offset)


def _law_step(head: Any, step: Any = 0.5, offset: Any = 0.0) -> Any:
    return fb.posterior_step(X, head, step, family="beta-binomial", offset=offset, rng=RNG)


# A call and the argument of it that is not the first, nor decides which path the call takes.
SECOND: dict[str, tuple[Callable[[Any], Any], torch.Tensor]] = {
    "thin alive": (lambda v: fb.thin(X, v, rng=RNG), P),
    "thin alive.q": (lambda v: fb.thin(X, fb.Prob(1 - P, v), rng=RNG), P),
    "thin center": (lambda v: fb.thin(X, 0.5, center=v, rng=RNG), P),
    "thin scale": (lambda v: fb.thin(X, 0.5, scale=v, rng=RNG), P),
    "thin rng": (lambda v: fb.thin(X, 0.5, rng=v), KEY),
    "bridge_step logits": (lambda v: fb.bridge_step(X, v, 0.5, rng=RNG), LOGITS),
    "bridge_step births": (lambda v: fb.bridge_step(X, births=v, step=0.5, rng=RNG), LOGITS.exp()),
    "bridge_step step": (lambda v: fb.bridge_step(X, LOGITS, v, rng=RNG), P),
    "bridge_step attrition": (lambda v: fb.bridge_step(X, LOGITS, 0.5, attrition=v, rng=RNG), P),
    "bridge_step gain": (lambda v: fb.bridge_step(X, LOGITS, 0.5, gain=v, rng=RNG), P.float()),
    "tau_leap_step logits": (lambda v: fb.tau_leap_step(X, v, 0.5, rng=RNG), LOGITS),
    "tau_leap_step step": (lambda v: fb.tau_leap_step(X, LOGITS, v, rng=RNG), P),
    "birth_loss births": (lambda v: fb.birth_loss(LOGITS, v, 1.0), LOGITS.exp()),
    "birth_loss weight": (lambda v: fb.birth_loss(LOGITS, X, v), P),
    "birth_loss gain": (lambda v: fb.birth_loss(LOGITS, X, 1.0, gain=v), P),
    "energy_loss logits": (lambda v: fb.energy_loss(v, X, X, 1.0), DRAWS),
    "energy_loss births": (lambda v: fb.energy_loss(DRAWS, X, v, 1.0), LOGITS.exp()),
    "energy_loss weight": (lambda v: fb.energy_loss(DRAWS, X, X, v), P),
    "energy_loss offset": (lambda v: fb.energy_loss(DRAWS, X, X, 1.0, offset=v), P),
    "posterior_loss head[1]": (lambda v: _posterior((LOGITS, v)), LOGITS),
    "posterior_loss births": (lambda v: _posterior((LOGITS, LOGITS), v), (X // 16).float()),
    "posterior_loss weight": (lambda v: _posterior((LOGITS, LOGITS), weight=v), P),
    "posterior_loss offset": (lambda v: _posterior((LOGITS, LOGITS), offset=v), P),
    "posterior_step head[0]": (lambda v: _law_step((v, LOGITS)), LOGITS),
    "posterior_step head[1]": (lambda v: _law_step((LOGITS, v)), LOGITS),
    "posterior_step step": (lambda v: _law_step((LOGITS, LOGITS), v), P),
    "posterior_step offset": (lambda v: _law_step((LOGITS, LOGITS), offset=v), P),
    "binomial prob": (lambda v: fb.binomial(X, v, rng=RNG), LOGITS.sigmoid()),
    "normal std": (lambda v: fb.normal(LOGITS, v, rng=RNG), LOGITS.exp()),
    "gamma scale": (lambda v: fb.gamma(LOGITS.exp(), v, rng=RNG), LOGITS.exp()),
    "beta b": (lambda v: fb.beta(LOGITS.exp(), v, rng=RNG), LOGITS.exp()),
    "beta_binomial a": (lambda v: fb.beta_binomial(X, v, 0.5, rng=RNG), LOGITS.exp()),
    "negative_binomial mean": (lambda v: fb.negative_binomial(LOGITS.exp(), v, rng=RNG), LOGITS.exp()),
    "hypergeometric draws": (lambda v: fb.hypergeometric(X, 50, v, rng=RNG), X.float()),
    "bessel argument": (lambda v: fb.bessel(X, v, rng=RNG), LOGITS.exp()),
    "skellam rate_2": (lambda v: fb.skellam(LOGITS.exp(), v, rng=RNG), LOGITS.exp()),
    "multinomial probs": (lambda v: fb.multinomial(X, v, rng=RNG), LOGITS.exp()[..., None].expand(*LOGITS.shape, 3)),
    "split overdispersion": (lambda v: fb.split(X, 2, v, rng=RNG), LOGITS.exp()),
    "poisson rng": (lambda v: fb.poisson(LOGITS.exp(), rng=v), KEY),
    "categorical probs": (lambda v: fb.categorical(X, v, index=INDEX, rng=RNG), MATRICES),
    "categorical index": (lambda v: fb.categorical(X, MATRICES, index=v, rng=RNG), INDEX),
    "categorical_bridge x_0": (lambda v: fb.categorical_bridge(X, v, before=ONE, after=ONE, rng=RNG), X),
    "categorical_bridge before": (lambda v: fb.categorical_bridge(X, X, before=v, after=ONE, rng=RNG), ONE),
    "thin_log_prob x_0": (lambda v: fb.thin_log_prob(X, v, 0.5), X + 1),
    "bridge_log_prob step": (lambda v: fb.bridge_log_prob(X, X, X + 1, v), P),
    "transition_rows prob.q": (lambda v: fb.transition_rows(fb.Prob(1 - P, v), 5), P),
    "binomial_log_prob prob": (lambda v: fb.binomial_log_prob(X[:, 0, 0], 90, v), P),
}
FIRST: dict[str, tuple[Callable[[Any], Any], torch.Tensor]] = {
    "birth_loss logits": (lambda v: fb.birth_loss(v, X, 1.0), LOGITS),
    "normal mean": (lambda v: fb.normal(v, 0.5, rng=RNG), LOGITS),
    "gamma shape": (lambda v: fb.gamma(v, 0.5, rng=RNG), LOGITS.exp()),
    "beta a": (lambda v: fb.beta(v, 0.5, rng=RNG), LOGITS.exp()),
    "beta_binomial n": (lambda v: fb.beta_binomial(v, 0.5, 0.5, rng=RNG), X.float()),
    "negative_binomial r": (lambda v: fb.negative_binomial(v, 0.5, rng=RNG), LOGITS.exp()),
    "hypergeometric good": (lambda v: fb.hypergeometric(v, 50, 9, rng=RNG), X.float()),
    "bessel order": (lambda v: fb.bessel(v, 9.0, rng=RNG), X.float()),
    "split counts": (lambda v: fb.split(v, rng=RNG), X.float()),
    "poisson rate": (lambda v: fb.poisson(v, rng=RNG), LOGITS.exp()),
    "binomial count": (lambda v: fb.binomial(v, 0.5, rng=RNG), X.float()),
    "CategoricalTable probs": (lambda v: fb.CategoricalTable(v).thresholds, MATRICES),
    "transition_rows prob": (lambda v: fb.transition_rows(v, 5), P),
}
ALL = SECOND | FIRST
FLOATS = [name for name, (_, value) in ALL.items() if value.is_floating_point()]


def negated(value: torch.Tensor) -> torch.Tensor:
    """The same numbers, but in memory with the other sign."""
    made = torch.complex(value.detach(), -value.detach()).conj().imag
    assert made.is_neg() and torch.equal(made, value)
    return made


def all_bits(result: Any) -> Any:
    return [bits(each) for each in result] if isinstance(result, tuple) else bits(result)


@pytest.mark.parametrize("name", FLOATS)
def test_a_negation_put_off(name: str, backend: str) -> None:
    call, value = ALL[name]
    assert all_bits(call(negated(value))) == all_bits(call(value))


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
    op, argument = name.split()
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
        fb.categorical(X, MATRICES[0], rng=RNG, out=fake)
