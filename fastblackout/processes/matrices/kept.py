"""Transition matrices of many states, kept for the times that come again: one of 4,096 states can take minutes."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .progress import watched

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrices = NDArray[np.float64]

FEWEST = 1024  # matrices of fewer states are made again in little time
MOST_BYTES = 1 << 28


class Kept:
    """The matrices made last, by their time and by how they were made; up to 256 MiB, the oldest leave first."""

    def __init__(self) -> None:
        self._made: OrderedDict[tuple[str, float], Matrices] = OrderedDict()

    def matrices(self, name: str, states: int, t: NDArray[np.float64], make: Callable[..., Matrices]) -> Matrices:
        """make(t), (B, S, S), of which only what is not kept is made. Nobody may write to it.

        name: of `make`, each of whose matrices depends on its time alone.
        """
        if states < FEWEST or not len(t):
            return make(t)
        keys = [(name, time) for time in t.tolist()]
        held = {key: self._made[key] for key in keys if key in self._made}
        missing = [key for key in dict.fromkeys(keys) if key not in held]
        made = None
        if missing:
            with watched(f"P(t), {states} states"):
                made = make(np.array([time for _, time in missing]))
            held.update(zip(missing, made, strict=True))
        for key in list(held)[-max(1, MOST_BYTES // (8 * states**2)) :]:
            self._keep(key, held[key], alone=len(missing) == 1)
        if made is not None and len(made) == len(keys):
            return made
        return held[keys[0]][None] if len(keys) == 1 else np.stack([held[key] for key in keys])

    def _keep(self, key: tuple[str, float], matrix: Matrices, alone: bool) -> None:
        """alone: whether the matrix is all of its memory."""
        if key in self._made:
            self._made.move_to_end(key)
            return
        self._made[key] = matrix if alone else matrix.copy()
        while len(self._made) > 1 and sum(each.nbytes for each in self._made.values()) > MOST_BYTES:
            self._made.popitem(last=False)
