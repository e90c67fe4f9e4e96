"""The search of `fb.tune`: trials of few steps, and how what they find is judged."""

from __future__ import annotations

import datetime
import functools
import hashlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..data.dataset import Dataset
from ..models.interface import count_of_grids
from ..models.labels import classes_of
from ..models.tuned import Tuned, nearest
from ..philox import Philox
from ..sampling.sampler import sample_in_batches
from .closeness import Closeness, closeness_for
from .even import NUMBER, Errors
from .search import Point, Search, start_near, start_of
from .trials import Trials, nothing

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..heads.head import Head
    from ..schedule.schedule import Schedule

BATCH = 200  # samples that are drawn at once
PARTS = 3  # parts of the samples of a trial, which may be given up after each
KEYS = 2  # other keys with which the result is judged
FIRST_GUIDANCE = 0.25
MOST_JUDGED = 12_000  # training images beside which the result is judged
APART = 6  # a sixth of them are compared like the samples, with the others


class Told(NamedTuple):
    """What `tell` of `fb.tune` is given after each trial.

    Parameters
    ----------
    steps : int
        The number of steps that the trial was for.
    trials : int
        How many trials there were.
    best : Tuned
        The best of them.
    distance : float
        Its distance.
    start : float
        The distance of the start.
    seconds : float
        The time that all trials took.
    """

    steps: int
    trials: int
    best: Tuned
    distance: float
    start: float
    seconds: float


class Judged(NamedTuple):
    """How far samples are from images that the search did not see, with keys that it did not use.

    The unit is the distance of as many real images.

    Parameters
    ----------
    before : list of float
        The distances of the grid "early", one for each key.
    after : list of float
        The distances of what is kept, one for each key.
    tuned : Tuned
        What is kept: what was found, or the grid "early" where that is no worse.
    """

    before: list[float]
    after: list[float]
    tuned: Tuned


class Work:
    """A search for one model and one data set: its trials, and how what it finds is judged."""

    def __init__(
        self, model: Any, head: Head, schedule: Schedule, data: Dataset, num: int, seed: int, state: Any
    ) -> None:
        self.model, self.head, self.schedule, self.data = model, head, schedule, data
        self.num, self.seed, self.most = num, seed, count_of_grids(model)
        self.device = next((p.device for p in getattr(model, "parameters", lambda: iter(()))()), torch.device("cpu"))
        self.classes = classes_of(model)
        rows = _in_turn(data.held_out_labels if self.classes else None, len(data.held_out))
        self.distance, self.what = closeness_for(data, data.held_out[rows], self.device)
        if min(len(rows), self._unseen[0]) < 2 * PARTS:
            raise ValueError(f"tune: data: must have {2 * PARTS * APART} samples or more of each kind, got fewer")
        self.state = Trials(state, self._about()) if state is not None else None

    def _about(self) -> dict[str, Any]:
        """What the trials of a search depend on."""
        digest = hashlib.sha256()
        for name, value in getattr(self.model, "network", self.model).state_dict().items():
            digest.update(name.encode() + np.ascontiguousarray(value.detach().float().cpu().numpy()).tobytes())
        weights = digest.hexdigest()
        return {"weights": weights, "data": self.data.sha256, "num": self.num, "seed": self.seed}

    def search(self, number: int, seconds: float, tell: Callable[[Told], None] | None) -> Point:
        kept = self.state.of(number) if self.state else nothing()
        trials = [(Point(number, tuple(m), tuple(g), last), found) for (m, g, last), found in kept["trials"]]
        search = Search(self._starts(number), self.most, self.classes > 0, self.seed, trials)
        began, spent = time.monotonic() - kept["seconds"], kept["seconds"]
        while not search.trials or spent < seconds:
            point = search.next()
            search.add(point, self.trial(point, search.limits))
            spent = time.monotonic() - began
            if self.state:
                self.state.keep(number, spent, search.trials)
            if tell:
                now = (self._tuned(search.best), search.distances[-1], search.trials[0][1][-1])
                tell(Told(number, len(search.trials), *now, spent))
        return search.best

    def _starts(self, number: int) -> list[Point]:
        """Even times, and those that were found for the nearest other number of steps, with every last step."""
        early = self._early(number)
        found = [self._tuned(early)._replace(times=tuple(self._errors.even(number)))]
        searched = {steps: one for steps, one in self.model.tuned.items() if one.distance is not None}
        if others := {steps: one for steps, one in searched.items() if steps != number}:
            found.append(nearest(others, number))
        points = [start_near(number, one, self.schedule, self.most) for one in found]
        last_steps = [early.last_step]
        if self.head.gives_law and not self.data.is_table:  # else a draw is the mean, or the whole law is needed
            last_steps.append({"draw": "mean", "mean": "draw"}[early.last_step])
        return [point._replace(last_step=name) for point in points for name in last_steps]

    def _early(self, number: int) -> Point:
        """What a model that was not tuned does with few steps, but for some guidance."""
        last_step = self.head.last_step(self.data.shape, self.most)
        return start_of(number, FIRST_GUIDANCE if self.classes else 0.0, last_step)

    @functools.cached_property
    def _errors(self) -> Errors:
        rows = _in_turn(self.data.held_out_labels if self.classes else None, len(self.data.held_out))[:NUMBER]
        x_0, labels = torch.from_numpy(self.data.held_out[rows]).to(self.device), None
        if self.classes and self.data.held_out_labels is not None:
            labels = torch.from_numpy(self.data.held_out_labels[rows]).to(self.device)
        return Errors(self.model, self.schedule, x_0, labels, Philox(self.seed))

    def trial(self, point: Point, limits: list[float]) -> list[float]:
        """The distances of a part of the samples, of two parts, ..., until one is above its limit."""
        parts, found = [], []
        for images in self._draw(point, Philox(self.seed), [self.num * part // PARTS for part in range(PARTS + 1)]):
            parts.append(images)
            found.append(self.distance(np.concatenate(parts)))
            if len(found) <= len(limits) and found[-1] > limits[len(found) - 1]:
                break
        return found

    def _draw(self, point: Point, key: Philox, ends: list[int]) -> Iterator[NDArray[Any]]:
        """Samples ends[0] .. ends[1] - 1 of the key, then those to ends[2] - 1, and so on."""
        how: dict[str, Any] = {"grid": point.times(self.schedule, self.most), "last_step": point.last_step}
        for first, end in zip(ends, ends[1:], strict=False):
            labels = None
            if self.classes:
                labels = (torch.arange(first, end) % self.classes).to(self.device)
                how["guidance"] = point.guidances()
            shape = (end - first, *self.data.shape)
            drawn = sample_in_batches(
                self.model, self.schedule, shape, BATCH, key.at(first_sample=first), labels, **how
            )
            yield np.concatenate([part.cpu().numpy() for part in drawn])

    def judge(self, number: int, best: Point) -> Judged:
        """Beside the training images, with KEYS other keys."""
        count, distance, floor = self._unseen
        before: list[float] = []
        after: list[float] = []
        for key in range(1, KEYS + 1):
            for point, ratios in ((self._early(number), before), (best, after)):
                images = next(self._draw(point, Philox(self.seed + key), [0, count]))
                ratios.append(float(distance(images) / floor))
        if np.mean(before) <= np.mean(after):  # the search has found what fits its own images and key alone
            best, after = self._early(number), before
        return Judged(before, after, self._tuned(best, float(np.mean(after))))

    @functools.cached_property
    def _unseen(self) -> tuple[int, Closeness, float]:
        """How many samples are judged; their distance to nearly all of MOST_JUDGED training images; the distance of as
        many of the others, the mean over subsets of them."""
        rows = _in_turn(self.data.train_labels if self.classes else None, len(self.data.train))[:MOST_JUDGED]
        apart = len(rows) // APART
        real = self.data.train[rows[:apart]]
        distance, _ = closeness_for(self.data, self.data.train[rows[apart:]], self.device)
        count = min(self.num, len(real))
        floors = [distance(real[first : first + count]) for first in range(0, len(real) - count + 1, count)]
        return count, distance, float(np.mean(floors))

    def _tuned(self, point: Point, distance: float | None = None) -> Tuned:
        times, guidance = tuple(point.times(self.schedule, self.most)), tuple(point.guidances())
        return Tuned(times, guidance, point.last_step, distance, datetime.date.today().isoformat())


def _in_turn(labels: NDArray[np.int64] | None, number: int) -> NDArray[np.int64]:
    """Rows at random, of all classes in turn, as many of each as of the rarest; without labels all rows."""
    random = np.random.default_rng(0)
    if labels is None:
        return random.permutation(number)
    there, counts = np.unique(labels, return_counts=True)
    rows = [random.permutation(np.flatnonzero(labels == label))[: counts.min()] for label in there]
    return np.stack(rows, axis=1).ravel()
