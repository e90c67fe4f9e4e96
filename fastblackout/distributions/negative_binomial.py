"""The negative binomial distribution."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.distributions import constraints

from ..ops import negative_binomial, negative_binomial_log_prob
from .keyed import ByProbability


class NegativeBinomial(ByProbability, torch.distributions.NegativeBinomial):
    """Negative binomial law: torch.distributions.NegativeBinomial with the draws of fb.negative_binomial.

    ::

        Pr(k) = Gamma(k + r) / (k! Gamma(r)) (1 - p)^r p^k,  mean r p / (1 - p) = r exp(logit p)

    Parameters
    ----------
    total_count : Tensor or number, optional
        r, any numbers above 0. (torch's own allows 0, for draws of 0.) Draws are int64.
    probs : Tensor or number, optional
        p, of float32 or float64, in [0, 1). Exactly one of `probs` and `logits` is given.
    logits : Tensor or number, optional
        log(p / (1 - p)), of float32 or float64.
    validate_args : bool, optional
        Whether arguments and values are checked, as in torch.

    Raises
    ------
    ValueError
        If an argument is out of range, as in torch.

    See Also
    --------
    fastblackout.negative_binomial : Its draws, and how exact they are.

    Notes
    -----
    From a mean and a dispersion it is NegativeBinomial(1 / dispersion, logits=torch.log(mean * dispersion)).

    `log_prob` is fb.negative_binomial_log_prob, computed in float64. It has a gradient by r and by `probs` or `logits`,
    in their dtype.

    Examples
    --------
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
        """Log-probability of a value.

        Parameters
        ----------
        value : Tensor
            Whole numbers, at least 0.

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
        return negative_binomial_log_prob(value, *self._parts()).to(self._param.dtype)
