"""`fb.tune`: a search for the way to sample in few steps, judged on other images with other keys."""

from __future__ import annotations

import datetime
import functools
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..atomic_files import atomic_write, read_plain
from ..call.keys import seed_of
from ..data.dataset import Dataset
from ..evaluation.features import features_for
from ..evaluation.samples import Gaussian
from ..ground.extras import is_there, lacking
from ..ground.named import named
from ..ground.values import check_integer, is_number, shown
from ..models.interface import check_schedule, classes_of, count_of_grids, described_by, model_and_head
from ..philox import SEED_END, Philox
from ..sampling.plan import Tuned, nearest
from ..sampling.sampler import sample_in_batches
from .even_times import NUMBER, Errors
from .search import Point, Search, start_near, start_of

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
FORMAT = "fastblackout-tuning"  # of the file of trials
Closeness = Callable[["NDArray[Any]"], float]


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


@named
def tune(
    model: Callable[..., Any],
    schedule: Schedule,
    data: Dataset,
    steps: Sequence[int] = (5, 10, 20),
    minutes: float = 30.0,
    *,
    num: int = 600,
    rng: Philox | int = 1,
    state: str | os.PathLike[str] | None = None,
    tell: Callable[[Told], None] | None = None,
) -> dict[int, Judged]:
    """Search the times, the guidance and the last step with which a model is best sampled in few steps.

    What is found stands in `model.tuned`, and `fb.sample` uses it where it is given no grid.

    Parameters
    ----------
    model : BlackoutModel or torch.nn.Module
        The model, as in `fb.sample`.
    schedule : Schedule
        The schedule of the model.
    data : Dataset
        Data of the kind that the model was trained on.
    steps : sequence of int, default (5, 10, 20)
        The numbers of steps to search for, each at least 2.
    minutes : float, default 30.0
        The time of the search, shared equally by the numbers of steps. The judging comes on top. With 0 the times are
        those that the search begins with, for which each step leaves the same share of what is not known yet.
    num : int, default 600
        The samples of a trial.
    rng : Philox or int, default 1
        The key of the draws and of the search, or its seed.
    state : str or os.PathLike, optional
        A JSON file that keeps all trials. A search that was interrupted, or is given more minutes, goes on with it.
    tell : callable, optional
        `tell(told)` is called after each trial with a `Told`.

    Returns
    -------
    dict of int to Judged
        For each number of steps, how far samples are from training images before and after, in units of the distance of
        as many real images.

    Raises
    ------
    TypeError
        If an argument has a wrong type.
    ValueError
        If an argument is out of range, the data do not fit the model, or the search lacks scikit-learn.

    Notes
    -----
    For each number of steps, the search looks for the least distance between samples and held-out images, equally many
    of each class. The distance is the Frechet distance in the features of the network that evaluation has for the data,
    else of raw pixels. For tables it is the energy distance. Every trial draws `num` samples with the key `rng`.

    Then it draws with other keys what it found and the grid "early", compares both with training images, and keeps the
    better.

    Examples
    --------
    With a run and its data::

        judged = fb.tune(run.model, run.schedule, fb.data.load("digits"), [5], minutes=1.0)
    """
    op = "tune"
    net, head = model_and_head(op, model)
    check_schedule(op, schedule, net)
    if not isinstance(data, Dataset):
        raise TypeError(f"{op}: data: must be a fastblackout.data.Dataset, got {type(data).__name__}")
    if getattr(described_by(net), "bounded", True) and data.max_count != net.max_count:
        raise ValueError(f"{op}: data: max_count must be {net.max_count}, as in the model, got {data.max_count}")
    if not isinstance(steps, Sequence) or isinstance(steps, str) or not steps:
        raise TypeError(f"{op}: steps: must be a list of numbers of steps, got {shown(steps)}")
    steps = sorted({check_integer(op, "steps", number, 2, schedule.steps) for number in steps})
    if not is_number(minutes) or not 0 <= minutes < float("inf"):
        raise ValueError(f"{op}: minutes: must be at least 0, got {shown(minutes)}")
    num = check_integer(op, "num", num, 2 * PARTS, 1 << 20)
    seed = seed_of(op, rng, SEED_END - 1 - KEYS)
    if tell is not None and not callable(tell):
        raise TypeError(f"{op}: tell: must be called with a Told, got {shown(tell)}")
    if minutes and not is_there("scikit-learn"):
        raise lacking(f"{op}: minutes above 0", "scikit-learn")
    if getattr(net, "tuned", None) is None:
        net.tuned = {}
    work = Work(net, head, schedule, data, num, seed, state)
    found = {}
    for number in steps:
        best = work.search(number, 60 * minutes / len(steps), tell)
        found[number] = work.judge(number, best)
        net.tuned[number] = found[number].tuned
    return found


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
        kept = self.state.of(number) if self.state else _nothing()
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


class Trials:
    """The trials of a search by number of steps, kept in a JSON file."""

    def __init__(self, path: Any, about: dict[str, Any]) -> None:
        self.path = Path(path)
        self.content: dict[str, Any] = {"format": FORMAT, "about": about, "steps": {}}
        if not self.path.exists():
            return
        try:
            kept = json.loads(read_plain(self.path))
            if kept["format"] != FORMAT:
                raise KeyError("format")
            same = kept["about"] == about
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"tune: state: {self.path} was not written by tune ({error})") from None
        if not same:
            rule = "is of another model, other data, or another num or rng; delete it to begin anew"
            raise ValueError(f"tune: state: {self.path} {rule}")
        self.content = kept

    def of(self, number: int) -> dict[str, Any]:
        kept: dict[str, Any] = self.content["steps"].get(str(number), _nothing())
        return kept

    def keep(self, number: int, seconds: float, trials: list[tuple[Point, list[float]]]) -> None:
        listed = [[[*point[1:]], found] for point, found in trials]
        self.content["steps"][str(number)] = {"seconds": seconds, "trials": listed}
        atomic_write(self.path, json.dumps(self.content).encode())


def _nothing() -> dict[str, Any]:
    return {"seconds": 0.0, "trials": []}


class InFeatures:
    """The Frechet distance (Dowson and Landau 1982) of images to `real` ones in features."""

    def __init__(self, features: Callable[..., Any], real: NDArray[Any]) -> None:
        self.features, self.law = features, Gaussian(features(real))

    def __call__(self, samples: NDArray[Any]) -> float:
        return self.law.distance(Gaussian(self.features(samples)))


class ByEnergy:
    """The energy distance 2 E|x - y| - E|x - x'| - E|y - y'| of rows to `real` ones, of log(1 + count).

    The means are over all pairs of rows, also of a row and itself. So the distance is never negative.
    Source: Szekely and Rizzo 2013.
    """

    def __init__(self, real: NDArray[Any]) -> None:
        self.real = _logs(real)
        self.among = _mean_distance(self.real, self.real)

    def __call__(self, samples: NDArray[Any]) -> float:
        x = _logs(samples)
        return max(2 * _mean_distance(x, self.real) - _mean_distance(x, x) - self.among, 0.0)


def closeness_for(data: Dataset, real: NDArray[Any], device: str | torch.device = "cpu") -> tuple[Closeness, str]:
    """The distance to `real` samples of a data set, and what it is called.

    Images: the Frechet distance in the features of the network that evaluation has for them, else in their pixels.
    Tables: the energy distance.
    """
    if data.is_table:
        return ByEnergy(real), "energy distance of log(1 + count)"
    if features := features_for(data, device):
        return InFeatures(lambda images: features(images), real), f"Frechet distance in features of {features.name}"
    return InFeatures(_flat, real), "Frechet distance of raw pixels"


def _flat(images: NDArray[Any]) -> NDArray[Any]:
    return images.reshape(len(images), -1)


def _logs(rows: NDArray[Any]) -> NDArray[Any]:
    return np.log1p(_flat(rows).astype(np.float64))


def _mean_distance(x: NDArray[Any], y: NDArray[Any]) -> float:
    total, norms = 0.0, (y**2).sum(axis=1)
    for part in np.array_split(x, -(-len(x) // 256)):
        squared = (part**2).sum(axis=1)[:, None] + norms - 2 * part @ y.T
        total += float(np.sqrt(squared.clip(min=0)).sum())
    return total / (len(x) * len(y))
