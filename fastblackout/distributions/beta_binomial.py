"""The beta-binomial distribution, which torch does not have."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ..ops import beta_binomial, beta_binomial_log_prob
from .keyed import ByParameters, floats, whole


class BetaBinomial(ByParameters):
    """Binomial(n, f) with f ~ Beta(a, b), as Pyro has it.

    ::

        Pr(k) = C(n, k) B(k + a, n - k + b) / B(a, b)

    Parameters
    ----------
    concentration1 : Tensor or number
        a, above 0. All three broadcast.
    concentration0 : Tensor or number
        b, above 0.
    total_count : Tensor or number, optional
        n, whole numbers of any dtype. Draws have the dtype of an integer tensor, else int64.
    validate_args : bool, optional
        Whether arguments and values are checked, as in torch.

    Raises
    ------
    ValueError
        If an argument is out of range, as in torch.

    See Also
    --------
    fastblackout.beta_binomial : Its draws, and how exact they are.

    Notes
    -----
    `log_prob` is fb.beta_binomial_log_prob, computed in float64, with a gradient by a and b, in their dtype.

    Examples
    --------
    >>> fb.distributions.BetaBinomial(0.5, 0.5, torch.tensor([10, 100])).sample(rng=fb.Philox(1))
    tensor([10, 59])
    """

    arg_constraints = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
        "total_count": constraints.nonnegative_integer,
    }
    has_enumerate_support = True

    def __init__(
        self,
        concentration1: Tensor | float,
        concentration0: Tensor | float,
        total_count: Tensor | float = 1,
        validate_args: bool | None = None,
    ) -> None:
        told = concentration1, concentration0, total_count
        device = next((each.device for each in told if isinstance(each, Tensor)), None)
        a, b, n = (each if isinstance(each, Tensor) else torch.as_tensor(each, device=device) for each in told)
        given = floats(a), floats(b), n
        self.concentration1, self.concentration0, self.total_count = torch.broadcast_tensors(*given)
        super().__init__(self.concentration1.shape, validate_args=validate_args)
        self.total_count = whole(self.total_count, self.concentration1)  # once it was checked

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> constraints.Constraint:
        """Whole numbers 0..n."""
        return constraints.integer_interval(0, self.total_count)

    @property
    def mean(self) -> Tensor:
        """The mean, n a / (a + b)."""
        return self.total_count * (self.concentration1 / (self.concentration1 + self.concentration0))

    @property
    def variance(self) -> Tensor:
        """The variance, n a b (a + b + n) / ((a + b)^2 (a + b + 1))."""
        a, b, n = self.concentration1, self.concentration0, self.total_count
        return n * (a / (a + b)) * (b / (a + b)) * (1 + (n - 1) / (a + b + 1))

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        return beta_binomial(self.total_count.expand(shape), self.concentration1, self.concentration0, **key)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of a value.

        Parameters
        ----------
        value : Tensor
            Whole numbers 0..n.

        Returns
        -------
        Tensor
            The logarithm of Pr(value), in the dtype of a.

        Raises
        ------
        ValueError
            If a value is outside the support. With validate_args=False the result is -inf there.
        """
        if self._validate_args:
            self._validate_sample(value)
        found = beta_binomial_log_prob(value, self.total_count, self.concentration1, self.concentration0)
        return found.to(self.concentration1.dtype)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """List the values 0..n, if n is one number for all.

        Parameters
        ----------
        expand : bool, optional
            Whether the list has the shape of the batch after its first dimension, or ones there.

        Returns
        -------
        Tensor
            Values of shape (n + 1,) and then the batch's.

        Raises
        ------
        NotImplementedError
            If n differs within the batch.
        """
        most = int(self.total_count.max())
        if int(self.total_count.min()) != most:
            raise NotImplementedError("BetaBinomial: enumerate_support: total_count must be one number for all")
        values = torch.arange(most + 1, dtype=self.total_count.dtype, device=self.total_count.device)
        values = values.view((-1,) + (1,) * len(self._batch_shape))
        return values.expand((-1, *self._batch_shape)) if expand else values
