"""Transition matrices of many states take minutes: they are kept for times that come again, and a bar shows how far."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrices = NDArray[np.float64]


SILENCE = 3.0  # seconds before a bar appears

_bar: ContextVar[Any] = ContextVar("bar of P(t)", default=None)


@contextlib.contextmanager
def watched(what: str) -> Iterator[None]:
    """Within the block the products of matrices that `expect` and `done` tell of are shown on stderr."""
    terminal = sys.stderr is not None and sys.stderr.isatty()
    if not terminal or importlib.util.find_spec("tqdm") is None:  # the lack of a bar is nothing to fail for
        yield
        return
    from tqdm import tqdm

    shape = what + ": {percentage:3.0f}%|{bar}| {n:.0f}/{total:.0f} products [{elapsed}<{remaining}]"
    with tqdm(total=0, delay=SILENCE, leave=False, file=sys.stderr, dynamic_ncols=True, bar_format=shape) as bar:
        token = _bar.set(bar)
        try:
            yield
        finally:
            _bar.reset(token)


def expect(products: float) -> None:
    """So many more are to come, at most: a process may forget its start before."""
    if (bar := _bar.get()) is not None:
        bar.total += products


def done(products: float = 1.0) -> None:
    if (bar := _bar.get()) is not None:
        bar.update(products)


FEWEST = 1024  # matrices of fewer states are made again in little time
MOST_BYTES = 1 << 28


class MatrixCache:
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
        new = None
        if missing:
            with watched(f"P(t), {states} states"):
                new = make(np.array([time for _, time in missing]))
            held.update(zip(missing, new, strict=True))
        for key in list(held)[-max(1, MOST_BYTES // (8 * states**2)) :]:
            self._keep(key, held[key], alone=len(missing) == 1)
        if new is not None and len(new) == len(keys):
            return new
        return held[keys[0]][None] if len(keys) == 1 else np.stack([held[key] for key in keys])

    def _keep(self, key: tuple[str, float], matrix: Matrices, alone: bool) -> None:
        """alone: whether the matrix is all of its memory."""
        if key in self._made:
            self._made.move_to_end(key)
            return
        self._made[key] = matrix if alone else matrix.copy()
        while len(self._made) > 1 and sum(matrix.nbytes for matrix in self._made.values()) > MOST_BYTES:
            self._made.popitem(last=False)
