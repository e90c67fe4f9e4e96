"""fb.poisson as a caller sees it, and the bugs of other libraries as tests."""

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from support.arrays import DLPackOnly, bits
from support.helpers import BACKENDS, chi_square, using

RNG = fb.Philox(seed=41, first_sample=1, call=6)
FALSE_ALARM = 1e-6  # of each chi-square, seeds fixed; about 60 of them
NATIVE = BACKENDS[-1]


def draw(rate, size=200_000, rng=RNG):
    return fb.poisson(np.full((1, size), rate), rng=rng)


# rates near 14 and 16: published constants of PTRS are wrong there; 5: approximations of mkl_random and FlagGems
@pytest.mark.parametrize("rate", [1e-9, 0.3, 5.0, 9.999, 10.0, 14.05, 16.0, 30.9, 300.0, 1e6])
def test_law(rate, backend):
    drawn = draw(rate)
    assert drawn.dtype == np.int64 and drawn.min() >= 0
    assert chi_square(drawn, stats.poisson(rate)) > FALSE_ALARM


@pytest.mark.slow
@pytest.mark.parametrize("rate", [5.0, 14.05, 100.0])
def test_law_with_many_draws(rate):
    """2e7 draws: a relative error of 1e-3 of a typical cell shows."""
    with using(NATIVE):
        assert chi_square(draw(rate, size=20_000_000), stats.poisson(rate)) > FALSE_ALARM


@pytest.mark.parametrize("rate", [2.0**26 + 0.5, 1e10, 2.0**45, 2.0**52])
def test_large_rates(rate, backend):
    """jax and torch in float32 fail at 1e6 and lose odd numbers; numpy #31986: variance too large. 6 errors: 2e-9."""
    drawn = draw(rate, size=100_000)[0]
    assert stats.chisquare(np.bincount(drawn & 15, minlength=16)).pvalue > FALSE_ALARM
    z = (drawn - rate) / np.sqrt(rate)
    assert abs(z.mean()) < 6 / np.sqrt(z.size) and abs(z.var() - 1) < 6 * np.sqrt(2 / z.size)


def test_zero_and_tiny_rates(backend):
    assert (draw(0.0) == 0).all() and (draw(5e-324) == 0).all() and (draw(1e-300) == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_rates_are_taken_exactly(dtype, backend):
    rate = (torch.arange(1, 1001).reshape(4, 250) / 7).to(dtype)
    assert torch.equal(fb.poisson(rate, rng=RNG), fb.poisson(rate.double(), rng=RNG))


def test_kinds_and_layouts(backend):
    rate = np.random.default_rng(0).random((4, 5, 6)) * 40
    expected = fb.poisson(rate, rng=RNG)
    assert expected.flags.c_contiguous and expected.dtype == np.int64
    for other in (np.asfortranarray(rate), np.repeat(rate, 2, 2)[..., ::2], DLPackOnly(rate)):
        assert np.array_equal(fb.poisson(other, rng=RNG), expected)
    assert bits(fb.poisson(torch.from_numpy(rate), rng=RNG)) == bits(expected)
    same_rate = fb.poisson(torch.tensor(3.0).expand(4, 5), rng=RNG)
    assert same_rate.is_contiguous() and torch.equal(same_rate, fb.poisson(torch.full((4, 5), 3.0), rng=RNG))
    assert fb.poisson(3.5, rng=RNG).shape == () and fb.poisson(3, rng=RNG).dtype == np.int64
    assert fb.poisson(np.float32(3.5), rng=RNG).shape == ()
    for shape in ((0, 3), (3, 0)):
        assert fb.poisson(np.empty(shape), rng=RNG).shape == shape


def test_batch_split_and_keys(backend):
    rate = np.full((6, 500), 33.0)
    whole = fb.poisson(rate, rng=RNG)
    parts = [fb.poisson(rate[r : r + 2], rng=RNG.at(first_sample=RNG.first_sample + r)) for r in (0, 2, 4)]
    assert np.array_equal(np.concatenate(parts), whole)
    torch.manual_seed(3)
    first, second = fb.poisson(rate), fb.poisson(rate)
    torch.manual_seed(3)
    assert np.array_equal(fb.poisson(rate), first) and not np.array_equal(first, second)


def test_skellam_difference_of_two_large_draws(backend):
    """torch #136750: blocks of a 512 x 512 draw repeated; the difference of two draws must be Skellam(5, 5)."""
    a, b = (fb.poisson(np.full((512, 512), 5.0), rng=RNG.at(call=call)) for call in (0, 1))
    assert chi_square(a - b, stats.skellam(5.0, 5.0), -22, 22) > FALSE_ALARM
    z = [np.corrcoef(a.ravel()[:-lag], a.ravel()[lag:])[0, 1] * 512 for lag in (1, 4, 8, 512, 1024, 2048)]
    assert np.abs(z).max() < 5.5  # 6 lags: 2e-7
