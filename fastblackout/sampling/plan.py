"""When and how the steps of a run are taken: their times, the guidance of each, and the last of them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..ground.values import check_integer, check_name, real_array, shown
from ..heads import head_of
from ..models.interface import count_of_grids
from ..models.tuned import Tuned, tuned_at, usual_steps
from ..schedule.grids import times_of
from .rules import LAST_STEPS

if TYPE_CHECKING:
    from ..schedule.schedule import Schedule
    from ..typing import Grid, LastStep


class Plan(NamedTuple):
    """times: from the last of the schedule to 0. guidance: a number a step. tuned: what was found, where it is used.
    grid: the name of the grid that the times are of, where they are of one."""

    times: list[int]
    guidance: list[float]
    last_step: str
    tuned: Tuned | None = None
    grid: Grid | None = None


class Asked(NamedTuple):
    """Arguments of `sample`; None for what was left out."""

    steps: Any
    grid: Any
    guidance: Any
    last_step: Any
    sampler: Any


def plan_of(op: str, model: Any, schedule: Schedule, asked: Asked, labels: bool, usual_last: LastStep = "draw") -> Plan:
    """What was asked for, checked. labels: whether there are any.

    What was left out is as the model was tuned, where it was, no grid is given and the sampler is the bridge, with
    which it is tuned. Else the grid and the number of steps are those of the model's head, the last step is
    `usual_last`, and there is no guidance.
    """
    steps, grid, guidance, last_step, sampler = asked
    head, most = head_of(model), count_of_grids(model)
    usual_steps_of_head = min(head.most_steps, schedule.steps)
    found: dict[int, Tuned] = getattr(model, "tuned", None) or {}
    how: Tuned | None = None
    name: Any = None
    if grid is None and found and sampler == "bridge":
        steps = usual_steps(found) or usual_steps_of_head if steps is None else steps
        how = tuned_at(found, check_integer(op, "steps", steps, 1, schedule.steps), schedule, most)
    if how:
        times = [*how.times]
    else:
        grid = head.grid if grid is None else grid
        if isinstance(grid, str):
            name, steps = grid, usual_steps_of_head if steps is None else steps
        times = times_of(op, "grid", schedule.p, steps, grid, most).tolist()
    if guidance is None:
        guidance = how.guidance if how and labels else 0.0
    if last_step is None:
        last_step = how.last_step if how else usual_last
    check_name(op, "last_step", last_step, LAST_STEPS)
    return Plan(times, _guidances(op, guidance, len(times) - 1, labels), last_step, how, name)


def _guidances(op: str, guidance: Any, steps: int, labels: bool) -> list[float]:
    """One number a step, of a number for all or a list. TypeError or ValueError unless finite and at least 0."""
    forms = f"a number, or a list of {steps}, one a step"
    listed = real_array(op, "guidance", guidance, forms)
    if listed.shape not in ((), (steps,)):
        raise ValueError(f"{op}: guidance: must be {forms}, got {shown(guidance)}")
    found = np.broadcast_to(listed, steps).tolist()
    if not all(math.isfinite(number) and number >= 0 for number in found):
        raise ValueError(f"{op}: guidance: must be finite and at least 0, got {shown(guidance)}")
    if any(found) and not labels:
        raise ValueError(f"{op}: guidance: needs labels, got {shown(guidance)} without")
    return found
