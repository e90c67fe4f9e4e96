"""The head "bayes-logistic": two, five or eight arrays."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .head import moments
from .law import FamilyLaw


class BayesLogistic(FamilyLaw):
    """A mixture of rounded logistic laws of x_0 that knows nothing of the pixel's own x_t, from which the births follow
    by Bayes' rule. Source: Salimans et al. 2017."""

    def start(self, model: Any, x_0: Tensor, numbers: int) -> Tensor:
        """All components of the same width; their means stay apart."""
        max_count = model.max_count
        mean, variance = moments(x_0)
        deviation = torch.sqrt(variance.clamp(min=1 / 12))
        width = torch.log(deviation * (math.sqrt(3) / math.pi) * (32 / max_count)).clamp(-5, 5)
        components = (numbers + 1) // 3
        rows = [2 * mean / max_count - 1] * components + [width] * components
        return torch.stack([*rows, *[torch.zeros_like(mean)] * (components - 1)]).float()

    def log_law(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        n, x = torch.arange(most + 1, dtype=torch.float64, device=room.device), most - room
        v, components = x + n, (len(arrays) + 1) // 3
        logits = [*arrays[2 * components :], torch.zeros_like(arrays[0])]
        parts = []
        for j in range(components):
            mean = most / 2 * ((1 + arrays[j]) + 0.6 * (j - (components - 1) / 2))
            narrow = 32 / most * torch.exp(-arrays[components + j].clamp(-5, 5))  # 1 over the scale
            low, high = ((v - 0.5) - mean) * narrow, ((v + 0.5) - mean) * narrow
            below, above = logsigmoid(high), logsigmoid(-low)
            inner = below + above + torch.log(-torch.expm1(-narrow))
            mass = torch.where(v == 0, below, torch.where(v == most, above, inner))
            parts.append(logits[j] + mass)
        log_factorial = torch.lgamma(n + 1)
        likelihood = (log_factorial[v.clamp(max=most).long()] - log_factorial) + n * offset
        logs = torch.where(n <= room, torch.logsumexp(torch.stack(parts), 0) + likelihood, -torch.inf)
        return torch.log_softmax(logs, 1)
