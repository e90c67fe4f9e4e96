"""fb.gamma: its parts beside mpmath, the law of tiny shapes and of large ones, tails, keys, layouts, dtypes, errors."""

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

import fastblackout as fb
from fastblackout.reference import gamma as module
from fastblackout.reference import portfloat as pf
from fastblackout.reference.gamma import exponents, magnitudes
from fastblackout.reference.philox import Stream, philox4x32
from fastblackout.reference.portfloat import round_to_bfloat16
from support.arrays import DLPackOnly, bits
from support.helpers import chi_square_counts

RNG = fb.Philox(seed=81, first_sample=2, call=5)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 40 of them a run
SHAPES = (1e-8, 1e-5, 1e-3, 0.05, 0.3, 0.7, 1 - 2.0**-53, 1.0, 1.3, 2.5, 10.0, 300.0, 1e4, 1e6)
DRAWS = 200_000
U = 2.0**-53


def log_ratio(d, e):
    """3 d (log1p(e) - e + e^2 / 2 - e^3 / 3) to 60 digits."""
    with mp.workdps(60):
        d, e = mp.mpf(d), mp.mpf(e)
        return 3 * d * (mp.log1p(e) - e + e**2 / 2 - e**3 / 3)


def test_the_exact_test_beside_mpmath():
    """Near 0 the series is good relative to itself but for its 14th term, elsewhere as far as terms cancel."""
    random = np.random.default_rng(0)
    e = np.concatenate(
        [
            -1 + 10.0 ** random.uniform(-15, -0.5, 200),
            10.0 ** random.uniform(-12, 0.57, 200),
            random.uniform(-0.99, 3, 200),
            -(10.0 ** random.uniform(-12, -0.1, 200)),
            [0.125, -0.125, np.nextafter(0.125, 0), np.nextafter(-0.125, 0), -0.5],
        ]
    )
    for d in (2 / 3, 1.7, 40.0, 1e6):
        found = module._log_ratio(np.full_like(e, d), e)
        exact = np.array([float(log_ratio(d, each)) for each in e])
        terms = 3 * d * (np.abs(np.log1p(e)) + np.abs(e) + e * e / 2 + np.abs(e) ** 3 / 3)
        left_out = 1.2 * 3 * d * np.abs(e) ** 17 / 17
        allowed = np.where(np.abs(e) < 0.125, 8 * U * np.abs(exact) + left_out, 4 * U * (terms + np.abs(exact)))
        assert (np.abs(found - exact) <= allowed).all()
        assert (found <= 0).all(), "the ratio is at most 1"


def test_the_cheap_test_accepts_nothing_more():
    """Just above the ratio nothing is accepted, and nothing of e <= -1; just below it everything is."""
    e = np.concatenate([-np.geomspace(1e-3, 0.99, 4000), np.geomspace(1e-3, 4, 4000), [-0.5, np.nextafter(-0.5, -1)]])
    for d in (2 / 3, 1.0, 5.0, 200.0):
        ratio = np.exp(3 * d * (np.log1p(e) - e + e**2 / 2 - e**3 / 3))
        inside = (ratio < 1 - 1e-12) & (ratio > 1e-15)
        given = np.full(np.count_nonzero(inside), d), e[inside]
        assert not module._accepted(*given, ratio[inside] * (1 + 1e-12)).any()
        assert module._accepted(*given, ratio[inside] * (1 - 1e-12)).all()
    outside = np.array([-1.0, -1.5, -3.7])
    assert not module._accepted(np.full(3, 2 / 3), outside, np.full(3, 2.0**-53)).any()


def test_a_trial_is_accepted_with_probability_above_0_951():
    def ratio(z, d):
        e = z / (3 * np.sqrt(d))
        return stats.norm.pdf(z) * np.exp(3 * d * (np.log1p(e) - e + e**2 / 2 - e**3 / 3)) if e > -1 else 0.0

    for d in np.append(np.geomspace(2 / 3, 1e3, 40), 2 / 3):
        assert integrate.quad(ratio, max(-12, -3 * np.sqrt(d)), 12, args=(d,), limit=200)[0] > 0.951
    assert 1024 * np.log10(1 - 0.951) < -1300


def test_uniform_beside_mpmath():
    """log U is good relative to itself at both ends."""
    random = np.random.default_rng(1)
    k = [0, 1, 2, 2**63 - 1, 2**63 - 2, *(int(2**p) for p in random.uniform(0, 63, 300))]
    high, low = np.array([i >> 32 for i in k], np.uint32), np.array([i & 0xFFFFFFFF for i in k], np.uint32)
    with mp.workdps(40):
        v = [(mp.mpf(i) + mp.mpf(1) / 2) / mp.mpf(2) ** 64 for i in k]
        near_0, near_1 = [float(mp.log(x)) for x in v], [float(mp.log1p(-x)) for x in v]
    sign = np.uint32(2**31)
    np.testing.assert_allclose(module._log_uniform(high | sign, low), near_0, rtol=5 * U)
    np.testing.assert_allclose(module._log_uniform(high, low), near_1, rtol=5 * U)
    assert near_0[0] == pytest.approx(-65 * np.log(2)) and near_1[0] == -(2.0**-65)


def below(log_g, a):
    """Pr(Gamma(a) < exp(log_g)), also where exp(log_g) is no float64."""
    series = np.exp(np.minimum(a * log_g - special.gammaln(a + 1), 0.0))
    return np.where(log_g < -40, series, special.gammainc(a, np.exp(np.maximum(log_g, -40))))


@pytest.mark.parametrize("a", SHAPES)
def test_law(a):
    """Kolmogorov and Smirnov's distance, and 500 cells of equal probability, of log G = log m + s."""
    shape = np.full((1, DRAWS), a)
    m, s = magnitudes(shape, RNG, Stream.GAMMA), exponents(shape, RNG, Stream.GAMMA_BOOST)
    u = below((np.log(m) + s)[0], a)
    assert stats.kstest(u, "uniform").pvalue > FALSE_ALARM
    seen = np.bincount(np.minimum((u * 500).astype(int), 499), minlength=500)
    assert chi_square_counts(seen, np.full(500, DRAWS / 500)) > FALSE_ALARM
    drawn = fb.gamma(shape, scale=3.0, rng=RNG)[0]
    wide = np.log(m[0]) + s[0] + np.log(3.0)
    shown = wide > -690
    np.testing.assert_allclose(np.log(drawn[shown]), wide[shown], rtol=1e-13, atol=1e-13)
    assert (drawn[wide < -746] == 0).all()


@pytest.mark.parametrize("a", [0.2, 1.0, 4.0, 100.0])
def test_law_of_both_tails(a):
    """4e6 draws: chi-square of ten cells of each tail, the outermost expecting ten draws."""
    x = fb.gamma(np.full((4, 1_000_000), a), scale=1.0, rng=RNG.at(call=9)).ravel()
    cells = np.geomspace(1e-2, 2.5e-6, 11)
    low, high = special.gammaincinv(a, cells), special.gammainccinv(a, cells)
    expected = np.append(-np.diff(cells), cells[-1]) * x.size
    for tail in (np.histogram(x, np.append(0.0, low[::-1]))[0][::-1], np.histogram(x, np.append(high, np.inf))[0]):
        assert chi_square_counts(tail, expected) > FALSE_ALARM


def test_elements_and_trials_are_independent():
    """Lags of the ranks; and elements whose first trial failed have the law of the others."""
    x = fb.gamma(np.ones((4, 250_000)), scale=1.0, rng=RNG).ravel()
    u = -np.expm1(-x) - 0.5
    lags = [12 * np.mean(u[:-lag] * u[lag:]) * np.sqrt(u.size) for lag in (1, 2, 3, 4, 8, 1024, 250_000)]
    assert np.abs(lags).max() < 5.5  # 7 lags: 3e-7
    d, c = 2 / 3, 1 / (3 * np.sqrt(2 / 3))
    words = philox4x32(np.arange(250_000), RNG.first_sample, RNG.call, Stream.GAMMA.word(), *RNG.key)
    e = c * module.standard_normal(*words[:2])
    again = ~module._accepted(np.full_like(e, d), e, pf.uniform_to_one(pf.bits53(*words[2:])))
    assert 0.0474 < again.mean() < 0.0493  # 0.04833 within 2 of 1,000: 5 standard deviations are 0.0022
    assert stats.kstest(x[:250_000][again], "expon").pvalue > FALSE_ALARM


def test_bits_of_an_element(backend):
    """Blocks (i, row, call, stream | trial), with Marsaglia and Tsang's own form of the test, and the boost's block."""
    shape = np.array([[0.25, 7.0, 30.0]]).repeat(2, 0)
    drawn = fb.gamma(shape, scale=1.0, rng=RNG)
    for row, i in ((0, 0), (1, 0), (0, 1), (1, 2)):
        a, at = shape[row, i], (i, RNG.first_sample + row, RNG.call)
        d = a + 2 / 3 if a < 1 else a - 1 / 3
        for trial in range(9):
            w = philox4x32(*at, Stream.GAMMA.word(trial), *RNG.key)
            z = module.standard_normal(w[0].reshape(1), w[1].reshape(1))[0]
            v = (1 + z / (3 * np.sqrt(d))) ** 3
            if v > 0 and np.log((int(w[2]) + 0.5) * 2.0**-32) < z * z / 2 + d - d * v + d * np.log(v):
                break
        x = d * v
        if a < 1:
            b = philox4x32(*at, Stream.GAMMA_BOOST.word(), *RNG.key)
            v = ((int(b[0]) & 0x7FFFFFFF) * 2.0**32 + int(b[1]) + 0.5) * 2.0**-64
            x *= (v if int(b[0]) >> 31 else 1 - v) ** (1 / a)
        assert drawn[row, i] == pytest.approx(x, rel=1e-13)


def test_batch_split_and_keys(backend):
    shape, scale = np.geomspace(1e-3, 1e4, 3000).reshape(6, 500), np.linspace(0, 2, 500)
    whole = fb.gamma(shape, scale=scale, rng=RNG)
    for size in (1, 2, 3):
        parts = [
            fb.gamma(shape[r : r + size], scale=scale, rng=RNG.at(first_sample=RNG.first_sample + r))
            for r in range(0, 6, size)
        ]
        assert bits(np.concatenate(parts)) == bits(whole)
    assert not np.array_equal(fb.gamma(shape, scale=scale, rng=RNG.at(call=6)), whole)
    torch.manual_seed(3)
    first, second = fb.gamma(shape, scale=scale), fb.gamma(shape, scale=scale)
    torch.manual_seed(3)
    assert bits(fb.gamma(shape, scale=scale)) == bits(first) != bits(second)


def test_kinds_and_layouts(backend):
    shape, scale = 10 ** np.random.default_rng(0).normal(size=(4, 5, 6)), np.random.default_rng(1).random((5, 1))
    expected = fb.gamma(shape, scale=scale, rng=RNG)
    assert expected.flags.c_contiguous and expected.dtype == np.float64 and expected.shape == (4, 5, 6)
    for other in (np.asfortranarray(shape), np.repeat(shape, 2, 2)[..., ::2], DLPackOnly(shape)):
        assert bits(fb.gamma(other, scale=scale, rng=RNG)) == bits(expected)
    assert bits(fb.gamma(torch.from_numpy(shape), scale=torch.from_numpy(scale), rng=RNG)) == bits(expected)
    spread = fb.gamma(torch.tensor(3.0).expand(4, 2000), scale=torch.ones(4, 1), rng=RNG)
    assert spread.is_contiguous() and torch.equal(spread, fb.gamma(torch.full((4, 2000), 3.0), scale=1, rng=RNG))
    for a in (0.3, 2.0):
        assert bits(fb.gamma(a, scale=np.ones((3, 1500)), rng=RNG)) == bits(
            fb.gamma(np.full((3, 1500), a), scale=1.0, rng=RNG)
        )
    assert fb.gamma(1, scale=1, rng=RNG).shape == () and fb.gamma(1, scale=1, rng=RNG).dtype == np.float64
    assert fb.gamma(np.float32(0.5), scale=1.0, rng=RNG).dtype == np.float32
    for empty in ((0, 3), (3, 0)):
        assert fb.gamma(np.empty(empty), scale=1.0, rng=RNG).shape == empty


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_and_rounding(dtype, backend):
    """Values are taken exactly, the result is rounded once, to 16 bits by way of float32."""
    shape = torch.logspace(-4, 4, 1000).reshape(4, 250).to(dtype)
    scale = (torch.arange(1000).reshape(4, 250) / 300).to(torch.float32)
    drawn, wide = fb.gamma(shape, scale=scale, rng=RNG), fb.gamma(shape.double(), scale=scale.double(), rng=RNG)
    assert drawn.dtype == dtype
    if dtype == torch.bfloat16:
        rounded = torch.from_numpy(round_to_bfloat16(wide.float().numpy()).view(np.int16)).view(dtype)
    else:
        rounded = wide.to(torch.float32 if dtype == torch.float16 else dtype).to(dtype)
    assert torch.equal(drawn, rounded)


def test_extremes(backend):
    """0 and infinity where the dtype has nothing else, never NaN; a tiny draw of a large scale is no 0."""
    assert np.array_equal(fb.gamma(np.geomspace(1e-300, 1e300, 601)[None], scale=0.0, rng=RNG), np.zeros((1, 601)))
    tiny = fb.gamma(np.full((1, 1000), 1e-300), scale=1.0, rng=RNG)
    assert not tiny.any()
    huge = fb.gamma(np.full((1, 1000), 1e300), scale=1.0, rng=RNG)
    np.testing.assert_allclose(huge, 1e300, rtol=8 * U)
    assert np.isposinf(fb.gamma(huge, scale=1e300, rng=RNG)).all()
    for dtype, scale in ((np.float32, 3e38), (np.float16, 6e4)):
        drawn = fb.gamma(np.ones((1, 1000), dtype), scale=scale, rng=RNG)
        assert drawn.dtype == dtype and np.isposinf(drawn).any() and np.isfinite(drawn).any()
    one, scaled = (fb.gamma(np.full((1, 100_000), 1e-3), scale=scale, rng=RNG) for scale in (1.0, 1e300))
    both = (one > 1e-290) & (scaled < 1e305)
    np.testing.assert_allclose(scaled[both], one[both] * 1e300, rtol=1e-12)
    lost = (one == 0) & (scaled > 0)
    assert np.count_nonzero(lost) > 10_000 and not np.isnan(scaled).any()


def test_known_answers(backend):
    """Frozen draws."""
    expected = [0.10114798109140828, 0.0015370596064348562, 1.4895433324392955, 5029.109181488129]
    assert (
        fb.gamma(np.array([0.05, 0.5, 3.0, 1e4]), scale=0.5, rng=fb.Philox(7, first_sample=1, call=2)).tolist()
        == expected
    )
