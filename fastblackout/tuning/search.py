"""The search: each trial of times and guidance is made where those so far promise samples closer to real ones.

What is searched are moves: by how much each time lies away, in logit p, from the time of the grid "early". Moves are
numbers at a few knots and straight lines between them, because neighbouring times do much the same.
All trials draw with the same key, so that they differ by their times more than by chance. A trial that is behind after
its first samples is given up.
A Gaussian process of log distance over the knots predicts a trial that was not made yet, with a standard deviation. The
next trial is the candidate with the least mean minus BOLDNESS standard deviations (a lower confidence bound; Srinivas
et al. 2010). The result is the trial whose predicted mean is least, so that chance is smoothed out.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..sampling.plan import Tuned, between, early_logits, moved_times, moves_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..schedule.schedule import Schedule

KNOTS, GUIDANCE_KNOTS = 6, 3  # at most
CHANGES = (0.15, 0.4, 0.9)  # standard deviations of the random changes that make candidates of the best point
GUIDANCE_UNIT = 0.4  # a change of guidance that counts as one of 1 in logit p
CANDIDATES = 3000
BOLDNESS = 1.5  # how many standard deviations below its mean a candidate is looked at
LEAST_GAP = 0.3  # in logit p between neighbouring times, in units of the mean gap
FIRST_TRIALS = 8  # the starts and random changes, before the process has enough trials to learn from
BEHIND = 1.1  # how many times as far as the best a trial may be after its first samples


class Point(NamedTuple):
    """What is tried for one number of steps: moves and guidance at knots, from black to image; the last step."""

    steps: int
    moves: tuple[float, ...]
    guidance: tuple[float, ...]
    last_step: str

    def times(self, schedule: Schedule, max_count: int) -> list[int]:
        return moved_times(schedule, max_count, between(np.array(self.moves), self.steps - 1))

    def are_apart(self, max_count: int) -> bool:
        """Whether no two neighbours among the times nearly coincide: such a pair is one step less."""
        gaps = np.diff(early_logits(self.steps - 1, max_count) + between(np.array(self.moves), self.steps - 1))
        return bool((gaps >= LEAST_GAP * np.abs(gaps).mean()).all()) if len(gaps) else True

    def guidances(self) -> list[float]:
        """A number a step, to two digits."""
        return np.round(between(np.array(self.guidance), self.steps), 2).tolist()


def start_of(steps: int, guidance: float, last_step: str) -> Point:
    """The point of the grid "early"."""
    return Point(steps, (0.0,) * min(steps - 1, KNOTS), (guidance,) * min(steps, GUIDANCE_KNOTS), last_step)


def start_near(steps: int, near: Tuned, schedule: Schedule, max_count: int) -> Point:
    """The point that does what was found for another number of steps."""
    moves = between(moves_of(schedule, max_count, near.times), min(steps - 1, KNOTS))
    weights = between(np.array(near.guidance), min(steps, GUIDANCE_KNOTS))
    return Point(steps, tuple(moves.tolist()), tuple(weights.tolist()), near.last_step)


class Search:
    """The trials so far, and which point is `best`.

    starts: the points to try first; the search keeps to the last step of the best of them. guided: whether guidance is
    searched. trials: where an earlier search goes on, its trials in their order.
    """

    def __init__(
        self, starts: Sequence[Point], max_count: int, guided: bool, seed: int,
        trials: Sequence[tuple[Point, list[float]]] = (),
    ) -> None:  # fmt: skip
        self.starts, self.most, self.guided, self.seed = starts, max_count, guided, seed
        self.best, self.distances = starts[0], [np.inf]
        self.trials: list[tuple[Point, list[float]]] = []
        for point, found in trials:
            self._note(point, found)
        self._learn()

    def next(self) -> Point:
        """The point to try next."""
        if len(self.trials) < len(self.starts):
            return self.starts[len(self.trials)]
        vectors = self._candidates(np.random.default_rng([self.seed, self.best.steps, len(self.trials)]))
        if len(self.trials) < FIRST_TRIALS:
            return self._point(vectors[0])
        mean, deviation = self.process.predict(vectors, return_std=True)
        return self._point(vectors[np.argmin(mean - BOLDNESS * deviation)])

    @property
    def limits(self) -> list[float]:
        """How far the next trial may be after each part of its samples but the last, before it is given up."""
        return [BEHIND * distance for distance in self.distances[:-1]]

    def add(self, point: Point, found: list[float]) -> None:
        """Takes note of a trial. found: the distances after each part of its samples, as far as it went."""
        self._note(point, found)
        self._learn()

    def _note(self, point: Point, found: list[float]) -> None:
        self.trials.append((point, found))
        few = len(self.trials) <= FIRST_TRIALS
        if few and len(found) >= len(self.distances) and found[-1] < self.distances[-1]:
            self.best, self.distances = point, found

    def _learn(self) -> None:
        """Fits the process to the trials with the last step that is kept to, and takes for best what it says is."""
        if len(self.trials) < FIRST_TRIALS:
            return
        trials = [trial for trial in self.trials if trial[0].last_step == self.best.last_step]
        self.process = _process(trials, self.trials[0][1])
        if len(self.trials) > FIRST_TRIALS:
            whole = [each for each in trials if len(each[1]) == len(self.distances)]
            mean = self.process.predict(np.array([_vector(point) for point, _ in whole]))
            self.best, self.distances = whole[int(np.argmin(mean))]

    def _candidates(self, random: np.random.Generator) -> NDArray[np.float64]:
        """Changes of the best: of a few numbers, of all, or of all moves and all guidance alike."""
        best, moves = _vector(self.best), len(self.best.moves)
        shape = (CANDIDATES, len(best))
        size = random.choice(CHANGES, (CANDIDATES, 1))
        each, kind = random.standard_normal(shape), random.integers(3, size=(CANDIDATES, 1))
        alike = np.repeat(random.standard_normal((CANDIDATES, 2)), [moves, len(best) - moves], axis=1)
        few = each * (random.random(shape) < 0.3)
        vectors = best + size * np.where(kind == 0, few, np.where(kind == 1, each, alike))
        vectors[:, moves:] = vectors[:, moves:].clip(min=0) if self.guided else best[moves:]
        apart = np.array([self._point(vector).are_apart(self.most) for vector in vectors])
        return vectors[apart] if apart.any() else best[None]

    def _point(self, vector: NDArray[np.float64]) -> Point:
        moves = len(self.best.moves)
        weights = (GUIDANCE_UNIT * vector[moves:]).tolist()
        return self.best._replace(moves=tuple(vector[:moves].tolist()), guidance=tuple(weights))


def _process(trials: Sequence[tuple[Point, list[float]]], first: list[float]) -> Any:
    """The Gaussian process of log distance over the knots.

    first: the distances of a trial that drew all samples. A trial that was given up keeps its ratio to them.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    kernel = ConstantKernel(1.0, (0.01, 100)) * Matern(1.0, (0.3, 30), nu=2.5) + WhiteKernel(0.05, (1e-4, 1.0))
    process = GaussianProcessRegressor(kernel, normalize_y=True, random_state=0)
    distances = np.array([found[-1] * first[-1] / first[len(found) - 1] for _, found in trials])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return process.fit(
            np.array([_vector(point) for point, _ in trials]), np.log(np.maximum(distances, np.finfo(float).tiny))
        )


def _vector(point: Point) -> NDArray[np.float64]:
    return np.array([*point.moves, *(weight / GUIDANCE_UNIT for weight in point.guidance)])
