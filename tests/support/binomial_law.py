"""The binomial law, exact in long double, and as thresholds make it; how far the one may be from the other.

`worst_total_variation` takes any `law` callable, so the thresholds of every backend can be put through the same proof.
"""

from fractions import Fraction

import numpy as np

from fastblackout.reference.draw import TWO_48, thresholds

TV_PROMISED = 4e-13  # docs/derivations.md
# Measured over these 500 values of p and all counts 0..255: worst total variation 8.2e-14, at n = 240, p = 0.403; 3
# to 6 s on one core. Of 1.5e8 values of p, the values of WORST are among the worst, at n = 240: 1.07e-13.
TV_MEASURED_BELOW = 1.1e-13
WORST = np.array([0.4960934594818551, 0.493003781970092, 0.40239785313953685])


def probabilities(number):
    """Pairs (p, q) from 1e-12 to 1 - 1e-12: half log-spaced below 1/2, mirrored; 1/2 itself is among them."""
    small = np.geomspace(1e-12, 0.5, number // 2)
    p = np.concatenate([small, 1.0 - small])
    q = np.concatenate([1.0 - small, small])
    return p, q


def true_law(n, p, q):
    """Binomial(n, p) in long double by the ratio recurrence from (1 - p)^n, (P, n + 1). No library takes part.

    The smaller of the pair is the true parameter and its complement is formed in long double (rounding 5e-20), so the
    relative error is below n * 5 units of long double: 7e-17 on x86; 4e-19 in total variation was measured.
    """
    swap = p > 0.5
    small = np.where(swap, q, p).astype(np.longdouble)
    large = 1 - small
    cells = np.empty((len(p), n + 1), dtype=np.longdouble)
    start = np.ones_like(large)
    for _ in range(n):
        start = start * large
    cells[:, 0] = start
    for j in range(n):
        cells[:, j + 1] = cells[:, j] * ((n - j) * small) / ((j + 1) * large)
    cells[swap] = cells[swap, ::-1]
    return cells


def worst_total_variation(law, counts, p, q):
    """(worst total variation, its n, its p) of law(n, p, q) -> (P, n + 1) over all counts and pairs."""
    worst = (-1.0, 0, 0.0)
    for n in counts:
        distance = np.abs(law(n, p, q) - true_law(n, p, q)).sum(axis=1) / 2
        at = int(np.argmax(distance))
        worst = max(worst, (float(distance[at]), n, float(p[at])))
    return worst


def _digit_cells(m, p, q, table):
    # Pr(K = k) = (C(k) - C(k-1)) / 2^48 with C(-1) = 0 and C(m) = 2^48: the number of U that give k.
    edges = np.zeros((len(p), m + 2), dtype=np.int64)
    edges[:, -1] = TWO_48
    if m > 0:
        edges[:, 1:-1] = table(m, p, q).astype(np.int64)
    return np.diff(edges, axis=1)


def law(n, p, q, table=thresholds):
    """The law of the reference's draw that its integer thresholds imply, by enumeration of all pairs (U1, U2).

    n: 0..255. p, q: (P,) float64. Returns (P, n + 1): Pr(draw = k), in long double. Cells are exact integers over 2^48
    a digit; only their convolution rounds (relative error below 1e-18 on x86). table: the thresholds of a backend.
    """
    swap = p > 0.5
    p, q = np.where(swap, q, p), np.where(swap, p, q)
    live = p > 0.0
    upper = _digit_cells(16 * (n // 16), p[live], q[live], table).astype(np.longdouble) / TWO_48
    lower = _digit_cells(n % 16, p[live], q[live], table).astype(np.longdouble) / TWO_48
    cells = np.zeros((int(live.sum()), n + 1), dtype=np.longdouble)
    for k in range(lower.shape[1]):
        cells[:, k : k + upper.shape[1]] += lower[:, k : k + 1] * upper
    result = np.zeros((len(p), n + 1), dtype=np.longdouble)
    result[~live, 0] = 1
    result[live] = cells
    result[swap] = result[swap, ::-1]
    return result


def exact_law(n, p, q):
    """`law` of one p in rational numbers, denominator 2^96: slow, and the oracle of `law`."""
    swap = p > 0.5
    p, q = (q, p) if swap else (p, q)
    result = [Fraction(0)] * (n + 1)
    if p == 0.0:
        result[0] = Fraction(1)
    else:
        pair = np.array([p]), np.array([q])
        upper = [int(c) for c in _digit_cells(16 * (n // 16), *pair, thresholds)[0]]
        lower = [int(c) for c in _digit_cells(n % 16, *pair, thresholds)[0]]
        for k, cell in enumerate(lower):
            for m, other in enumerate(upper):
                result[k + m] += Fraction(cell * other, TWO_48 * TWO_48)
    return result[::-1] if swap else result
