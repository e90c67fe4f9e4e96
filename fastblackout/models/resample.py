"""Resampling by two with the FIR filter [1, 3, 3, 1], as NCSN++ does it, written as depthwise convolutions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

TAPS = (1.0, 3.0, 3.0, 1.0)


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
