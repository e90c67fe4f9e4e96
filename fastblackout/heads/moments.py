"""Means and variances of each feature of counts, and what starts follow from them."""

from __future__ import annotations

import torch
from torch import Tensor


def moments(x_0: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance of each feature of counts (N, C, ...), float64 (C, ...). A feature that was 0 throughout has
    the mean of half a count in all of the data, lest a logarithm be infinite."""
    size = len(x_0)
    total, squares = x_0.sum(0, dtype=torch.float64), torch.zeros(x_0.shape[1:], dtype=torch.float64, device=x_0.device)
    mean = total / size
    for part in x_0.split(max(1, (1 << 22) // max(1, mean.numel()))):  # float64 of some rows at a time
        squares += ((part - mean) ** 2).sum(0)
    return mean.clamp(min=0.5 / size), squares / size


def logit_share(mean: Tensor, max_count: int) -> Tensor:
    """log(share / (1 - share)) of a mean count, as a share of max_count that is less than 1."""
    return torch.logit((mean / max_count).clamp(max=1 - 0.5 / max_count))


def softplus_inverse(y: Tensor) -> Tensor:
    """The x with log(1 + exp(x)) = y > 0."""
    return y + torch.log(-torch.expm1(-y))
