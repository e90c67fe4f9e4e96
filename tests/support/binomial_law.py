"""The exact binomial law in long double, and how far a law may be from it.

`worst_total_variation` takes any `law` callable, so the thresholds of every backend can be put through the same proof.
"""

import numpy as np

TV_PROMISED = 1e-11
# Measured over these 500 values of p and all counts 0..255: worst total variation 8.2e-14, at n = 240, p = 0.403; 3
# to 6 s on one core. Over 6,000 values of p and the multiples of 16, the worst counts: 9.4e-14 at n = 224, p = 0.37.
TV_MEASURED_BELOW = 1.0e-13


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
