"""P(d) and X P(d) for short times d by the series of uniformization, all times with the same powers of T."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...backends import select
from ...reference import power_series as reference
from .progress import done, expect
from .rounding import TOGETHER, UNIT, gamma, normalize, row_sums, weighted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

ROW_SUM = 4e-15  # a row whose sum is further from 1 is divided by it
_POWERS_BYTES = 1 << 26  # the most bytes of powers of T held at once
_TIMES = 64  # so many times are summed together, with one number of terms
MOST_DIAGONALS = 8
_BAND = 64  # so many rows of a banded matrix are multiplied at once


class Terms(NamedTuple):
    """How much of each power some times take; see poisson_weights."""

    mean: Matrix
    weights: Matrix
    needed: NDArray[np.intp]
    tails: Matrix

    def take(self, times: NDArray[np.intp]) -> Terms:
        needed = self.needed[times]
        weights = np.ascontiguousarray(self.weights[times, : needed.max(initial=1)])
        return Terms(self.mean[times], weights, needed, self.tails[times])


def poisson_weights(mean: Matrix, tolerance: float) -> Terms:
    """(B, K) Poisson(k; mean) over their sum, how many terms (B,) each time needs, and bounds of the tails left out.

    A tail is at most `tolerance`; a row's weights are 0 from the first term it does not need.
    """
    columns = [np.exp(-mean)]
    needed = np.zeros(len(mean), dtype=np.intp)
    tails = np.zeros(len(mean))
    while not needed.all():
        k = len(columns)
        columns.append(columns[-1] * (mean / k))
        # w_k + w_{k+1} + ... <= w_k / (1 - mean / (k + 1)); the factor covers the roundings.
        rest = 1.001 * columns[-1] / np.maximum(1 - mean / (k + 1), 0.01)
        enough = (needed == 0) & (((k > mean) & (rest <= tolerance)) | (rest < 1e-290))
        needed[enough], tails[enough] = k, rest[enough]
    weights = np.stack(columns[:-1], 1)
    weights[np.arange(weights.shape[1]) >= needed[:, None]] = 0.0
    # One by one: zeros at the end change no bit.
    return Terms(mean, weights / weights.cumsum(1)[:, -1:], needed, tails)


class Powers:
    """T^k, k = 0..made - 1, of some rows, the sums of these rows, and room for more."""

    def __init__(self, terms: int, rows: int, states: int) -> None:
        self.values, self.sums = np.empty((terms, rows, states)), np.empty((terms, rows))
        self.rows, self.made = slice(0, 0), 0


class Series:
    """sum over k of Poisson(k; q d) X T^k, X = I or, where T has few diagonals, any matrix."""

    def __init__(self, jumps: Matrix, rate: float, longest: float, tolerance: float) -> None:
        self.states, self.rate, self.jumps, self.tolerance = len(jumps), rate, jumps, tolerance
        rows, columns = np.nonzero(jumps)
        offsets = _offsets(jumps)
        self.few = len(offsets) <= MOST_DIAGONALS
        self.diagonals = diagonals_of(jumps) if self.few else None
        self.width = int(max(np.bincount(rows).max(), np.bincount(columns).max()))
        self.most = int(poisson_weights(np.array([longest]), tolerance).needed[0])
        # Further from the diagonal P(d) is 0.
        self.reach = min(self.states, self.most * max(map(abs, offsets)))
        self.block = max(1, min(self.states, _POWERS_BYTES // (8 * self.most * self.states)))
        self.fits = self.block == self.states

    def room(self, terms: int | None = None) -> Powers:
        """For the powers of `block` rows."""
        return Powers(terms or self.most, self.block, self.states)

    def powers(self, count: int, rows: slice, room: Powers) -> tuple[Matrix, Matrix]:
        """The first `count` powers of these rows and their sums, made in `room` unless they are there."""
        if rows != room.rows:
            room.rows, room.made = rows, 0
        height = rows.stop - rows.start
        values, sums = room.values[:count, :height], room.sums[:count, :height]
        for k in range(room.made, count):
            if k:
                np.matmul(values[k - 1], self.jumps, out=values[k])
            else:
                values[0] = np.eye(height, self.states, rows.start)
            sums[k] = row_sums(values[k])
            done(height / self.states)
        room.made = max(room.made, count)
        return values, sums

    def terms_at(self, d: Matrix) -> Terms:
        return poisson_weights(self.rate * d, self.tolerance)

    def into(
        self,
        result: Matrix,
        places: NDArray[np.intp],
        terms: Terms,
        start: Matrix | None = None,
        room: Powers | None = None,
    ) -> Matrix:
        """Writes result[places[b]] = X P(d[b]), X = `start` or I; a bound of each error, without the error of X.

        terms: of the times d. room: for powers by products, kept from call to call.
        """
        order = np.argsort(terms.mean, kind="stable")
        places, (mean, weights, needed, tails) = places[order], terms.take(order)
        if self.diagonals is not None:
            off = _along_diagonals(*self.diagonals, weights, needed, start, result, places)
        else:
            off = self._by_products(weights, needed, result, places, room)
        error = mean * (10 * UNIT + gamma(self.width)) + 8 * UNIT + gamma(2 * needed) + 2 * tails
        for b in np.flatnonzero(off > ROW_SUM).tolist():
            error[b] += normalize(result[places[b]]) + rounding_of_sums(self.states)
        errors = np.empty(len(order))
        errors[order] = np.where(mean == 0.0, 0.0, error)
        return errors

    def _by_products(
        self,
        weights: Matrix,
        needed: NDArray[np.intp],
        result: Matrix,
        places: NDArray[np.intp],
        room: Powers | None,
    ) -> Matrix:
        """Writes the sums into `result`; how far their rows are from 1, (B,)."""
        count, size = weights.shape[1], self.states
        if room is None or count > len(room.values):
            room = self.room(count)
        off = np.zeros(len(weights))
        expect(max(count - (room.made if self.fits else 0), 0))
        for first in range(0, size, self.block):
            rows = slice(first, min(first + self.block, size))
            powers, sums = self.powers(count, rows, room)
            for b in range(0, len(weights), _TIMES):
                times = slice(b, min(b + _TIMES, len(weights)))
                some = weights[times, : needed[times].max()]
                _sum(some, powers[: some.shape[1]], result, places[times], rows)
                wrong = np.abs(weighted(some, sums[: some.shape[1]]) - 1).max(1)
                off[times] = np.maximum(off[times], wrong)
        return off


def _along_diagonals(
    offsets: NDArray[np.int64],
    entries: Matrix,
    weights: Matrix,
    needed: NDArray[np.intp],
    start: Matrix | None,
    result: Matrix,
    places: NDArray[np.intp],
) -> Matrix:
    """Writes the sums into `result`; how far their rows are from 1, (B,)."""
    if select.asked("auto") == "reference":
        sums = reference.power_series(offsets, entries, start, weights, places, result)
    else:
        sums = np.empty((len(weights), entries.shape[1]))
        select.cpu_module("transition_matrix").power_series(
            sums.shape,
            select.threads(),
            select.isa(),
            weights.shape[1],
            len(offsets),
            offsets,
            entries,
            start,
            weights,
            needed,
            places,
            result,
            sums,
        )
    return np.abs(sums - 1).max(1)


def banded_product(left: Matrix, reach: int, right: Matrix, out: Matrix) -> None:
    """out = left @ right, left 0 further than `reach` from its diagonal."""
    size = len(left)
    rows = _BAND if reach < size - _BAND else size
    for first in range(0, size, rows):
        some, inner = slice(first, first + rows), slice(max(0, first - reach), first + rows + reach)
        np.matmul(left[some, inner], right[inner], out=out[some])


def rounding_of_sums(states: int) -> float:
    """Bound on the relative rounding of `row_sums` and of a division by it."""
    return (int(np.ceil(np.log2(states))) + 18) * UNIT


def _sum(weights: Matrix, stack: Matrix, result: Matrix, places: NDArray[np.intp], rows: slice) -> None:
    """result[places, rows] = weights @ stack."""
    flat, size = stack.reshape(len(stack), -1), stack.shape[-1]
    direct = len(weights) // TOGETHER * TOGETHER if (np.diff(places) == 1).all() else 0
    if direct:
        first = int(places[0])
        whole = result.reshape(len(result), -1)
        np.matmul(weights[:direct], flat, out=whole[first : first + direct, rows.start * size : rows.stop * size])
    made = np.empty((TOGETHER if direct < len(weights) else 0, flat.shape[1]))
    for b in range(direct, len(weights), TOGETHER):
        some = weights[b : b + TOGETHER]
        weighted(some, flat, made)
        for i, place in enumerate(places[b : b + TOGETHER]):
            result[place, rows] = made[i].reshape(stack.shape[1:])


def _offsets(jumps: Matrix) -> list[int]:
    rows, columns = np.nonzero(jumps)
    return np.unique(columns - rows).tolist()


def diagonals_of(jumps: Matrix) -> tuple[NDArray[np.int64], Matrix]:
    """Offsets, the main diagonal first, and T[j - offset, j], 0 where there is no such row."""
    size = len(jumps)
    order = np.array(sorted(_offsets(jumps), key=abs), dtype=np.int64)
    entries = np.zeros((len(order), size))
    for row, offset in zip(entries, order.tolist(), strict=True):
        row[max(0, offset) : size + min(0, offset)] = np.diagonal(jumps, offset)
    return order, entries
