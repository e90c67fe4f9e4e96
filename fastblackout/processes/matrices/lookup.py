"""Entries, rows and columns of transition matrices, and draws through them, for a few samples of a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...arrays import is_traced
from ...call.keys import key_tensor, late_key
from ...ground.values import is_tensor, settled
from ...ops.transition import counts_of
from ...philox import Philox
from ..inputs import like_of, move, one_a_sample, states_of, visible

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


ENTRIES = 1 << 24  # the most entries of transition matrices held at once: 128 MiB


class Lookup:
    """P, (S, S) or (B, S, S) with one matrix a sample, in the library and on the device of the states."""

    def __init__(self, matrices: Any, xp: Any, device: Any) -> None:
        self.p, self.xp, self.device = matrices, xp, device

    def _index(self, states: Any) -> tuple[Any, ...]:
        if self.p.ndim == 2:
            return ()
        sample = self.xp.arange(len(states)) if self.xp is np else self.xp.arange(len(states), device=self.device)
        return (sample.reshape((-1,) + (1,) * (states.ndim - 1)),)

    def entries(self, i: Any, j: Any) -> Any:
        return self.p[self._index(i) + (i, j)]

    def rows(self, i: Any) -> Any:
        """P[i, :], (..., S)."""
        return self.p[self._index(i) + (i,)]

    def columns(self, j: Any) -> Any:
        """P[:, j], (..., S)."""
        swapped = self.p.swapaxes(-1, -2)
        return swapped[self._index(j) + (j,)]

    def cumulative(self, i: Any, j: Any) -> Any:
        """P[i, 0] + ... + P[i, j]."""
        return self.xp.cumsum(self.p, -1)[self._index(i) + (i, j)]

    def weighted(self, weights: Any) -> Any:
        """sum over i of weights[..., i] P[i, :], (..., S)."""
        return self._times(weights, self.p)

    def averaged(self, values: Any) -> Any:
        """sum over j of P[i, j] values[..., j], (..., S)."""
        return self._times(values, self.p.swapaxes(-1, -2))

    def _times(self, values: Any, matrices: Any) -> Any:
        if self.p.ndim == 2:
            return values @ matrices
        flat = values.reshape(len(values), math.prod(values.shape[1:-1]), values.shape[-1])
        return (flat @ matrices).reshape(values.shape)

    def scaled(self, values: Any) -> Any:
        """Divided by the largest of the last dimension, unless that is 0."""
        top = self.xp.amax(values, -1)[..., None]
        return values / self.xp.where(top > 0, top, 1.0)

    def log(self, values: Any) -> Any:
        with np.errstate(divide="ignore"):
            return self.xp.log(values)

    def table(self, values: NDArray[np.float64]) -> Any:
        return move(values, self.xp, self.device)


def in_parts(
    op: str,
    lookup: Callable[[NDArray[np.float64], Any, Any], Any],
    held: int,
    body: Callable[..., Any],
    arrays: Sequence[Any],
    durations: Sequence[NDArray[np.float64]],
) -> Any:
    """body(*arrays, *lookups): a Lookup for each of the durations, () or (B,); some samples a time.

    held: how many numbers a lookup holds of a sample.
    """
    shape = arrays[0].shape
    xp, device = like_of(arrays[0])
    for times in durations:
        one_a_sample(op, times, shape)
    if all(times.ndim == 0 for times in durations):
        return body(*arrays, *(lookup(times, xp, device) for times in durations))
    step = max(1, ENTRIES // (held * len(durations)))
    parts = []
    for first in range(0, max(shape[0], 1), step):
        part = slice(first, first + step)
        lookups = [lookup(times[part] if times.ndim else times, xp, device) for times in durations]
        parts.append(body(*(array[part] for array in arrays), *lookups))
    return xp.concatenate(parts) if len(parts) > 1 else parts[0]


def as_they_are(times: NDArray[np.float64], xp: Any, device: Any) -> Any:
    """For in_parts: the durations themselves, no matrices."""
    return times


def draw(
    op: str,
    sample: Callable[..., Any],
    states: Mapping[str, Any],
    names: Sequence[str],
    matrices: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    held: int,
    durations: Sequence[NDArray[np.float64]],
    keys: tuple[Philox | torch.Tensor | int | None, torch.Generator | None],
    backend: str,
) -> Any:
    """sample(*states, **{names: matrices of the durations}, ...), some samples at a time where matrices are many.

    held: the entries of a matrix. keys: rng and generator.
    """
    x, *others = counts_of(op, dict(states))
    arrays = [x.value, *(other.value for other in others)]
    xp, device = like_of(x.value)
    for times in durations:
        one_a_sample(op, times, x.shape)
    key = _key(op, *keys)
    if all(times.ndim == 0 for times in durations):
        by_name = {name: move(matrices(times), xp, device) for name, times in zip(names, durations, strict=True)}
        return sample(*arrays, **by_name, rng=key, backend=backend)
    pairs = np.stack(np.broadcast_arrays(*durations))
    step = max(1, ENTRIES // (held * len(names)))
    if step < x.samples and visible(x.value):  # before the first part is drawn
        for name, array in zip(states, arrays, strict=True):
            states_of(op, name, array, math.isqrt(held))
    out = x.empty_like()
    for first in range(0, x.samples, step):
        part = slice(first, first + step)
        different, index = np.unique(pairs[:, part], axis=1, return_inverse=True)
        by_name = {name: move(matrices(times), xp, device) for name, times in zip(names, different, strict=True)}
        by_name["index"] = move(index.reshape(-1).astype(np.int64), xp, device)
        if isinstance(key, Philox):
            own_key: Any = key.at(first_sample=key.first_sample + first)
        else:  # a tensor, without a look at it
            own_key = key.clone()
            own_key[1] += first
        sample(*(array[part] for array in arrays), **by_name, rng=own_key, out=out.value[part], backend=backend)
    return out.give()


def _key(op: str, rng: Philox | torch.Tensor | int | None, generator: torch.Generator | None) -> Philox | torch.Tensor:
    """The key of all parts. A tensor stays one: it may be on a device."""
    if is_tensor(rng) and generator is None:
        tensor: Any = rng
        return key_tensor(tensor if is_traced(tensor) else settled(op, "rng", tensor), op)
    return late_key(rng, generator, op)
