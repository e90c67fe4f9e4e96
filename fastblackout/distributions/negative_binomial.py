"""The negative binomial distribution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ..ops import negative_binomial, negative_binomial_log_prob
from .keyed import ByProbability


class NegativeBinomial(ByProbability, torch.distributions.NegativeBinomial):
    """torch.distributions.NegativeBinomial(total_count, probs or logits), its draws those of fb.negative_binomial.

        Pr(k) = Gamma(k + r) / (k! Gamma(r)) (1 - p)^r p^k,  mean r p / (1 - p) = r exp(logit p)

    total_count: r, any numbers above 0 (torch's own allows 0, for draws of 0). probs: p, in [0, 1). Draws are int64.
    From a mean and a dispersion: NegativeBinomial(1 / dispersion, logits=torch.log(mean * dispersion)). `log_prob` is
    fb.negative_binomial_log_prob, computed in float64, with a gradient by r and by probs or logits, in their dtype.
    Raises ValueError for arguments out of range, as torch does. Source: fb.negative_binomial.

        >>> fb.distributions.NegativeBinomial(torch.tensor([0.5, 1e6]), probs=0.5).sample(rng=fb.Philox(1))
        tensor([     2, 999077])
    """

    arg_constraints = {**torch.distributions.NegativeBinomial.arg_constraints, "total_count": constraints.positive}

    def _parts(self) -> tuple[Tensor, Tensor]:
        """r, and the mean."""
        r = self.total_count.double()
        if self._by_logits:
            return r, r * torch.exp(self.logits.double())
        p = self.probs.double()
        return r, r * p / (1.0 - p)

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        r, mean = self._parts()
        return negative_binomial(r.expand(shape), mean.expand(shape), **key)

    def log_prob(self, value: Tensor) -> Tensor:
        """log Pr(value). Outside the support ValueError, or -inf with validate_args=False."""
        if self._validate_args:
            self._validate_sample(value)
        return negative_binomial_log_prob(value, *self._parts()).to(self._param.dtype)
