"""Times that need no search: each step but the last leaves the same share of what is not known yet.

e(p) is the mean squared error of the image that a model expects, in whole counts, given the particles of a share p of
it: the variance of the images at p = 0, and 0 at p = 1. (Of an implicit head it is the error of a draw.) All but the
last of n steps lower log e by FALL / n each, or by an n-th of what it has fallen by where LAST_ALIVE are alive, if that
is less; the last goes to the image. So the times follow the model: few particles tell much of a large image, and more
are needed of a small one. A training of images ends with these times (training/trainer.py), and a search begins with
them.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..models.interface import count_of_grids
from ..ops import thin
from ..sampling.plan import Tuned
from ..sampling.rules import Expected
from ..sampling.sampler import evaluating
from ..sampling.steps import Setting, numbers_of, one_step, state_at

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..philox import Philox
    from ..schedule.schedule import Schedule
    from ..typing import Grid

FALL, LAST_ALIVE = 3.5, 0.4  # measured: on MNIST and Fashion-MNIST the first bounds, on digits the second
# The error is measured at the times of these grids.
PLACES: tuple[tuple[Grid, int], ...] = (("early", 26), ("cosine", 6))
NUMBER = 64  # images with which it is measured
STEPS = (2, 3, 5, 10, 20)  # with 50 the usual grids are as good or better


class Errors:
    """The error e of a model at the times of PLACES, of counts x_0 (B, ...) and their labels (B,), if any."""

    def __init__(self, model: Any, schedule: Schedule, x_0: Tensor, labels: Tensor | None, rng: Philox) -> None:
        self.schedule = schedule
        grids = (schedule.grid(min(n, schedule.steps), kind, count_of_grids(model)) for kind, n in PLACES)
        times = sorted({int(k) for grid in grids for k in grid[:-1]}, reverse=True)
        with torch.inference_mode(), evaluating(model):
            setting = Setting(model, schedule, Expected(), labels)
            found = [self._at(setting, x_0, k, rng) for k in times]
        self.times = np.array(times)
        # An error of nothing has no logarithm; less is known of fewer particles, whatever chance says.
        self.logs = np.minimum.accumulate(np.log(np.maximum(found, np.finfo(float).tiny)))

    def _at(self, setting: Setting, x_0: Tensor, k: int, rng: Philox) -> float:
        x_t = thin(x_0, self.schedule.survival(k), rng=rng, outputs=("x_t",), max_count=setting.model.max_count).x_t
        state = state_at(setting.model, x_t, k, rng)
        expected = one_step(setting, numbers_of(setting, k, 0, 0.0), state).x
        return float(((x_0.double() - expected.double()) ** 2).mean())

    def even(self, steps: int) -> list[int]:
        """The times of `steps` steps, from the last of the schedule to 0."""
        logits = np.log(self.schedule.p[self.times[1:]] / self.schedule.q[self.times[1:]])
        last = float(np.interp(np.log(LAST_ALIVE / (1 - LAST_ALIVE)), logits, self.logs[1:]))
        fall = min(FALL, self.logs[0] - last)
        levels = self.logs[0] - fall * np.arange(1, steps) / steps
        odds = np.exp(np.interp(-levels, -self.logs[1:], logits))
        return self.schedule.grid(kind=[0.0, *_rising(odds / (1 + odds)), 1.0]).tolist()


def even_times(model: Any, schedule: Schedule, x_0: Tensor, labels: Tensor | None, rng: Philox) -> dict[int, Tuned]:
    """How a model takes few steps that no search has looked at, by their number."""
    errors = Errors(model, schedule, x_0, labels, rng)
    last_step = model.head_object.last_step(tuple(x_0.shape[1:]), model.max_count)
    day = datetime.date.today().isoformat()
    numbers = [steps for steps in STEPS if steps <= schedule.steps]
    return {steps: Tuned(tuple(errors.even(steps)), (0.0,) * steps, last_step, None, day) for steps in numbers}


def _rising(p: NDArray[np.float64]) -> NDArray[np.float64]:
    """The numbers, each moved up by a little more than the one before, so that equal ones rise."""
    return np.maximum.accumulate(p) * (1 + 1e-12 * np.arange(len(p)))
