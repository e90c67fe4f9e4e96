"""The head "beta-binomial": two arrays."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from .head import logit_share, moments, rows_of
from .law import FamilyLaw


class BetaBinomial(FamilyLaw):
    """Of the room max_count - x_t a share is born that has a beta law. Source: Skellam 1948."""

    def start(self, model: Any, x_0: Tensor, numbers: int) -> Tensor:
        max_count = model.max_count
        mean, variance = moments(x_0)
        share = (mean / max_count).clamp(max=1 - 0.5 / max_count)
        # variance = binomial (1 + (max_count - 1) / (size + 1)), where the data are wider than binomial
        wider = (variance / (max_count * share * (1 - share)) - 1).clamp(min=1e-3)
        size = ((max_count - 1) / wider - 1).clamp(min=0.1)
        return torch.stack((logit_share(mean, max_count), (torch.log(size) - 1).clamp(-6, 6))).float()

    def log_law(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        """By the ratios Pr(n + 1) / Pr(n) = (room - n) (a + n) / ((n + 1) (b + room - n - 1))."""
        z, size = arrays[0] + offset, torch.exp((arrays[1] + 1).clamp(-5, 7))
        a, b = ((torch.sigmoid(side) * size).clamp(min=1e-300) for side in (z, -z))  # all at an end is a law, too
        n = torch.arange(most, dtype=torch.float64, device=room.device)
        left = (room - n).clamp(min=0)  # at 0 the ratio is 0, and so is the law from there on
        ratios = left * (a + n) / ((n + 1) * (b + (left - 1).clamp(min=0)))
        logs = torch.cumsum(torch.where(left > 0, torch.log(torch.where(left > 0, ratios, 1.0)), -torch.inf), 1)
        return torch.log_softmax(torch.cat((torch.zeros_like(room), logs), 1), 1)

    def log_expected(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        return torch.log(room) + logsigmoid(arrays[0] + rows_of(offset, room))
