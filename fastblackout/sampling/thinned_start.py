"""The reverse process from counts that are seen: x_t = y where a share p of the particles is still alive.

A thinned count y ~ Binomial(x_0, p) is a state of the forward process at survival p. So the process that starts there
draws x_0 given y. Samples may have different shares: each has its own times, in as many steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..heads.head import rows_of
from ..probability import Prob
from ..schedule import tables
from .rules import Expected
from .steps import Setting, StepNumbers, expected_births, one_step, state_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from ..philox import Philox
    from ..schedule.schedule import Schedule

_LEAST = 1e-30  # stands for 1 - p where p = 1, lest a logarithm be infinite: no birth is left there
_NEAR = 1e-9  # a 1 - p so small that a ratio to it has the digits of its limit


class Stages(NamedTuple):
    """Where samples are before each step and after the last: arrays (steps + 1, B). k: the time that the network is
    asked about, 0 at the end; p and q = 1 - p: the survival probability, which at the start lies between two times."""

    k: NDArray[np.int64]
    p: NDArray[np.float64]
    q: NDArray[np.float64]

    def of(self, rows: Any) -> Stages:
        return Stages(self.k[:, rows], self.p[:, rows], self.q[:, rows])


def stages(schedule: Schedule, share: NDArray[np.float64], steps: int) -> Stages:
    """Equal steps of the angle arccos sqrt(p) from each share (B,) to p = 1, at the nearest times of the schedule.

    The angle is the Fisher-Rao length of the binomial family, by which the grid "cosine" is even, too. "early" is
    none for a start here: it spends its steps where nearly nothing is alive, which a seen image has behind it.
    """
    angle = np.arccos(np.sqrt(share)) * (1 - np.arange(steps + 1) / steps)[:, None]
    k = tables.nearest(schedule.p, (np.cos(angle) ** 2).ravel()).reshape(angle.shape)
    k[0] = np.maximum(k[0], 1)
    k[-1] = 0
    p, q = schedule.p[k], schedule.q[k]
    p[0], q[0] = share, 1 - share
    # Where a start is close to p = 1, the nearest time may lie before it: it stays where it is until times lie after.
    before = q > q[0]
    p, q = np.where(before, p[0], p), np.where(before, q[0], q)
    return Stages(np.minimum(k, k[0]), p, q)


def draw_from(
    setting: Setting, x: Tensor, places: Stages, key: Philox, see: Callable[[int], None] = lambda samples: None
) -> Tensor:
    """Draws of x_0 given the counts x (B, ...), which are at the first of `places`, by the rule Bridge(). The n-th step
    draws with key.at(call=n); `see` is told of the samples of each step."""
    state = state_at(setting.model, x, _on(x, places.k[0]), key)
    for n in range(len(places.k) - 1):
        state = one_step(setting, _numbers(setting, places, n, x), state._replace(key=key.at(call=n)))
        see(len(x))
    return state.x


def births_expected(setting: Setting, x: Tensor, share: NDArray[np.float64], key: Philox) -> Tensor:
    """E[x_0 - x_t | x_t] divided by 1 - p, float64 like the counts x (B, ...) at the shares p (B,): by one call of the
    network, and at p = 1 the limit."""
    setting, places = setting._replace(rule=Expected()), stages(setting.schedule, share, 1)
    places.q[0] = np.maximum(places.q[0], _NEAR)
    state = state_at(setting.model, x, _on(x, places.k[0]), key)
    _, births = expected_births(setting, _numbers(setting, places, 0, x), state)
    return births / rows_of(_on(x, places.q[0]), x)


def _numbers(setting: Setting, places: Stages, n: int, like: Tensor) -> StepNumbers:
    """The numbers of step n, (B,) each."""
    model, schedule = setting.model, setting.schedule
    asked = np.maximum(places.k[n], 1)
    ends = places.p[n + 1], places.q[n + 1], places.p[n], np.maximum(places.q[n], _LEAST)
    birth, rest = tables.birth(np, *ends)
    arrived = places.q[n] == 0  # nothing is left to be born
    birth, rest = np.where(arrived, 0.0, birth), np.where(arrived, 1.0, rest)
    between = np.maximum(places.q[n], _LEAST) / schedule.q[asked]
    time, following = _on(like, asked), _on(like, places.k[n + 1])
    number = setting.head.number(model, time)
    number = setting.head.number_between(number, _on(like, between))
    network = number, model.center(following), model.scale(following)
    return StepNumbers(time, *network, 0.0, 1.0, 0.0, Prob(1.0, 0.0), (_on(like, birth), _on(like, rest)))


def _on(like: Tensor, values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values)).to(like.device)
