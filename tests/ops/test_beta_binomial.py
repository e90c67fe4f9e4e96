"""fb.beta_binomial: the law, its limits, keys, kinds of arguments and errors."""

import numpy as np
import pytest
import torch
from scipy import special, stats

import fastblackout as fb
from fastblackout.reference.beta import beta_pair
from fastblackout.reference.beta_binomial import STREAMS
from fastblackout.reference.binomial import binomial
from fastblackout.reference.philox import Stream
from support.arrays import DLPackOnly, bits
from support.helpers import chi_square_counts

RNG = fb.Philox(seed=91, first_sample=2, call=5)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 60 of them a run
DRAWS = 200_000
SHAPES = (1e-8, 0.02, 0.7, 1.0, 30.0, 1e6)


def probabilities(n, a, b):
    """Pr(k), k = 0..n, by log-gamma terms, normalised: where shapes are huge these cancel."""
    k = np.arange(n + 1)
    if min(a, b) >= 1e6:  # within 1e-6 of the limit, the binomial law
        return stats.binom.pmf(k, n, a / (a + b))
    log_p = special.betaln(k + a, n - k + b) - special.betaln(a, b) - special.betaln(k + 1, n - k + 1) - np.log(n + 1)
    p = np.exp(log_p)
    return p / p.sum()


@pytest.mark.parametrize("a", SHAPES)
@pytest.mark.parametrize("b", SHAPES)
def test_law(a, b):
    for n in (5, 255):
        drawn = fb.beta_binomial(np.full((1, DRAWS), n), a, b, rng=RNG)[0]
        assert drawn.min() >= 0 and drawn.max() <= n
        expected = DRAWS * probabilities(n, a, b)
        assert chi_square_counts(np.bincount(drawn, minlength=n + 1), expected) > FALSE_ALARM


@pytest.mark.parametrize(("a", "b"), [(0.3, 0.8), (2.0, 1e-3), (1e-8, 1e-8), (40.0, 7.0)])
def test_law_of_large_counts(a, b):
    """k / n of 1e9 has the law of f; the law of k is the mean of f's with a jitter of one cell."""
    drawn = fb.beta_binomial(np.full((1, DRAWS), 10**9), a, b, rng=RNG)[0]
    inside = (drawn > 1000) & (drawn < 10**9 - 1000)
    ends = np.array([(drawn <= 1000).sum(), inside.sum(), (drawn >= 10**9 - 1000).sum()])
    edges = special.betainc(a, b, 1e-6), special.betainc(b, a, 1e-6)
    expected = DRAWS * np.array([edges[0], 1 - edges[0] - edges[1], edges[1]])
    assert (np.abs(ends - expected) <= 6 * np.sqrt(expected) + 1).all()
    if inside.sum() > 1000:
        u = (special.betainc(a, b, drawn[inside] / 1e9) - edges[0]) / (1 - edges[0] - edges[1])
        assert stats.kstest(u, "uniform").pvalue > FALSE_ALARM


def test_limits(backend):
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


def test_law_next_to_all_of_2_to_the_53():
    """1 - f keeps its digits: Pr(n - k = j) is b Gamma(j + b) / j! n^-b to 1e-15, a = 1 and n large."""
    n, b, j = 2**53, 0.01, np.arange(200)
    missing = n - fb.beta_binomial(np.full((1, DRAWS), n), 1.0, b, rng=RNG)[0]
    expected = DRAWS * b * np.exp(special.gammaln(j + b) - special.gammaln(j + 1) - b * np.log(n))
    seen = np.bincount(missing[missing < 200], minlength=200)
    rest = DRAWS - seen.sum(), DRAWS - expected.sum()
    assert chi_square_counts(np.append(seen, rest[0]), np.append(expected, rest[1])) > FALSE_ALARM
    assert 0.6 < seen[0] / DRAWS < 0.75


def test_it_is_the_binomial_of_the_pair(backend):
    n, a, b = np.arange(3000).reshape(3, 1000), np.geomspace(1e-4, 1e4, 1000), np.geomspace(1e3, 1e-3, 3)[:, None]
    n[2] = 2**53
    wide = np.broadcast_arrays(a, b)
    p, q = beta_pair(*wide, RNG, STREAMS)
    assert np.array_equal(fb.beta_binomial(n, a, b, rng=RNG), binomial(n, p, q, RNG, Stream.BETA_BINOMIAL))


def test_batch_split_and_keys(backend):
    n, a = np.arange(1200).reshape(6, 200), np.geomspace(1e-2, 1e2, 200)
    whole = fb.beta_binomial(n, a, 0.5, rng=RNG)
    for size in (1, 2, 3):
        made = [
            fb.beta_binomial(n[r : r + size], a, 0.5, rng=RNG.at(first_sample=RNG.first_sample + r))
            for r in range(0, 6, size)
        ]
        assert bits(np.concatenate(made)) == bits(whole)
    assert not np.array_equal(fb.beta_binomial(n, a, 0.5, rng=RNG.at(call=6)), whole)


def test_kinds_and_layouts(backend):
    n, a = np.arange(120).reshape(4, 5, 6), np.random.default_rng(1).random((5, 1)) + 0.1
    expected = fb.beta_binomial(n, a, 2.0, rng=RNG)
    for other in (np.asfortranarray(n), np.repeat(n, 2, 2)[..., ::2], DLPackOnly(n)):
        assert bits(fb.beta_binomial(other, a, 2.0, rng=RNG)) == bits(expected)
    assert bits(fb.beta_binomial(torch.from_numpy(n), torch.from_numpy(a), 2.0, rng=RNG)) == bits(expected)
    for dtype in (torch.uint8, torch.int16, torch.int32, torch.float32, torch.float64):
        drawn = fb.beta_binomial(torch.from_numpy(n).to(dtype), torch.from_numpy(a), 2.0, rng=RNG)
        assert drawn.dtype == dtype and np.array_equal(drawn.long().numpy(), expected)
    assert bits(fb.beta_binomial(9, np.full((2, 2000), 0.5), 1.0, rng=RNG)) == bits(
        fb.beta_binomial(np.full((2, 2000), 9), 0.5, np.ones(2000), rng=RNG)
    )
    assert fb.beta_binomial(7, 1.0, 2.0, rng=RNG).shape == ()
    assert fb.beta_binomial(np.empty((0, 3), np.int64), 1.0, 2.0, rng=RNG).shape == (0, 3)


def test_known_answers(backend):
    """Frozen draws."""
    n, a = np.array([7, 100, 1000, 10**9]), np.array([0.05, 0.5, 3.0, 1e4])
    assert fb.beta_binomial(n, a, 0.5, rng=fb.Philox(7, first_sample=1, call=2)).tolist() == [0, 1, 879, 999704654]
