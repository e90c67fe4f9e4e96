"""P(d) and P(d) X for short times d by the series of uniformization, all times with the same powers of T."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .rounding import TOGETHER, UNIT, gamma, normalize, row_sums, weighted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

ROW_SUM = 4e-15  # rows further from 1 are divided by their sum
_POWERS_BYTES = 1 << 26  # of the powers of T held at once
_TIMES = 64  # that share a number of terms
_FEW_DIAGONALS = 8
_BAND = 64  # rows of a banded matrix at once


def poisson_weights(mean: Matrix, tolerance: float) -> tuple[Matrix, NDArray[np.intp], Matrix]:
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
    return weights / weights.cumsum(1)[:, -1:], needed, tails  # one by one: zeros at the end change no bit


class Powers(NamedTuple):
    """T^k X, k = 0..K - 1, of some of the rows of X, and the sums of these rows."""

    values: Matrix
    sums: Matrix


class Series:
    """sum over k of Poisson(k; q d) T^k X, X = I or any matrix."""

    def __init__(self, jumps: Matrix, rate: float, longest: float, tolerance: float) -> None:
        self.states, self.rate, self.jumps, self.tolerance = len(jumps), rate, jumps, tolerance
        rows, columns = np.nonzero(jumps)
        offsets = np.unique(columns - rows)
        self.few = len(offsets) <= _FEW_DIAGONALS
        self.width = int(max(np.bincount(rows).max(), np.bincount(columns).max()))
        self.terms = int(poisson_weights(np.array([longest]), tolerance)[1][0])
        # Further from the diagonal P(d) is 0.
        self.reach = min(self.states, self.terms * int(np.abs(offsets).max()))
        self.block = max(1, min(self.states, _POWERS_BYTES // (8 * self.terms * self.states)))
        self.fits = self.block == self.states
        # From the left, rows stay whole: faster, if all columns fit at once.
        self.step = _by_diagonals(jumps, offsets.tolist(), self.fits) if self.few else self._product

    def _product(self, x: Matrix, out: Matrix) -> None:
        np.matmul(x, self.jumps, out=out)

    def space(self, terms: int | None = None) -> Powers:
        """Room for the powers of `block` rows."""
        terms = terms or self.terms
        return Powers(np.empty((terms, self.block, self.states)), np.empty((terms, self.block)))

    def powers(self, count: int, rows: slice, start: Matrix | None, space: Powers) -> Powers:
        """The first `count` powers of these rows of X, in `space`."""
        values = space.values[:count, : rows.stop - rows.start]
        sums = space.sums[:count, : rows.stop - rows.start]
        values[0] = np.eye(rows.stop - rows.start, self.states, rows.start) if start is None else start[rows]
        sums[0] = row_sums(values[0])
        for k in range(1, count):
            self.step(values[k - 1], values[k])
            sums[k] = row_sums(values[k])
        return Powers(values, sums)

    def into(
        self,
        result: Matrix,
        places: NDArray[np.intp],
        d: Matrix,
        start: Matrix | None = None,
        *,
        tolerance: float | None = None,
        space: Powers | None = None,
        known: Powers | None = None,
    ) -> Matrix:
        """Writes result[places[b]] = P(d[b]) X, X = `start` or I; a bound of each error, that of X not in it.

        known: powers made before, where all rows fit.
        """
        if not len(d):
            return np.empty(0)
        order = np.argsort(d, kind="stable")
        places, mean = places[order], self.rate * d[order]
        weights, needed, tails = poisson_weights(mean, self.tolerance if tolerance is None else tolerance)
        count, size = weights.shape[1], self.states
        if space is None or count > len(space.values):
            space = self.space(count)
        off = np.zeros(len(d))
        for first in range(0, size, self.block):
            rows = slice(first, min(first + self.block, size))
            powers = self.powers(count, rows, start, space) if known is None else known
            for b in range(0, len(d), _TIMES):
                times = slice(b, min(b + _TIMES, len(d)))
                some = weights[times, : needed[times].max()]
                _sum(some, powers.values[: some.shape[1]], result, places[times], rows)
                wrong = np.abs(weighted(some, powers.sums[: some.shape[1]]) - 1).max(1)
                off[times] = np.maximum(off[times], wrong)
        error = mean * (10 * UNIT + gamma(self.width)) + 8 * UNIT + gamma(2 * needed) + 2 * tails
        for b in np.flatnonzero(off > ROW_SUM).tolist():
            error[b] += normalize(result[places[b]]) + rounding_of_sums(size)
        errors = np.empty(len(d))
        errors[order] = np.where(mean == 0.0, 0.0, error)
        return errors


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


def _by_diagonals(jumps: Matrix, offsets: list[int], left: bool) -> Callable[[Matrix, Matrix], None]:
    """f(x, out) that writes jumps @ x, or x @ jumps, diagonal by diagonal."""
    size = len(jumps)
    parts: list[tuple[Any, Any, Matrix]] = []
    for offset in sorted(offsets, key=abs):
        low, high = slice(max(0, -offset), size - max(0, offset)), slice(max(0, offset), size + min(0, offset))
        entries = np.ascontiguousarray(np.diagonal(jumps, offset))
        if left:
            parts.append(((high,), (low,), entries[:, None]))
        else:
            parts.append(((slice(None), low), (slice(None), high), entries))
    whole = 0 in offsets
    spare: list[Matrix] = []

    def apply(x: Matrix, out: Matrix) -> None:
        if not spare or spare[0].shape != x.shape:
            spare[:] = [np.empty(x.shape)]
        if whole:
            np.multiply(x, parts[0][2], out=out)
        else:
            out[...] = 0.0
        for source, target, entries in parts[whole:]:
            product = spare[0][target]
            np.multiply(x[source], entries, out=product)
            out[target] += product

    return apply
