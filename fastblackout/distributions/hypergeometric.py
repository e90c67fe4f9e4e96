"""The hypergeometric distribution, which torch does not have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ..ops import hypergeometric, hypergeometric_log_prob
from .keyed import ByParameters


class Hypergeometric(ByParameters):
    """Good balls among `draws` of good + bad ones, none put back: Hypergeometric(good, bad, draws).

        Pr(k) = C(good, k) C(bad, draws - k) / C(good + bad, draws)

    good, bad, draws: whole numbers of any dtype that broadcast, draws at most good + bad; draws of the distribution
    have good's dtype where that is an integer tensor, else int64. `log_prob` is fb.hypergeometric_log_prob, in float64;
    mean and variance are of torch's default dtype. There is no gradient.
    Raises ValueError for arguments out of range, as torch does. Source: fb.hypergeometric.

        >>> fb.distributions.Hypergeometric(torch.tensor([5, 1000]), 5, 4).sample(rng=fb.Philox(1))
        tensor([3, 4])
    """

    arg_constraints = dict.fromkeys(("good", "bad", "draws"), constraints.nonnegative_integer)

    def __init__(self, good: Any, bad: Any, draws: Any, validate_args: bool | None = None) -> None:
        devices = [value.device for value in (good, bad, draws) if isinstance(value, Tensor)]
        given = [torch.as_tensor(value, device=devices[0] if devices else None) for value in (good, bad, draws)]
        self.good, self.bad, self.draws = torch.broadcast_tensors(*given)
        super().__init__(self.good.shape, validate_args=validate_args)
        for name, value in zip(self.arg_constraints, (self.good, self.bad, self.draws), strict=True):
            setattr(self, name, value.long() if value.is_floating_point() else value)  # once they were checked
        if self._validate_args and (self.draws > self.good.long() + self.bad).any():
            raise ValueError("Hypergeometric: draws: must be at most good + bad, got more")

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """Whole numbers from max(0, draws - bad) to min(good, draws)."""
        good, bad, draws = self.good.long(), self.bad.long(), self.draws.long()
        return constraints.integer_interval((draws - bad).clamp(min=0), torch.minimum(good, draws))

    def _floats(self) -> tuple[Tensor, Tensor, Tensor]:
        """draws, and the shares of good and bad balls; of no balls 0."""
        good, bad = self.good.double(), self.bad.double()
        balls = (good + bad).clamp(min=1)
        return self.draws.double(), good / balls, bad / balls

    @property
    def mean(self) -> Tensor:
        """draws good / (good + bad)."""
        draws, good, _ = self._floats()
        return (draws * good).to(torch.get_default_dtype())

    @property
    def variance(self) -> Tensor:
        """draws good bad (N - draws) / (N^2 (N - 1)), N = good + bad."""
        draws, good, bad = self._floats()
        balls = self.good.double() + self.bad.double()
        return (draws * good * bad * (balls - draws) / (balls - 1).clamp(min=1)).to(torch.get_default_dtype())

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        return hypergeometric(self.good.expand(shape), self.bad, self.draws, **key)

    def log_prob(self, value: Tensor) -> Tensor:
        """log Pr(value), float64. Outside the support ValueError, or -inf with validate_args=False."""
        if self._validate_args:
            self._validate_sample(value)
        return hypergeometric_log_prob(value, self.good, self.bad, self.draws)
