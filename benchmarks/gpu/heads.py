"""The ops of heads that know more than the mean in work.py: inputs, our calls, and the same work in torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import fastblackout as fb
from gpu.inputs import Inputs, column, filled, reverse, rows

Ours = Callable[[Inputs, Any, str], tuple[Tensor, ...]]


def with_law(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """The same state, and a head that has learnt something of the image."""
    inputs = reverse(shape, made)
    mean, concentration = torch.randn((2, *shape), device=made.device, generator=made)
    inputs |= {"head_0": 2 * mean, "head_1": 1 + 1.5 * concentration, "offset": filled(shape, made, -0.5)}
    return {name: value for name, value in inputs.items() if name not in ("logits", "gain")}


def remaining(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """Counts on the way down, with what is to be born again; a weight and an offset for each image."""
    x_0 = torch.randint(0, 256, shape, device=made.device, generator=made, dtype=torch.int16)
    x = (x_0 * torch.rand(shape, device=made.device, generator=made)).to(torch.uint8)
    births = (x_0 - x).to(torch.uint8)
    ours = {"x": x, "births": births, "weight": rows(shape, made), "offset": -rows(shape, made).float()}
    return ours | {"peer_room": 255 - x.float(), "peer_births": births.float(), "peer_weight": ours["weight"].float()}


def joint_draws(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """Four draws a network made of each image: a view with the samples first, of memory that has the draws first."""
    logits = torch.randn((4, *shape), device=made.device, generator=made)
    return remaining(shape, made) | {"logits": logits.movedim(0, 1)}


def law_of_births(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    both = torch.randn((2, *shape), device=made.device, generator=made)
    return remaining(shape, made) | {"head_0": both[0], "head_1": both[1]}


def law_step(family: str) -> Ours:
    def ours(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
        numbers = {name: v[name] for name in ("offset", "center", "scale")} | {"family": family}
        head, step = (v["head_0"], v["head_1"]), fb.Prob(v["p"], v["q"])
        return tuple(fb.posterior_step(v["x"], head, step, rng=rng, backend=backend, **numbers))

    return ours


def energy(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
    logits = v["logits"].movedim(1, 0).detach().requires_grad_()
    numbers = {"offset": v["offset"], "max_count": 255, "backend": backend}
    result = fb.energy_loss(logits, v["x"], v["births"], v["weight"], **numbers)
    return result.detach(), torch.autograd.grad(result.sum(), logits)[0].movedim(0, 1)


def energy_of(logits: Tensor, room: Tensor, births: Tensor, weight: Tensor, offset: Tensor) -> Tensor:
    y = (room * torch.sigmoid(2 * logits + column(offset))).flatten(2)
    away, count = (y - births.flatten(1)).norm(dim=2).mean(0), len(y)
    pairs = [(y[s] - y[r]).norm(dim=1) for s in range(count) for r in range(s + 1, count)]
    return weight * (away - torch.stack(pairs).mean(0) / 2)


def eager_energy(v: Inputs) -> tuple[Tensor, ...]:
    logits = v["logits"].movedim(1, 0).detach().requires_grad_()
    result = energy_of(logits, v["peer_room"], v["peer_births"], v["peer_weight"], v["offset"])
    return result.detach(), torch.autograd.grad(result.sum(), logits)[0]


def law_loss(family: str) -> Ours:
    def ours(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
        head = [v[name].detach().requires_grad_() for name in ("head_0", "head_1")]
        numbers = {"family": family, "offset": v["offset"], "max_count": 255, "backend": backend}
        result = fb.posterior_loss(head, v["x"], v["births"], v["weight"], **numbers)
        return result.detach(), *torch.autograd.grad(result.sum(), head)

    return ours


def beta_binomial_of(o_1: Tensor, o_2: Tensor, room: Tensor, births: Tensor, weight: Tensor, offset: Tensor) -> Tensor:
    mean, c = torch.sigmoid(o_1 + column(offset)), torch.exp((o_2 + 1).clamp(-5, 7))
    a, b, lgamma = mean * c, (1 - mean) * c, torch.lgamma
    chosen = lgamma(room + 1) - lgamma(births + 1) - lgamma(room - births + 1)
    drawn = lgamma(births + a) + lgamma(room - births + b) - lgamma(room + a + b)
    law = chosen + drawn + lgamma(a + b) - lgamma(a) - lgamma(b)
    return weight * -law.flatten(1).sum(1)


def _size_and_theta(o_1: Tensor, o_2: Tensor, room: Tensor, offset: Tensor) -> tuple[Tensor, Tensor]:
    m = torch.exp((o_1 + 0.5 * math.log(255)).clamp(-12, 36))
    r, gone = torch.exp((o_2 + 1).clamp(-7, 16)), torch.exp(column(offset))
    return r + (255 - room), gone * m / (r + (1 - gone) * m)


def negative_binomial_of(
    o_1: Tensor, o_2: Tensor, room: Tensor, births: Tensor, weight: Tensor, offset: Tensor
) -> Tensor:
    size, theta = _size_and_theta(o_1, o_2, room, offset)
    rising = torch.lgamma(size + births) - torch.lgamma(size) - torch.lgamma(births + 1)
    share = torch.log(theta) - torch.log1p(theta)
    return weight * (size * torch.log1p(theta) - births * share - rising).flatten(1).sum(1)


def eager_law_loss(law_of: Callable[..., Tensor]) -> Callable[[Inputs], tuple[Tensor, ...]]:
    def eager(v: Inputs) -> tuple[Tensor, ...]:
        head = [v[name].detach().requires_grad_() for name in ("head_0", "head_1")]
        result = law_of(*head, v["peer_room"], v["peer_births"], v["peer_weight"], v["offset"])
        return result.detach(), *torch.autograd.grad(result.sum(), head)

    return eager


def eager_beta_binomial_step(v: Inputs) -> tuple[Tensor, ...]:
    m = torch.sigmoid(v["head_0"] + column(v["offset"]))
    c = torch.exp(torch.clamp(v["head_1"] + 1, -5, 7))
    f = torch.distributions.Beta(m * c, (1 - m) * c, validate_args=False).sample()
    x_s = v["peer_x"] + torch.binomial(255 - v["peer_x"], f * column(v["p"]))
    return x_s, (x_s - column(v["center"])) * column(v["scale"])


def eager_negative_binomial_step(v: Inputs) -> tuple[Tensor, ...]:
    size, theta = _size_and_theta(v["head_0"], v["head_1"], 255 - v["peer_x"], v["offset"])
    births = torch.poisson(torch._standard_gamma(size) * (theta * column(v["p"])))
    x_s = (v["peer_x"] + births).clamp(max=255)
    return x_s, (x_s - column(v["center"])) * column(v["scale"])
