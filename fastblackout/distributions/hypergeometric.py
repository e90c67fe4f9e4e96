"""The hypergeometric distribution, which torch does not have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ..ops import hypergeometric, hypergeometric_log_prob
from .keyed import ByParameters


class Hypergeometric(ByParameters):
    """Good balls among balls that are drawn without putting any back.

    ::

        Pr(k) = C(good, k) C(bad, draws - k) / C(good + bad, draws)

    Parameters
    ----------
    good : Tensor or number
        Whole numbers of any dtype. All three broadcast. Draws have the dtype of an integer tensor, else int64.
    bad : Tensor or number
        Whole numbers of any dtype.
    draws : Tensor or number
        How many balls are drawn, at most good + bad.
    validate_args : bool, optional
        Whether arguments and values are checked, as in torch.

    Raises
    ------
    ValueError
        If an argument is out of range, as in torch.

    See Also
    --------
    fastblackout.hypergeometric : Its draws, and how exact they are.

    Notes
    -----
    `log_prob` is fb.hypergeometric_log_prob, in float64. Mean and variance are of torch's default dtype. There is no
    gradient.

    Examples
    --------
    >>> fb.distributions.Hypergeometric(torch.tensor([5, 1000]), 5, 4).sample(rng=fb.Philox(1))
    tensor([3, 4])
    """

    arg_constraints = dict.fromkeys(("good", "bad", "draws"), constraints.nonnegative_integer)

    def __init__(
        self,
        good: Tensor | float,
        bad: Tensor | float,
        draws: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        devices = [value.device for value in (good, bad, draws) if isinstance(value, Tensor)]
        given = [torch.as_tensor(value, device=devices[0] if devices else None) for value in (good, bad, draws)]
        self.good, self.bad, self.draws = torch.broadcast_tensors(*given)
        super().__init__(self.good.shape, validate_args=validate_args)
        for name, value in zip(self.arg_constraints, (self.good, self.bad, self.draws), strict=True):
            setattr(self, name, value.long() if value.is_floating_point() else value)  # once they were checked
        if self._validate_args and (self.draws > self.good.long() + self.bad).any():
            raise ValueError("Hypergeometric: draws: must be at most good + bad, got more")

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
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
        """The mean, draws good / (good + bad)."""
        draws, good, _ = self._floats()
        return (draws * good).to(torch.get_default_dtype())

    @property
    def variance(self) -> Tensor:
        """The variance, draws good bad (N - draws) / (N^2 (N - 1)), N = good + bad."""
        draws, good, bad = self._floats()
        balls = self.good.double() + self.bad.double()
        return (draws * good * bad * (balls - draws) / (balls - 1).clamp(min=1)).to(torch.get_default_dtype())

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        return hypergeometric(self.good.expand(shape), self.bad, self.draws, **key)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of a value.

        Parameters
        ----------
        value : Tensor
            Whole numbers from max(0, draws - bad) to min(good, draws).

        Returns
        -------
        Tensor
            The logarithm of Pr(value), in float64.

        Raises
        ------
        ValueError
            If a value is outside the support. With validate_args=False the result is -inf there.
        """
        if self._validate_args:
            self._validate_sample(value)
        return hypergeometric_log_prob(value, self.good, self.bad, self.draws)
