"""fb.bessel and its log-probability: the law, how it is accepted, limits, keys, kinds, gradients and errors."""

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats

import fastblackout as fb
from fastblackout.reference.bessel import _Pair
from support.arrays import DLPackOnly, bits
from support.helpers import chi_square_counts

RNG = fb.Philox(seed=96, first_sample=2, call=5)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 30 of them a run


def probabilities(order, argument, most):
    k = np.arange(most + 1)
    log_p = (2 * k + order) * np.log(argument / 2) - special.gammaln(k + 1) - special.gammaln(k + order + 1)
    p = np.exp(log_p - log_p.max())
    return p / p.sum()


@pytest.mark.parametrize("order", [0, 1, 7, 400])
@pytest.mark.parametrize("argument", [0.3, 3.0, 40.0, 500.0, 1e4])
def test_law(order, argument):
    drawn = fb.bessel(np.full((2, 50_000), order), argument, rng=RNG).ravel()
    expected = drawn.size * probabilities(order, argument, drawn.max() + 50)
    assert chi_square_counts(np.bincount(drawn, minlength=expected.size), expected) > FALSE_ALARM


def test_it_is_the_smaller_of_two_poisson_numbers():
    """Of pairs of Poisson numbers, those that differ by 2: their smaller one."""
    first, second = (fb.poisson(np.full((1, 300_000), rate), rng=RNG.at(at)) for at, rate in enumerate((6.0, 3.0)))
    smaller = second[first - second == 2]
    drawn = fb.bessel(np.full((1, smaller.size), 2), 2 * np.sqrt(18.0), rng=RNG)[0]
    table = np.array([np.bincount(np.minimum(each, 8), minlength=9) for each in (smaller, drawn)])
    assert table.min() > 5 and stats.chi2_contingency(table).pvalue > FALSE_ALARM


@pytest.mark.parametrize("order, argument", [(0, 1e12), (10**6, 1e9), (2**50, 2.0**51)])
def test_large_numbers(order, argument):
    """By the normal law in 50 bins: its mean is off by 1 / 4, far below the noise."""
    drawn = fb.bessel(np.full((2, 20_000), order), argument, rng=RNG).ravel()
    root = np.hypot(order, argument)
    smaller = argument * argument / (2 * (order + root))
    variance = argument * argument / (4 * root)
    z = (drawn - smaller) / np.sqrt(variance)
    assert stats.chisquare(np.histogram(stats.norm.cdf(z), bins=50, range=(0, 1))[0]).pvalue > FALSE_ALARM


def test_an_attempt_succeeds_often_and_its_ratio_is_one_at_the_top():
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


def test_limits(backend):
    assert not fb.bessel(np.arange(50), 0.0, rng=RNG).any() and not fb.bessel(np.arange(50), 1e-200, rng=RNG).any()
    assert not fb.bessel(np.full(50, 2**52), 1.0, rng=RNG).any()
    most = fb.bessel(np.full(50, 0), 2.0**52, rng=RNG)
    assert 2**51 - 2**30 < most.min() < most.max() < 2**51 + 2**30


def test_batch_split_and_keys(backend):
    order, argument = np.arange(1200).reshape(6, 200) % 50, np.geomspace(0.1, 1e3, 200)
    whole = fb.bessel(order, argument, rng=RNG)
    for size in (1, 2, 3):
        made = [fb.bessel(order[at : at + size], argument, rng=RNG.at(first_sample=2 + at)) for at in range(0, 6, size)]
        assert bits(np.concatenate(made)) == bits(whole)
    assert not np.array_equal(fb.bessel(order, argument, rng=RNG.at(call=6)), whole)


def test_kinds_and_layouts(backend):
    order, argument = np.arange(120).reshape(4, 5, 6), np.random.default_rng(1).random((5, 1)) * 90
    expected = fb.bessel(order, argument, rng=RNG)
    assert expected.dtype == np.int64 and expected.flags.c_contiguous
    for other in (np.asfortranarray(order), np.repeat(order, 2, 2)[..., ::2], DLPackOnly(order)):
        assert bits(fb.bessel(other, argument, rng=RNG)) == bits(expected)
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.int64, torch.float32, torch.float64):
        drawn = fb.bessel(torch.from_numpy(order).to(dtype), torch.from_numpy(argument), rng=RNG)
        assert drawn.dtype == torch.int64 and np.array_equal(drawn.numpy(), expected)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        given = torch.from_numpy(argument).to(dtype)
        assert torch.equal(fb.bessel(3, given, rng=RNG), fb.bessel(3, given.double(), rng=RNG))
    assert fb.bessel(7, 8.0, rng=RNG).shape == () and fb.bessel(np.empty((0, 3), int), 4.0, rng=RNG).shape == (0, 3)


def test_log_prob():
    random, worst = np.random.default_rng(4), 0.0
    with mpmath.workdps(40):
        for _ in range(150):
            order, argument = int(10 ** random.uniform(0, 3)) - 1, 10 ** random.uniform(-3, 3.5)
            mean = argument * argument / (2 * (order + np.hypot(order, argument)))
            for x in {max(round(mean + random.normal() * np.sqrt(mean)), 0), int(random.integers(0, 60))}:
                half = mpmath.mpf(argument) / 2
                truth = (2 * x + order) * mpmath.log(half) - mpmath.loggamma(x + 1) - mpmath.loggamma(x + order + 1)
                truth = float(truth - mpmath.log(mpmath.besseli(order, 2 * half, maxterms=10**6)))
                sizes = abs(np.log(argument)) + np.log1p(x + order) + abs(truth)
                bound = 2e-14 * (1 + sizes) + 2e-15 * abs(x - mean)
                worst = max(worst, abs(fb.bessel_log_prob(x, order, argument) - truth) / bound)
        for x, order, argument in (
            (1, 0, 1e-157),
            (1, 0, 5e-324),
            (30, 2, 6.3e-211),
            (3, 5, 1e-100),
            (10**6, 2**40, 1e-99),
        ):
            half = mpmath.mpf(argument) / 2  # of which the series of the Bessel function keeps its first term
            terms = mpmath.loggamma(x + 1), mpmath.loggamma(x + order + 1), -mpmath.loggamma(order + 1)
            truth = float(2 * x * mpmath.log(half) - mpmath.fsum(terms))
            bound = 2e-14 * (1 + abs(np.log(argument)) + np.log1p(x + order) + abs(truth)) + 2e-15 * x
            worst = max(worst, abs(fb.bessel_log_prob(x, order, argument) - truth) / bound)
    assert worst < 1, worst
    got = fb.bessel_log_prob(np.array([-1.0, 0.5, np.nan, np.inf, 2.0**60]), 3, 4.0)
    assert np.array_equal(got, np.full(5, -np.inf))
    assert np.exp(fb.bessel_log_prob(np.arange(100), 3, 20.0)).sum() == pytest.approx(1, abs=1e-13)
    assert np.abs(fb.bessel_log_prob(0, np.arange(50), 0.0)).max() < 1e-13 and fb.bessel_log_prob(1, 3, 0.0) == -np.inf


def test_log_prob_gradient():
    """By autograd, and (2 (x - E x)) / argument, E x = argument I_(order + 1) / (2 I_order)."""
    random = np.random.default_rng(5)
    order, argument, x = random.integers(0, 30, (4, 1)), random.uniform(0.5, 60, 6), random.integers(0, 20, (4, 6))
    leaf = torch.from_numpy(argument).requires_grad_()
    got = fb.bessel_log_prob(torch.from_numpy(x), torch.from_numpy(order), leaf)
    plain = fb.bessel_log_prob(x, order, argument)
    np.testing.assert_allclose(got.detach().numpy(), plain, rtol=1e-11, atol=1e-11)
    tensors = torch.from_numpy(x), torch.from_numpy(order), leaf.detach()
    assert np.array_equal(fb.bessel_log_prob(*tensors).numpy(), plain)
    (slope,) = torch.autograd.grad(got.sum(), leaf)
    mean = argument * special.ive(order + 1, argument) / (2 * special.ive(order, argument))
    np.testing.assert_allclose(slope.numpy(), (2 * (x - mean) / argument).sum(0), rtol=1e-9, atol=1e-9)


def test_known_answers(backend):
    """Frozen draws."""
    order, argument = np.array([0, 3, 100, 2**40]), np.array([1.0, 50.0, 1e6, 2.0**45])
    assert fb.bessel(order, argument, rng=fb.Philox(7, first_sample=1, call=2)).tolist() == [
        0,
        19,
        500307,
        17051018312211,
    ]
