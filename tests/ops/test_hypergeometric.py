"""fb.hypergeometric and its log-probability: the law, how it is accepted, limits, keys, kinds and errors."""

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from fastblackout.reference.hypergeometric import _Urn
from support.arrays import DLPackOnly, bits
from support.helpers import chi_square

RNG = fb.Philox(seed=95, first_sample=2, call=5)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 50 of them a run


@pytest.mark.parametrize("good, bad", [(1, 1), (5, 5), (3, 40), (40, 3), (100, 50), (900, 2000), (10**6, 10**6)])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.5, 0.9, 1.0])
def test_law(good, bad, share):
    draws = max(round(share * (good + bad)), 1)
    drawn = fb.hypergeometric(np.full((2, 50_000), good), bad=bad, draws=draws, rng=RNG)
    law = stats.hypergeom(good + bad, good, draws)
    assert max(0, draws - bad) <= drawn.min() and drawn.max() <= min(good, draws)
    assert chi_square(drawn, law) > FALSE_ALARM


def test_every_small_urn():
    """All with up to 7 good and bad balls together, by one chi-square: each outcome is a cell of its own."""
    statistic = cells = 0
    for good in range(8):
        for bad in range(8 - good):
            for draws in range(good + bad + 1 if good + bad else 0):
                drawn = fb.hypergeometric(
                    np.full((1, 4000), good), bad=bad, draws=draws, rng=RNG.at(call=100 * good + bad)
                )[0]
                k = np.arange(max(0, draws - bad), min(good, draws) + 1)
                expected = 4000 * stats.hypergeom(good + bad, good, draws).pmf(k)
                seen = np.array([(drawn == each).sum() for each in k])
                assert seen.sum() == 4000
                statistic, cells = statistic + ((seen - expected) ** 2 / expected).sum(), cells + k.size - 1
    assert stats.chi2.sf(statistic, cells) > FALSE_ALARM


@pytest.mark.parametrize("good, bad, draws", [(2**40, 2**50, 2**20), (2**52, 2**52, 2**52), (10**15, 3, 10**12)])
def test_large_numbers(good, bad, draws):
    """By the normal law in 50 bins where the deviation is large, else by scipy's of the smaller number."""
    drawn = fb.hypergeometric(np.full((2, 20_000), good), bad=bad, draws=draws, rng=RNG).ravel()
    balls = good + bad
    variance = draws * (good / balls) * (bad / balls) * ((balls - draws) / (balls - 1))
    if variance > 100:
        z = (drawn - float(draws) * good / balls + np.random.default_rng(1).random(drawn.size) - 0.5) / np.sqrt(
            variance
        )
        counts = np.histogram(stats.norm.cdf(z), bins=50, range=(0, 1))[0]
        assert stats.chisquare(counts).pvalue > FALSE_ALARM
    else:
        assert chi_square(draws - drawn, stats.binom(bad, draws / balls)) > FALSE_ALARM  # all but 1e-6 of each chance


def test_an_attempt_succeeds_often_and_its_ratio_is_one_at_the_top():
    """Of all urns of up to 60 balls: the largest ratio is 1 to rounding, at the top, and the mean of it above 0.6."""
    some = [(s, m, n) for n in range(2, 61) for m in range(1, n // 2 + 1) for s in range(1, m + 1)]
    for s, large, balls in some[::60]:
        k = np.arange(s + 1)
        urn = _Urn(*(np.full(s + 1, each) for each in (s, large, balls)))
        both, level = urn._at((large - k).astype(float))
        ratio = np.sqrt(both / urn.both) * np.exp(urn.level - level)
        chance = stats.binom(balls - s, large / balls).pmf(large - k)
        top = stats.binom(balls - s, large / balls).pmf(np.arange(balls - s + 1)).max()
        np.testing.assert_allclose(ratio, chance / top, rtol=1e-12)
        assert (stats.binom(s, large / balls).pmf(k) * ratio).sum() > 0.6


def test_limits(backend):
    n = np.full((2, 50), 9)
    assert (
        not fb.hypergeometric(n * 0, bad=n, draws=5, rng=RNG).any()
        and not fb.hypergeometric(n, bad=n, draws=0, rng=RNG).any()
    )
    assert (fb.hypergeometric(n, bad=0, draws=5, rng=RNG) == 5).all() and (
        fb.hypergeometric(n, bad=n, draws=18, rng=RNG) == 9
    ).all()
    assert not fb.hypergeometric(0, bad=0, draws=np.zeros(4, int), rng=RNG).any()
    assert (fb.hypergeometric(np.full(50, 2**53), bad=0, draws=2**53, rng=RNG) == 2**53).all()
    drawn = fb.hypergeometric(np.full(50, 2**53 - 1), bad=1, draws=2**52, rng=RNG)
    assert set(2**52 - drawn) == {0, 1}


def test_symmetries():
    """The balls that are not good, and those that are left, by the same attempts."""
    good, bad = np.random.default_rng(2).integers(0, 300, (2, 3, 400))
    draws = (np.random.default_rng(3).random((3, 400)) * (good + bad + 1)).astype(np.int64)
    drawn = fb.hypergeometric(good, bad=bad, draws=draws, rng=RNG)
    other = (good != bad) & (2 * draws != good + bad)
    assert np.array_equal(fb.hypergeometric(bad, bad=good, draws=draws, rng=RNG)[other], (draws - drawn)[other])
    assert np.array_equal(
        fb.hypergeometric(good, bad=bad, draws=good + bad - draws, rng=RNG)[other], (good - drawn)[other]
    )


def test_batch_split_and_keys(backend):
    good, draws = np.arange(1200).reshape(6, 200), np.arange(200)
    whole = fb.hypergeometric(good, bad=300, draws=draws, rng=RNG)
    for size in (1, 2, 3):
        made = [
            fb.hypergeometric(good[at : at + size], bad=300, draws=draws, rng=RNG.at(first_sample=2 + at))
            for at in range(0, 6, size)
        ]
        assert bits(np.concatenate(made)) == bits(whole)
    assert not np.array_equal(fb.hypergeometric(good, bad=300, draws=draws, rng=RNG.at(call=6)), whole)


def test_kinds_and_layouts(backend):
    good, bad = np.arange(120).reshape(4, 5, 6), np.random.default_rng(1).integers(50, 99, (5, 1))
    expected = fb.hypergeometric(good, bad=bad, draws=40, rng=RNG)
    assert expected.dtype == np.int64 and expected.flags.c_contiguous
    for other in (np.asfortranarray(good), np.repeat(good, 2, 2)[..., ::2], DLPackOnly(good)):
        assert bits(fb.hypergeometric(other, bad=bad, draws=40, rng=RNG)) == bits(expected)
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64):
        drawn = fb.hypergeometric(
            torch.from_numpy(good).to(dtype), bad=torch.from_numpy(bad).float(), draws=40, rng=RNG
        )
        assert drawn.dtype == dtype and np.array_equal(drawn.long().numpy(), expected)
    assert fb.hypergeometric(7, bad=8, draws=3, rng=RNG).shape == ()
    assert fb.hypergeometric(np.empty((0, 3), np.int64), bad=4, draws=2, rng=RNG).shape == (0, 3)


def test_log_prob():
    random = np.random.default_rng(4)
    for scale in (5, 100, 10**6, 10**12):
        good, bad = random.integers(0, scale, (2, 40))
        draws = (random.random(40) * (good + bad + 1)).astype(np.int64)
        x = np.array([random.integers(max(0, n - b), min(g, n) + 1) for g, b, n in zip(good, bad, draws, strict=True)])
        near = np.clip(draws * good // np.maximum(good + bad, 1), np.maximum(0, draws - bad), np.minimum(good, draws))
        for each in (x, near):
            got, traced = fb.hypergeometric_log_prob(each, good, bad, draws), torch.from_numpy(each).double()
            with mpmath.workdps(40):
                truth = np.array([_exact(*row) for row in zip(each, good, bad, draws, strict=True)])
            bound = 1.2e-14 * (1 + np.abs(truth)) + 1e-15 * np.abs(each - near)
            assert (np.abs(got - truth) <= bound).all(), (scale, (np.abs(got - truth) / bound).max())
            with torch.enable_grad():
                by_torch = fb.hypergeometric_log_prob(traced.requires_grad_(), good, bad, draws).detach().numpy()
            np.testing.assert_allclose(by_torch, truth, rtol=1e-12, atol=1e-15 * scale * np.log(scale) * 100)
    x = np.array([-1.0, 0.5, np.nan, np.inf, 4.0, 0.0, 1.0])
    got = fb.hypergeometric_log_prob(x, 3, 2, 3)
    assert np.array_equal(got[:6], np.full(6, -np.inf)) and got[6] == pytest.approx(np.log(3 / 10))
    assert np.exp(fb.hypergeometric_log_prob(np.arange(31), 30, 50, 40)).sum() == pytest.approx(1, abs=1e-13)
    assert fb.hypergeometric_log_prob(0, 0, 0, 0) == 0 and fb.hypergeometric_log_prob(3, 3, 2, 5) == 0


def _exact(x, good, bad, draws):
    x, good, bad, draws = map(int, (x, good, bad, draws))

    def chosen(n, k):
        return mpmath.loggamma(n + 1) - mpmath.loggamma(k + 1) - mpmath.loggamma(n - k + 1)

    return float(chosen(good, x) + chosen(bad, draws - x) - chosen(good + bad, draws))


def test_known_answers(backend):
    """Frozen draws."""
    good, bad, draws = np.array([5, 300, 2**40, 7]), np.array([5, 900, 2**45, 3]), np.array([4, 500, 2**30, 9])
    assert fb.hypergeometric(good, bad=bad, draws=draws, rng=fb.Philox(7, first_sample=1, call=2)).tolist() == [
        4,
        117,
        32544455,
        7,
    ]
