"""Dropout while samples are drawn, by masks that depend on the key of the step alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from ..ops import thin
from ..philox import SEED_END, Philox


class KeptDropout:
    """What the nn.Dropout modules of a network in eval mode do instead of nothing: x / (1 - p) with chance 1 - p, else
    0, as in training.

    The n-th mask of a step (n = 1, 2, ... in the order in which the network comes to them) is fb.thin of ones, by the
    key of the step with n 2^40 added to its seed: the same for any split of the batch, and on every backend.
    """

    def __init__(self) -> None:
        self._key: Any = None
        self._masks = 0

    def begin(self, key: Any) -> None:
        """A step begins whose draws have this key, a Philox or its tensor."""
        self._key, self._masks = key, 0

    def drop(self, layer: nn.Dropout, given: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """The forward hook of such a module."""
        self._masks += 1
        offset, (x,) = self._masks << 40, given
        if isinstance(self._key, Philox):
            key: Any = Philox(
                (self._key.seed + offset) % SEED_END, first_sample=self._key.first_sample, call=self._key.call
            )
        else:
            key = self._key.clone()
            key[0].add_(offset)
        ones = torch.ones(x.shape, dtype=torch.uint8, device=x.device)
        kept = thin(ones, 1.0 - layer.p, rng=key, max_count=1, outputs=("x_t",)).x_t
        return x * (kept.to(x.dtype) / (1.0 - layer.p))


@contextmanager
def keeping_dropout(model: Any, keep: bool) -> Iterator[KeptDropout | None]:
    """Inside the block the model drops by a `KeptDropout`; None, and nothing changes, unless `keep`.

    Raises ValueError for dropout of other kinds than nn.Dropout. A model without dropout stays as it is.
    """
    if not keep:
        yield None
        return
    layers = [each for each in _modules(model) if isinstance(each, _DropoutNd) and each.p > 0]
    for layer in layers:
        if type(layer) is not nn.Dropout or layer.p >= 1:
            raise ValueError(f"sample: model: its dropout must be nn.Dropout with p below 1 to be left on, got {layer}")
    dropout = KeptDropout()
    hooks = [layer.register_forward_hook(dropout.drop) for layer in layers]
    try:
        yield dropout
    finally:
        for hook in hooks:
            hook.remove()


def _modules(model: Any) -> Iterator[nn.Module]:
    return model.modules() if hasattr(model, "modules") else iter(())
