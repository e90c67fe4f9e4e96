"""The per-element binomial draw: its law, the bugs of other libraries, and the key."""

import numpy as np
import pytest
from scipy import stats

import fastblackout as fb
from fastblackout.philox import Philox
from fastblackout.reference import binomial as module
from fastblackout.reference import portfloat as pf
from fastblackout.reference.binomial import MAX_COUNT, binomial
from fastblackout.reference.philox import Stream
from support.transformed_rejection import cell_ends

DRAWS = 1_000_000
FALSE_ALARM = 1e-6  # of each statistical check; 30 checks a run: 3e-5 over the file, and the seeds are fixed


def draw(n, p, q=None, size=DRAWS, key=None, stream=Stream.BINOMIAL):
    shape = (1, size)
    count = np.broadcast_to(np.asarray(n, dtype=np.int64), shape)
    p = np.broadcast_to(np.asarray(p, dtype=np.float64), shape)
    q = 1.0 - p if q is None else np.broadcast_to(np.asarray(q, dtype=np.float64), shape)
    key = key or Philox(seed=2024, first_sample=5, call=9)
    if size == DRAWS:  # by the compiled kernel, which has the bits of the reference
        return fb.binomial(count, fb.Prob(p, q), rng=key, backend="cpu")[0]
    return binomial(count, p, q, key, stream)[0]


def chi_square_p(sample, law, low, high):
    """p-value of sample against law.pmf over low..high, both tails merged and cells joined to an expectation of 20."""
    k = np.arange(low, high + 1)
    expected = law.pmf(k) * sample.size
    expected[0] += law.cdf(low - 1) * sample.size
    expected[-1] += law.sf(high) * sample.size
    observed = np.bincount(np.clip(sample, low, high) - low, minlength=k.size)
    starts = np.flatnonzero(np.diff(np.floor(np.cumsum(expected) / 20), prepend=-1.0))
    expected, observed = np.add.reduceat(expected, starts), np.add.reduceat(observed, starts)
    return stats.chi2.sf(np.sum((observed - expected) ** 2 / expected), max(expected.size - 1, 1))


@pytest.mark.parametrize(
    "n, p",
    [
        (1, 0.5), (6, 0.45), (40, 0.2), (40, 0.3), (50, 0.97), (255, 0.5), (300, 0.04), (301, 0.7), (700, 0.75),
        (1000, 0.3), (1459, 0.1), (10**4, 0.5), (10**6, 0.37), (10**10, 3e-9), (5 * 10**10, 5e-17), (2**31 - 1, 4e-8),
    ],
)  # fmt: skip
def test_law(n, p):
    """n = 6, 0.45 is dust #244; 300..1459 are the Stirling and endless-loop reports; 5e10, 5e-17 is numpy #29522."""
    law = stats.binom(n, p)
    low, high = (int(v) for v in law.ppf([1e-9, 1 - 1e-9]))
    sample = draw(n, p)
    assert sample.min() >= 0 and sample.max() <= n
    assert chi_square_p(sample, law, low, max(high, 1)) > FALSE_ALARM


@pytest.mark.parametrize("n", [2**31 - 1, 10**10, 2**45])
@pytest.mark.parametrize("p", [0.5, 0.9])
def test_law_of_large_counts(n, p):
    """Chi-square of 200 bins of equal normal probability; scipy's own sums fail at these n, the normal limit does not:
    the skewness correction moves a bin by less than 1e-5, against a noise of 1.4e-2 of a bin."""
    z = (draw(n, p) + 0.5 - n * p) / np.sqrt(n * p * (1 - p))
    counts = np.histogram(stats.norm.cdf(z), bins=200, range=(0, 1))[0]
    assert stats.chisquare(counts).pvalue > FALSE_ALARM


@pytest.mark.parametrize("n", [2**26, 2**40, MAX_COUNT])
def test_large_counts_are_not_quantised(n):
    """torch gives no odd sample at 2^26 in float32, rand_distr steps at 2^54: the low 4 bits must be uniform."""
    low_bits = np.bincount(draw(n, 0.3) & 15, minlength=16)
    assert stats.chisquare(low_bits).pvalue > FALSE_ALARM


def test_deficit_when_p_is_next_to_one():
    """q = 1e-9 given separately: n - K is Poisson(2.147) to 1e-9; p alone in float32 would be off by a factor."""
    n, q = 2**31 - 1, 1e-9
    deficit = n - draw(n, 1.0 - q, q)
    assert chi_square_p(deficit, stats.binom(n, q), 0, 20) > FALSE_ALARM


def test_swapping_p_and_q_mirrors_the_draw():
    rng = np.random.default_rng(3)
    n = rng.integers(0, 10**6, 20_000)
    p = rng.uniform(0.5, 1, 20_000)
    p = p[p != 0.5]
    np.testing.assert_array_equal(draw(n, p, 1 - p, p.size), n - draw(n, 1 - p, p, p.size))


def test_certain_outcomes():
    n = np.array([0, 1, 255, 2**31, MAX_COUNT])
    zero, one = np.zeros(5), np.ones(5)
    np.testing.assert_array_equal(draw(n, zero, one, 5), 0)
    np.testing.assert_array_equal(draw(n, one, zero, 5), n)
    np.testing.assert_array_equal(draw(0, np.linspace(0, 1, 1000), None, 1000), 0)
    # 2^53 trials of 1e-300: never a success, no overflow, no NaN
    np.testing.assert_array_equal(draw(MAX_COUNT, 1e-300, 1.0, 1000), 0)
    np.testing.assert_array_equal(draw(MAX_COUNT, 1.0, 1e-300, 1000), MAX_COUNT)


def test_inversion_at_the_ends_of_the_uniform():
    """u next to 1 must end at a possible count, u = 0 at the first cell (dust #244, torch #4858)."""
    last = np.array([1 - 2.0**-53])
    for n, p in [(6, 0.45), (19, 0.5), (5 * 10**10, 1.9e-10), (2**53, 1e-15), (10**6, 9e-6)]:
        size, prob, rest = np.array([float(n)]), np.array([p]), np.array([1 - p])
        top = int(module._inversion(size, prob, rest, last)[0])
        # within a cell or two of the true quantile, whose tail is 1.1e-16
        assert stats.binom.sf(top, n, p) < 1e-13
        assert top <= n and stats.binom.sf(top - 1, n, p) > 1e-19
        stuck = int(module._inversion(size, prob, rest, np.array([0.999999702]))[0])
        assert stuck == stats.binom.ppf(0.999999702, n, p)
        assert module._inversion(size, prob, rest, np.array([0.0]))[0] == 0


def hat_range(f, a, b, offset, k):
    """Largest T over all u, smallest over |u| <= 0.43; in a cell T = f (a / (1/2 - |u|)^2 + b) is monotone in |u|."""
    low, high = cell_ends(a, b, offset, k), cell_ends(a, b, offset, k + 1)
    t = [f * (a / (0.5 - np.abs(u)) ** 2 + b) for u in (low, high)]
    low, high = np.maximum(low, -0.43), np.minimum(high, 0.43)
    nearest = np.where(low * high < 0, 0, np.minimum(np.abs(low), np.abs(high)))
    smallest = (f * (a / (0.5 - nearest) ** 2 + b))[low < high]
    return np.max(t), np.min(smallest)


def test_hat_and_squeeze_hold_at_every_cell():
    """T <= 1 and T >= v_r where the squeeze accepts: then the rejection regime is exact. Deterministic."""
    for p in np.concatenate([np.geomspace(1e-7, 0.5, 14), [0.3, 0.4, 0.45]]):
        for mean in np.concatenate([np.linspace(10, 20, 15), np.geomspace(20, 1e5, 15)]):
            n = np.ceil(mean / p)
            law = module._Law(np.array([int(n)]), np.array([p]), np.array([1 - p]))
            s = np.sqrt(n * p * (1 - p))
            k = np.unique(np.floor(np.linspace(max(0, n * p - 12 * s), min(n, n * p + 12 * s + 20), 3000)))
            x, y = k + 1, n - k + 1
            d = (k - n * p) + 1 - 2 * p
            level = pf.deviance(x, law.mean_1 + 0 * k, d) + pf.deviance(y, law.mean_2 + 0 * k, -d)
            level = level + pf.stirling_correction(x) + pf.stirling_correction(y)
            f = np.sqrt(x * y / (law.mean_1 * law.mean_2)) * np.exp(-level) / law.alpha
            top, bottom = hat_range(f, law.a, law.b, n * p + 0.5, k)
            assert top < 0.997
            assert bottom > law.squeeze[0] + 0.004


def test_level_is_the_binomial_log_probability():
    """log c f(k) used for acceptance against scipy's log pmf, up to a constant, where scipy has the digits."""
    for n, p in [(40, 0.3), (1000, 0.3), (10**5, 0.02)]:
        k = np.arange(int(n * p - 3 * np.sqrt(n * p)), int(n * p + 3 * np.sqrt(n * p))).astype(np.float64)
        x, y, d = k + 1, n - k + 1, k - n * p + 1 - 2 * p
        mean_1, mean_2 = np.full_like(k, (n + 2) * p), np.full_like(k, (n + 2) * (1 - p))
        level = 0.5 * np.log(x * y) - pf.deviance(x, mean_1, d) - pf.deviance(y, mean_2, -d)
        level = level - pf.stirling_correction(x) - pf.stirling_correction(y)
        difference = level - stats.binom.logpmf(k, n, p)
        assert np.ptp(difference) < 2e-9


def test_same_key_same_draw_for_any_split():
    rng = np.random.default_rng(4)
    n = rng.integers(0, 5000, (6, 700))
    p = rng.random((6, 700))
    whole = binomial(n, p, 1 - p, Philox(seed=1, first_sample=10, call=2))
    parts = [
        binomial(n[r : r + 2], p[r : r + 2], 1 - p[r : r + 2], Philox(1, first_sample=10 + r, call=2))
        for r in (0, 2, 4)
    ]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    prefix = binomial(n[:, :100], p[:, :100], 1 - p[:, :100], Philox(1, first_sample=10, call=2))
    np.testing.assert_array_equal(whole[:, :100], prefix)
    for other in (
        Philox(2, first_sample=10, call=2),
        Philox(1 + (1 << 32), first_sample=10, call=2),
        Philox(1, first_sample=11, call=2),
        Philox(1, first_sample=10, call=3),
    ):
        assert np.mean(binomial(n, p, 1 - p, other) == whole) < 0.2
    assert np.mean(binomial(n, p, 1 - p, Philox(1, first_sample=10, call=2), Stream.THIN_ELEMENT) == whole) < 0.2


def test_neighbours_are_independent():
    """cupy #7164, torch #136750: correlation of z scores between samples, calls, streams and neighbours; z < 5."""
    key = Philox(seed=7)
    size = 1 << 18
    base = [draw(200, 0.3, size=size, key=k) for k in (key, key.at(call=1), key.at(first_sample=1))]
    base += [draw(200, 0.3, size=size, key=key, stream=Stream.THIN_ELEMENT), np.roll(base[0], 1)]
    correlation = np.corrcoef(np.array(base, dtype=np.float64))[np.triu_indices(5, 1)] * np.sqrt(size)
    assert np.max(np.abs(correlation)) < 5  # 10 pairs: false alarm 6e-6


def test_empty():
    empty = np.empty((3, 0))
    assert binomial(empty.astype(np.int64), empty, empty, Philox()).shape == (3, 0)


def test_known_answers():
    """Frozen draws: inversion, rejection, mirrored, large."""
    n = np.array([6, 40, 255, 10**4, 10**9, MAX_COUNT, 5 * 10**10, 2**31 - 1])
    p = np.array([0.45, 0.3, 0.9, 0.5, 0.01, 0.75, 1e-10, 0.999])
    expected = [3, 12, 224, 4975, 10000398, 6755399403446416, 5, 2145334221]
    np.testing.assert_array_equal(draw(n, p, 1 - p, 8), expected)
