"""A residual network of dense layers, for tables of counts."""

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..ground.values import is_integer
from .config import NetworkConfig, checked_shape, register_network
from .interface import check_classes
from .layers import dense, scaled_xavier_, time_embedding


class ResidualMLP(nn.Module):
    """Dense layers over all numbers of a sample at once, for tables of counts.

    There are 3 * blocks residual blocks of width 4 * channels. With the defaults it has 183,552 parameters, and 257
    more for every column of a table.

    Parameters
    ----------
    shape : sequence of int
        The shape (C, H, W) of a sample; (C, 1, 1) for a row of C columns.
    num_classes : int, optional
        The number of classes. The label `num_classes` then means "no class".
    dropout : float, default 0.0
        The probability inside each block, active in training mode only.
    channels : int, default 32
        A quarter of the width.
    blocks : int, default 1
        A third of the number of blocks.
    noise_channels : int, default 0
        The channels of noise beside the sample, for the implicit head.
    outputs : int, default 1
        How many numbers it gives for each count, first one of each count, then the next: 2 for the beta-binomial head.

    Raises
    ------
    ValueError
        If a size is below 1.
    """

    def __init__(
        self,
        shape: Sequence[int],
        num_classes: int | None = None,
        dropout: float = 0.0,
        channels: int = 32,
        blocks: int = 1,
        noise_channels: int = 0,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        shape = checked_shape("mlp", shape, 1)
        for name, value, least in (
            ("channels", channels, 1),
            ("blocks", blocks, 1),
            ("noise_channels", noise_channels, 0),
            ("outputs", outputs, 1),
        ):
            if not is_integer(value) or value < least:
                raise ValueError(f"mlp: {name}: must be an integer of at least {least}, got {value!r}")
        kwargs: dict[str, Any] = {
            "shape": list(shape),
            "num_classes": num_classes,
            "dropout": dropout,
            "channels": channels,
            "blocks": blocks,
            "noise_channels": noise_channels,
            "outputs": outputs,
        }
        self.config = NetworkConfig("mlp", kwargs)
        self.num_classes, self.width = num_classes, 4 * channels
        count, height, width = shape
        self.in_shape, self.out_shape = (count + noise_channels, height, width), (count * outputs, height, width)
        self.time = nn.Sequential(dense(self.width, self.width), nn.SiLU(), dense(self.width, self.width), nn.SiLU())
        if num_classes is not None:
            self.class_embedding = nn.Embedding(num_classes + 1, self.width)
            nn.init.normal_(self.class_embedding.weight, std=0.02)
        self.first = dense(math.prod(self.in_shape), self.width)
        self.blocks = nn.ModuleList(_Block(self.width, dropout) for _ in range(3 * blocks))
        self.norm = nn.LayerNorm(self.width)
        self.last = dense(self.width, math.prod(self.out_shape))
        scaled_xavier_(self.last.weight, scale=0.0)

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None = None) -> Tensor:
        """The outputs of the network, which before training are 0 but for 1e-5 or less.

        Parameters
        ----------
        x : torch.Tensor
            The input (B, C + noise_channels, H, W).
        time : torch.Tensor
            Time indices (B,).
        labels : torch.Tensor, optional
            Labels (B,) for a network with classes. By default there is no class.

        Returns
        -------
        torch.Tensor
            (B, outputs * C, H, W).

        Raises
        ------
        ValueError
            If a shape is wrong, or a label is of no class (on the CPU only).
        """
        self._check_input(x, time, labels)
        embedding = self.time(time_embedding(time, self.width).to(self.last.weight.dtype))
        if self.num_classes is not None:
            if labels is None:
                labels = torch.full((len(x),), self.num_classes, device=x.device)
            embedding = embedding + self.class_embedding(labels.long())
        hidden = self.first(x.flatten(1))
        for block in self.blocks:
            hidden = block(hidden, embedding)
        return self.last(F.silu(self.norm(hidden))).view(len(x), *self.out_shape)

    def _check_input(self, x: Tensor, time: Tensor, labels: Tensor | None) -> None:
        """ValueError for a wrong shape, or labels that the network has no classes for."""
        if tuple(x.shape[1:]) != self.in_shape:
            raise ValueError(f"mlp: x: must have shape {('B', *self.in_shape)}, got {tuple(x.shape)}")
        for name, value in (("time", time), ("labels", labels)):
            if value is not None and tuple(value.shape) != (len(x),):
                raise ValueError(f"mlp: {name}: must have shape ({len(x)},), got {tuple(value.shape)}")
        if labels is not None:
            check_classes("mlp", labels, self.num_classes, "network")


class _Block(nn.Module):
    """hidden + two dense layers of it, with the embedding of the time added between them."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm_0, self.norm_1 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dense_0, self.dense_1, self.time = dense(width, width), dense(width, width), dense(width, width)
        self.dropout = nn.Dropout(dropout)
        scaled_xavier_(self.dense_1.weight, scale=0.0)

    def forward(self, hidden: Tensor, embedding: Tensor) -> Tensor:
        inner = self.dense_0(F.silu(self.norm_0(hidden))) + self.time(embedding)
        return hidden + self.dense_1(self.dropout(F.silu(self.norm_1(inner))))


register_network("mlp", ResidualMLP)
