"""A network asked about images that are larger than it takes: by tiles that overlap."""

from __future__ import annotations

import math
import re
from itertools import product
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..ground.values import check_memory

_OF_OUTPUT = 12  # bytes: it is summed in float64 and given as float32


class Axis(NamedTuple):
    """How the pixels of one axis are tiled. starts: the first pixel of each tile; weights: (tiles, tile), which sum to
    1 over the tiles at every pixel."""

    starts: list[int]
    weights: Tensor


def axis_of(length: int, tile: int, overlap: int) -> Axis:
    """Tiles as even as can be, with `overlap` pixels or more in common; towards its ends a tile counts less and less,
    except at the border of the image."""
    number = 1 if length == tile else -(-(length - overlap) // (tile - overlap))
    starts = [round(i * (length - tile) / max(number - 1, 1)) for i in range(number)]
    place = torch.arange(tile, dtype=torch.float64)
    windows = torch.full((number, tile), float(tile), dtype=torch.float64)
    windows[1:] = torch.minimum(windows[1:], place + 1)
    windows[:-1] = torch.minimum(windows[:-1], tile - place)
    total = torch.zeros(length, dtype=torch.float64)
    for start, window in zip(starts, windows, strict=True):
        total[start : start + tile] += window
    shares = [window / total[start : start + tile] for start, window in zip(starts, windows, strict=True)]
    return Axis(starts, torch.stack(shares))


class Tiled:
    """A model that is asked by tiles. Its outputs for an image are the mean of the outputs for the tiles, weighted
    pixel by pixel, so that they pass from a tile to the next without a seam. All else is the model's own.

    At most `batch` tiles are in one call of the network. The outputs do not depend on how many. What the network says
    against its first call is an error of the images of `op`.
    """

    def __init__(self, model: Any, axes: tuple[Axis, ...], batch: int, op: str = "denoise") -> None:
        self._model, self._axes, self._batch, self._op, self._asked = model, axes, batch, op, False
        self.tile = tuple(axis.weights.shape[1] for axis in axes)
        self._corners = list(product(*(range(len(axis.starts)) for axis in axes)))
        self.tiles = len(self._corners)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def __call__(self, model_input: Tensor, k: Tensor, labels: Any = None, *noise: Tensor) -> Tensor:
        if self.tiles == 1:
            return self._outputs(model_input, k, labels, *noise)
        images = len(model_input)
        pieces = [(image, corner) for corner in self._corners for image in range(images)]
        weights = [axis.weights.to(model_input.device) for axis in self._axes]
        total: Tensor | None = None
        for first in range(0, len(pieces), self._batch):
            part = pieces[first : first + self._batch]
            inputs = [
                torch.stack([self._cut(each[image], corner) for image, corner in part])
                for each in (model_input, *noise)
            ]
            outputs = self._outputs(inputs[0], k[[image for image, _ in part]], labels, *inputs[1:])
            if total is None:
                shape = (images, outputs.shape[1], *model_input.shape[2:])
                if outputs.device.type == "cpu":
                    what = f"{self._op}: images: what the network says of {images}"
                    check_memory(what, math.prod(shape) * _OF_OUTPUT)
                total = torch.zeros(shape, dtype=torch.float64, device=outputs.device)
            for output, (image, corner) in zip(outputs, part, strict=True):
                rows, columns = (each[number] for each, number in zip(weights, corner, strict=True))
                self._cut(total[image], corner).add_(output.double() * (rows[:, None] * columns))
        assert total is not None
        return total.float()

    def _outputs(self, images: Tensor, *how: Any) -> Tensor:
        try:
            outputs: Tensor = self._model(images, *how)
        except (ValueError, RuntimeError) as error:
            other = isinstance(error, torch.OutOfMemoryError) or re.search("CUDA error|allocate memory", str(error))
            if self._asked or other:
                raise
            got = "x".join(map(str, images.shape[1:])) + (" of a tile" if self.tiles > 1 else "")
            rule = "must have channels and a size that the network takes"
            raise ValueError(f"{self._op}: images: {rule}, got {got}: {error}") from error
        self._asked = True
        return outputs

    def _cut(self, image: Tensor, corner: tuple[int, ...]) -> Tensor:
        """A view of the tile at a corner of an image (C, H, W)."""
        top, left = (axis.starts[number] for axis, number in zip(self._axes, corner, strict=True))
        return image[:, top : top + self.tile[0], left : left + self.tile[1]]
