"""Draws of counts: their ends, what keeps its digits there, and that rejection is exact.

Their laws are in tests/battery, their bits in test_known_answers.py, and all that holds of any op in test_contract.py.
"""

import itertools

import numpy as np
import pytest
import torch
from scipy import special, stats

import fastblackout as fb
from fastblackout.reference import binomial, poisson
from fastblackout.reference import portfloat as pf
from fastblackout.reference.bessel import _Pair
from fastblackout.reference.hypergeometric import _Urn
from support.arrays import bits
from support.helpers import chi_square_counts

RNG = fb.Philox(seed=31, first_sample=1, call=6)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 40 of them a run


def test_certain_and_impossible_outcomes(backend):
    """p = 0 gave 1 and p = 1 gave 0 elsewhere (torch #15356, cpython #149221)."""
    n = np.array([[0, 1, 255, 2**31, 2**53]])
    assert (fb.binomial(n, 0.0, rng=RNG) == 0).all() and (fb.binomial(n, 1e-300, rng=RNG) == 0).all()
    assert np.array_equal(fb.binomial(n, 1.0, rng=RNG), n)
    assert np.array_equal(fb.binomial(n, fb.Prob(1.0, 1e-300), rng=RNG), n)
    rates = np.repeat([0.0, 5e-324, 1e-300], 1000)
    assert not fb.poisson(rates, rng=RNG).any() and not fb.skellam(rates, 0.0, rng=RNG).any()
    assert np.array_equal(sum(fb.split(n, (0.5, 0.5), 1e300, rng=RNG)), n)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_float_counts_end_where_their_dtype_has_gaps(library, backend):
    """Among the float32 from 2^24 on are no odd numbers: of Binomial(2^26, 1/2), half the outcomes."""
    for dtype, end in {np.float32: 2**24, np.float64: 2**53}.items():
        count = np.full((1, 20_000), end, dtype)
        drawn = fb.binomial(library(count), 0.5, rng=RNG)
        wide = fb.binomial(np.full(count.shape, float(end)), 0.5, rng=RNG)
        assert bits(drawn.double() if library is torch.from_numpy else drawn.astype(float)) == bits(wide)
        assert 0.4 < float((drawn % 2).mean()) < 0.6
        count[0, 700] = np.nextafter(dtype(end), dtype(np.inf))
        rule = rf"^binomial: count: must be whole numbers in 0\.\.{end}, got {end + 2}\b"
        with pytest.raises(ValueError, match=rule):
            fb.binomial(library(count), 0.5, rng=RNG)


NORMAL = {  # draws next to a normal law: mean, variance
    "binomial": (lambda n: fb.binomial(np.full((1, 100_000), n), 0.3, rng=RNG), lambda n: (0.3 * n, 0.21 * n)),
    "poisson": (lambda rate: fb.poisson(np.full((1, 100_000), float(rate)), rng=RNG), lambda rate: (rate, rate)),
}


@pytest.mark.parametrize("most", [2**26, 2**31, 2**45, 2**52])
@pytest.mark.parametrize("op", NORMAL)
def test_large_draws_are_neither_quantised_nor_too_wide(op, most):
    """float32 gives even numbers alone at 2^26 (torch, jax), rust's rand_distr steps at 2^54; numpy #31986 is too wide.
    Mean and variance: 6 errors."""
    draw, moments = NORMAL[op]
    drawn, (mean, variance) = draw(most)[0], moments(most)
    assert stats.chisquare(np.bincount(drawn & 15, minlength=16)).pvalue > FALSE_ALARM
    z = (drawn - mean) / np.sqrt(variance)
    assert abs(z.mean()) < 6 / np.sqrt(z.size) and abs(z.var() - 1) < 6 * np.sqrt(2 / z.size)


def test_swapping_p_and_q_mirrors_a_binomial_draw():
    random = np.random.default_rng(3)
    n, p = random.integers(0, 10**6, 20_000), random.uniform(0.5001, 1, 20_000)
    left, right = (fb.binomial(n, prob, rng=RNG) for prob in (fb.Prob(p, 1 - p), fb.Prob(1 - p, p)))
    np.testing.assert_array_equal(left, n - right)


def test_inversion_at_the_ends_of_the_uniform():
    """u next to 1 ends within a cell or two of the true quantile, u = 0 at the first cell (dust #244, torch #4858)."""
    last = np.array([1 - 2.0**-53])
    for n, p in [(6, 0.45), (19, 0.5), (5 * 10**10, 1.9e-10), (2**53, 1e-15), (10**6, 9e-6)]:
        law = np.array([float(n)]), np.array([p]), np.array([1 - p])
        top = int(binomial._inversion(*law, last)[0])
        assert stats.binom.sf(top, n, p) < 1e-13
        assert top <= n and stats.binom.sf(top - 1, n, p) > 1e-19
        assert binomial._inversion(*law, np.array([0.999999702]))[0] == stats.binom.ppf(0.999999702, n, p)
        assert binomial._inversion(*law, np.array([0.0]))[0] == 0
    for rate in (1e-3, 1.0, 9.999):
        top = poisson._inversion(np.array([rate]), last)[0]
        assert stats.poisson.sf(top, rate) < 1e-13 < 1e6 * stats.poisson.sf(top - 1, rate)
        assert poisson._inversion(np.array([rate]), np.array([0.0]))[0] == 0
        assert poisson._inversion(np.array([rate]), np.array([0.75]))[0] == stats.poisson.ppf(0.75, rate)


def cell_ends(a, b, offset, k):
    """u with (2 a / (1/2 - |u|) + b) u + offset = k, from the quadratic in |u|."""
    g = np.abs(k - offset)
    h = 2 * a + 0.5 * b + g
    return np.sign(k - offset) * g / (h + np.sqrt(h * h - 2 * b * g))


def hat_range(f, a, b, offset, k):
    """Largest T over all u, smallest over |u| <= 0.43; in a cell T = f (a / (1/2 - |u|)^2 + b) is monotone in |u|."""
    low, high = cell_ends(a, b, offset, k), cell_ends(a, b, offset, k + 1)
    largest = max(np.max(f * (a / (0.5 - np.abs(u)) ** 2 + b)) for u in (low, high))
    low, high = np.maximum(low, -0.43), np.minimum(high, 0.43)
    nearest = np.where(low * high < 0, 0, np.minimum(np.abs(low), np.abs(high)))
    return largest, np.min((f * (a / (0.5 - nearest) ** 2 + b))[low < high])


def test_hat_and_squeeze_of_the_binomial_hold_at_every_cell():
    """T <= 1 and T >= v_r where the squeeze accepts: then the rejection regime is exact. Deterministic."""
    for p in np.concatenate([np.geomspace(1e-7, 0.5, 14), [0.3, 0.4, 0.45]]):
        for mean in np.concatenate([np.linspace(10, 20, 15), np.geomspace(20, 1e5, 15)]):
            n = np.ceil(mean / p)
            law = binomial._Law(np.array([int(n)]), np.array([p]), np.array([1 - p]))
            s = np.sqrt(n * p * (1 - p))
            k = np.unique(np.floor(np.linspace(max(0, n * p - 12 * s), min(n, n * p + 12 * s + 20), 3000)))
            x, y = k + 1, n - k + 1
            d = (k - n * p) + 1 - 2 * p
            level = pf.deviance(x, law.mean_1 + 0 * k, d) + pf.deviance(y, law.mean_2 + 0 * k, -d)
            level = level + pf.stirling_correction(x) + pf.stirling_correction(y)
            f = np.sqrt(x * y / (law.mean_1 * law.mean_2)) * np.exp(-level) / law.alpha
            top, bottom = hat_range(f, law.a, law.b, n * p + 0.5, k)
            assert top < 0.997 and bottom > law.squeeze[0] + 0.004
            if n <= 1e5:  # where scipy has the digits, the level is its log-probability, up to a constant
                near = np.abs(k - n * p) < 3 * s
                assert np.ptp((0.5 * np.log(x * y) - level - stats.binom.logpmf(k, n, p))[near]) < 2e-9


def poisson_margins(rate, alpha_shift, squeeze_shift):
    """(1 - largest T, smallest T - v_r where the squeeze accepts), the shifts added to the published constants."""
    root = np.sqrt(rate)
    b = 0.931 + 2.53 * root
    a = -0.059 + 0.02483 * b
    k = np.unique(np.floor(np.linspace(max(0, rate - 12 * root), rate + 12 * root + 20, 3000)))
    f = np.sqrt((k + 1) / (2 * np.pi)) / rate
    f = f * np.exp(-pf.deviance(k + 1, np.full_like(k, rate), k + 1 - rate) - pf.stirling_correction(k + 1))
    largest, smallest = hat_range(f / (1.1239 + alpha_shift + 1.1328 / (b - 3.4)), a, b, rate + 0.43, k)
    return 1 - largest, smallest - (0.9277 + squeeze_shift - 3.6224 / (b - 2))


def test_hat_and_squeeze_of_poisson_hold_at_every_cell():
    rates = np.concatenate([np.linspace(10, 40, 301), np.geomspace(40, 1e6, 100)])
    hat, squeeze = np.array([poisson_margins(rate, 0.01, -0.02) for rate in rates]).T
    assert hat.min() > 0.0015 and squeeze.min() > 0.01
    # Why two constants differ from the paper's: the margins are negative with those.
    assert poisson_margins(14.05, 0.0, 0.0)[0] < -0.005 and poisson_margins(30.86, 0.0, 0.0)[1] < -0.003


def test_an_attempt_of_hypergeometric_succeeds_often_and_its_ratio_is_one_at_the_top():
    """Of all urns of up to 60 balls: the largest ratio is 1 to rounding, at the top, and the mean of it above 0.6."""
    some = [(s, m, n) for n in range(2, 61) for m in range(1, n // 2 + 1) for s in range(1, m + 1)]
    for s, large, balls in some[::60]:
        k = np.arange(s + 1)
        urn = _Urn(*(np.full(s + 1, each) for each in (s, large, balls)))
        both, level = urn._at((large - k).astype(float))
        ratio = np.sqrt(both / urn.both) * np.exp(urn.level - level)
        law = stats.binom(balls - s, large / balls)
        top = law.pmf(np.arange(balls - s + 1)).max()
        np.testing.assert_allclose(ratio, law.pmf(large - k) / top, rtol=1e-12)
        assert (stats.binom(s, large / balls).pmf(k) * ratio).sum() > 0.6


def test_an_attempt_of_bessel_succeeds_often_and_its_ratio_is_one_at_the_top():
    for order in (0, 1, 5, 100, 10**4):
        for argument in np.geomspace(1e-3, 1e4, 15):
            k = np.arange(int(argument) + 60)
            pair = _Pair(np.full(k.size, float(order)), np.full(k.size, argument))
            x = order + k + 1.0
            ratio = np.sqrt(x / pair.top) * np.exp(pair.level - pair._level(x))
            law = stats.poisson(pair.rate_1[0])
            np.testing.assert_allclose(ratio, law.pmf(order + k) / law.pmf(int(pair.rate_1[0])), rtol=1e-9, atol=1e-300)
            assert ratio.max() < 1 + 1e-12
            assert (stats.poisson(pair.rate_2[0]).pmf(k) * ratio).sum() > 0.6


def test_limits_of_hypergeometric(backend):
    n = np.full((2, 50), 9)
    for good, bad, draws, wanted in ((0, n, 5, 0), (n, n, 0, 0), (n, 0, 5, 5), (n, n, 18, 9), (0, 0, 0 * n, 0)):
        assert (fb.hypergeometric(good, bad=bad, draws=draws, rng=RNG) == wanted).all()
    assert (fb.hypergeometric(np.full(50, 2**53), bad=0, draws=2**53, rng=RNG) == 2**53).all()
    drawn = fb.hypergeometric(np.full(50, 2**53 - 1), bad=1, draws=2**52, rng=RNG)
    assert set(2**52 - drawn) == {0, 1}


def test_symmetries_of_hypergeometric():
    """The balls that are not good, and those that are left, by the same attempts."""
    good, bad = np.random.default_rng(2).integers(0, 300, (2, 3, 400))
    draws = (np.random.default_rng(3).random((3, 400)) * (good + bad + 1)).astype(np.int64)
    drawn = fb.hypergeometric(good, bad=bad, draws=draws, rng=RNG)
    other = (good != bad) & (2 * draws != good + bad)
    swapped = fb.hypergeometric(bad, bad=good, draws=draws, rng=RNG)
    left = fb.hypergeometric(good, bad=bad, draws=good + bad - draws, rng=RNG)
    assert np.array_equal(swapped[other], (draws - drawn)[other]) and np.array_equal(left[other], (good - drawn)[other])


def test_limits_of_bessel(backend):
    assert not fb.bessel(np.arange(50), 0.0, rng=RNG).any() and not fb.bessel(np.arange(50), 1e-200, rng=RNG).any()
    assert not fb.bessel(np.full(50, 2**52), 1.0, rng=RNG).any()
    most = fb.bessel(np.full(50, 0), 2.0**52, rng=RNG)
    assert 2**51 - 2**30 < most.min() < most.max() < 2**51 + 2**30


def test_limits_of_beta_binomial(backend):
    """n = 0; shapes so tiny that f is 0 or 1; one shape huge; n of 2^53."""
    zero = fb.beta_binomial(np.zeros((2, 50), np.int64), np.geomspace(1e-300, 1e300, 50), 1.0, rng=RNG)
    assert not zero.any()
    ends = fb.beta_binomial(np.full((1, 4000), 255, np.uint8), 1e-300, 3e-300, rng=RNG)
    assert ends.dtype == np.uint8 and np.isin(ends, (0, 255)).all()
    assert abs((ends == 255).mean() - 0.25) < 5 * np.sqrt(0.1875 / 4000)
    assert (fb.beta_binomial(np.full(100, 9), 1e300, 1.0, rng=RNG) == 9).all()
    assert (fb.beta_binomial(np.full(100, 9), 1.0, 1e300, rng=RNG) == 0).all()
    large = fb.beta_binomial(np.full(100, 2**53), 2.0, 5.0, rng=RNG)
    assert large.min() >= 0 and large.max() <= 2**53 and np.unique(large).size == 100


def test_beta_binomial_next_to_all_of_2_to_the_53():
    """1 - f keeps its digits: Pr(n - k = j) is b Gamma(j + b) / j! n^-b to 1e-15, a = 1 and n large."""
    n, b, j, draws = 2**53, 0.01, np.arange(200), 200_000
    missing = n - fb.beta_binomial(np.full((1, draws), n), 1.0, b, rng=RNG)[0]
    expected = draws * b * np.exp(special.gammaln(j + b) - special.gammaln(j + 1) - b * np.log(n))
    seen = np.bincount(missing[missing < 200], minlength=200)
    rest = draws - seen.sum(), draws - expected.sum()
    assert chi_square_counts(np.append(seen, rest[0]), np.append(expected, rest[1])) > FALSE_ALARM


def test_limits_of_negative_binomial(backend):
    """A mean of 0; r so tiny that nearly all are 0; r huge, which is Poisson; rates beyond 2^52."""
    assert not fb.negative_binomial(np.geomspace(1e-300, 1e300, 50)[None], mean=0.0, rng=RNG).any()
    assert not fb.negative_binomial(np.full((1, 1000), 1e-300), mean=50.0, rng=RNG).any()
    drawn = fb.negative_binomial(np.full((1, 20_000), 1e300), mean=7.0, rng=RNG)
    expected = 20_000 * stats.poisson.pmf(np.arange(40), 7.0)
    assert chi_square_counts(np.bincount(drawn[0], minlength=40), expected) > FALSE_ALARM
    most = fb.negative_binomial(np.full((1, 1000), 0.01), mean=2.0**52, rng=RNG)
    assert most.min() == 0 and 2**52 - 2**31 < most.max() < 2**52 + 2**31


@pytest.mark.parametrize("probs", [(1,), (3, 0, 2), (0.1, 0.2, 0.3, 0.4), (5, 1, 1, 1, 2)])
@pytest.mark.parametrize("count", [1, 7])
def test_the_whole_law_of_multinomial(count, probs):
    """Every outcome of few counts in few categories."""
    drawn = fb.multinomial(np.full((3, 20_000), count), np.array(probs, float), rng=RNG).reshape(-1, len(probs))
    outcomes = [k for k in itertools.product(range(count + 1), repeat=len(probs)) if sum(k) == count]
    law = stats.multinomial(count, np.array(probs) / sum(probs)).pmf(outcomes)
    place = {outcome: at for at, outcome in enumerate(outcomes)}
    seen = np.bincount([place[tuple(row)] for row in drawn.tolist()], minlength=len(outcomes))
    assert not seen[law == 0].any()
    assert chi_square_counts(seen[law > 0], law[law > 0] * len(drawn)) > FALSE_ALARM


def test_one_count_of_multinomial_is_one_sample():
    """Whatever the number of categories: its draws differ from other samples' draws."""
    alone = [fb.multinomial(10**9, np.ones(8), rng=fb.Philox(1, first_sample=at)) for at in range(4)]
    assert np.array_equal(fb.multinomial(np.full(4, 10**9), np.ones(8), rng=fb.Philox(1)), alone)
    assert len({int(each) for each in np.ravel(alone)}) == 32
