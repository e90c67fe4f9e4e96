"""The film of a sampling: some states of the first samples, from black to the image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.plots import Frame

if TYPE_CHECKING:
    import torch

    from ..training.trained_model import Run
    from ..typing import Grid

STRIP_ROWS, STRIP_FRAMES = 4, 12
GIF_IMAGES, GIF_FRAMES = 20, 48


class Film:
    """The states that a film strip, and if asked for a GIF, are made of; filled while the samples are drawn.

    alive: p at each state of the sampler, rising. num: how many samples there will be. gif: whether one is asked for.
    """

    def __init__(self, alive: NDArray[np.float64], max_count: int, num: int, gif: bool) -> None:
        self._alive = alive
        self._strip = frames_of(alive, max_count, STRIP_FRAMES)
        self._gif = frames_of(alive, max_count, GIF_FRAMES) if gif else []
        self._images = min(GIF_IMAGES if gif else STRIP_ROWS, num)
        self._states: dict[int, list[NDArray[Any]]] = {n: [] for n in {*self._strip, *self._gif}}

    def see(self, n: int, x: torch.Tensor) -> None:
        """The counts x of a batch after n steps; called for every n of a batch, and for one batch after another."""
        if n in self._states and (missing := self._images - sum(map(len, self._states[n]))) > 0:
            self._states[n].append(x[:missing].cpu().numpy().copy())

    @property
    def states(self) -> dict[int, list[NDArray[Any]]]:
        """What was seen, by the number of steps; see `join`."""
        return self._states

    def join(self, parts: Iterable[dict[int, list[NDArray[Any]]]]) -> None:
        """Takes the states of films in their order, each of samples that follow the samples of the film before."""
        every = list(parts)
        self._states = {n: [x for states in every for x in states[n]] for n in self._states}

    @property
    def strip(self) -> list[Frame]:
        """The frames of a film strip."""
        return [self._frame(n, STRIP_ROWS) for n in self._strip]

    @property
    def gif(self) -> list[Frame]:
        """As `strip`, of more frames and samples."""
        return [self._frame(n, GIF_IMAGES) for n in self._gif]

    def _frame(self, n: int, images: int) -> Frame:
        return Frame(n, float(self._alive[n]), np.concatenate(self._states[n])[:images])


def film_of(run: Run, steps: int, grid: Grid | list[int], num: int, gif: bool) -> Film:
    """The film of so many samples of a run."""
    times = run.schedule.grid(steps, grid, run.model.max_count)
    return Film(run.schedule.p[times], run.model.max_count, num, gif)


def frames_of(alive: NDArray[np.float64], max_count: int, most: int) -> list[int]:
    """At which states a film has a frame, the first and the last included; at all where these are no more than `most`.

    A film shall brighten evenly. Frames that are even in the steps stay dark for long, or are alike at the end. Of a
    pixel with N particles N p / (1 - p) is the signal-to-noise ratio (the squared mean of what is alive by its
    variance): from 0 to infinity. Frames are even in ratio / (1 + ratio), from 0 to 1, with N = max_count.
    """
    if len(alive) <= most:
        return list(range(len(alive)))
    shown = max_count * alive / (1 - alive + max_count * alive)
    return sorted({int(np.abs(shown - level).argmin()) for level in np.linspace(0, 1, most)})
