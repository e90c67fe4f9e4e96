"""The Poisson distribution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..ops import poisson
from .keyed import Keyed


class Poisson(Keyed, torch.distributions.Poisson):
    """torch.distributions.Poisson(rate), its draws those of fb.poisson.

        Pr(k) = rate^k exp(-rate) / k!

    rate: float32 or float64, in 0..2^52. Draws are int64. `log_prob` is computed in float64, with a gradient by rate,
    in its dtype. Raises ValueError for arguments out of range, as torch does. Source: fb.poisson.

        >>> fb.distributions.Poisson(torch.tensor([0.5, 1e6])).sample(rng=fb.Philox(1))
        tensor([      0, 1000506])
    """

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        return poisson(self.rate.expand(shape), **key)

    def log_prob(self, value: Tensor) -> Tensor:
        """log Pr(value). Outside the support ValueError, or -inf with validate_args=False."""
        if self._validate_args:
            self._validate_sample(value)
        x, rate = value.double(), self.rate.double()
        there = (x >= 0) & (x == x.floor())
        k = torch.where(there, x, 0.0)
        body = torch.xlogy(k, rate) - rate - torch.lgamma(k + 1)
        return torch.where(there, body, -torch.inf).to(self.rate.dtype)
