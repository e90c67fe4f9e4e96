"""Draws through transition matrices, one for each different time of a batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import COUNTS, adopt
from ..philox import Philox, resolve_rng
from .inputs import like_of, move
from .lookup import ENTRIES

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray


def draw(
    op: str,
    sample: Callable[..., Any],
    arrays: Sequence[Any],
    names: Sequence[str],
    matrices: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    durations: Sequence[NDArray[np.float64]],
    rng: Philox | torch.Tensor | None,
    generator: torch.Generator | None,
    backend: str,
) -> Any:
    """sample(*arrays, **{names: matrices of the durations}, ...), some samples at a time where matrices are many."""
    x = adopt(arrays[0], op, "x_0" if len(arrays) == 1 else "x_t", COUNTS)
    xp, device = like_of(x.value)
    for times in durations:
        if times.ndim and times.shape != x.shape[:1]:
            raise ValueError(f"{op}: t: shape must be () or {x.shape[:1]}, one a sample, got {times.shape}")
    key: Any = rng if rng is not None and not isinstance(rng, Philox) else resolve_rng(rng, generator, op)
    if all(times.ndim == 0 for times in durations):
        made = {name: move(matrices(times), xp, device) for name, times in zip(names, durations, strict=True)}
        return sample(*arrays, **made, rng=key, backend=backend)
    pairs = np.stack(np.broadcast_arrays(*durations))
    states = matrices(np.zeros(())).shape[-1]
    step = max(1, ENTRIES // (states * states * len(names)))
    out = x.empty_like()
    for first in range(0, x.samples, step):
        part = slice(first, first + step)
        different, index = np.unique(pairs[:, part], axis=1, return_inverse=True)
        made = {name: move(matrices(times), xp, device) for name, times in zip(names, different, strict=True)}
        made["index"] = move(index.reshape(-1).astype(np.int64), xp, device)
        moved = key.at(first_sample=key.first_sample + first) if isinstance(key, Philox) else _from(key, first)
        sample(*(array[part] for array in arrays), **made, rng=moved, out=out.value[part], backend=backend)
    return out.give()


def _from(key: torch.Tensor, first: int) -> torch.Tensor:
    """A key tensor for the samples from `first` on, without looking at it."""
    later = key.clone()
    later[1] += first
    return later
