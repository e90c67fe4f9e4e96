"""The head "beta-binomial": two arrays."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from ..ops import beta_binomial_log_prob
from .law import FamilyLaw
from .poisson_births import rows_of


class BetaBinomial(FamilyLaw):
    """Of the room max_count - x_t a share is born that has a beta law. Source: Skellam 1948."""

    def log_law(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        n = torch.arange(most + 1, dtype=torch.float64, device=room.device)
        z, size = arrays[0] + offset, torch.exp((arrays[1] + 1).clamp(-5, 7))
        a, b = ((torch.sigmoid(side) * size).clamp(min=1e-300) for side in (z, -z))  # all at an end is a law, too
        return beta_binomial_log_prob(n, room, a, b)  # -inf beyond the room

    def log_expected(self, arrays: Sequence[Tensor], room: Tensor, offset: Tensor, most: int) -> Tensor:
        return torch.log(room) + logsigmoid(arrays[0] + rows_of(offset, room))
