"""The laws with a logit for every state as one would write them, in float64 by torch."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def log_weights(logits: Tensor, x_t: Tensor, offset: Any, family: str) -> Tensor:
    """log w(n) at state v = x_t + n in the last dimension, -inf below x_t; offset: a number, or (B,)."""
    v, x = torch.arange(logits.shape[-1], dtype=torch.float64), x_t.double()[..., None]
    n = (v - x).clamp(min=0)
    if family == "bayes-categorical":
        offset = torch.as_tensor(offset).float().double()
        offset = offset.reshape(*offset.shape, *[1] * (n.ndim - offset.ndim))
        likelihood = torch.lgamma(v + 1) - torch.lgamma(n + 1) - torch.lgamma(x + 1)
        logits = logits + likelihood + n * offset
    return torch.where(v >= x, logits, -torch.inf)


def losses(logits: Tensor, x_t: Tensor, births: Tensor, offset: Any, family: str) -> Tensor:
    """-log P(births) of each element."""
    logs = log_weights(logits, x_t, offset, family)
    return -torch.log_softmax(logs, -1).gather(-1, (x_t.long() + births.long())[..., None])[..., 0]
