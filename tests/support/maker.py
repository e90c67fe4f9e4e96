"""Values for a case of product.py: counts, floats and numbers of a sample, with extremes among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

PROBS = (0.37, 0.0, 1.0, 0.5, 1e-12, 1 - 1e-12, 5e-324, 0.93, 1e-3)


class Maker:
    """Values for a case: the same for the same case and number."""

    def __init__(self, case: dict[str, Any], number: int) -> None:
        self.case, self.number = case, number
        self.shape: tuple[int, ...] = case["shape"]
        self.random = torch.Generator().manual_seed(number)
        self.floats: torch.dtype = getattr(torch, case["floats"])
        self.kind: torch.dtype = getattr(torch, case["counts"])
        most = 2**53 if self.kind == torch.float64 else 2**24 if self.kind.is_floating_point else None
        self.max_count: int = min(case["max_count"], most or torch.iinfo(self.kind).max)

    def counts(self) -> Tensor:
        x = torch.randint(0, self.max_count + 1, self.shape, generator=self.random)
        x.view(-1)[::5], x.view(-1)[3::7] = self.max_count, 0
        return x.to(self.kind)

    def whole(self, kind: torch.dtype, most: int = 2**63) -> Tensor:
        """Births as integers: few, and the most the dtype holds."""
        y = torch.randint(0, 41, self.shape, generator=self.random).to(kind)
        y.view(-1)[::5] = min(torch.iinfo(kind).max, most)
        return y

    def uniform(self, low: float, high: float, extremes: Sequence[float] = (), dtype: Any = None) -> Tensor:
        made = low + (high - low) * torch.rand(self.shape, generator=self.random, dtype=torch.float64)
        made.view(-1)[: len(extremes)] = torch.tensor(extremes, dtype=made.dtype)[: made.numel()]
        return made.to(dtype or self.floats)

    def rows(self, values: Sequence[float], dtype: torch.dtype = torch.float32) -> Tensor:
        samples = self.shape[0] if self.shape else 1
        return torch.tensor([values[(self.number + b) % len(values)] for b in range(samples)], dtype=dtype)

    def probs(self, values: Sequence[float] = PROBS) -> Tensor:
        made = self.rows(values, torch.float64)
        return made[:1].repeat(len(made)) if self.case.get("one") and len(made) else made
