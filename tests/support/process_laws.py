"""Rows of transition matrices with 40 digits, from the formulas of the processes, by mpmath."""

import mpmath as mp
import numpy as np

mp.mp.dps = 40


def binomial_row(n, p, q):
    """[Pr(Binomial(n, p) = k)], k = 0..n, for mpf p and q = 1 - p."""
    if p == 0 or q == 0:
        return [mp.mpf(k == (0 if p == 0 else n)) for k in range(n + 1)]
    row, ratio = [q**n], p / q
    for k in range(n):
        row.append(row[-1] * (n - k) * ratio / (k + 1))
    return row


def poisson_row(mean, size):
    row = [mp.exp(-mean)]
    for k in range(1, size):
        row.append(row[-1] * mean / k)
    return row


def convolve(a, b, size):
    """The first `size` coefficients."""
    out = [mp.mpf(0)] * size
    for i, x in enumerate(a):
        for j, y in enumerate(b[: size - i]):
            out[i + j] += x * y
    return out


def floats(row):
    return np.array([float(x) for x in row])


def pure_death(n, t, size):
    t = mp.mpf(t)
    return np.pad(floats(binomial_row(n, mp.exp(-t), -mp.expm1(-t))), (0, size - n - 1))


def ehrenfest(n, t, balls, a=1.0, b=1.0):
    a, b, t = mp.mpf(a), mp.mpf(b), mp.mpf(t)
    e, f = mp.exp(-(a + b) * t), -mp.expm1(-(a + b) * t)
    up = binomial_row(n, (a + b * e) / (a + b), b * f / (a + b))
    down = binomial_row(balls - n, a * f / (a + b), (b + a * e) / (a + b))
    return floats(convolve(up, down, balls + 1))


def immigration_death(n, t, rate, size):
    t = mp.mpf(t)
    alive, dead = mp.exp(-t), -mp.expm1(-t)
    return floats(convolve(binomial_row(n, alive, dead), poisson_row(rate * dead, size), size))


def random_walk(i, t, states, rate=1.0, columns=None):
    """The entries of row i in `columns`."""
    t = mp.mpf(t)
    decay = [mp.exp(-4 * mp.mpf(rate) * t * mp.sin(mp.pi * k / (2 * states)) ** 2) for k in range(states)]
    cos = [mp.cos(mp.pi * k / (2 * states)) for k in range(4 * states)]

    def entry(j):
        terms = (
            decay[k] * cos[k * (2 * i + 1) % (4 * states)] * cos[k * (2 * j + 1) % (4 * states)]
            for k in range(1, states)
        )
        return (1 + 2 * mp.fsum(terms)) / states

    return np.array([float(entry(j)) for j in (range(states) if columns is None else columns)])


def matrix(rates, t):
    """exp(t Q), a float64 array, of off-diagonal rates, exact but for the last rounding."""
    size = len(rates)
    q = mp.matrix(size, size)
    for i in range(size):
        for j in range(size):
            if i != j:
                q[i, j] = mp.mpf(float(rates[i, j]))
        q[i, i] = -mp.fsum(q[i, j] for j in range(size) if j != i)
    scale = mp.mpf(max(-q[i, i] for i in range(size))) * mp.mpf(t)
    with mp.workdps(60 + 2 * max(0, int(mp.log10(scale + 1)))):
        result = mp.expm(q * mp.mpf(t), method="taylor")
    return np.array(result.tolist(), dtype=float)


def redraw(i, t, law):
    stay, leave = mp.exp(-mp.mpf(t)), -mp.expm1(-mp.mpf(t))
    return floats([stay * (j == i) + leave * mp.mpf(float(r)) for j, r in enumerate(law)])


BITS = 192  # of a fixed-point number, behind the point


def rows(rates, starts, t):
    """Rows `starts` of exp(t Q) by uniformization in fixed point: each entry within 2^-150 before the last rounding."""
    size = len(rates)
    scale = int(np.ceil(np.log2(rates.sum(1).max()))) + 1
    fixed = np.array([[int(mp.ldexp(float(x), BITS - scale)) for x in row] for row in rates], dtype=object)
    fixed[np.diag_indices(size)] = 2**BITS - fixed.sum(1)
    offsets = [o for o in range(1 - size, size) if any(np.diagonal(fixed, o))]
    parts = [
        (slice(max(0, -o), size - max(0, o)), slice(max(0, o), size + min(0, o)), np.diagonal(fixed, o))
        for o in offsets
    ]
    mean = mp.ldexp(mp.mpf(t), scale)
    x = np.array([[2**BITS * (i == j) for j in range(size)] for i in starts], dtype=object)
    total, k = 0 * x, 0
    with mp.workdps(80):
        weight = mp.exp(-mean)
        while k <= mean or weight > mp.mpf(2) ** -BITS:
            total = total + (x * int(mp.ldexp(weight, BITS)) >> BITS)
            k += 1
            weight = weight * mean / k
            new = 0 * x
            for source, target, entries in parts:
                new[:, target] += x[:, source] * entries
            x = new >> BITS
    return (total / 2.0**BITS).astype(float)
