"""What the distributions share: a draw by an op, and numbers of trials that stay integers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import Tensor
from torch.distributions import Distribution

if TYPE_CHECKING:
    from ..philox import Philox


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
            Draws of shape sample_shape + batch_shape, in an integer dtype.
        """
        shape = self._extended_shape(torch.Size(sample_shape))
        with torch.no_grad():
            return self._draw(shape, rng=rng, generator=generator)

    def _draw(self, shape: torch.Size, **key: Any) -> Tensor:
        raise NotImplementedError


class ByParameters(Keyed):
    """One that torch does not have, of the parameters that `arg_constraints` names."""

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
        new = self._get_checked_instance(type(self), _instance)
        for name in self.arg_constraints:
            setattr(new, name, getattr(self, name).expand(batch_shape))
        Distribution.__init__(new, torch.Size(batch_shape), validate_args=False)
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
        new = super().expand(batch_shape, self._get_checked_instance(type(self), _instance))
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
