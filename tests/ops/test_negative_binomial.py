"""fb.negative_binomial: the law, its limits, keys, kinds of arguments and errors."""

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from fastblackout.reference.gamma import exponents, magnitudes
from fastblackout.reference.philox import Stream
from fastblackout.reference.poisson import poisson
from support.arrays import DLPackOnly, bits
from support.helpers import chi_square_counts

RNG = fb.Philox(seed=92, first_sample=2, call=5)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 40 of them a run
DRAWS = 200_000


@pytest.mark.parametrize("r", [1e-8, 0.01, 0.3, 1.0, 4.5, 300.0, 1e6])
@pytest.mark.parametrize("mean", [0.02, 1.7, 30.0, 4000.0])
def test_law(r, mean):
    """Cells of at least 20 expected draws, the first k alone while they have as many."""
    drawn = fb.negative_binomial(np.full((1, DRAWS), r), mean=mean, rng=RNG)[0]
    law = stats.nbinom(r, r / (r + mean))
    edges = np.unique(np.append(np.arange(20), law.ppf(np.linspace(0.001, 0.9999, 300)).astype(np.int64)))
    edges = edges[law.cdf(edges) > 1e-9]
    expected = DRAWS * np.append(np.diff(np.append(0.0, law.cdf(edges))), law.sf(edges[-1]))
    seen = np.bincount(np.searchsorted(edges, drawn), minlength=edges.size + 1)
    assert chi_square_counts(seen, expected) > FALSE_ALARM


def test_limits(backend):
    """A mean of 0; r so tiny that nearly all are 0; r huge, which is Poisson; rates beyond 2^52."""
    assert not fb.negative_binomial(np.geomspace(1e-300, 1e300, 50)[None], mean=0.0, rng=RNG).any()
    assert not fb.negative_binomial(np.full((1, 1000), 1e-300), mean=50.0, rng=RNG).any()
    drawn = fb.negative_binomial(np.full((1, 20_000), 1e300), mean=7.0, rng=RNG)
    expected = 20_000 * stats.poisson.pmf(np.arange(40), 7.0)
    assert chi_square_counts(np.bincount(drawn[0], minlength=40), expected) > FALSE_ALARM
    most = fb.negative_binomial(np.full((1, 1000), 0.01), mean=2.0**52, rng=RNG)
    assert most.min() == 0 and 2**52 - 2**31 < most.max() < 2**52 + 2**31


def test_it_is_the_poisson_of_the_gamma(backend):
    """To a rounding of the rate, which here changes no draw."""
    r, mean = np.geomspace(1e-2, 1e4, 3000).reshape(3, 1000), np.geomspace(1, 100, 1000)
    m, s = magnitudes(r, RNG, Stream.NEGATIVE_BINOMIAL_GAMMA), exponents(r, RNG, Stream.NEGATIVE_BINOMIAL_BOOST)
    expected = poisson(mean * m * np.exp(s) / r, RNG, Stream.NEGATIVE_BINOMIAL)
    assert np.array_equal(fb.negative_binomial(r, mean=mean, rng=RNG), expected)


def test_batch_split_and_keys(backend):
    r, mean = np.geomspace(1e-2, 1e3, 1200).reshape(6, 200), np.linspace(0, 50, 200)
    whole = fb.negative_binomial(r, mean=mean, rng=RNG)
    for size in (1, 2, 3):
        made = [
            fb.negative_binomial(r[at : at + size], mean=mean, rng=RNG.at(first_sample=RNG.first_sample + at))
            for at in range(0, 6, size)
        ]
        assert bits(np.concatenate(made)) == bits(whole)
    assert not np.array_equal(fb.negative_binomial(r, mean=mean, rng=RNG.at(call=6)), whole)


def test_kinds_and_layouts(backend):
    r, mean = np.geomspace(1e-2, 1e2, 120).reshape(4, 5, 6), np.random.default_rng(1).random((5, 1)) * 9
    expected = fb.negative_binomial(r, mean=mean, rng=RNG)
    assert expected.dtype == np.int64 and expected.flags.c_contiguous
    for other in (np.asfortranarray(r), np.repeat(r, 2, 2)[..., ::2], DLPackOnly(r)):
        assert bits(fb.negative_binomial(other, mean=mean, rng=RNG)) == bits(expected)
    assert bits(fb.negative_binomial(torch.from_numpy(r), mean=torch.from_numpy(mean), rng=RNG)) == bits(expected)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        given = torch.from_numpy(r).to(dtype)
        drawn = fb.negative_binomial(given, mean=3.0, rng=RNG)
        assert torch.equal(drawn, fb.negative_binomial(given.double(), mean=3.0, rng=RNG))
    assert bits(fb.negative_binomial(0.5, mean=np.full((2, 2000), 9.0), rng=RNG)) == bits(
        fb.negative_binomial(np.full((2, 2000), 0.5), mean=9, rng=RNG)
    )
    assert fb.negative_binomial(7, mean=1.0, rng=RNG).shape == ()
    assert fb.negative_binomial(np.empty((0, 3)), mean=1.0, rng=RNG).shape == (0, 3)


def test_known_answers(backend):
    """Frozen draws."""
    r, mean = np.array([0.05, 0.5, 3.0, 1e4]), np.array([3.0, 5.0, 100.0, 1e9])
    assert fb.negative_binomial(r, mean=mean, rng=fb.Philox(7, first_sample=1, call=2)).tolist() == [
        0,
        1,
        64,
        1012358704,
    ]
