"""Which samples a training step sees: a function of (seed, step) alone, so there is nothing to save for a resume."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..call.keys import seed_of
from ..ground.named import named
from ..philox import Philox
from ..reference.philox import Stream, philox4x32


def _blocks(count: int, seed: int, call: int, stream: Stream) -> tuple[NDArray[np.uint32], ...]:
    index = np.arange(count, dtype=np.uint32)
    return philox4x32(0, index, call, stream.word(), seed & 0xFFFFFFFF, seed >> 32 & 0xFFFFFFFF)


def permutation(count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """A random order of 0..count-1: argsort of 64-bit keys Philox(c1 = index, c2 = epoch, stream DATA_ORDER)."""
    word_0, word_1, _, _ = _blocks(count, seed, epoch, Stream.DATA_ORDER)
    return np.argsort(word_0.astype(np.uint64) << np.uint64(32) | word_1, kind="stable")


class BatchOrder:
    """The samples of each training step: parts of an endless sequence of random orders.

    ::

        step s takes samples s batch .. (s + 1) batch - 1

    Every epoch shows each sample exactly once. A batch may straddle two epochs, and may be larger than the data.

    Parameters
    ----------
    count : int
        The number of samples.
    batch : int
        The samples of a step.
    rng : Philox or int
        The key of the orders, or its seed.

    Examples
    --------
    >>> order = fb.data.BatchOrder(5, 2, rng=0)
    >>> [order.indices(step).tolist() for step in range(5)]
    [[1, 4], [0, 2], [3, 4], [0, 1], [3, 2]]
    """

    @named
    def __init__(self, count: int, batch: int, rng: Philox | int) -> None:
        self.count, self.batch, self._seed = count, batch, seed_of("BatchOrder", rng)
        self._kept: tuple[int, NDArray[np.int64]] | None = None

    def indices(self, step: int) -> NDArray[np.int64]:
        """The samples of a step.

        Parameters
        ----------
        step : int
            The step, 0, 1, ...

        Returns
        -------
        numpy.ndarray
            The places of the samples, int64 (batch,).
        """
        position = np.arange(step * self.batch, (step + 1) * self.batch)
        epoch, offset = np.divmod(position, self.count)
        parts = [self._permutation(int(e))[offset[epoch == e]] for e in np.unique(epoch)]
        return np.concatenate(parts)

    def epochs_done(self, steps: int) -> int:
        """How many whole epochs the first steps cover.

        Parameters
        ----------
        steps : int
            The number of steps.

        Returns
        -------
        int
            The number of epochs.
        """
        return steps * self.batch // self.count

    def _permutation(self, epoch: int) -> NDArray[np.int64]:
        if self._kept is None or self._kept[0] != epoch:
            self._kept = epoch, permutation(self.count, self._seed, epoch)
        return self._kept[1]


@named
def flip_rows(batch: int, rng: Philox | int, step: int) -> NDArray[np.bool_]:
    """Which rows of a step's batch to mirror.

    ::

        bit 0 of Philox(c1 = row, c2 = step, stream DATA_FLIP)

    Parameters
    ----------
    batch : int
        The number of rows.
    rng : Philox or int
        The key of the run, or its seed.
    step : int
        The step.

    Returns
    -------
    numpy.ndarray
        bool (batch,).
    """
    return (_blocks(batch, seed_of("flip_rows", rng), step, Stream.DATA_FLIP)[0] & 1).astype(bool)
