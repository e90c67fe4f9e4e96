"""The binomial distribution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..ops import binomial, binomial_log_prob
from ..probability import Prob
from .keyed import ByProbability, whole


class Binomial(ByProbability, torch.distributions.Binomial):
    """torch.distributions.Binomial(total_count, probs or logits), its draws those of fb.binomial.

        Pr(k) = C(n, k) p^k (1 - p)^(n - k)

    total_count: n, whole numbers of any dtype; draws have the dtype of an integer tensor, else int64. probs or logits:
    float32 or float64 (logits keep both p and 1 - p to all digits). All broadcast. `log_prob` is fb.binomial_log_prob,
    computed in float64, with a gradient by probs or logits, in their dtype.
    Raises ValueError for arguments out of range, as torch does. Source: fb.binomial.

        >>> fb.distributions.Binomial(torch.tensor([10, 200], dtype=torch.uint8), 0.5).sample(rng=fb.Philox(1))
        tensor([ 6, 99], dtype=torch.uint8)
    """

    def __init__(
        self, total_count: Any = 1, probs: Any = None, logits: Any = None, validate_args: bool | None = None
    ) -> None:
        super().__init__(total_count, probs, logits, validate_args)
        self.total_count = whole(total_count, self._param)

    def _pair(self) -> Prob | Tensor:
        if not self._by_logits:
            return self.probs.double()
        logits = self.logits.double()
        return Prob(torch.sigmoid(logits), torch.sigmoid(-logits))

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        return binomial(self.total_count.expand(shape), self._pair(), **key)

    def log_prob(self, value: Tensor) -> Tensor:
        """log Pr(value). Outside the support ValueError, or -inf with validate_args=False."""
        if self._validate_args:
            self._validate_sample(value)
        return binomial_log_prob(value, self.total_count, self._pair()).to(self._param.dtype)
