"""torch.distributions whose draws are the package's: whole numbers in integer dtypes, exact, and keyed.

They take the arguments of torch's classes, and are instances of these where torch has them. Draws are integers, so make
them floats before means and differences. What torch does not check, such as a count above 2^53, `sample` and `log_prob`
refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution, constraints

from . import ops
from .ops.log_probs_torch import times_log
from .probability import Prob

if TYPE_CHECKING:
    from .philox import Philox

__all__ = ["BetaBinomial", "Binomial", "Hypergeometric", "Multinomial", "NegativeBinomial", "Poisson"]


class Keyed(Distribution):
    """A distribution whose `sample` takes a key, as the ops do."""

    def sample(
        self,
        sample_shape: Sequence[int] = (),
        *,
        rng: Philox | Tensor | int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Draw values, which have no gradient.

        Parameters
        ----------
        sample_shape : sequence of int, optional
            The shape that comes before the shape of the batch.
        rng : Philox, Tensor or int, optional
            The key of the draw: the same key gives the same draws on every device. Without one a seed comes from
            torch's default generator. Row b of the result belongs to sample first_sample + b.
        generator : torch.Generator, optional
            The generator that the seed comes from instead.

        Returns
        -------
        Tensor
            Draws of shape sample_shape + batch_shape + event_shape, in an integer dtype.
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            return self._draw(shape, rng=rng, generator=generator)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of a value.

        Parameters
        ----------
        value : Tensor
            Whole numbers of the support.

        Returns
        -------
        Tensor
            The logarithm of Pr(value), computed in float64, in the dtype of the parameters (Hypergeometric: float64).

        Raises
        ------
        ValueError
            If a value is outside the support. With validate_args=False the result is -inf there.
        """
        if self._validate_args:
            self._validate_sample(value)
        return self._log_prob(value)

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
        return self._expanded(torch.Size(batch_shape), _instance)

    def _expanded(self, shape: torch.Size, instance: Any) -> Self:
        return super().expand(shape, instance)  # type: ignore[no-any-return]

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        raise NotImplementedError

    def _log_prob(self, value: Tensor) -> Tensor:
        raise NotImplementedError


class ByParameters(Keyed):
    """One that torch does not have, of the parameters that `arg_constraints` names."""

    def _expanded(self, shape: torch.Size, instance: Any) -> Self:
        new = self._get_checked_instance(type(self), instance)
        for name in self.arg_constraints:
            setattr(new, name, getattr(self, name).expand(shape))
        Distribution.__init__(new, shape, validate_args=False)
        new._validate_args = self._validate_args
        return new


class ByProbability(Keyed):
    """One whose parameter is probs or logits: draws go by the one that was given, never by what torch made of it."""

    def __init__(
        self,
        total_count: Tensor | float = 1,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(total_count, floats(probs), floats(logits), validate_args)  # type: ignore[call-arg, arg-type]
        self._by_logits = logits is not None

    def _expanded(self, shape: torch.Size, instance: Any) -> Self:
        new = super()._expanded(shape, self._get_checked_instance(type(self), instance))
        new._by_logits = self._by_logits
        return new


def floats(value: Any) -> Any:
    """A parameter as a tensor of floats; None as it is. Numbers are of torch's default dtype."""
    if value is None or (isinstance(value, Tensor) and value.is_floating_point()):
        return value
    return torch.as_tensor(value, dtype=torch.get_default_dtype())


def whole(count: Any, like: Tensor) -> Tensor:
    """Numbers of trials in the shape of `like`: tensors of integers as they are, all else int64."""
    counts = count if isinstance(count, Tensor) else torch.as_tensor(count, device=like.device)
    return (counts.long() if counts.is_floating_point() else counts).expand(like.shape)


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
        return ops.binomial(self.total_count.expand(shape), self._pair(), **key)

    def _log_prob(self, value: Tensor) -> Tensor:
        return ops.binomial_log_prob(value, self.total_count, self._pair()).to(self._param.dtype)


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
        return ops.beta_binomial(self.total_count.expand(shape), self.concentration1, self.concentration0, **key)

    def _log_prob(self, value: Tensor) -> Tensor:
        found = ops.beta_binomial_log_prob(value, self.total_count, self.concentration1, self.concentration0)
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
        return ops.hypergeometric(self.good.expand(shape), bad=self.bad, draws=self.draws, **key)

    def _log_prob(self, value: Tensor) -> Tensor:
        return ops.hypergeometric_log_prob(value, self.good, self.bad, self.draws)


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

    def _expanded(self, shape: torch.Size, instance: Any) -> Self:
        new = super()._expanded(shape, instance)
        new._given = self._given.expand(*shape, -1)
        return new

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        given = self._given.double()
        count = torch.full(shape[:-1], self.total_count, device=given.device)
        return ops.multinomial(count, torch.softmax(given, -1) if self._by_logits else given, **key)

    def _log_prob(self, value: Tensor) -> Tensor:
        x, given = value.double(), self._given.double()
        if self._by_logits:
            logs = torch.where(x > 0, torch.log_softmax(given, -1), 0.0)
            found = torch.lgamma(x.sum(-1) + 1) - torch.lgamma(x + 1).sum(-1) + (x * logs).sum(-1)
        else:
            found = ops.multinomial_log_prob(x, given)
        inside = (x >= 0).all(-1) & (x == x.floor()).all(-1) & (x.sum(-1) == self.total_count)
        return torch.where(inside, found, -torch.inf).to(self._given.dtype)


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
        return ops.negative_binomial(r.expand(shape), mean=mean.expand(shape), **key)

    def _log_prob(self, value: Tensor) -> Tensor:
        return ops.negative_binomial_log_prob(value, *self._parts()).to(self._param.dtype)


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
        return ops.poisson(floats(self.rate).expand(shape), **key)

    def _log_prob(self, value: Tensor) -> Tensor:
        x, rate = value.double(), self.rate.double()
        there = (x >= 0) & (x == x.floor())
        k = torch.where(there, x, 0.0)
        body = times_log(k, rate) - rate - torch.lgamma(k + 1)
        return torch.where(there, body, -torch.inf).to(floats(self.rate).dtype)
