"""Low-discrepancy uniforms over a global batch: one random shift, then evenly spaced points; in integers throughout."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import to_device
from ..backends.tensor_words import stream_words
from ..call.keys import late_key
from ..ground.values import check_integer, is_tensor
from ..philox import WORD_MASK, Philox
from ..reference.philox import Stream, philox4x32
from .tables import EARLY_TIMES

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

_TWO_64 = 1 << 64
_BELOW_ONE = 1.0 - 2.0**-53
_MAX_BATCH = (1 << 32) - 1


def _strata(
    op: str, stream: Stream, batch: int, rng: Philox | int | None, generator: torch.Generator | None,
    global_batch: int | None, like: Any,
) -> tuple[NDArray[np.int64], int, int, NDArray[np.int64]]:  # fmt: skip
    """(m, f, G) with frac(U + g / G) = (m + f / 2^64) / G, g = first_sample + row, U keyed by (seed, call); g + call"""
    check_integer(op, "batch", batch, 1, _MAX_BATCH)
    if global_batch is not None:
        check_integer(op, "global_batch", global_batch, 1, _MAX_BATCH)
    if like is not None and not isinstance(like, np.ndarray) and not is_tensor(like):
        raise TypeError(f"{op}: like: must be a NumPy array or a torch tensor, got {type(like).__name__}")
    key = late_key(rng, generator, op)
    total = int(batch if global_batch is None else global_batch)
    if key.first_sample + batch > total:
        raise ValueError(
            f"{op}: global_batch: must be at least first_sample + batch, got {total} with first_sample ="
            f" {key.first_sample}, batch = {batch}"
        )
    low, high, _, _ = philox4x32(0, 0, key.call, stream.word(), *key.key)
    # G (U + g / G) = G U + g: its whole part modulo G names the stratum, its fraction is the same for every row.
    whole, rest = divmod((int(high) << 32 | int(low)) * total, _TWO_64)
    rows = key.first_sample + np.arange(batch, dtype=np.int64)
    return (whole + rows) % total, rest, total, rows + key.call


def indices(
    op: str,
    steps: int,
    batch: int,
    rng: Philox | int | None,
    generator: torch.Generator | None,
    global_batch: int | None,
    like: Any,
    early: NDArray[np.int64] | None = None,
) -> torch.Tensor | NDArray[np.int64]:
    """k = 1 + floor(steps frac(U + g / G)), int64 (batch,), of every other row put among `early`; see Schedule.draw."""
    m, rest, total, turn = _strata(op, Stream.SCHEDULE_INDEX, batch, rng, generator, global_batch, like)
    # This is floor((m steps + steps f / 2^64) / G); flooring the second term first changes nothing. All of it fits
    # int64, because steps < 2^31 and m < 2^32.
    k = 1 + (m * steps + (rest * steps >> 64)) // total
    if early is not None:
        k = np.where(turn % 2 == 0, k, early[(2 * k - 1) * len(early) // (2 * steps)])
    return _follow(k, like)


def indices_by_tensor(
    steps: int, batch: int, key: torch.Tensor, total: int, early: Callable[[torch.Tensor], torch.Tensor] | None
) -> torch.Tensor:
    """What `indices` gives for a key that is int64 (3,) on any device, by operations of torch that look at nothing.

    total: the global batch, at most 2^31. early: the times among which every other row is put, at an index of them.
    """
    import torch

    seed, first, call = key.unbind()
    words = stream_words((1, 2), torch.stack((seed, torch.zeros_like(first), call)), Stream.SCHEDULE_INDEX)
    low, high = words[0].unbind()
    # The 96 bits of U times the global batch: its whole part, and the two words of its fraction.
    first_part = low * total
    middle = high * total + (first_part >> 32)
    rows = first + torch.arange(batch, device=key.device)
    m, rest = ((middle >> 32) + rows) % total, (middle & WORD_MASK) * steps + ((first_part & WORD_MASK) * steps >> 32)
    k = 1 + (m * steps + (rest >> 32)) // total
    return (
        k if early is None else torch.where((rows + call) % 2 == 0, k, early((2 * k - 1) * EARLY_TIMES // (2 * steps)))
    )


def fractions(
    batch: int, rng: Philox | int | None, generator: torch.Generator | None, global_batch: int | None, like: Any
) -> torch.Tensor | NDArray[np.float64]:
    """u = frac(U + g / G) in (0, 1), float64 (batch,); see Schedule.draw_continuous."""
    op = "Schedule.draw_continuous"
    m, rest, total, _ = _strata(op, Stream.SCHEDULE_CONTINUOUS, batch, rng, generator, global_batch, like)
    # Python rounds a quotient of integers only once. The added 1 is half a unit of U, so that the result is never 0.
    exact = (((stratum << 64 | rest) * 2 + 1) / (total << 65) for stratum in m.tolist())
    return _follow(np.array([min(value, _BELOW_ONE) for value in exact]), like)


def _follow(values: NDArray[Any], like: Any) -> Any:
    if isinstance(like, np.ndarray):
        return values
    if is_tensor(like):
        return to_device(sys.modules["torch"].from_numpy(values), like.device)
    try:
        import torch
    except ImportError:
        return values
    return torch.from_numpy(values)
