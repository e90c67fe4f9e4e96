"""Networks by name: those of the Blackout Diffusion paper, and one for small images on a CPU."""

from collections.abc import Callable, Sequence
from typing import Any

from .config import register_network
from .mlp import ResidualMLP
from .ncsnpp import NCSNpp


def _channels(image: int, noise_channels: int, outputs: int) -> dict[str, Any]:
    """Of a network that sees noise beside an image and gives `outputs` numbers for each count of the image."""
    plain = noise_channels == 0 and outputs == 1
    return {"in_channels": image + noise_channels, "out_channels": None if plain else image * outputs}


def cifar10(num_classes: int | None = None, dropout: float = 0.1, noise_channels: int = 0, outputs: int = 1) -> NCSNpp:
    """The reference network for 3x32x32: 62,693,251 parameters, attention at 16x16."""
    channels = _channels(3, noise_channels, outputs)
    return NCSNpp(dropout=dropout, num_classes=num_classes, sigmas=1000, **channels)


def celeba64(num_classes: int | None = None, dropout: float = 0.1, noise_channels: int = 0, outputs: int = 1) -> NCSNpp:
    """The reference network for 3x64x64: as `cifar10`, attention at 16x16, which is level 2 here."""
    channels = _channels(3, noise_channels, outputs)
    return NCSNpp(dropout=dropout, num_classes=num_classes, attention_levels=(2,), sigmas=1000, **channels)


def mnist(num_classes: int | None = None, dropout: float = 0.1, noise_channels: int = 0, outputs: int = 1) -> NCSNpp:
    """The reference network for (binarized) MNIST padded or resized to 1x32x32."""
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
    """The same module with few channels, for images (C, H, W) of 8x8 to 64x64 and training on a CPU.

    The number of levels is the largest of 1 to 4 for which H and W divide evenly and the lowest level keeps at least 4
    pixels a side: 2 levels for 8x8, 3 for 28x28 (28, 14, 7), 4 for 32x32. The two upper levels have `channels`
    channels, those below twice as many (they are cheap); attention is in the middle only. noise_channels: those of
    noise that come in beside the image, for the implicit head. outputs: how many numbers it gives for each count, those
    of all counts first: 2 for the beta-binomial head.
    Raises ValueError when `shape` is not (C, H, W) with H and W of at least 4.
    """
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise ValueError(f"small: shape: must be (C, H, W) with H and W at least 4, got {tuple(shape)}")
    in_channels, height, width = shape
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
BUILT_IN = frozenset({"ncsnpp", "mlp", *PRESETS})  # networks that this package registers itself

register_network("ncsnpp", NCSNpp)
register_network("mlp", ResidualMLP)
for _name, _builder in PRESETS.items():
    register_network(_name, _builder)
