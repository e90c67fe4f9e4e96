"""When and how the steps of a run are taken: their times, the guidance of each, and the last of them.

A training ends with times for few steps that follow from the model; `fastblackout tune` searches for better ones, and
for guidance. A model carries them in its description, one `Tuned` for each number of steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..ground.values import check_integer, check_name, is_integer, is_number, real_array, shown
from ..heads import head_of
from ..models.interface import count_of_grids
from ..schedule.tables import early_table, nearest_steps
from ..schedule.times import times_of
from .names import LAST_STEPS

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..schedule.schedule import Schedule
    from ..typing import Grid, LastStep

FAR = 3  # the times of a searched number of steps serve for up to so many times more or fewer
GOOD_ENOUGH = 1.1  # how many times the least distance the usual number of steps may have


class Tuned(NamedTuple):
    """How a model is best sampled in one number n of steps, found by a search or by the rule of tuning/even_times.py.

    Parameters
    ----------
    times : tuple of int
        n + 1 time indices, from the last of the schedule to 0.
    guidance : tuple of float
        n numbers, one for each step; 0 without labels.
    last_step : {"draw", "mean"}
        The last step, as in `fb.sample`.
    distance : float or None
        The distance of samples so drawn to training images, which the search does not see, in units of the distance of
        as many real images. It is None where none was measured.
    day : str
        The day on which it was found, such as 2026-11-30.
    """

    times: tuple[int, ...]
    guidance: tuple[float, ...]
    last_step: str
    distance: float | None
    day: str

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self.guidance)


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


def tuned_from(values: Any, schedule: Schedule) -> dict[int, Tuned]:
    """{steps: Tuned} of the dict {"5": {"times": [...], ...}} that a description holds; ValueError for any other."""
    found = {}
    try:
        for name, each in values.items():
            one = Tuned(**{**each, "times": tuple(each["times"]), "guidance": tuple(each["guidance"])})
            right = name == str(one.steps) and one.last_step in ("draw", "mean")
            right &= all(map(is_integer, one.times)) and schedule.grid(one.steps, one.times).tolist() == [*one.times]
            numbers = (*one.guidance, 0 if one.distance is None else one.distance)
            right &= all(is_number(number) and number >= 0 and math.isfinite(number) for number in numbers)
            if not right:
                raise ValueError(f"steps {shown(name)}")
            date.fromisoformat(one.day)
            found[one.steps] = one
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"tuned: must be what fastblackout tune writes, got {shown(values)} ({error})") from None
    return dict(sorted(found.items()))


def to_json(tuned: Mapping[int, Tuned]) -> dict[str, Any]:
    """What `tuned_from` reads."""
    return {str(steps): {**one._asdict(), "times": [*one.times], "guidance": [*one.guidance]}
            for steps, one in sorted(tuned.items())}  # fmt: skip


def usual_steps(tuned: Mapping[int, Tuned]) -> int | None:
    """The fewest steps whose distance is at most GOOD_ENOUGH times the least; None where no distance is known."""
    known = {steps: one.distance for steps, one in tuned.items() if one.distance is not None}
    least = min(known.values(), default=0.0)
    return min((steps for steps, distance in known.items() if distance <= GOOD_ENOUGH * least), default=None)


def nearest(tuned: Mapping[int, Tuned], steps: int) -> Tuned:
    """What was found for the number of steps whose ratio to this one is nearest to 1."""
    return tuned[min(tuned, key=lambda number: (abs(math.log(number / steps)), number))]


def tuned_at(tuned: Mapping[int, Tuned], steps: int, schedule: Schedule, max_count: int) -> Tuned | None:
    """What was found for so many steps, else what follows from the nearest number that was searched, unless that is too
    FAR; else from the nearest number of all, where there are some on both sides; else None.

    In logit p the nearest number's times lie by some amounts away from the grid "early" with as many steps. These
    amounts, interpolated, move the grid "early" with `steps` steps. The guidance is interpolated alike.
    """
    if steps in tuned:
        return tuned[steps]
    searched = {number: one for number, one in tuned.items() if one.distance is not None}
    near = nearest(searched or tuned, steps)
    if near.distance is None or not near.steps / FAR <= steps <= near.steps * FAR:
        near = nearest(tuned, steps)
        if near.distance is not None or not min(tuned) < steps < max(tuned):
            return None
    moves = between(moves_of(schedule, max_count, near.times), steps - 1)
    times = moved_times(schedule, max_count, moves)
    return near._replace(times=tuple(times), guidance=tuple(between(np.array(near.guidance), steps).tolist()))


def moves_of(schedule: Schedule, max_count: int, times: Sequence[int]) -> NDArray[np.float64]:
    """How far the times between the first and the last lie from the grid "early" with as many steps, in logit p."""
    inner = list(times[1:-1])
    return np.log(schedule.p[inner] / schedule.q[inner]) - early_logits(len(inner), max_count)


def moved_times(schedule: Schedule, max_count: int, moves: NDArray[np.float64]) -> list[int]:
    """The times of the grid "early" with as many inner times as there are moves, each moved by so much in logit p."""
    odds = np.exp(early_logits(len(moves), max_count) + moves)
    target = np.concatenate([[1.0], (odds / (1 + odds))[::-1], [0.0]])
    return nearest_steps(schedule.p, target).tolist()


def between(values: NDArray[np.float64], number: int) -> NDArray[np.float64]:
    """`number` values for the given ones, by linear interpolation. Value i of n stands at (i + 1/2) / n, in both."""
    if not len(values):
        return np.zeros(number)
    at = (np.arange(number) + 0.5) / max(number, 1)
    return np.interp(at, (np.arange(len(values)) + 0.5) / len(values), values)


def early_logits(inner: int, max_count: int) -> NDArray[np.float64]:
    """logit p of the grid "early" with so many times between the first and the last."""
    p = early_table(inner + 1, max_count)[-2:0:-1]
    return np.log(p / (1 - p))
