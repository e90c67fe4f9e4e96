"""The law "bayes-logistic" as one would write it, in float64 by torch, and to many digits by mpmath."""

from __future__ import annotations

from typing import Any

import mpmath
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def log_prior(head: list[Tensor], most: int) -> Tensor:
    """log pi(v), v = 0..most in the last dimension, which is new."""
    components = (len(head) + 1) // 3
    v = torch.arange(most + 1, dtype=torch.float64)
    logits = torch.stack([*head[2 * components :], torch.zeros_like(head[0])])
    parts = []
    for j, log_weight in enumerate(torch.log_softmax(logits, 0)):
        mean = most / 2 * (1 + head[j] + 0.6 * (j - (components - 1) / 2))[..., None]
        scale = most / 32 * torch.exp(head[components + j].clamp(-5, 5))[..., None]
        low, high = (v - 0.5 - mean) / scale, (v + 0.5 - mean) / scale
        inner = logsigmoid(high) + logsigmoid(-low) + torch.log(-torch.expm1(-1 / scale))
        mass = torch.where(v == 0, logsigmoid(high), torch.where(v == most, logsigmoid(-low), inner))
        parts.append(log_weight[..., None] + mass)
    return torch.logsumexp(torch.stack(parts), 0)


def log_weights(head: list[Tensor], x_t: Tensor, offset: Any, most: int) -> Tensor:
    """log w(n) at state v = x_t + n in the last dimension, -inf below x_t; offset: broadcast to x_t."""
    v, x = torch.arange(most + 1, dtype=torch.float64), x_t.double()[..., None]
    n = (v - x).clamp(min=0)
    likelihood = torch.lgamma(v + 1) - torch.lgamma(n + 1) - torch.lgamma(x + 1)
    offset = torch.as_tensor(offset, dtype=torch.float64)
    offset = offset.reshape(*offset.shape, *[1] * (x_t.ndim + 1 - offset.ndim))
    return torch.where(v >= x, log_prior(head, most) + likelihood + n * offset, -torch.inf)


def losses(head: list[Tensor], x_t: Tensor, births: Tensor, offset: Any, most: int) -> Tensor:
    """-log P(births) of each element."""
    logs = log_weights(head, x_t, offset, most)
    seen = torch.gather(logs, -1, (x_t.long() + births.long())[..., None])[..., 0]
    return torch.logsumexp(logs, -1) - seen


def exact_loss(head: list[Any], x: int, n: int, offset: float, most: int) -> Any:
    """-log P(n) of one element by mpmath, of numbers of its own."""
    components, half = (len(head) + 1) // 3, mpmath.mpf(1) / 2
    logits = [*head[2 * components :], mpmath.mpf(0)]

    def weight(births: int) -> Any:
        v, total = x + births, mpmath.mpf(0)
        for j in range(components):
            place = (1 + head[j]) + mpmath.mpf(6) / 10 * (j - mpmath.mpf(components - 1) / 2)
            mean, scale = most * half * place, most * mpmath.exp(min(max(head[components + j], -5), 5)) / 32
            low, high = (v - half - mean) / scale, (v + half - mean) / scale
            above, below = 1 / (1 + mpmath.exp(low)), 1 / (1 + mpmath.exp(-high))
            mass = below if v == 0 else above if v == most else above * below * (1 - mpmath.exp(-1 / scale))
            total += mpmath.exp(logits[j]) * mass
        return total * mpmath.binomial(x + births, x) * mpmath.exp(births * mpmath.mpf(offset))

    return mpmath.log(mpmath.fsum(map(weight, range(most - x + 1)))) - mpmath.log(weight(n))
