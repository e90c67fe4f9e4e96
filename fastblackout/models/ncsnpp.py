"""NCSN++, the network of Blackout Diffusion, with score_sde's module order and parameter names, and its named sizes:
those of the paper, and one for small images on a CPU."""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import NetworkConfig, checked_shape, register_network
from .group_norm import group_norm_silu
from .interface import check_classes
from .layers import HALF, Attention, BigGANBlock, FIRDownConv, conv, dense, group_norm, time_embedding

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.uint8, torch.int8)
_LOG_SIGMA = (math.log(50.0), math.log(0.01))


class NCSNpp(nn.Module):
    """NCSN++ with BigGAN blocks, FIR resampling and a residual input pyramid. The output is the raw logits.

    Level i of the U-net works at 1 / 2^i of the image's resolution with `channels * channel_mult[i]` channels. With the
    defaults it is the CIFAR-10 network of Blackout Diffusion, with 62,693,251 parameters.

    Parameters
    ----------
    in_channels : int, default 3
        Channels of the input: of the image, and of noise if the head wants it.
    channels : int, default 128
        Channels of level 0, a multiple of 4.
    channel_mult : sequence of int, default (1, 2, 2, 2)
        Multiples of `channels`, one for each level.
    blocks : int, default 4
        Residual blocks of a level on the way down. There is one more on the way up.
    attention_levels : sequence of int, default (1,)
        Levels with self-attention after each block down and once up. The middle always has it.
    dropout : float, default 0.1
        The probability inside each block, active in training mode only.
    num_classes : int, optional
        The number of classes. The label `num_classes` then means "no class", for classifier-free guidance.
    sigmas : int, optional
        The length of score_sde's buffer `sigmas` (float64, 50 to 0.01). Blackout has no use for it, but score_sde's
        checkpoints hold it. With it their 571 keys load strictly.
    out_channels : int, optional
        Channels of the logits. By default they are `in_channels`.

    Raises
    ------
    ValueError
        If an argument is out of range.

    Notes
    -----
    Every sum of two branches is divided by sqrt(2). score_sde's 2x - 1 on the input and its division by sigma are not
    part of the network.

    References
    ----------
    Song et al. 2021, arXiv 2011.13456; Santos et al. 2023, arXiv 2305.11089.
    """

    def __init__(
        self,
        in_channels: int = 3,
        channels: int = 128,
        channel_mult: Sequence[int] = (1, 2, 2, 2),
        blocks: int = 4,
        attention_levels: Sequence[int] = (1,),
        dropout: float = 0.1,
        num_classes: int | None = None,
        sigmas: int | None = None,
        out_channels: int | None = None,
    ) -> None:
        super().__init__()
        kwargs: dict[str, Any] = {
            "in_channels": in_channels,
            "channels": channels,
            "channel_mult": list(channel_mult),
            "blocks": blocks,
            "attention_levels": list(attention_levels),
            "dropout": dropout,
            "num_classes": num_classes,
            "sigmas": sigmas,
            # Named only where it is given, as it is in no description of a network of equal channels.
            **({} if out_channels is None else {"out_channels": out_channels}),
        }
        _check_arguments(kwargs)
        self.config = NetworkConfig("ncsnpp", kwargs)
        self.in_channels, self.channels, self.num_classes = in_channels, channels, num_classes
        self.out_channels = in_channels if out_channels is None else out_channels
        self.blocks, self.levels = blocks, len(channel_mult)
        self.attention_levels = frozenset(attention_levels)
        self.all_modules = nn.ModuleList(self._build(list(channel_mult), dropout))
        if sigmas is not None:
            self.register_buffer("sigmas", torch.linspace(*_LOG_SIGMA, sigmas, dtype=torch.float64).exp())
        if num_classes is not None:
            self.class_embedding = nn.Embedding(num_classes + 1, 4 * channels)
            nn.init.normal_(self.class_embedding.weight, std=0.02)

    def _build(self, channel_mult: list[int], dropout: float) -> list[nn.Module]:
        """The modules in the order in which `forward` uses them, which is the order of score_sde's checkpoints."""
        base, width = self.channels, 4 * self.channels
        widths = [base * mult for mult in channel_mult]
        modules: list[nn.Module] = [dense(base, width), dense(width, width), conv(self.in_channels, base, 3)]
        skips, current, pyramid = [base], base, self.in_channels
        for level, out in enumerate(widths):
            for _ in range(self.blocks):
                modules.append(BigGANBlock(current, out, width, dropout))
                current = out
                if level in self.attention_levels:
                    modules.append(Attention(current))
                skips.append(current)
            if level < self.levels - 1:
                modules.append(BigGANBlock(current, current, width, dropout, resample="down"))
                modules.append(FIRDownConv(pyramid, current))
                pyramid = current
                skips.append(current)
        modules.append(BigGANBlock(current, current, width, dropout))
        modules.append(Attention(current))
        modules.append(BigGANBlock(current, current, width, dropout))
        for level in reversed(range(self.levels)):
            for _ in range(self.blocks + 1):
                modules.append(BigGANBlock(current + skips.pop(), widths[level], width, dropout))
                current = widths[level]
            if level in self.attention_levels:
                modules.append(Attention(current))
            if level > 0:
                modules.append(BigGANBlock(current, current, width, dropout, resample="up"))
        return [*modules, group_norm(current), conv(current, self.out_channels, 3, scale=0.0)]

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """The logits of a model input at time indices.

        Parameters
        ----------
        x : torch.Tensor
            Floating point (B, in_channels, H, W), cast to the dtype of the weights. H and W are positive multiples of
            2^(levels - 1).
        time : torch.Tensor
            Integers (B,), at least 0. `BlackoutModel` passes k - 1.
        labels : torch.Tensor, optional
            Integers (B,) in 0..num_classes, where num_classes means "no class". By default no sample has a class.

        Returns
        -------
        torch.Tensor
            The logits (B, out_channels, H, W).

        Raises
        ------
        ValueError
            If a shape, a dtype or a label is another. The values of labels are checked on the CPU only: to read them on
            a GPU would wait for it.
        """
        self._check_input(x, time, labels)
        x = x.to(self._dtype())
        modules = iter(self.all_modules)
        embedding = self._embed(x, time, labels, next(modules), next(modules))
        skips = [next(modules)(x)]
        pyramid = x
        for level in range(self.levels):
            for _ in range(self.blocks):
                h = next(modules)(skips[-1], embedding)
                skips.append(next(modules)(h) if level in self.attention_levels else h)
            if level < self.levels - 1:
                h = next(modules)(skips[-1], embedding)
                pyramid = (next(modules)(pyramid) + h) * HALF
                skips.append(pyramid)
        h = next(modules)(skips[-1], embedding)
        h = next(modules)(h)
        h = next(modules)(h, embedding)
        for level in reversed(range(self.levels)):
            for _ in range(self.blocks + 1):
                h = next(modules)(torch.cat([h, skips.pop()], dim=1), embedding)
            if level in self.attention_levels:
                h = next(modules)(h)
            if level > 0:
                h = next(modules)(h, embedding)
        h = group_norm_silu(cast(nn.GroupNorm, next(modules)), h)
        return next(modules)(h)

    def _embed(self, x: Tensor, time: Tensor, labels: Tensor | None, first: nn.Module, second: nn.Module) -> Tensor:
        """The time and class embedding (B, 4 channels), activated: every block begins by activating it."""
        embedding = second(F.silu(first(time_embedding(time, self.channels).to(self._dtype()))))
        if self.num_classes is not None:
            if labels is None:
                labels = torch.full((x.shape[0],), self.num_classes, device=x.device)
            embedding = embedding + self.class_embedding(labels.long())
        return F.silu(embedding)

    def _dtype(self) -> torch.dtype:
        return next(self.parameters()).dtype

    def _check_input(self, x: Tensor, time: Tensor, labels: Tensor | None) -> None:
        if x.ndim != 4 or x.shape[1] != self.in_channels:
            raise ValueError(f"NCSNpp: x: must have shape (B, {self.in_channels}, H, W), got {tuple(x.shape)}")
        if not x.is_floating_point():
            raise ValueError(f"NCSNpp: x: must be floating, got {x.dtype}")
        multiple = 2 ** (self.levels - 1)
        if any(size % multiple or size == 0 for size in x.shape[2:]):
            rule = f"height and width must be positive multiples of {multiple} for {self.levels} levels"
            raise ValueError(f"NCSNpp: x: {rule}, got {tuple(x.shape[2:])}")
        _check_indices("time", time, x.shape[0])
        if labels is not None:
            _check_indices("labels", labels, x.shape[0])
            check_classes("NCSNpp", labels, self.num_classes, "network")


def _check_indices(name: str, value: Tensor, batch: int) -> None:
    if value.dtype not in _INTEGERS:
        raise ValueError(f"NCSNpp: {name}: must have an integer dtype, got {value.dtype}")
    if value.shape != (batch,):
        raise ValueError(f"NCSNpp: {name}: must have shape ({batch},), got {tuple(value.shape)}")


def _check_arguments(kwargs: dict[str, Any]) -> None:
    def require(condition: bool, name: str, rule: str) -> None:
        if not condition:
            raise ValueError(f"NCSNpp: {name}: must be {rule}, got {kwargs[name]!r}")

    def whole(value: Any, low: int) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and value >= low

    mult, channels, attention = kwargs["channel_mult"], kwargs["channels"], kwargs["attention_levels"]
    require(whole(kwargs["in_channels"], 1), "in_channels", "an integer of at least 1")
    require(whole(kwargs.get("out_channels", 1), 1), "out_channels", "None or an integer of at least 1")
    require(whole(channels, 4) and channels % 4 == 0, "channels", "a positive multiple of 4")
    levels = 1 <= len(mult) <= 32 and all(whole(m, 1) for m in mult)
    require(levels, "channel_mult", "1 to 32 integers of at least 1, one a level")
    require(whole(kwargs["blocks"], 1) and kwargs["blocks"] <= 1024, "blocks", "an integer of 1 to 1024")
    require(all(whole(a, 0) and a < len(mult) for a in attention), "attention_levels", f"levels in 0..{len(mult) - 1}")
    require(0.0 <= kwargs["dropout"] < 1.0, "dropout", "in [0, 1)")
    require(kwargs["num_classes"] is None or whole(kwargs["num_classes"], 1), "num_classes", "None or at least 1")
    require(kwargs["sigmas"] is None or whole(kwargs["sigmas"], 1), "sigmas", "None or at least 1")


def _channels(image: int, noise_channels: int, outputs: int) -> dict[str, Any]:
    """Channels of a network that sees noise beside an image and gives `outputs` numbers for each count of it."""
    plain = noise_channels == 0 and outputs == 1
    return {"in_channels": image + noise_channels, "out_channels": None if plain else image * outputs}


def cifar10(num_classes: int | None = None, dropout: float = 0.1, noise_channels: int = 0, outputs: int = 1) -> NCSNpp:
    """The reference network for 3x32x32: 62,693,251 parameters, attention at 16x16.

    Parameters
    ----------
    num_classes : int, optional
        The number of classes, as in `NCSNpp`.
    dropout : float, default 0.1
        The probability inside each block.
    noise_channels : int, default 0
        The channels of noise beside the image, for the implicit head.
    outputs : int, default 1
        How many numbers it gives for each count, first one of each count, then the next: 2 for the beta-binomial head.

    Returns
    -------
    NCSNpp
        The network, with fresh weights.
    """
    channels = _channels(3, noise_channels, outputs)
    return NCSNpp(dropout=dropout, num_classes=num_classes, sigmas=1000, **channels)


def celeba64(num_classes: int | None = None, dropout: float = 0.1, noise_channels: int = 0, outputs: int = 1) -> NCSNpp:
    """The reference network for 3x64x64: as `cifar10`, with attention at 16x16, which is level 2 here.

    Parameters
    ----------
    num_classes : int, optional
        The number of classes, as in `NCSNpp`.
    dropout : float, default 0.1
        The probability inside each block.
    noise_channels : int, default 0
        The channels of noise beside the image, for the implicit head.
    outputs : int, default 1
        How many numbers it gives for each count, first one of each count, then the next: 2 for the beta-binomial head.

    Returns
    -------
    NCSNpp
        The network, with fresh weights.
    """
    channels = _channels(3, noise_channels, outputs)
    return NCSNpp(dropout=dropout, num_classes=num_classes, attention_levels=(2,), sigmas=1000, **channels)


def mnist(num_classes: int | None = None, dropout: float = 0.1, noise_channels: int = 0, outputs: int = 1) -> NCSNpp:
    """The reference network for (binarized) MNIST, padded or resized to 1x32x32.

    Parameters
    ----------
    num_classes : int, optional
        The number of classes, as in `NCSNpp`.
    dropout : float, default 0.1
        The probability inside each block.
    noise_channels : int, default 0
        The channels of noise beside the image, for the implicit head.
    outputs : int, default 1
        How many numbers it gives for each count, first one of each count, then the next: 2 for the beta-binomial head.

    Returns
    -------
    NCSNpp
        The network, with fresh weights.
    """
    channels = _channels(1, noise_channels, outputs)
    return NCSNpp(dropout=dropout, num_classes=num_classes, sigmas=1000, **channels)


def small(
    shape: Sequence[int],
    num_classes: int | None = None,
    dropout: float = 0.0,
    channels: int = 32,
    blocks: int = 1,
    noise_channels: int = 0,
    outputs: int = 1,
) -> NCSNpp:
    """`NCSNpp` with few channels, for images of 8x8 to 64x64 and training on a CPU.

    Parameters
    ----------
    shape : sequence of int
        The shape (C, H, W) of an image, H and W at least 4.
    num_classes : int, optional
        The number of classes, as in `NCSNpp`.
    dropout : float, default 0.0
        The probability inside each block.
    channels : int, default 32
        The channels of the two upper levels. Those below have twice as many, which is cheap.
    blocks : int, default 1
        Residual blocks of a level.
    noise_channels : int, default 0
        The channels of noise beside the image, for the implicit head.
    outputs : int, default 1
        How many numbers it gives for each count, first one of each count, then the next: 2 for the beta-binomial head.

    Returns
    -------
    NCSNpp
        The network, with fresh weights.

    Raises
    ------
    TypeError, ValueError
        If `shape` is not (C, H, W) of integers with H and W of at least 4.

    Notes
    -----
    The number of levels is the largest of 1 to 4 for which H and W divide evenly and the lowest level keeps at least 4
    pixels a side. It is 2 for 8x8, 3 for 28x28 (28, 14, 7) and 4 for 32x32. Attention is in the middle only.
    """
    in_channels, height, width = checked_shape("small", shape, 4)
    levels = 1
    while levels < 4 and all(size % 2**levels == 0 and size >= 4 * 2**levels for size in (height, width)):
        levels += 1
    return NCSNpp(
        channels=channels,
        channel_mult=[1, 1, 2, 2][:levels],
        blocks=blocks,
        attention_levels=(),
        dropout=dropout,
        num_classes=num_classes,
        **_channels(in_channels, noise_channels, outputs),
    )


PRESETS: dict[str, Callable[..., NCSNpp]] = {"cifar10": cifar10, "celeba64": celeba64, "mnist": mnist, "small": small}

register_network("ncsnpp", NCSNpp)
for _name, _builder in PRESETS.items():
    register_network(_name, _builder)
