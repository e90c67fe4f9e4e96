"""Where the steps of a reverse run lie: at the times of a grid with a name, or at a list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..ground.values import check_integer, check_name, real_array, shown
from . import tables

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..typing import Grid

GRIDS: tuple[Grid, ...] = ("cosine", "index", "early")
MOST_COUNT = 2**53


def times_of(
    op: str, argument: str, p: NDArray[np.float64], steps: Any, grid: Any, max_count: Any
) -> NDArray[np.int64]:
    """What `Schedule.grid` says, for the survival probabilities p; errors name `op`, and `grid` as `argument`."""
    last = len(p) - 1
    if not isinstance(grid, str):
        return _listed(op, argument, p, steps, grid)
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


def _listed(op: str, argument: str, p: NDArray[np.float64], steps: Any, grid: Any) -> NDArray[np.int64]:
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
