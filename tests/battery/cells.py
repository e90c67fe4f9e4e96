"""Exact probabilities of a law in cells, and the tests of counts against them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import mpmath
import numpy as np
from scipy import special, stats

MOST_CELLS = 1024
LEAST = 20.0  # the smallest expectation of a joined cell
DEPTH = 80.0  # a law ends where its logarithm is so far below the largest
WIDEST = 1 << 21  # states that are visited one by one


class Cells(NamedTuple):
    """edges: ascending. The first cell lies below the first edge, the last one begins at the last edge.

    mass: the probabilities, one more than edges. The tails' are right relative to themselves.
    """

    edges: np.ndarray
    mass: np.ndarray

    def count(self, drawn: np.ndarray) -> np.ndarray:
        edges, cells = self.edges, len(self.mass)
        if edges.dtype.kind == "i" and edges[-1] - edges[0] == len(edges) - 1:  # one state a cell
            place = np.clip(drawn.astype(np.int64) - (edges[0] - 1), 0, cells - 1)
        else:
            place = np.searchsorted(edges, drawn, side="right")
        return np.bincount(place, minlength=cells)


def g_test(seen: np.ndarray, mass: np.ndarray) -> float | None:
    """The p value of counts by the likelihood ratio, with Williams's correction; None where all is one cell.

    Neighbours are joined until each cell expects LEAST.
    """
    total = seen.sum()
    starts, held = [0], 0.0
    for at, expected in enumerate(mass * total):
        if held >= LEAST:
            starts.append(at)
            held = 0.0
        held += expected
    if held < LEAST and len(starts) > 1:
        starts.pop()
    if len(starts) < 2:
        return None
    seen, mass = np.add.reduceat(seen, starts), np.add.reduceat(mass, starts)
    freedom = len(starts) - 1
    ratio = 2 * special.xlogy(seen, seen / (mass * total)).sum()
    ratio = max(ratio, 0.0) / (1 + ((1 / mass).sum() - 1) / (6 * total * freedom))
    return float(stats.chi2.sf(ratio, freedom))


def tail_test(seen: np.ndarray, mass: np.ndarray) -> float:
    """The chance of a draw as far out as the farthest on either side, or farther; at least uniform."""
    total, chance = int(seen.sum()), 1.0
    for counts, chances in ((seen, mass), (seen[::-1], mass[::-1])):
        beyond = chances[: np.flatnonzero(counts)[0] + 1].sum()
        chance = min(chance, -np.expm1(total * np.log1p(-min(beyond, 1 - 1e-16))))
    return float(min(1.0, 2 * chance))


def of_masses(low: int, mass: Sequence[float] | np.ndarray) -> Cells:
    """A law on whole numbers from `low` on, of masses that need not sum to 1; nothing lies outside."""
    given = np.asarray(mass, dtype=np.float64)
    given = given / given.sum()
    edges = low + np.arange(len(given) + 1, dtype=np.int64)
    if len(given) > 2 * MOST_CELLS:
        # Quantiles in the middle, and steps of a factor 4 in both tails.
        left, right = np.cumsum(given), np.cumsum(given[::-1])[::-1]
        middle = np.floor(left * MOST_CELLS)
        tails = np.floor(np.log2(np.maximum(left, 1e-40)) / 2) - np.floor(np.log2(np.maximum(right, 1e-40)) / 2)
        starts = np.flatnonzero((np.diff(middle, prepend=-1.0) != 0) | (np.diff(tails, prepend=np.inf) != 0))
        given, edges = np.add.reduceat(given, starts), np.append(edges[starts], edges[-1])
    return Cells(edges, np.concatenate([[0.0], given, [0.0]]))


def by_ratio(ratio: Callable[[np.ndarray], np.ndarray], mode: int, low: int, high: int) -> Cells:
    """The law on low..high with Pr(k + 1) / Pr(k) = ratio(k), a float64 array of whole numbers k.

    Beyond WIDEST states it must fall on both sides of `mode`, and ends where it is DEPTH below.
    """
    mode = min(max(mode, low), high)
    narrow = high - low <= WIDEST

    def walk(step: int, end: int) -> np.ndarray:
        """log Pr relative to the mode, away from it."""
        parts, last, at = [np.zeros(1)], 0.0, mode
        while at != end and (narrow or last > -DEPTH):
            count = min(1 << 14, abs(end - at))
            k = at + step * np.arange(count, dtype=np.float64)
            logs = np.log(ratio(k)) if step > 0 else -np.log(ratio(k - 1))
            parts.append(last + np.cumsum(logs))
            last, at = parts[-1][-1], at + step * count
        return np.concatenate(parts)

    with np.errstate(divide="ignore"):
        up, down = walk(1, high), walk(-1, low)
    logs = np.concatenate([down[:0:-1], up])
    return of_masses(mode - len(down) + 1, np.exp(logs - logs.max()))


_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(8)


def by_quadrature(log_mass: Callable[[Any], Any], edges: Sequence[int]) -> Cells:
    """A law on whole numbers from the first edge to below the last, of which log_mass is the logarithm at any real
    number, by mpmath. Sums over long cells are integrals, by Gauss's rule of 8 nodes; a cell must be short beside the
    length over which the law changes, and lie many states from where it ends."""
    places = np.unique(np.asarray(edges, dtype=np.int64))
    sums = []
    with mpmath.workdps(45):
        for start, end in zip(places[:-1].tolist(), places[1:].tolist(), strict=True):
            if end - start <= 12:
                values = [(log_mass(mpmath.mpf(k)), 1.0) for k in range(start, end)]
            else:
                half, middle = mpmath.mpf(end - start) / 2, mpmath.mpf(start + end - 1) / 2
                pairs = zip(_NODES.tolist(), _WEIGHTS.tolist(), strict=True)
                values = [(log_mass(middle + half * node), weight * half) for node, weight in pairs]
            sums.append(mpmath.fsum(mpmath.exp(log) * weight for log, weight in values))
        total = mpmath.fsum(sums)
        mass = np.array([float(each / total) for each in sums])
    return Cells(places, np.concatenate([[0.0], mass, [0.0]]))


def around(mean: float, deviation: float, low: int, high: int) -> list[int]:
    """Edges for `by_quadrature` of a law near a normal one."""
    return [min(max(round(mean + deviation * z), low), high + 1) for z in np.linspace(-13, 13, 209).tolist()]


def spread(low: int, scale: float, least: int = 400) -> list[int]:
    """Edges that begin at `low` one by one and then grow by a seventh, up to 80 scales."""
    edges, at = list(range(low, low + least)), float(least)
    while at < 80 * scale:
        edges.append(low + int(at))
        at += min(at / 7, scale / 2)
    return edges


def of_reals(
    cdf: Callable[[np.ndarray], np.ndarray], sf: Callable[[np.ndarray], np.ndarray], edges: np.ndarray
) -> Cells:
    """A law of real numbers. Of neighbouring edges that side is taken where nothing cancels."""
    edges = np.unique(edges[np.isfinite(edges)])
    below, above = cdf(edges), sf(edges)
    inner = np.where(below[1:] < 0.5, np.diff(below), -np.diff(above))
    return Cells(edges, np.concatenate([below[:1], inner, above[-1:]]))


TAILS = np.concatenate([10.0 ** np.arange(-30, -2), np.arange(1, 400) / 800])  # of edges, on either side
