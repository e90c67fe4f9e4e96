"""The heads with a logit for every state in work.py: inputs, our calls, and the same work in torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

import fastblackout as fb
from gpu.heads import Ours
from gpu.inputs import Inputs, filled, rows

STATES = 16  # few, so that 64 Mpx fit into a card


def pixels(shape: tuple[int, ...], made: torch.Generator) -> Inputs:
    """A state half way down, and the logits of a network in the order of its channels: (B, C, states, H, W)."""
    x_0 = torch.randint(0, STATES, shape, device=made.device, generator=made)
    x = (x_0 * torch.rand(shape, device=made.device, generator=made)).long()
    output = torch.randn((*shape[:2], STATES, *shape[2:]), device=made.device, generator=made)
    p = rows(shape, made)
    ours = {
        "x": x.to(torch.uint8), "births": (x_0 - x).to(torch.uint8), "output": output, "weight": rows(shape, made),
        "offset": -rows(shape, made).float(), "p": p, "q": 1 - p, "center": filled(shape, made, 3.0),
        "scale": filled(shape, made, 0.1),
    }  # fmt: skip
    return ours | {"peer_x": x[:, :, None], "peer_x_0": x_0[:, :, None], "peer_weight": ours["weight"].float()}


def step(family: str) -> Ours:
    def ours(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
        numbers = {name: v[name] for name in ("offset", "center", "scale")} | {"family": family}
        chance, logits = fb.Prob(v["p"], v["q"]), v["output"].movedim(2, -1)
        how = {"rng": rng, "backend": backend, "max_count": STATES - 1, **numbers}
        return tuple(fb.posterior_step(v["x"], logits, chance, **how))

    return ours


def loss(family: str) -> Ours:
    def ours(v: Inputs, rng: Any, backend: str) -> tuple[Tensor, ...]:
        output = v["output"].detach().requires_grad_()
        numbers = {"family": family, "offset": v["offset"], "max_count": STATES - 1, "backend": backend}
        result = fb.posterior_loss(output.movedim(2, -1), v["x"], v["births"], v["weight"], **numbers)
        return result.detach(), torch.autograd.grad(result.sum(), output)[0]

    return ours


def _log_weights(family: str, output: Tensor, x: Tensor, offset: Tensor) -> Tensor:
    """Of all states, in dimension 2."""
    v = torch.arange(STATES, device=x.device)[:, None, None]
    n = v - x
    if family == "bayes-categorical":
        known = torch.lgamma(v + 1.0) - torch.lgamma(n.clamp(min=0) + 1.0)
        output = output + (known + n * offset.view(-1, 1, 1, 1, 1))
    return output.masked_fill(n < 0, -torch.inf)


def eager_loss(family: str) -> Callable[[Inputs], tuple[Tensor, ...]]:
    def eager(v: Inputs) -> tuple[Tensor, ...]:
        output = v["output"].detach().requires_grad_()
        logs = torch.log_softmax(_log_weights(family, output, v["peer_x"], v["offset"]), 2)
        result = v["peer_weight"] * -logs.gather(2, v["peer_x_0"]).flatten(1).sum(1)
        return result.detach(), torch.autograd.grad(result.sum(), output)[0]

    return eager


def eager_step(family: str) -> Callable[[Inputs], tuple[Tensor, ...]]:
    def eager(v: Inputs) -> tuple[Tensor, ...]:
        law = torch.softmax(_log_weights(family, v["output"], v["peer_x"], v["offset"]), 2).movedim(2, -1)
        x = v["peer_x"][:, :, 0].float()
        drawn = torch.multinomial(law.reshape(-1, STATES), 1).view(x.shape)
        x_s = x + torch.binomial(drawn - x, v["p"].float().view(-1, 1, 1, 1).expand_as(x))
        return x_s, (x_s - v["center"].view(-1, 1, 1, 1)) * v["scale"].view(-1, 1, 1, 1)

    return eager
