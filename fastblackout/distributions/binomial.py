"""The binomial distribution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..ops import binomial, binomial_log_prob
from ..probability import Prob
from .keyed import ByProbability, whole


class Binomial(ByProbability, torch.distributions.Binomial):
    """Binomial law: torch.distributions.Binomial with the draws of fb.binomial.

    ::

        Pr(k) = C(n, k) p^k (1 - p)^(n - k)

    Parameters
    ----------
    total_count : Tensor or number, optional
        n, whole numbers of any dtype. Draws have the dtype of an integer tensor, else int64.
    probs : Tensor or number, optional
        p, of float32 or float64. Exactly one of `probs` and `logits` is given.
    logits : Tensor or number, optional
        log(p / (1 - p)), of float32 or float64. They keep both p and 1 - p to all digits.
    validate_args : bool, optional
        Whether arguments and values are checked, as in torch.

    Raises
    ------
    ValueError
        If an argument is out of range, as in torch.

    See Also
    --------
    fastblackout.binomial : Its draws, and how exact they are.

    Notes
    -----
    `log_prob` is fb.binomial_log_prob, computed in float64, with a gradient by `probs` or `logits`, in their dtype.

    Examples
    --------
    >>> fb.distributions.Binomial(torch.tensor([10, 200], dtype=torch.uint8), 0.5).sample(rng=fb.Philox(1))
    tensor([ 6, 99], dtype=torch.uint8)
    """

    def __init__(
        self,
        total_count: Tensor | float = 1,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
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
        """Log-probability of a value.

        Parameters
        ----------
        value : Tensor
            Whole numbers 0..n.

        Returns
        -------
        Tensor
            The logarithm of Pr(value), in the dtype of `probs` or `logits`.

        Raises
        ------
        ValueError
            If a value is outside the support. With validate_args=False the result is -inf there.
        """
        if self._validate_args:
            self._validate_sample(value)
        return binomial_log_prob(value, self.total_count, self._pair()).to(self._param.dtype)
