"""Small networks of a user's own, and models of them."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

import fastblackout as fb
from fastblackout.heads import head_named

SCHEDULE = fb.Schedule.cosine(100)
X = torch.from_numpy(np.random.default_rng(0).negative_binomial(2, 0.2, (300, 2, 3, 1))).clamp(max=40)


class Flat(nn.Module):
    """Linear, of counts, time, and conditions where there are any; its last layer begins at zero."""

    def __init__(self, outputs: int, shape: tuple[int, ...] = (2, 3, 1), conditions: int = 0) -> None:
        super().__init__()
        size = int(np.prod(shape))
        self.first, self.last = nn.Linear(size + 1 + conditions, 16), nn.Linear(16, outputs * size)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)

    def forward(self, x, time, labels=None, conditions=None):
        given = [x.flatten(1), time[:, None] / 100, *([] if conditions is None else [conditions])]
        return self.last(torch.tanh(self.first(torch.cat(given, 1).to(self.first.weight.dtype)))).view(
            len(x), -1, *x.shape[2:]
        )


def made(head="beta-binomial", network=None, seed=0, **how):
    torch.manual_seed(seed)
    outputs = head_named(head).numbers_per_count(how.get("max_count", 40) or 40)[0]
    noise = {"noise_channels": 1} if head == "implicit" else {}
    given = {"max_count": 40, "input": "normalized", **noise, **how}
    network = Flat(outputs) if network is None else network
    return fb.BlackoutModel(network, SCHEDULE, head=head, **given)


def trained(model):
    """With weights that say something."""
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return model


class Cut(nn.Module):
    """The sum of the image and its noise, times a number."""

    def __init__(self, scale=1.0):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(scale))

    def forward(self, x, time):
        return self.scale * (x[:, :2] + x[:, 2:])
