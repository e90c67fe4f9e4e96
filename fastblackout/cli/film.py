"""The film of a sampling: some states of the first samples, from black to the image."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

    from ..training.trained_model import Run

STRIP_ROWS, STRIP_FRAMES = 4, 12
GIF_IMAGES, GIF_FRAMES = 16, 48


class Film:
    """The states that a film strip, and if asked for a GIF, are made of; filled while the samples are drawn.

    alive: p at each state of the sampler, rising. num: how many samples there will be. gif: whether one is asked for.
    """

    def __init__(self, alive: NDArray[np.float64], num: int, gif: bool) -> None:
        self._strip = frames_of(alive, STRIP_FRAMES)
        self._gif = frames_of(alive, GIF_FRAMES) if gif else []
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
        """Takes the states of films in their order, each of which saw the samples after those of the one before."""
        every = list(parts)
        self._states = {n: [x for states in every for x in states[n]] for n in self._states}

    @property
    def strip(self) -> list[NDArray[Any]]:
        """A batch (rows, C, H, W) for each frame."""
        return [np.concatenate(self._states[n])[:STRIP_ROWS] for n in self._strip]

    @property
    def gif(self) -> list[NDArray[Any]]:
        """As `strip`, of more frames and samples."""
        return [np.concatenate(self._states[n])[: self._images] for n in self._gif]


def film_of(run: Run, steps: int, grid: str, num: int, gif: bool) -> Film:
    """The film of so many samples of a run."""
    times = run.schedule.grid(steps, grid, run.model.max_count)
    return Film(run.schedule.p[times], num, gif)


def frames_of(alive: NDArray[np.float64], most: int = STRIP_FRAMES) -> list[int]:
    """Which states of a sampler a film shows, the first and the last among them. alive: p of each, rising.

    They are as even as can be in arcsin sqrt(p), whatever the grid of the sampler: most steps of the grid "early" end
    where nearly nothing is to be seen yet.
    """
    angle, shown = np.arcsin(np.sqrt(alive)), min(most, len(alive))
    frames: list[int] = []
    for at, wanted in enumerate(np.linspace(angle[0], angle[-1], shown)):
        first, end = frames[-1] + 1 if frames else 0, len(alive) - (shown - 1 - at)  # room for those that follow
        frames.append(first + int(np.abs(angle[first:end] - wanted).argmin()))
    return [0, *frames[1:-1], len(alive) - 1]
