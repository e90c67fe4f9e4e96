"""The head "bayes-logistic": two, five or eight arrays."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .law import FamilyLaw


class BayesLogistic(FamilyLaw):
    """A mixture of rounded logistic laws of x_0 that knows nothing of the pixel's own x_t, from which the births follow
    by Bayes' rule. Source: Salimans et al. 2017."""

    def log_law(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        n, x = torch.arange(most + 1, dtype=torch.float64, device=room.device), most - room
        v, components = x + n, (len(arrays) + 1) // 3
        logits = [*arrays[2 * components :], torch.zeros_like(arrays[0])]
        parts = []
        for j in range(components):
            mean = most / 2 * ((1 + arrays[j]) + 0.6 * (j - (components - 1) / 2))
            narrow = 32 / most * torch.exp(-arrays[components + j].clamp(-5, 5))  # 1 over the scale
            low, high = ((v - 0.5) - mean) * narrow, ((v + 0.5) - mean) * narrow
            inner = logsigmoid(high) + logsigmoid(-low) + torch.log(-torch.expm1(-narrow))
            mass = torch.where(v == 0, logsigmoid(high), torch.where(v == most, logsigmoid(-low), inner))
            parts.append(logits[j] + mass)
        likelihood = (torch.lgamma(v + 1) - torch.lgamma(n + 1)) + n * offset
        logs = torch.where(n <= room, torch.logsumexp(torch.stack(parts), 0) + likelihood, -torch.inf)
        return torch.log_softmax(logs, 1)
