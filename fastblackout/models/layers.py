"""Layers of NCSN++ with score_sde's parameter names, order and initial values, so that its checkpoints load."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .group_norm import group_norm_silu
from .resample import FIR

HALF = math.sqrt(0.5)


def scaled_xavier_(weight: Tensor, scale: float = 1.0) -> Tensor:
    """Uniform with variance `scale / fan_avg`; scale 0 means 1e-10 (score_sde's `default_init`)."""
    return nn.init.xavier_uniform_(weight, gain=math.sqrt(scale or 1e-10))


def conv(in_channels: int, out_channels: int, size: int, scale: float = 1.0) -> nn.Conv2d:
    """A size x size convolution that keeps the resolution."""
    layer = nn.Conv2d(in_channels, out_channels, size, padding=size // 2)
    scaled_xavier_(layer.weight, scale)
    nn.init.zeros_(cast(Tensor, layer.bias))
    return layer


def dense(in_features: int, out_features: int) -> nn.Linear:
    """A linear layer with the default initial values."""
    layer = nn.Linear(in_features, out_features)
    scaled_xavier_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def group_norm(channels: int) -> nn.GroupNorm:
    """GroupNorm with eps 1e-6 and min(channels // 4, 32) groups, or the next smaller number that divides `channels`."""
    groups = min(channels // 4, 32)
    while channels % groups:
        groups -= 1
    return nn.GroupNorm(groups, channels, eps=1e-6)


def time_embedding(time: Tensor, channels: int) -> Tensor:
    """Sines and cosines of `time` (B,) at channels / 2 frequencies from 1 to 1e-4: (B, channels) float32."""
    half = channels // 2
    order = torch.arange(half, dtype=torch.float32, device=time.device)
    angle = time.float()[:, None] * torch.exp(order * (-math.log(10000) / (half - 1)))
    return torch.cat([angle.sin(), angle.cos()], dim=1)


class NIN(nn.Module):
    """A linear map of the channels of tokens (B, L, in) -> (B, L, out); weight `W` is (in, out), bias `b`."""

    def __init__(self, in_channels: int, out_channels: int, scale: float = 0.1) -> None:
        super().__init__()
        self.W = nn.Parameter(torch.empty(in_channels, out_channels))
        self.b = nn.Parameter(torch.zeros(out_channels))
        scaled_xavier_(self.W, scale)

    def forward(self, tokens: Tensor) -> Tensor:
        return F.linear(tokens, self.W.t(), self.b)


class Attention(nn.Module):
    """Self-attention over pixels, one head: (x + attention(norm(x))) / sqrt(2), (B, C, H, W) -> the same."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.GroupNorm_0 = group_norm(channels)
        self.NIN_0 = NIN(channels, channels)
        self.NIN_1 = NIN(channels, channels)
        self.NIN_2 = NIN(channels, channels)
        self.NIN_3 = NIN(channels, channels, scale=0.0)

    def forward(self, x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        tokens = self.GroupNorm_0(x).permute(0, 2, 3, 1).reshape(batch, 1, height * width, channels)
        mixed = F.scaled_dot_product_attention(self.NIN_0(tokens), self.NIN_1(tokens), self.NIN_2(tokens))
        out = self.NIN_3(mixed).reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        return (x + out) * HALF


class BigGANBlock(nn.Module):
    """Residual block of BigGAN, optionally resampling by two, with the time embedding added between its convolutions.

    x (B, in_channels, H, W) and `embedding` (B, embedding_channels), already activated, to
    (B, out_channels, H', W'), H' = H, 2H (resample "up") or H/2 ("down"); the sum is divided by sqrt(2).
    """

    def __init__(
        self, in_channels: int, out_channels: int, embedding_channels: int, dropout: float, resample: str | None = None
    ) -> None:
        super().__init__()
        self.resample = resample
        self.GroupNorm_0 = group_norm(in_channels)
        self.Conv_0 = conv(in_channels, out_channels, 3)
        self.Dense_0 = dense(embedding_channels, out_channels)
        self.GroupNorm_1 = group_norm(out_channels)
        self.Dropout_0 = nn.Dropout(dropout)
        self.Conv_1 = conv(out_channels, out_channels, 3, scale=0.0)
        if in_channels != out_channels or resample is not None:
            self.Conv_2 = conv(in_channels, out_channels, 1)
        if resample is not None:
            self.fir = FIR()

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = group_norm_silu(self.GroupNorm_0, x)
        if self.resample is not None:
            resample = self.fir.up if self.resample == "up" else self.fir.down
            h, x = resample(h), resample(x)
        h = self.Conv_0(h) + self.Dense_0(embedding)[:, :, None, None]
        h = self.Dropout_0(group_norm_silu(self.GroupNorm_1, h))
        h = self.Conv_1(h)
        if hasattr(self, "Conv_2"):
            x = self.Conv_2(x)
        return (x + h) * HALF
