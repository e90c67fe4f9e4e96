"""The multinomial distribution."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from ..ops import multinomial, multinomial_log_prob
from .keyed import ByProbability, floats


class Multinomial(ByProbability, torch.distributions.Multinomial):
    """Multinomial law: torch.distributions.Multinomial with the draws of fb.multinomial.

    ::

        Pr(k_1 .. k_K) = n! / (k_1! .. k_K!) p_1^k_1 .. p_K^k_K

    Parameters
    ----------
    total_count : int, optional
        n. Draws are int64, (..., K).
    probs : Tensor (..., K), optional
        At least 0, of float32 or float64. They are divided by their sum. Exactly one of `probs` and `logits` is given.
    logits : Tensor (..., K), optional
        Logarithms of the probabilities up to a constant, of float32 or float64.
    validate_args : bool, optional
        Whether arguments and values are checked, as in torch.

    Raises
    ------
    ValueError
        If an argument is out of range, as in torch.

    See Also
    --------
    fastblackout.multinomial : Its draws, and how exact they are.

    Notes
    -----
    `log_prob` is computed in float64, by `probs` as fb.multinomial_log_prob is. It has a gradient by `probs` or
    `logits`, in their dtype.

    Examples
    --------
    >>> fb.distributions.Multinomial(100, torch.tensor([0.2, 0.3, 0.5])).sample(rng=fb.Philox(1))
    tensor([13, 35, 52])
    """

    _given: Tensor  # probs or logits as they were given: torch keeps them divided by their sum, in their dtype

    def __init__(
        self,
        total_count: int = 1,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(total_count, probs, logits, validate_args)
        self._given = floats(probs if logits is None else logits)

    def expand(self, batch_shape: torch.Size | list[int] | tuple[int, ...], _instance: Any = None) -> Self:
        """Make the distribution with its parameters expanded.

        Parameters
        ----------
        batch_shape : torch.Size
            The shape of the batch.
        _instance : optional
            As in torch.

        Returns
        -------
        Distribution
            The new distribution.
        """
        new = super().expand(batch_shape, _instance)
        new._given = self._given.expand(*batch_shape, -1)
        return new

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        given = self._given.double()
        count = torch.full(shape[:-1], self.total_count, device=given.device)
        return multinomial(count, torch.softmax(given, -1) if self._by_logits else given, **key)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of a value.

        Parameters
        ----------
        value : Tensor
            Whole numbers (..., K) that sum to n.

        Returns
        -------
        Tensor
            The logarithm of Pr(value), in the dtype of `probs` or `logits`.

        Raises
        ------
        ValueError
            If a value is outside the support. With validate_args=False the result is -inf there. It is always -inf
            where a value sums to less than n.
        """
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
