"""Networks as pipelines of diffusers take them: one of the package with what goes with it, and a UNet2DModel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from diffusers import ModelMixin, UNet2DModel
from diffusers.configuration_utils import ConfigMixin, register_to_config
from diffusers.models.unets.unet_2d import UNet2DOutput
from torch import Tensor, nn

from ..blackout import BlackoutModel
from ..blackout.parametrization import LOG1P, empty
from ..ground.values import check_integer, check_name
from ..heads import HEADS, head_named
from ..models.config import NetworkConfig
from ..models.interface import classes_of

if TYPE_CHECKING:
    from ..typing import HeadName

_LEAST, _MOST_LEVELS = 4, 4  # the least height and width at the bottom of a UNet2DModel, and its most levels


class BlackoutNetwork(ModelMixin, ConfigMixin):
    """A `BlackoutModel` with a network of the package, called and saved as networks of diffusers are.

    Make one by `BlackoutNetwork.from_model`, or by `BlackoutPipeline.from_model`.

    Parameters
    ----------
    model : dict
        What `BlackoutModel.to_config` returned, with a network.
    in_channels : int
        The channels of the input: of the counts, and of noise for head "implicit".
    sample_size : sequence of int
        The height and width of samples.
    num_class_embeds : int, optional
        The number of classes and one more, which stands for none.
    fitted : dict, optional
        The shapes of what `fit_input` found.

    Attributes
    ----------
    blackout : BlackoutModel
        The model itself.
    """

    @register_to_config
    def __init__(
        self,
        *,  # what is passed by place, from_config of diffusers takes for a default
        model: dict[str, Any],
        in_channels: int,
        sample_size: Sequence[int],
        num_class_embeds: int | None = None,
        fitted: Mapping[str, Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        self.blackout = BlackoutModel.from_config(model)
        if fitted is not None:
            shapes = tuple(fitted["table"]), tuple(fitted["start"])
            self.blackout.fitted = empty(self.blackout.schedule.steps, self.blackout.input == LOG1P, *shapes)

    @classmethod
    def from_model(cls, model: BlackoutModel, shape: Sequence[int]) -> BlackoutNetwork:
        """The network of a model, with what `fit_input` found.

        Parameters
        ----------
        model : BlackoutModel
            The model. Its network is one of the package, or registered by `register_network`.
        shape : sequence of int
            The shape (C, H, W) of a sample.

        Returns
        -------
        BlackoutNetwork
            It shares the model's weights.

        Raises
        ------
        ValueError
            If nothing describes the network.
        """
        op = "BlackoutNetwork.from_model"
        channels, *size = _image_shape(op, shape)
        if not isinstance(getattr(model.network, "config", None), NetworkConfig):
            rule = "must have a network of the package, or one with a NetworkConfig as its attribute config"
            raise ValueError(f"{op}: model: {rule}, got {type(model.network).__name__}")
        classes, found = classes_of(model), model.fitted
        fitted = None if found is None else {"table": [*found.center.shape], "start": [*found.start.shape]}
        config = {name: value for name, value in model.to_config().items() if name != "tuned"}  # the scheduler has it
        with torch.device("meta"):  # the weights are the model's
            made = cls(
                model=config, in_channels=channels + model.noise_channels, sample_size=size, fitted=fitted,
                num_class_embeds=classes + 1 if classes else None,
            )  # fmt: skip
        made.blackout = model
        return made.train(model.training)

    def forward(
        self, sample: Tensor, timestep: int | Tensor, class_labels: Tensor | None = None, return_dict: bool = True
    ) -> UNet2DOutput | tuple[Tensor]:
        """The network's outputs.

        Parameters
        ----------
        sample : torch.Tensor
            What `BlackoutScheduler.scale_model_input` returned.
        timestep : int or torch.Tensor
            The time, or times (B,).
        class_labels : torch.Tensor, optional
            Integers (B,). The number of classes itself stands for none.
        return_dict : bool, default True
            False for a tuple.

        Returns
        -------
        UNet2DOutput
            The outputs (B, n C, H, W) as `sample`.
        """
        channels = sample.shape[1] - self.blackout.noise_channels
        noise = sample[:, channels:] if self.blackout.noise_channels else None
        output = self.blackout(sample[:, :channels], timestep + 1, class_labels, noise)
        return UNet2DOutput(sample=output) if return_dict else (output,)


def _image_shape(op: str, shape: Any) -> list[int]:
    """(C, H, W)."""
    if not isinstance(shape, Sequence) or len(shape) != 3:
        raise ValueError(f"{op}: shape: must be (C, H, W), got {shape!r}")
    return [check_integer(op, "shape", each, 1, 1 << 31) for each in shape]


def unet2d(
    shape: Sequence[int],
    head: HeadName = "mean",
    max_count: int | None = 255,
    classes: int | None = None,
    channels: int = 64,
    layers: int = 2,
    noise_channels: int = 0,
) -> UNet2DModel:
    """A UNet2DModel of diffusers with the outputs that a head needs.

    Parameters
    ----------
    shape : sequence of int
        The shape (C, H, W) of a sample.
    head : str, default "mean"
        What the outputs say of the births, as in `fb.BlackoutModel`.
    max_count : int or None, default 255
        The largest count.
    classes : int, optional
        The number of classes. The label `classes` itself then stands for none.
    channels : int, default 64
        The channels of the first level, a multiple of 32; the others have twice as many.
    layers : int, default 2
        The residual blocks of a level.
    noise_channels : int, default 0
        The channels of noise beside the input, for head "implicit".

    Returns
    -------
    UNet2DModel
        It has up to four levels, as far as height and width can be halved and stay at 4 or more, with attention in the
        lowest one. Its last layer begins at zero.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range.

    Examples
    --------
    >>> from fastblackout.diffusers import unet2d
    >>> network = unet2d((1, 28, 28), head="beta-binomial", classes=10)
    >>> network.config.out_channels, network.config.num_class_embeds
    (2, 11)
    """
    op = "unet2d"
    check_name(op, "head", head, tuple(HEADS))
    of_sample, height, width = _image_shape(op, shape)
    noise_channels = check_integer(op, "noise_channels", noise_channels, 0, 1 << 16)
    channels, layers = check_integer(op, "channels", channels, 32, 1 << 16), check_integer(op, "layers", layers, 1, 64)
    if channels % 32:
        raise ValueError(f"{op}: channels: must be a multiple of 32, got {channels}")
    levels = 1
    while (
        levels < _MOST_LEVELS and not (height | width) & ((1 << levels) - 1) and min(height, width) >> levels >= _LEAST
    ):
        levels += 1
    of_head = head_named(head)
    most = (
        of_head.largest_count
        if max_count is None
        else check_integer(op, "max_count", max_count, 1, of_head.largest_count)
    )
    network = UNet2DModel(
        sample_size=(height, width),
        in_channels=of_sample + noise_channels,
        out_channels=of_sample * of_head.numbers_per_count(most)[0],
        layers_per_block=layers,
        block_out_channels=(channels, *[2 * channels] * (levels - 1)),
        down_block_types=(*["DownBlock2D"] * (levels - 1), "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", *["UpBlock2D"] * (levels - 1)),
        num_class_embeds=None if classes is None else check_integer(op, "classes", classes, 1, 1 << 31) + 1,
    )
    nn.init.zeros_(network.conv_out.weight)
    nn.init.zeros_(network.conv_out.bias)
    return network
