"""The law "negative-binomial" as one would write it, in float64."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor


def numbers_of(head: Any, most: int) -> tuple[float, float]:
    """(m, r) of a head of two float32 numbers"""
    o_1, o_2 = (float(np.float32(each)) for each in head)
    return math.exp(min(max(math.log(most) / 2 + o_1, -12), 36)), math.exp(min(max(o_2 + 1, -7), 16))


def size_and_theta(head: list[Tensor], x_t: Tensor, offset: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """(A, theta): N ~ Poisson(theta Gamma(A)); offset broadcasts to x_t"""
    log_m, log_r = (math.log(most) / 2 + head[0]).clamp(-12, 36), (head[1] + 1).clamp(-7, 16)
    return torch.exp(log_r) + x_t, torch.exp(offset) / (torch.exp(log_r - log_m) - torch.expm1(offset))


def losses(head: list[Tensor], x_t: Tensor, births: Tensor, offset: Tensor, most: int) -> Tensor:
    """-log P(births) of each element."""
    size, theta = size_and_theta(head, x_t, offset, most)
    rising = torch.lgamma(size + births) - torch.lgamma(size) - torch.lgamma(births + 1)
    return size * torch.log1p(theta) - births * torch.log(theta / (1 + theta)) - rising
