"""exp(t Q) by uniformization, with powers shared by all times of a call, and squaring; with a proven error bound.

With q at least the largest rate out of a state, T = I + Q / q is a transition matrix, and

    exp(t Q) = sum over k of Poisson(k; q t) T^k.

The sum is used for q t <= 24. A longer time is split, exactly in float64, as t = n h + d with h a power of two, q h in
(12, 24], d < h and n a whole number: P(t) = P(d) P(n h), and P(n h) is a product of P(h), P(2 h), P(4 h), ... by
squaring. Where T has few diagonals, the times of one n share the powers P(n h) T^k; else P(d) is a factor. All terms
and factors are non-negative: nothing cancels, and small entries are as accurate as large ones until they are smaller
than the truncation. What is computed for a time depends on it alone, not on the times beside it, and so does the bound.

The bound, in the norm |E| = largest sum of |E[i, j]| over a row (so every entry is within it), u = 2^-53,
g(n) = n u / (1 - n u) for a sum or an inner product of n terms in any order (Higham, Accuracy and Stability, 3.1):
  powers     the rounding of T itself is at most 4 u (T[i, i] = 1 - r / q from r summed without error, T[i, j] = Q / q),
             each product with T of w terms an inner product adds g(w): X T^k is off by at most k (4 u + g(w))
  weights    Poisson(k; m) by w_k = w_{k-1} m / k from exp(-m): relative error at most (2 k + 4) u, 4 u for exp, and
             the rounding of m moves P by at most 2 m u; averaged over k ~ Poisson(m): (4 m + 4) u
  sum        g(K) for K terms, and the truncated tail
  X P(d)     so |E| <= m (8 u + g(w)) + 4 u + g(K) + tail, and the weights, divided by their sum, as much as they miss 1
             by: the tail, (2 m + 4) u and g(K). Where a row's sum is off by f > 4e-15, rows are divided by it: + f + r.
             The error of X is added to it
  r          (log2 S + 18) u: the roundings of a row's sum (`row_sums`) and of the division
  products   A B of computed transition matrices with bounds a and b:
             |A B - P| <= a k(B) + b + s + g(S) + r + f for the division of each row by its sum, f off 1: the error of
             A has rows that sum to 0 within s = 2 r for a product, 4e-15 + g(2 K) + r for a P(d), and on rows that sum
             to 0 B contracts by k(B) = min(1, largest |B[i, :] - mean row|); k(A B) <= k(A) k(B) + g(S) + 4 r + f.
             Columns of P(n h) without an entry above 1e-21 are set to 0, within S 1e-21, unless small entries count
  mixed      P(t) = R P(2 g) with R a transition matrix for all t >= 2 g: where the rows of the computed G of P(2 g), of
             bound b, differ by e, P(t) is G within b + e. With several closed classes: where at g, in the computed
             matrix of bound a, the rows of each class differ by e and the mass outside all is h, within
             b + 2 (e + h) + 4 a, as P(t) = P(g) P(t - g) and P(2 g) = P(g) P(g)
Underflow adds less than S 2^-1000. tolerance bounds the truncation alone, over 2^62 products: a P(d) takes half of it,
P(h) 2^-63.
Sources: Jensen, Skandinavisk Aktuarietidskrift 36 (1953); Fox and Glynn, Commun. ACM 31 (1988).
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ...backends import select
from ...reference import power_series as reference
from .cache import done, expect
from .rounding import TOGETHER, UNIT, gamma, normalize, row_sums, weighted
from .structure import closed_classes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]


ROW_SUM = 4e-15  # a row whose sum is further from 1 is divided by it
_POWERS_BYTES = 1 << 26  # the most bytes of powers of T held at once
_TIMES = 64  # so many times are summed together, with one number of terms
MOST_DIAGONALS = 8
_BAND = 64  # so many rows of a banded matrix are multiplied at once
LONGEST = 24.0  # the largest q d of the series: a longer one needs more terms, a shorter one more products
MIXED = 4e-15  # roundings keep rows a few units apart
_NOTHING = 1e-21  # smaller entries may be set to 0
_AT_ONCE = 32  # so many P(d) are made at once


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
    sums = np.empty((TOGETHER if direct < len(weights) else 0, flat.shape[1]))
    for b in range(direct, len(weights), TOGETHER):
        some = weights[b : b + TOGETHER]
        weighted(some, flat, sums)
        for i, place in enumerate(places[b : b + TOGETHER]):
            result[place, rows] = sums[i].reshape(stack.shape[1:])


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


class Node(NamedTuple):
    """A computed P(n h), the bound of its error, how much it contracts errors whose rows sum to 0, its columns."""

    matrix: Matrix
    error: float
    contraction: float
    columns: slice  # all others are 0


class Uniformization:
    """P(t) of one generator; keeps the squares it has made.

    rates: (S, S) off-diagonal rates with a diagonal of 0.
    """

    def __init__(self, rates: Matrix, tolerance: float) -> None:
        self.rates, self.states, self.tolerance = rates, len(rates), tolerance
        out = np.array([math.fsum(row) for row in rates])
        self.rate = float(out.max())
        self.rounding = rounding_of_sums(self.states)
        if self.rate == 0.0:
            return
        self.step = 2.0 ** math.floor(math.log2(LONGEST / self.rate))
        jumps = rates / self.rate
        jumps[np.diag_indices(self.states)] = 1.0 - out / self.rate
        self.series = Series(jumps, self.rate, self.rate * self.step, tolerance / 4)
        self.squares: list[Node] = []
        self.limit: tuple[int, Node] | None = None

    @cached_property
    def classes(self) -> list[NDArray[np.intp]]:
        return closed_classes(self.rates)

    def into(self, result: Matrix, places: NDArray[np.intp], t: Matrix) -> Matrix:
        """Writes result[places[b]] = P(t[b]), rising places; the error bounds (B,)."""
        size = self.states
        if not len(t):
            return np.empty(0)
        if self.rate == 0.0:
            result[places] = np.eye(size)
            return np.zeros(len(t))
        short = np.fmod(t, self.step)
        whole = [int((total - rest) / self.step) for total, rest in zip(t.tolist(), short.tolist(), strict=True)]
        groups: dict[int, list[int]] = {}
        for n, b in sorted(zip(whole, range(len(t)), strict=True)):
            groups.setdefault(n, []).append(b)
        self.grow(max(whole, default=0).bit_length())
        error, series = np.empty(len(t)), self.series
        terms = series.terms_at(short)
        room = None if series.few else series.room()
        far: list[int] = []
        # The products of the n before this one, by falling value of their lowest bit: what this n shares with them.
        prefixes: list[tuple[int, Node]] = []
        for n, members in groups.items():
            some = np.array(members)
            if self.limit is not None and self._mixed(n):
                result[places[some]], error[some] = self.limit[1].matrix, self.limit[1].error
            elif n == 0:
                error[some] = series.into(result, places[some], terms.take(some), None, room)
            elif series.few:
                node = self._whole(n, prefixes)
                error[some] = series.into(result, places[some], terms.take(some), node.matrix) + node.error
            else:
                far += members
        shared = series.fits and len(far) > 0
        together = _AT_ONCE if shared else max(len(far), 1)
        left = np.empty((_AT_ONCE, size, size)) if shared else result
        product = np.zeros((size, size))
        expect(len(far))
        for first in range(0, len(far), together):
            some = np.array(far[first : first + together])
            into = places[some] if left is result else np.argsort(np.argsort(short[some], kind="stable"))
            error[some] = series.into(left, into, terms.take(some), None, room)
            for b, place in zip(some, into, strict=True):
                node, matrix = self._whole(whole[b], prefixes), result[places[b]]
                done()
                if short[b] == 0.0:
                    matrix[:], error[b] = node.matrix, node.error
                    continue
                banded_product(left[place], series.reach, node.matrix[:, node.columns], product[:, node.columns])
                product[:, : node.columns.start] = product[:, node.columns.stop :] = 0.0
                off = normalize(product, matrix)
                unequal = ROW_SUM + gamma(2 * series.most) + self.rounding
                error[b] = self._product_error(float(error[b]), unequal, node, off)
        return np.minimum(error, 1.0)

    def _product_error(self, left: float, unequal: float, right: Node, off: float) -> float:
        return left * right.contraction + right.error + unequal + gamma(self.states) + self.rounding + off

    def _product(self, left: Node, right: Node) -> Node:
        matrix = np.zeros((self.states, self.states))
        inner, columns = left.columns, right.columns
        matrix[:, columns] = left.matrix[:, inner] @ right.matrix[inner, columns]
        done()
        off = normalize(matrix)
        error = self._product_error(left.error, 2 * self.rounding, right, off)
        contraction = left.contraction * right.contraction + gamma(self.states) + 4 * self.rounding + off
        return Node(matrix, error, min(1.0, contraction), columns)

    def _mixed(self, n: int) -> bool:
        return self.limit is not None and n >> self.limit[0] > 0

    def _whole(self, n: int, prefixes: list[tuple[int, Node]]) -> Node:
        """P(n h), n > 0. n comes in rising order; `prefixes` keeps the products."""
        while prefixes and not _begins(prefixes[-1][0], n):
            prefixes.pop()
        value = prefixes[-1][0] if prefixes else 0
        while value != n:
            bit = (n - value).bit_length() - 1
            value += 1 << bit
            expect(1 if prefixes else 0)
            square = self.squares[bit]
            prefixes.append((value, self._product(square, prefixes[-1][1]) if prefixes else square))
        return prefixes[-1][1]

    def ends(self, n: int) -> bool:
        """Whether P(n h) is mixed: the same for all times from there on."""
        self.grow(n.bit_length())
        return self._mixed(n)

    def whole(self, n: int) -> Node:
        """P(n h), 0 < n, where it is not mixed."""
        self.grow(n.bit_length())
        return self._whole(n, [])

    def grow(self, levels: int) -> None:
        """Makes P(h), P(2 h), ..., P(2^(levels - 1) h), or until mixed."""
        if levels and not self.squares:
            first = np.empty((1, self.states, self.states))
            terms = poisson_weights(np.array([self.rate * self.step]), self.tolerance * 2.0**-64)
            error = self.series.into(first, np.zeros(1, int), terms)
            off = normalize(first[0])
            self.squares.append(self._measured(first[0], float(error[0]) + off + self.rounding))
        to_come = 0 if self.limit is not None else max(levels - len(self.squares), 0)
        expect(to_come)
        while self.limit is None and len(self.squares) < levels:
            to_come -= 1
            last = self.squares[-1]
            spread = self._spread(last.matrix)
            square = self._product(last, last)
            self.squares.append(self._measured(square.matrix, square.error))
            if spread <= MIXED:
                final = self.squares[-1]
                apart = float((final.matrix.max(0) - final.matrix.min(0)).sum())
                more = min(apart, 2 * spread + 4 * last.error) * (1 + gamma(2 * self.states))
                self.limit = len(self.squares) - 1, final._replace(error=final.error + more)
                expect(-to_come)

    def _measured(self, matrix: Matrix, error: float) -> Node:
        """Of a square: without the columns that do not count, which products keep out."""
        some = np.flatnonzero(matrix.max(0) > (_NOTHING if self.tolerance > _NOTHING else 0.0))
        columns = slice(int(some[0]), int(some[-1]) + 1)
        matrix[:, : columns.start] = matrix[:, columns.stop :] = 0.0
        contraction = float(np.abs(matrix - matrix.mean(0)).sum(1).max()) * (1 + gamma(3 * self.states))
        bound = error + self.states * _NOTHING
        return Node(matrix, bound, min(1.0, contraction + 4 * gamma(self.states)), columns)

    def _spread(self, matrix: Matrix) -> float:
        """How far the rows of each closed class are apart, and the mass outside these classes."""
        inside = np.zeros(self.states, dtype=bool)
        apart = 0.0
        for members in self.classes:
            inside[members] = True
            rows = matrix[members]
            apart = max(apart, float((rows.max(0) - rows.min(0)).sum()))
        return apart + float(matrix[:, ~inside].sum(1).max())


def _begins(prefix: int, n: int) -> bool:
    """Whether the bits of n, highest first, begin with the bits of prefix down to its lowest 1."""
    lowest = (prefix & -prefix).bit_length() - 1
    return n >> lowest == prefix >> lowest
