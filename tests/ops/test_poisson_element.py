"""The per-element Poisson draw: its law, the bugs of other libraries, and the key."""

import numpy as np
import pytest
from scipy import stats

import fastblackout as fb
from fastblackout.philox import Philox
from fastblackout.reference import poisson as module
from fastblackout.reference import portfloat as pf
from fastblackout.reference.philox import Stream
from fastblackout.reference.poisson import MAX_RATE, poisson
from support.transformed_rejection import cell_ends

DRAWS = 1_000_000
FALSE_ALARM = 1e-6  # of each statistical check; 20 checks a run: 2e-5 over the file, and the seeds are fixed


def draw(rate, size=DRAWS, key=None, stream=Stream.POISSON):
    rate = np.broadcast_to(np.asarray(rate, dtype=np.float64), (1, size))
    key = key or Philox(seed=77, first_sample=3, call=4)
    if size == DRAWS:  # by the compiled kernel, which has the bits of the reference
        return fb.poisson(rate, rng=key, backend="cpu")[0]
    return poisson(rate, key, stream)[0]


def chi_square_p(sample, law):
    low, high = (int(v) for v in law.ppf([1e-9, 1 - 1e-9]))
    high = max(high, low + 1)
    expected = law.pmf(np.arange(low, high + 1)) * sample.size
    expected[0] += law.cdf(low - 1) * sample.size
    expected[-1] += law.sf(high) * sample.size
    observed = np.bincount(np.clip(sample, low, high) - low, minlength=expected.size)
    starts = np.flatnonzero(np.diff(np.floor(np.cumsum(expected) / 20), prepend=-1.0))
    expected, observed = np.add.reduceat(expected, starts), np.add.reduceat(observed, starts)
    return stats.chi2.sf(np.sum((observed - expected) ** 2 / expected), max(expected.size - 1, 1))


@pytest.mark.parametrize("rate", [1e-4, 0.3, 1.0, 5.0, 9.99, 10.0, 14.05, 15.7, 30.86, 50.0, 100.5, 1234.5, 1e5, 1e6])
def test_law(rate):
    sample = draw(rate)
    assert sample.min() >= 0
    assert chi_square_p(sample, stats.poisson(rate)) > FALSE_ALARM


@pytest.mark.parametrize("rate", [1e9, 1e12, MAX_RATE])
def test_large_rates(rate):
    """Mean, variance (numpy #31986 inflates it), low bits and shape; the normal limit holds to 1e-5 at these rates."""
    sample = draw(rate)
    z = (sample - np.int64(rate)) / np.sqrt(rate)
    assert abs(z.mean()) * np.sqrt(DRAWS) < 5
    assert abs(np.mean(z**2) - 1) * np.sqrt(DRAWS / 2) < 5
    uniform = stats.norm.cdf((sample - np.int64(rate) + 0.5) / np.sqrt(rate))
    assert stats.chisquare(np.histogram(uniform, bins=200, range=(0, 1))[0]).pvalue > FALSE_ALARM
    assert stats.chisquare(np.bincount(sample & 15, minlength=16)).pvalue > FALSE_ALARM


def test_certain_and_tiny_rates():
    np.testing.assert_array_equal(draw(0.0, 1000), 0)
    np.testing.assert_array_equal(draw(1e-300, 1000), 0)
    np.testing.assert_array_equal(draw(5e-324, 1000), 0)


def test_inversion_at_the_ends_of_the_uniform():
    for rate in (1e-3, 1.0, 9.999):
        r = np.array([rate])
        top = module._inversion(r, np.array([1 - 2.0**-53]))[0]
        # within a cell or two of the true quantile, whose tail is 1.1e-16
        assert stats.poisson.sf(top, rate) < 1e-13
        assert stats.poisson.sf(top - 1, rate) > 1e-19
        assert module._inversion(r, np.array([0.0]))[0] == 0
        assert module._inversion(r, np.array([0.75]))[0] == stats.poisson.ppf(0.75, rate)


def hat_margins(rate, alpha_shift, squeeze_shift):
    """(1 - largest T, smallest T - v_r where the squeeze accepts), the shifts added to the published constants."""
    root = np.sqrt(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    k = np.unique(np.floor(np.linspace(max(0, rate - 12 * root), rate + 12 * root + 20, 3000)))
    f = np.sqrt((k + 1) / (2 * np.pi)) / rate
    f = f * np.exp(-pf.deviance(k + 1, np.full_like(k, rate), k + 1 - rate) - pf.stirling_correction(k + 1))
    f = f / (1.1239 + alpha_shift + 1.1328 / (b - 3.4))
    low, high = cell_ends(a, b, rate + 0.43, k), cell_ends(a, b, rate + 0.43, k + 1)
    largest = max(np.max(f * (a / (0.5 - np.abs(u)) ** 2 + b)) for u in (low, high))
    low, high = np.maximum(low, -0.43), np.minimum(high, 0.43)
    nearest = np.where(low * high < 0, 0, np.minimum(np.abs(low), np.abs(high)))
    smallest = np.min((f * (a / (0.5 - nearest) ** 2 + b))[low < high])
    return 1 - largest, smallest - (0.9277 + squeeze_shift - 3.6224 / (b - 2))


def test_hat_and_squeeze_hold_at_every_cell():
    """T <= 1 and T >= v_r where the squeeze accepts: then the rejection regime is exact. Deterministic."""
    rates = np.concatenate([np.linspace(10, 40, 301), np.geomspace(40, 1e6, 100)])
    hat, squeeze = np.array([hat_margins(rate, 0.01, -0.02) for rate in rates]).T
    assert hat.min() > 0.0015
    assert squeeze.min() > 0.01


def test_published_constants_do_break():
    """Why two constants differ from the paper's: the margins are negative with those."""
    assert hat_margins(14.05, 0.0, 0.0)[0] < -0.005
    assert hat_margins(30.86, 0.0, 0.0)[1] < -0.003


def test_same_key_same_draw_for_any_split():
    rate = np.random.default_rng(5).uniform(0, 60, (6, 500))
    whole = poisson(rate, Philox(1, first_sample=10, call=2))
    parts = [poisson(rate[r : r + 3], Philox(1, first_sample=10 + r, call=2)) for r in (0, 3)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert np.mean(poisson(rate, Philox(1, first_sample=10, call=3)) == whole) < 0.2
    assert np.mean(poisson(rate, Philox(1, first_sample=10, call=2), Stream.TAU_LEAP) == whole) < 0.2
    assert poisson(np.empty((2, 0)), Philox()).shape == (2, 0)


def test_known_answers():
    """Frozen draws: inversion, rejection, large."""
    rate = np.array([0.5, 5, 9.99, 10, 50, 1e6, 1e12, MAX_RATE])
    expected = [0, 4, 8, 8, 47, 998649, 1000000777765, 4503599611710067]
    np.testing.assert_array_equal(draw(rate, 8), expected)
