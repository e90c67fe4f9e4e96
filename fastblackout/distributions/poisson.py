"""The Poisson distribution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..ops import poisson
from ..ops.log_probs_torch import times_log
from .keyed import Keyed, floats


class Poisson(Keyed, torch.distributions.Poisson):
    """Poisson law: torch.distributions.Poisson with the draws of fb.poisson.

    ::

        Pr(k) = rate^k exp(-rate) / k!

    Parameters
    ----------
    rate : Tensor or number
        In 0..2^52, of float32 or float64. Draws are int64.
    validate_args : bool, optional
        Whether arguments and values are checked, as in torch.

    Raises
    ------
    ValueError
        If an argument is out of range, as in torch.

    See Also
    --------
    fastblackout.poisson : Its draws, and how exact they are.

    Notes
    -----
    `log_prob` is computed in float64, with a gradient by `rate`, in its dtype.

    Examples
    --------
    >>> fb.distributions.Poisson(torch.tensor([0.5, 1e6])).sample(rng=fb.Philox(1))
    tensor([      0, 1000506])
    """

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        return poisson(floats(self.rate).expand(shape), **key)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of a value.

        Parameters
        ----------
        value : Tensor
            Whole numbers, at least 0.

        Returns
        -------
        Tensor
            The logarithm of Pr(value), in the dtype of `rate`.

        Raises
        ------
        ValueError
            If a value is outside the support. With validate_args=False the result is -inf there.
        """
        if self._validate_args:
            self._validate_sample(value)
        x, rate = value.double(), self.rate.double()
        there = (x >= 0) & (x == x.floor())
        k = torch.where(there, x, 0.0)
        body = times_log(k, rate) - rate - torch.lgamma(k + 1)
        return torch.where(there, body, -torch.inf).to(floats(self.rate).dtype)
