"""Times of a schedule: those of the steps of a reverse run, and those drawn for a batch.

A run's lie at the times of a grid with a name, or of a list. A batch's are low-discrepancy uniforms over the global
batch: one random shift, then evenly spaced points; in integers throughout.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import to_device
from ..backends.tensors import stream_words
from ..call.keys import late_key
from ..ground.values import check_integer, check_name, is_tensor, real_array, shown
from ..philox import WORD_MASK, Philox
from ..reference.philox import Stream, philox4x32
from . import tables

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..typing import Grid

GRIDS: tuple[Grid, ...] = ("cosine", "index", "early")
MOST_COUNT = 2**53
_TWO_64 = 1 << 64
_BELOW_ONE = 1.0 - 2.0**-53
_MAX_BATCH = (1 << 32) - 1


def times_of(
    op: str, argument: str, p: NDArray[np.float64], steps: Any, grid: Any, max_count: Any
) -> NDArray[np.int64]:
    """What `Schedule.grid` says, for the survival probabilities p; errors name `op`, and `grid` as `argument`."""
    last = len(p) - 1
    if not isinstance(grid, str):
        return _listed_times(op, argument, p, steps, grid)
    check_name(op, argument, grid, GRIDS)
    check_integer(op, "steps", steps, 1, last)
    i = np.arange(steps + 1, dtype=np.int64)
    if grid == "index":
        return ((2 * last * i + steps) // (2 * steps))[::-1].copy()
    if grid == "early":
        target = tables.early_table(steps, check_integer(op, "max_count", max_count, 1, MOST_COUNT))
    else:
        target, _ = tables.cosine_table(steps)
    return tables.nearest_steps(p, target)


def _listed_times(op: str, argument: str, p: NDArray[np.float64], steps: Any, grid: Any) -> NDArray[np.int64]:
    last = len(p) - 1
    forms = f"one of {', '.join(GRIDS)}, or a list of times"
    listed = np.asarray(real_array(op, argument, grid, forms), np.float64)
    if listed.ndim != 1 or not 2 <= len(listed) <= last + 1:
        raise ValueError(f"{op}: {argument}: a list must have 2..{last + 1} numbers, got {shown(grid)}")
    if steps is not None and check_integer(op, "steps", steps, 1, last) != len(listed) - 1:
        rule = f"must be left out or {len(listed) - 1} beside a grid of {len(listed)} times"
        raise ValueError(f"{op}: steps: {rule}, got {shown(steps)}")
    if listed[0] > listed[-1]:
        whole = listed[0] == last and listed[-1] == 0 and (np.diff(listed) < 0).all() and (listed % 1 == 0).all()
        if not whole:
            rule = f"time indices must be integers that decrease from {last} to 0 (survival probabilities increase)"
            raise ValueError(f"{op}: {argument}: {rule}, got {shown(grid)}")
        return listed.astype(np.int64)
    rises = listed[-1] == 1 and (np.diff(listed) > 0).all()  # False for NaN
    if not rises or listed[0] < 0 or tables.nearest(p, listed[:1])[0] != last:
        rule = "survival probabilities must increase from 0 to 1 (time indices decrease)"
        raise ValueError(f"{op}: {argument}: {rule}, got {shown(grid)}")
    return tables.nearest_steps(p, listed[::-1])


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


def draw_indices(
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


def draw_indices_by_tensor(
    steps: int, batch: int, key: torch.Tensor, total: int, early: Callable[[torch.Tensor], torch.Tensor] | None
) -> torch.Tensor:
    """What `draw_indices` gives for a key that is int64 (3,) on any device, by torch's operations that look at nothing.

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
    if early is None:
        return k
    return torch.where((rows + call) % 2 == 0, k, early((2 * k - 1) * tables.EARLY_TIMES // (2 * steps)))


def draw_fractions(
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
