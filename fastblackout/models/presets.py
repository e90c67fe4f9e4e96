"""Networks by name: the networks of the Blackout Diffusion paper, and one for small images on a CPU."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from .config import NetworkConfig, register_network
from .mlp import ResidualMLP, checked_shape
from .ncsnpp import NCSNpp


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
BUILT_IN = frozenset({"ncsnpp", "mlp", *PRESETS})  # networks that this package registers itself

register_network("ncsnpp", NCSNpp)
register_network("mlp", ResidualMLP)
for _name, _builder in PRESETS.items():
    register_network(_name, _builder)


def bytes_of_weights(network: NetworkConfig) -> int:
    """How many bytes the weights of a network of this package have; 0 for a registered one.

    The network is built on torch's meta device, where tensors have no memory. So a damaged description cannot make a
    program take more than the weights need. A network of the user's own may not be able to live there.
    """
    if network.name not in BUILT_IN:
        return 0
    with torch.device("meta"):
        return sum(value.nbytes for value in network.build().state_dict().values())
