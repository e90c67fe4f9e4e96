"""Draws through transition matrices, one for each different time of a batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import is_traced
from ..call.keys import key_tensor, late_key
from ..ground.values import is_tensor, settled
from ..ops.transition import counts_of
from ..philox import Philox
from .inputs import like_of, move, one_a_sample, states_of, visible
from .matrices.lookup import ENTRIES

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


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
        made = {name: move(matrices(times), xp, device) for name, times in zip(names, durations, strict=True)}
        return sample(*arrays, **made, rng=key, backend=backend)
    pairs = np.stack(np.broadcast_arrays(*durations))
    step = max(1, ENTRIES // (held * len(names)))
    if step < x.samples and visible(x.value):  # before the first part is drawn
        for name, array in zip(states, arrays, strict=True):
            states_of(op, name, array, math.isqrt(held))
    out = x.empty_like()
    for first in range(0, x.samples, step):
        part = slice(first, first + step)
        different, index = np.unique(pairs[:, part], axis=1, return_inverse=True)
        made = {name: move(matrices(times), xp, device) for name, times in zip(names, different, strict=True)}
        made["index"] = move(index.reshape(-1).astype(np.int64), xp, device)
        moved = key.at(first_sample=key.first_sample + first) if isinstance(key, Philox) else _from(key, first)
        sample(*(array[part] for array in arrays), **made, rng=moved, out=out.value[part], backend=backend)
    return out.give()


def _key(op: str, rng: Philox | torch.Tensor | int | None, generator: torch.Generator | None) -> Philox | torch.Tensor:
    """The key of all parts. A tensor stays one: it may be on a device."""
    if is_tensor(rng) and generator is None:
        tensor: Any = rng
        return key_tensor(tensor if is_traced(tensor) else settled(op, "rng", tensor), op)
    return late_key(rng, generator, op)


def _from(key: torch.Tensor, first: int) -> torch.Tensor:
    """A key tensor for the samples from `first` on, without looking at it."""
    later = key.clone()
    later[1] += first
    return later
