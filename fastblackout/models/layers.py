"""Layers of NCSN++ with score_sde's parameter names, order and initial values, so that its checkpoints load.

Images are resampled by two with the FIR filter [1, 3, 3, 1], written as depthwise convolutions.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .group_norm import group_norm_silu

HALF = math.sqrt(0.5)
TAPS = (1.0, 3.0, 3.0, 1.0)


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


class FIR(nn.Module):
    """The separable filter `outer(f, f)`, f = [1, 3, 3, 1] / 8, with zeros outside the image.

    The 4x4 kernel is a constant: a non-persistent buffer, absent from the state dict. One strided depthwise call each
    way is the fastest form measured on a CPU (channels_last) and one library kernel on a GPU. Where torch.compile
    traces it, it is written as sums of shifted images instead, which become part of the kernels before or after; these
    round differently in the last bit.
    Source: Karras et al. 2020 (StyleGAN2), Song et al. 2021 (score_sde, `up_or_down_sampling`).
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        taps = torch.tensor(TAPS) / sum(TAPS)
        self.register_buffer("kernel", torch.outer(taps, taps)[None, None], persistent=False)

    def _depthwise(self, x: Tensor, gain: float = 1.0) -> Tensor:
        return (self.kernel * gain).to(x.dtype).expand(x.shape[1], 1, 4, 4)

    def down(self, x: Tensor) -> Tensor:
        """Filter, then keep every second pixel: (B, C, H, W) -> (B, C, H/2, W/2), H and W even."""
        if torch.compiler.is_compiling():
            return _filtered(_filtered(x, -1, pad=1, stride=2), -2, pad=1, stride=2)
        return F.conv2d(x, self._depthwise(x), stride=2, padding=1, groups=x.shape[1])

    def up(self, x: Tensor) -> Tensor:
        """Insert zeros, then filter with gain 4 (a constant stays constant): (B, C, H, W) -> (B, C, 2H, 2W)."""
        if torch.compiler.is_compiling():
            return _doubled(_doubled(x, -1), -2)
        return F.conv_transpose2d(x, self._depthwise(x, 4.0), stride=2, padding=1, groups=x.shape[1])

    def before_strided(self, x: Tensor) -> Tensor:
        """Filter for a 3x3 convolution of stride 2 without padding: (B, C, H, W) -> (B, C, H+1, W+1)."""
        if torch.compiler.is_compiling():
            return _filtered(_filtered(x, -1, pad=2, stride=1), -2, pad=2, stride=1)
        return F.conv2d(x, self._depthwise(x), padding=2, groups=x.shape[1])

    def compose(self, weight: Tensor) -> Tensor:
        """The 6x6 kernel (O, I, 6, 6) equal to `before_strided` followed by the 3x3 kernel (O, I, 3, 3)."""
        return F.conv_transpose2d(weight.flatten(0, 1)[:, None], self.kernel.to(weight.dtype)).reshape(
            *weight.shape[:2], 6, 6
        )


def _filtered(x: Tensor, dim: int, pad: int, stride: int) -> Tensor:
    """f along dimension -1 or -2: out[i] = sum over j of f_j x[stride i + j - pad], with zeros outside."""
    x = _padded(x, dim, pad)
    last = x.shape[dim] - len(TAPS)
    parts = [x.narrow(dim, j, last + 1) for j in range(len(TAPS))]
    if stride > 1:
        parts = [part[..., ::stride] if dim == -1 else part[..., ::stride, :] for part in parts]
    return (parts[0] + parts[3]) * (TAPS[0] / sum(TAPS)) + (parts[1] + parts[2]) * (TAPS[1] / sum(TAPS))


def _doubled(x: Tensor, dim: int) -> Tensor:
    """2 f after zeros between the pixels along dimension -1 or -2, which is linear interpolation:
    out[2 i] = (x[i-1] + 3 x[i]) / 4, out[2 i + 1] = (3 x[i] + x[i+1]) / 4, with zeros outside."""
    size, wide = x.shape[dim], _padded(x, dim, 1)
    before, after = wide.narrow(dim, 0, size), wide.narrow(dim, 2, size)
    return torch.stack((0.25 * before + 0.75 * x, 0.75 * x + 0.25 * after), dim).flatten(dim - 1, dim)


def _padded(x: Tensor, dim: int, pad: int) -> Tensor:
    return F.pad(x, (pad, pad) if dim == -1 else (0, 0, pad, pad))


class FIRDownConv(nn.Module):
    """Smooth, then a learnt 3x3 convolution of stride 2: score_sde's `Downsample(with_conv=True, fir=True)`.

    (B, in_channels, H, W) -> (B, out_channels, H/2, W/2). Few input channels (the image itself) use one composed 6x6
    convolution: a depthwise pass over 1 or 3 channels would leave vector units idle.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        # The parameters live one level down because score_sde names them `Conv2d_0.weight` and `Conv2d_0.bias`.
        self.Conv2d_0 = _StridedConv(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.Conv2d_0(x)


class _StridedConv(nn.Module):
    COMPOSE_UP_TO = 4

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(out_channels, in_channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.xavier_uniform_(self.weight)
        self.fir = FIR()

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[1] <= self.COMPOSE_UP_TO:
            return F.conv2d(x, self.fir.compose(self.weight), self.bias, stride=2, padding=2)
        return F.conv2d(self.fir.before_strided(x), self.weight, self.bias, stride=2)
