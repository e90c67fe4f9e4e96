"""The multinomial distribution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..ops import multinomial, multinomial_log_prob
from .keyed import ByProbability, floats


class Multinomial(ByProbability, torch.distributions.Multinomial):
    """torch.distributions.Multinomial(total_count, probs or logits), its draws those of fb.multinomial.

        Pr(k_1 .. k_K) = n! / (k_1! .. k_K!) p_1^k_1 .. p_K^k_K

    total_count: n, a Python int, as torch has it; draws are int64, (..., K). probs: (..., K), at least 0, which are
    divided by their sum, or logits, up to a constant: float32 or float64. `log_prob` is computed in float64, by probs
    as fb.multinomial_log_prob is, with a gradient by probs or logits, in their dtype.
    Raises ValueError for arguments out of range, as torch does. Source: fb.multinomial.

        >>> fb.distributions.Multinomial(100, torch.tensor([0.2, 0.3, 0.5])).sample(rng=fb.Philox(1))
        tensor([13, 35, 52])
    """

    _given: Tensor  # probs or logits as they were given: torch keeps them divided by their sum, in their dtype

    def __init__(
        self, total_count: int = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(total_count, probs, logits, validate_args)
        self._given = floats(probs if logits is None else logits)

    def expand(self, batch_shape: Any, _instance: Any = None) -> Any:
        """The distribution with its parameters expanded to batch_shape."""
        new = super().expand(batch_shape, _instance)
        new._given = self._given.expand(*batch_shape, -1)
        return new

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        given = self._given.double()
        count = torch.full(shape[:-1], self.total_count, device=given.device)
        return multinomial(count, torch.softmax(given, -1) if self._by_logits else given, **key)

    def log_prob(self, value: Tensor) -> Tensor:
        """log Pr(value), -inf where it sums to less than n. Elsewhere outside the support ValueError, or -inf with
        validate_args=False."""
        if self._validate_args:
            self._validate_sample(value)
        x, given = value.double(), self._given.double()
        if self._by_logits:
            logs = torch.where(x > 0, torch.log_softmax(given, -1), 0.0)
            found = torch.lgamma(x.sum(-1) + 1) - torch.lgamma(x + 1).sum(-1) + (x * logs).sum(-1)
        else:
            found = multinomial_log_prob(x, given)
        inside = (x >= 0).all(-1) & (x == x.floor()).all(-1) & (x.sum(-1) == self.total_count)
        return torch.where(inside, found, -torch.inf).to(self._given.dtype)
