"""The shared-p draw of the reference: its law proven by enumeration, its bits against a scalar reading of the text."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from fastblackout.philox import Philox
from fastblackout.reference import draw
from fastblackout.reference.philox import Stream, philox4x32
from support.binomial_law import (
    TV_MEASURED_BELOW,
    TV_PROMISED,
    WORST,
    exact_law,
    law,
    probabilities,
    true_law,
    worst_total_variation,
)


def test_law_within_promise_for_all_counts():
    p, q = probabilities(100)
    assert len(p) == 100 and p.min() == 1e-12 and q.min() == 1e-12
    p, q = np.append(p, WORST), np.append(q, 1.0 - WORST)
    worst, n, at = worst_total_variation(law, range(256), p, q)
    assert worst < TV_MEASURED_BELOW < TV_PROMISED, (worst, n, at)


def test_proof_can_fail():
    p, q = probabilities(10)

    def off_by_2_to_minus_32(m, p, q):
        return np.minimum(draw.thresholds(m, p, q) + np.uint64(1 << 16), np.uint64(1 << 48))

    worst, _, _ = worst_total_variation(lambda n, p, q: law(n, p, q, off_by_2_to_minus_32), [255], p, q)
    assert worst > TV_PROMISED


@pytest.mark.parametrize(
    "n, p", [(1, 0.3), (17, 1e-12), (255, 0.5), (200, 0.77), (255, 1 - 1e-6), (48, 0.0), (33, 1.0)]
)
def test_law_in_rationals(n, p):
    exact = exact_law(n, p, 1.0 - p)
    assert sum(exact) == 1
    cells = law(n, np.array([p]), np.array([1.0 - p]))[0]
    error = sum(abs(Fraction(*cell.as_integer_ratio()) - value) for cell, value in zip(cells, exact, strict=True))
    assert float(error) < 1e-17


@pytest.mark.parametrize("n, p", [(1, 0.3), (17, 1e-12), (255, 0.5), (200, 0.77), (255, 0.123)])
def test_true_law_in_rationals(n, p):
    # The rational truth of the float64 p itself. For p > 1/2 the float q = 1 - p is exact.
    exact_p = Fraction(p)
    exact = [math.comb(n, k) * exact_p**k * (1 - exact_p) ** (n - k) for k in range(n + 1)]
    cells = true_law(n, np.array([p]), np.array([1.0 - p]))[0]
    error = sum(abs(Fraction(*cell.as_integer_ratio()) - value) for cell, value in zip(cells, exact, strict=True))
    assert float(error) < 1e-16
    # A second, less accurate witness that shares nothing: scipy's pmf is good to about 1e-13.
    np.testing.assert_allclose(cells.astype(float), stats.binom.pmf(np.arange(n + 1), n, p), rtol=1e-11, atol=1e-300)


def scalar_draw(n, p, q, key, sample, i, stream_draw, stream_refine):
    """One element, lazily, from the text of the specification: shares only philox4x32 and `thresholds`."""
    if p > 0.5:
        return n - scalar_draw(n, q, p, key, sample, i, stream_draw, stream_refine)
    if p == 0.0:
        return 0

    def block(c0, stream):
        return [int(w) for w in philox4x32(c0, sample, key.call, stream << 24, *key.key)]

    t, j = i // 8, i % 8
    r = block(2 * t + (j & 1), stream_draw)
    x, y = (r[1], r[3]) if j < 4 else (r[0], r[2])
    u1, u2 = (x & 0xFFFF, y & 0xFFFF) if (j & 2) == 0 else (x >> 16, y >> 16)
    w = block(i, stream_refine)
    total = 0
    for m, u, low in ((n - n % 16, u1, w[0]), (n % 16, u2, w[1])):
        table = draw.thresholds(m, np.array([p]), np.array([q]))[0] if m else ()
        for c in map(int, table):
            h = min(c >> 32, 65535)
            total += u > h if u != h else c <= (u << 32 | low)
    return total


# Sizes 1, 3: unused words of a block; 9, 21: a second group of eight, cut short.
@pytest.mark.parametrize("size", [1, 3, 9, 21])
def test_draw_matches_scalar_lazy_rule(size):
    rng = np.random.default_rng(size)
    p = np.array([0.0, 1.0, 0.5, 0.3, 0.8, 1e-9, 1 - 1e-9, 0.02])
    n = rng.integers(0, 256, (len(p), size))
    n[:, 0] = 255
    key = Philox(seed=2**63 + size, first_sample=2**32 - 8, call=7)
    drawn = draw.draw(n, p, 1 - p, key, Stream.BRIDGE_DRAW, Stream.BRIDGE_REFINE)
    assert drawn.dtype == np.int64
    for b in range(len(p)):
        for i in range(size):
            args = int(n[b, i]), p[b], 1 - p[b], key, 2**32 - 8 + b, i, 4, 5
            assert drawn[b, i] == scalar_draw(*args), (b, i)


@pytest.mark.parametrize("n, p", [(255, 0.5), (255, 0.03), (100, 0.9), (16, 0.5), (7, 0.2), (240, 1e-3)])
def test_draw_chi_square(n, p):
    # 200,000 draws; false alarm 1e-6 a case and the seed is fixed.
    counts = np.full((10, 20_000), n)
    drawn = draw.draw(counts, np.full(10, p), np.full(10, 1 - p), Philox(5), Stream.THIN_DRAW, Stream.THIN_REFINE)
    expected = stats.binom.pmf(np.arange(n + 1), n, p) * drawn.size
    seen = np.bincount(drawn.ravel(), minlength=n + 1)
    keep = expected > 10
    seen = np.append(seen[keep], seen[~keep].sum())
    expected = np.append(expected[keep], expected[~keep].sum())
    statistic = ((seen - expected) ** 2 / expected).sum()
    assert stats.chi2.sf(statistic, len(seen) - 1) > 1e-6


def test_ends_and_mirror():
    n = np.arange(256)[None, :].repeat(4, 0)
    p = np.array([0.0, 1.0, 5e-324, 1.0])
    q = np.array([1.0, 0.0, 1.0, 1e-20])
    drawn = draw.draw(n, p, q, Philox(1), Stream.THIN_DRAW, Stream.THIN_REFINE)
    assert (drawn[[0, 2]] == 0).all() and (drawn[[1, 3]] == n[[1, 3]]).all()
    some = np.array([0.1, 0.2, 0.3, 0.4])
    low = draw.draw(n, some, 1 - some, Philox(1), Stream.THIN_DRAW, Stream.THIN_REFINE)
    high = draw.draw(n, 1 - some, some, Philox(1), Stream.THIN_DRAW, Stream.THIN_REFINE)
    assert (low + high == n).all()


def test_bridges_compose_in_law():
    # Thinning to p_t and the bridge back to p_s gives the law of thinning to p_s, by the enumerated laws of the draws.
    n, p_s, p_t = 100, 0.7, 0.2
    beta = (p_s - p_t) / (1 - p_t)
    thinned = law(n, np.array([p_t]), np.array([1 - p_t]))[0]
    result = np.zeros(n + 1, dtype=np.longdouble)
    for x_t, mass in enumerate(thinned):
        result[x_t:] += mass * law(n - x_t, np.array([beta]), np.array([1 - beta]))[0]
    direct = true_law(n, np.array([p_s]), np.array([1 - p_s]))[0]
    # The rounding of beta moves the law by up to n * 2^-53; measured 1.5e-14.
    assert np.abs(result - direct).sum() / 2 < 1e-13
