"""The network of a cell model: a residual network of dense layers that is told depth, batch, covariates and a mask."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..models.config import NetworkConfig, register_network

NUMBERS = 2  # of the head "negative-binomial": of a count's mean and size
_ANGLES = 32


class CellNetwork(nn.Module):
    """Two numbers of each gene, from what is left of a cell and what is known of it.

    conditions: (B, 1 + covariates), the log of the depth before the covariates; or (B, 1 + covariates + 2 genes), where
    these are followed by flags of the genes that were observed, 1 or 0, and by their inputs at the time 0, of which the
    others are not looked at.
    """

    log_depth: Tensor

    def __init__(
        self, genes: int, num_classes: int | None, covariates: int = 0, width: int = 256, blocks: int = 2,
        dropout: float = 0.3, steps: int = 1000,
    ) -> None:  # fmt: skip
        super().__init__()
        how = {"genes": genes, "num_classes": num_classes, "covariates": covariates, "width": width, "blocks": blocks}
        self.config = NetworkConfig("cells", {**how, "dropout": dropout, "steps": steps})
        self.genes, self.types, self.covariates, self.steps = genes, num_classes, covariates, steps
        known = 2 * _ANGLES + 1 + covariates + (num_classes or 0)
        self.register_buffer("log_depth", torch.tensor([math.log(1e3), math.log(1e3), 1.0]))
        self.input, self.flags = nn.Linear(genes, width), nn.Linear(genes, width, bias=False)
        self.about = nn.Sequential(nn.Linear(known, width), nn.SiLU(), nn.Linear(width, width))
        self.blocks = nn.ModuleList(_Block(width, dropout) for _ in range(blocks))
        self.norm, self.output = nn.LayerNorm(width), nn.Linear(width, NUMBERS * genes)
        for layer in (self.flags, self.output):
            nn.init.zeros_(layer.weight)
        nn.init.zeros_(self.output.bias)

    def fit(self, log_depth: Tensor, size: Tensor) -> None:
        """Take up what the training cells say: the logs of their depths (N,), and the log of each gene's size around
        its depth, as a number of the head, less the one that the head begins with."""
        mean = torch.logsumexp(log_depth, 0) - math.log(len(log_depth))
        self.log_depth.copy_(torch.stack((mean, log_depth.mean(), log_depth.std().clamp(min=0.1))))
        with torch.no_grad():
            self.output.bias[self.genes :] = size

    def forward(self, x: Tensor, time: Tensor, labels: Tensor | None, conditions: Tensor) -> Tensor:
        x = x.flatten(1)
        each = conditions.shape[1] - 1 - self.covariates
        depth, covariates = conditions[:, :1], conditions[:, 1 : 1 + self.covariates]
        at_mean, center, spread = self.log_depth
        angles = (time + 1)[:, None] / self.steps * (math.pi / 2) * torch.logspace(0, 8, _ANGLES, 2, device=x.device)
        about = [angles.sin(), angles.cos(), (depth - center) / spread, covariates]
        if self.types is not None:
            if labels is None:
                raise ValueError("CellNetwork: labels: must be given, as every cell has a type, got None")
            about.append(F.one_hot(labels, self.types).to(x.dtype))
        if each:
            observed, given = conditions[:, 1 + self.covariates :].split(self.genes, 1)
            h = self.input(torch.where(observed > 0, given, x)) + self.flags(observed)
        else:
            h = self.input(x)
        about = self.about(torch.cat(about, 1))
        h = h + about
        for block in self.blocks:
            h = block(h, about)
        mean, size = self.output(F.silu(self.norm(h))).chunk(2, 1)
        return torch.cat((mean + (depth - at_mean), size), 1)[:, :, None, None]


class _Block(nn.Module):
    """A residual block, scaled and shifted by what is known of the cell."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm, self.dropout = nn.LayerNorm(width, elementwise_affine=False), nn.Dropout(dropout)
        self.about, self.first, self.last = (
            nn.Linear(width, 2 * width),
            nn.Linear(width, width),
            nn.Linear(width, width),
        )
        nn.init.zeros_(self.last.weight)

    def forward(self, h: Tensor, about: Tensor) -> Tensor:
        scale, shift = self.about(F.silu(about)).chunk(2, 1)
        inside = F.silu(self.first(F.silu(self.norm(h) * (1 + scale) + shift)))
        return h + self.last(self.dropout(inside))


register_network("cells", CellNetwork)
