"""exp(t Q) by uniformization, with powers shared by all times of a call, and squaring; with a proven error bound.

With q at least the largest rate out of a state, T = I + Q / q is a transition matrix, and

    exp(t Q) = sum over k of Poisson(k; q t) T^k.

The sum is used for q t <= 16. A longer time is split, exactly in float64, as t = n h + d with h a power of two, q h in
(8, 16], d < h and n a whole number: P(t) = P(d) P(n h), and P(n h) is a product of P(h), P(2 h), P(4 h), ... by
squaring. All terms and factors are non-negative: nothing cancels, and small entries are as accurate as large ones until
they are smaller than the truncation.

The bound, in the norm |E| = largest sum of |E[i, j]| over a row (so every entry is within it), u = 2^-53,
g(n) = n u / (1 - n u) for a sum or an inner product of n terms in any order (Higham, Accuracy and Stability, 3.1):
  powers     the rounding of T itself is at most 4 u (T[i, i] = 1 - r / q from r summed without error, T[i, j] = Q / q),
             each product X T with w terms an inner product adds g(w): T^k is off by at most k (4 u + g(w))
  weights    Poisson(k; m) by w_k = w_{k-1} m / k from exp(-m): relative error at most (2 k + 4) u, 4 u for exp, and
             the rounding of m moves P by at most 2 m u; averaged over k ~ Poisson(m): (4 m + 4) u
  sum        g(K) for K terms, and the truncated tail
  P(d)       so |E| <= m (8 u + g(w)) + 4 u + g(K) + tail, and the weights, divided by their sum, as much as they miss 1
             by: the tail, (2 m + 4) u and g(K). Where a row's sum is off by f > 4e-15, rows are divided by it: + f + r
  r          (log2 S + 18) u: the roundings of a row's sum (`row_sums`) and of the division
  products   A B of computed transition matrices with bounds a and b:
             |A B - P| <= a k(B) + b + s + g(S) + r + f for the division of each row by its sum, f off 1: the error of
             A has rows that sum to 0 within s = 2 r for a product, 4e-15 + g(2 K) + r for a P(d), and on rows that sum
             to 0 B contracts by k(B) = min(1, largest |B[i, :] - mean row|); k(A B) <= k(A) k(B) + g(S) + 4 r + f
  mixed      P(t) = R P(2 g) with R a transition matrix for all t >= 2 g: where the rows of the computed G of P(2 g), of
             bound b, differ by e, P(t) is G within b + e. With several closed classes: where at g, in the computed
             matrix of bound a, the rows of each class differ by e and the mass outside all is h, within
             b + 2 (e + h) + 4 a, as P(t) = P(g) P(t - g) and P(2 g) = P(g) P(g)
Underflow adds less than S 2^-1000. tolerance bounds the truncation alone, over all products.
Sources: Jensen, Skandinavisk Aktuarietidskrift 36 (1953); Fox and Glynn, Commun. ACM 31 (1988).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from .structure import closed_classes, reachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Matrix = NDArray[np.float64]

UNIT = 2.0**-53
LONGEST = 16.0  # q d of the series: longer needs more terms, shorter more products
MIXED = 4e-15  # roundings keep rows a few units apart
_POWERS_BYTES = 1 << 25  # of the powers of T held at once
_TIMES = 32  # times that share a number of terms
_ROW_SUM = 4e-15  # rows further from 1 are divided by their sum
_FEW_DIAGONALS = 8


class Node(NamedTuple):
    """A computed P(n h), the bound of its error, and how much it contracts errors whose rows sum to 0."""

    matrix: Matrix
    error: float
    contraction: float


def gamma(terms: int) -> float:
    return terms * UNIT / (1 - terms * UNIT)


def row_sums(matrix: Matrix) -> Matrix:
    """Sums over the last dimension, 16 at once and then by halves: 16 + log2 S roundings at most, whatever adds."""
    sums = matrix
    if matrix.shape[-1] % 16 == 0 and matrix.flags.c_contiguous:
        sums = (matrix.reshape(-1, 16) @ np.ones(16)).reshape(*matrix.shape[:-1], -1)
    while (width := sums.shape[-1]) > 1:
        half = width // 2
        folded = sums[..., :half] + sums[..., half : 2 * half]
        if width % 2:
            folded[..., 0] += sums[..., -1]
        sums = folded
    return sums[..., 0]


def normalize(matrix: Matrix, out: Matrix | None = None) -> float:
    """Divides rows by their sums, in place or into `out`; the largest |sum - 1|."""
    total = row_sums(matrix)
    np.divide(matrix, total[..., None], out=matrix if out is None else out)
    return float(np.abs(total - 1.0).max(initial=0.0))


class Uniformization:
    """P(t) of one generator; keeps the squares it has made.

    rates: (S, S) off-diagonal rates with a diagonal of 0.
    """

    def __init__(self, rates: Matrix, tolerance: float) -> None:
        self.states = len(rates)
        self.tolerance = tolerance
        out = np.array([math.fsum(row) for row in rates])
        self.rate = float(out.max())
        self.rounding = (math.ceil(math.log2(self.states)) + 18) * UNIT if self.states > 1 else 2 * UNIT
        if self.rate == 0.0:
            return
        self.step = 2.0 ** math.floor(math.log2(LONGEST / self.rate))
        self.jumps = rates / self.rate
        self.jumps[np.diag_indices(self.states)] = 1.0 - out / self.rate
        self.width = int((self.jumps != 0).sum(0).max())
        self.apply = _multiplier(self.jumps)
        self.classes = closed_classes(reachable(rates))
        self.squares: list[Node] = []
        self.depth = 0
        self.limit: tuple[int, Node] | None = None

    def matrices(self, t: Matrix) -> tuple[Matrix, Matrix]:
        """(B, S, S) P(t) and (B,) error bounds, for times (B,)."""
        count, size = len(t), self.states
        if self.rate == 0.0:
            return np.tile(np.eye(size), (count, 1, 1)), np.zeros(count)
        short = np.fmod(t, self.step)
        whole = [int((total - rest) / self.step) for total, rest in zip(t.tolist(), short.tolist(), strict=True)]
        depth = max(whole, default=0).bit_length()
        if depth > self.depth:  # the truncation of P(h) counts once a doubling
            self.squares, self.depth, self.limit = [], depth, None
        result, error, unequal = self._series(short, self.tolerance / 4)
        buffer = np.empty((size, size))
        order = sorted((n, b) for b, n in enumerate(whole) if n)
        prefixes: list[tuple[int, Node]] = []  # of the n before, by falling value of the lowest bit: shared products
        done = 0
        while done < len(order):
            n = order[done][0]
            end = done
            while end < len(order) and order[end][0] == n:
                end += 1
            node, final = self._whole(n, prefixes)
            for _, b in order[done:end]:
                if final or short[b] == 0.0:
                    result[b], error[b] = node.matrix, node.error
                else:
                    np.matmul(result[b], node.matrix, out=buffer)
                    error[b] = self._product_error(float(error[b]), unequal, node, normalize(buffer, result[b]))
            done = end
        return result, np.minimum(error, 1.0)

    def _product_error(self, left: float, unequal: float, right: Node, off: float) -> float:
        return left * right.contraction + right.error + unequal + gamma(self.states) + self.rounding + off

    def _product(self, left: Node, right: Node) -> Node:
        matrix = left.matrix @ right.matrix
        off = normalize(matrix)
        error = self._product_error(left.error, 2 * self.rounding, right, off)
        contraction = left.contraction * right.contraction + gamma(self.states) + 4 * self.rounding + off
        return Node(matrix, error, min(1.0, contraction))

    def _whole(self, n: int, prefixes: list[tuple[int, Node]]) -> tuple[Node, bool]:
        """P(n h), and whether all later times have the same. n comes in rising order; `prefixes` keeps the products."""
        self._grow(n.bit_length())
        if self.limit is not None and n >> self.limit[0]:
            return self.limit[1], True
        while prefixes and not _begins(prefixes[-1][0], n):
            prefixes.pop()
        value = prefixes[-1][0] if prefixes else 0
        while value != n:
            bit = (n - value).bit_length() - 1
            value += 1 << bit
            square = self.squares[bit]
            prefixes.append((value, self._product(square, prefixes[-1][1]) if prefixes else square))
        return prefixes[-1][1], False

    def _grow(self, levels: int) -> None:
        """Makes P(h), P(2 h), ..., P(2^(levels - 1) h), or until mixed."""
        if not self.squares:
            matrices, errors, _ = self._series(np.array([self.step]), self.tolerance / 2.0 ** (self.depth + 2))
            off = normalize(matrices[0])
            self.squares.append(self._measured(matrices[0], float(errors[0]) + off + self.rounding))
        while self.limit is None and len(self.squares) < levels:
            last = self.squares[-1]
            spread = self._spread(last.matrix)
            square = self._product(last, last)
            self.squares.append(self._measured(square.matrix, square.error))
            if spread <= MIXED:
                final = self.squares[-1]
                apart = float((final.matrix.max(0) - final.matrix.min(0)).sum())
                more = min(apart, 2 * spread + 4 * last.error) * (1 + gamma(2 * self.states))
                self.limit = len(self.squares) - 1, final._replace(error=final.error + more)

    def _measured(self, matrix: Matrix, error: float) -> Node:
        contraction = float(np.abs(matrix - matrix.mean(0)).sum(1).max()) * (1 + gamma(3 * self.states))
        return Node(matrix, error, min(1.0, contraction + 4 * gamma(self.states)))

    def _spread(self, matrix: Matrix) -> float:
        """How far the rows of each closed class are apart, and the mass outside these classes."""
        inside = np.zeros(self.states, dtype=bool)
        apart = 0.0
        for members in self.classes:
            inside[members] = True
            rows = matrix[members]
            apart = max(apart, float((rows.max(0) - rows.min(0)).sum()))
        return apart + float(matrix[:, ~inside].sum(1).max())

    def _series(self, d: Matrix, tolerance: float) -> tuple[Matrix, Matrix, float]:
        """P(d) for q d <= 16, error bounds, and a bound on how far the sum of a row is from 1."""
        size, mean = self.states, self.rate * d
        weights, needed, tails = _poisson_weights(mean, tolerance)
        count = weights.shape[1]
        result = np.empty((len(d), size, size))
        flat = result.reshape(len(d), -1)
        block = max(1, min(size, _POWERS_BYTES // (8 * count * size)))
        powers = np.empty((count, block, size))
        off = np.zeros(len(d))
        for first in range(0, size, block):
            rows = min(block, size - first)
            part = powers[:, :rows]
            part[0] = 0.0
            part[0, np.arange(rows), np.arange(first, first + rows)] = 1.0
            for k in range(1, count):
                self.apply(part[k - 1], part[k])
            sums = row_sums(part)
            for start in range(0, len(d), _TIMES):
                times = slice(start, start + _TIMES)
                terms = int(needed[times].max())
                into = flat[times, first * size : (first + rows) * size]
                np.matmul(weights[times, :terms], part[:terms].reshape(terms, -1), out=into)
                off[times] = np.maximum(off[times], np.abs(weights[times, :terms] @ sums[:terms] - 1).max(1))
        divided = np.zeros(len(d))
        for b in np.flatnonzero(off > _ROW_SUM):
            divided[b] = normalize(result[b]) + self.rounding
        error = mean * (10 * UNIT + gamma(self.width)) + 8 * UNIT + gamma(2 * count) + 2 * tails + divided
        unequal = _ROW_SUM + gamma(2 * count) + self.rounding
        return result, np.where(mean == 0.0, 0.0, error), unequal


def _begins(prefix: int, n: int) -> bool:
    """Whether the bits of n, highest first, begin with those of prefix down to its lowest one."""
    lowest = (prefix & -prefix).bit_length() - 1
    return n >> lowest == prefix >> lowest


def _poisson_weights(mean: Matrix, tolerance: float) -> tuple[Matrix, NDArray[np.intp], Matrix]:
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
    return weights / row_sums(weights)[:, None], needed, tails


def _multiplier(jumps: Matrix) -> Callable[[Matrix, Matrix], None]:
    """f(x, out) that writes x @ jumps: by diagonals where there are few, else by BLAS."""
    rows, columns = np.nonzero(jumps)
    offsets = np.unique(columns - rows)
    if len(offsets) > _FEW_DIAGONALS:

        def multiply(x: Matrix, out: Matrix) -> None:
            np.matmul(x, jumps, out=out)

        return multiply
    size = len(jumps)
    parts = []
    for offset in offsets.tolist():
        entries = np.ascontiguousarray(np.diagonal(jumps, offset))
        parts.append(
            (slice(max(0, -offset), size - max(0, offset)), slice(max(0, offset), size + min(0, offset)), entries)
        )

    def apply(x: Matrix, out: Matrix) -> None:
        out[...] = 0.0
        for source, target, entries in parts:
            out[:, target] += x[:, source] * entries

    return apply
