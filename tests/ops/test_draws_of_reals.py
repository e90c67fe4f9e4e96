"""Draws of real numbers: their parts beside mpmath, far tails, and extremes.

Their laws are in tests/battery, their bits in test_known_answers.py, and all that holds of any op in test_contract.py.
"""

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import integrate, special, stats

import fastblackout as fb
from fastblackout.reference import gamma, normal
from fastblackout.reference.beta import beta_pair
from fastblackout.reference.gamma import exponents, magnitudes
from fastblackout.reference.normal import standard_normal
from fastblackout.reference.philox import Stream
from support.helpers import chi_square_counts

RNG = fb.Philox(seed=81, first_sample=2, call=5)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 20 of them a run
U = 2.0**-53

TOP = 2**63 - 1
BORDER = normal._CENTRE_FROM << 32  # k from which on the centre is
FAR = 25.0  # -log v from which on the far tail is


def z_of(k, sign=0):
    """z of the 63-bit whole numbers k."""
    k = np.asarray(k, dtype=np.uint64)
    high = (k >> np.uint64(32)).astype(np.uint32) | np.uint32(sign << 31)
    return standard_normal(high.ravel(), k.astype(np.uint32).ravel())


def exact_z(k):
    """-Phi^-1((k + 1/2) 2^-64) to 40 digits."""
    with mp.workdps(40):
        v = (mp.mpf(int(k)) + mp.mpf(1) / 2) / mp.mpf(2) ** 64
        t = mp.mpf(float(-special.ndtri(float(v))))
        for _ in range(4):
            t += (mp.erfc(t / mp.sqrt(2)) / 2 - v) / mp.npdf(t)
        return t


def relative_errors(k):
    with mp.workdps(40):
        exact = [exact_z(each) for each in k]
        return [float(abs(z - t) / t) for z, t in zip(map(mp.mpf, z_of(k).tolist()), exact, strict=True)]


def chosen():
    """Both ends, powers of 2 and their neighbours, both borders from both sides, and k spread over all sizes."""
    far = int(mp.exp(-FAR) * 2**64)
    k = [0, 1, 2, 3, TOP, TOP - 1, TOP - 2, TOP // 2, TOP // 3]
    k += [2**e + d for e in range(2, 63) for d in (-1, 0, 1)] + [TOP - 2**e for e in range(0, 62, 2)]
    k += [edge + d for edge in (BORDER, far) for d in (-(2**33), -1, 0, 1, 2**33, 12345)]
    random = np.random.default_rng(0)
    k += [int(TOP * u) for u in random.random(300)] + [int(2**e) for e in random.uniform(0, 63, 300)]
    return [each for each in k if 0 <= each <= TOP]


def test_z_beside_mpmath():
    """The bound derived is 4.8e-15; what is found stays far below it."""
    errors = relative_errors(chosen())
    assert max(errors) < 1e-15


def test_z_beside_scipy():
    """ndtri in float64, of the same v, on a million words: the two agree to their rounding."""
    k = np.random.default_rng(1).integers(0, TOP, 10**6, dtype=np.uint64, endpoint=True)
    v = (k.astype(np.float64) + 0.5) * 2.0**-64
    assert np.abs(z_of(k) + special.ndtri(v)).max() < 4e-15


def test_ends_and_borders():
    assert z_of([0])[0] == pytest.approx(9.155293772686074, abs=0) and z_of([0], 1)[0] == -z_of([0])[0]
    smallest = z_of([TOP])[0]
    assert smallest == pytest.approx(np.sqrt(2 * np.pi) * 2.0**-65, rel=1e-15), "q = 2^-65, not 0"
    k = np.array(sorted({*chosen(), *range(BORDER - 50, BORDER + 50)}), dtype=np.uint64)
    z = z_of(k)
    assert (z > 0).all() and np.array_equal(z_of(k, 1), -z)
    steps = np.diff(z)
    assert (steps <= 4e-15 * z[1:]).all(), "z falls as k grows, but for its rounding"


# Found by search: (seed, sample, call, element, z). All but the last have one of the 3 words in 10^11 that are of the
# far tail, |z| > 6.66.
RARE = (
    (1, 2476028646, 6, 0, 6.721803179661936),
    (2, 470821952, 0, 0, -6.7567440217427475),
    (2, 4225658017, 0, 0, -7.041671437624311),
    (1, 1422859752, 0, 1, 6.377939079711633),
)
rare = pytest.mark.parametrize(("seed", "sample", "call", "element", "z"), RARE)


@rare
def test_far_tails(seed, sample, call, element, z, backend):
    drawn = fb.normal(np.zeros((1, 7)), 1.0, rng=fb.Philox(seed, first_sample=sample, call=call))
    assert drawn[0, element] == z and np.count_nonzero(np.abs(drawn) > 5) == 1


@rare
def test_far_tails_on_the_cuda_kernel(seed, sample, call, element, z):
    simt = pytest.importorskip("fastblackout._simt", reason="the SIMT shim is not built")
    from fastblackout.backends import cuda

    zero, out = torch.zeros(1, 7, dtype=torch.float64), torch.empty(1, 7, dtype=torch.float64)
    flag = torch.zeros(1, dtype=torch.int32)
    cuda.normal(zero, zero + 1, fb.Philox(seed, first_sample=sample, call=call).tensor(), out, flag, module=simt)
    assert out[0, element] == z and flag.item() == 0


def test_no_spread_and_too_much(backend):
    mean = np.array([[1.5, -0.0, 5e-324, 1e308]])
    assert np.array_equal(fb.normal(mean, 0.0, rng=RNG), mean)
    huge = fb.normal(np.full((1, 1000), 1e308), 1.7e308, rng=RNG)
    assert not np.isnan(huge).any() and np.isposinf(huge).any() and np.isfinite(huge).any()
    for dtype, most in ((np.float16, 6e4), (np.float32, 3e38)):
        drawn = fb.normal(np.full((1, 1000), most, dtype), most, rng=RNG)
        assert drawn.dtype == dtype and np.isposinf(drawn).any() and not np.isnan(drawn).any()


def log_ratio(d, e):
    """3 d (log1p(e) - e + e^2 / 2 - e^3 / 3) to 60 digits."""
    with mp.workdps(60):
        d, e = mp.mpf(d), mp.mpf(e)
        return 3 * d * (mp.log1p(e) - e + e**2 / 2 - e**3 / 3)


def test_the_exact_test_of_gamma_beside_mpmath():
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
        found = gamma._log_ratio(np.full_like(e, d), e)
        exact = np.array([float(log_ratio(d, each)) for each in e])
        terms = 3 * d * (np.abs(np.log1p(e)) + np.abs(e) + e * e / 2 + np.abs(e) ** 3 / 3)
        left_out = 1.2 * 3 * d * np.abs(e) ** 17 / 17
        allowed = np.where(np.abs(e) < 0.125, 8 * U * np.abs(exact) + left_out, 4 * U * (terms + np.abs(exact)))
        assert (np.abs(found - exact) <= allowed).all()
        assert (found <= 0).all(), "the ratio is at most 1"


def test_the_cheap_test_of_gamma_accepts_nothing_more():
    """Just above the ratio nothing is accepted, and nothing of e <= -1; just below it everything is."""
    e = np.concatenate([-np.geomspace(1e-3, 0.99, 4000), np.geomspace(1e-3, 4, 4000), [-0.5, np.nextafter(-0.5, -1)]])
    for d in (2 / 3, 1.0, 5.0, 200.0):
        ratio = np.exp(3 * d * (np.log1p(e) - e + e**2 / 2 - e**3 / 3))
        inside = (ratio < 1 - 1e-12) & (ratio > 1e-15)
        given = np.full(np.count_nonzero(inside), d), e[inside]
        assert not gamma._accepted(*given, ratio[inside] * (1 + 1e-12)).any()
        assert gamma._accepted(*given, ratio[inside] * (1 - 1e-12)).all()
    outside = np.array([-1.0, -1.5, -3.7])
    assert not gamma._accepted(np.full(3, 2 / 3), outside, np.full(3, 2.0**-53)).any()


def test_a_trial_of_gamma_is_accepted_with_probability_above_0_951():
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
    np.testing.assert_allclose(gamma._log_uniform(high | sign, low), near_0, rtol=5 * U)
    np.testing.assert_allclose(gamma._log_uniform(high, low), near_1, rtol=5 * U)
    assert near_0[0] == pytest.approx(-65 * np.log(2)) and near_1[0] == -(2.0**-65)


def below(log_g, a):
    """Pr(Gamma(a) < exp(log_g)), also where exp(log_g) is no float64."""
    series = np.exp(np.minimum(a * log_g - special.gammaln(a + 1), 0.0))
    return np.where(log_g < -40, series, special.gammainc(a, np.exp(np.maximum(log_g, -40))))


@pytest.mark.parametrize("a", [1e-8, 1e-3, 0.7, 1 - 2.0**-53, 1.0, 2.5, 1e6])
def test_law_of_gamma(a):
    """Kolmogorov and Smirnov's distance, and 500 cells of equal probability, of log G = log m + s."""
    shape = np.full((1, 200_000), a)
    m, s = magnitudes(shape, RNG, Stream.GAMMA), exponents(shape, RNG, Stream.GAMMA_BOOST)
    u = below((np.log(m) + s)[0], a)
    assert stats.kstest(u, "uniform").pvalue > FALSE_ALARM
    seen = np.bincount(np.minimum((u * 500).astype(int), 499), minlength=500)
    assert chi_square_counts(seen, np.full(500, 200_000 / 500)) > FALSE_ALARM
    drawn = fb.gamma(shape, scale=3.0, rng=RNG)[0]
    wide = np.log(m[0]) + s[0] + np.log(3.0)
    shown = wide > -690
    np.testing.assert_allclose(np.log(drawn[shown]), wide[shown], rtol=1e-13, atol=1e-13)
    assert (drawn[wide < -746] == 0).all()


def test_extremes_of_gamma(backend):
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


def parts(a, b, rng=RNG):
    """m_a, m_b and s_b - s_a."""
    m_a, m_b = magnitudes(a, rng, Stream.BETA_A), magnitudes(b, rng, Stream.BETA_B)
    return m_a, m_b, exponents(b, rng, Stream.BETA_BOOST, 1) - exponents(a, rng, Stream.BETA_BOOST)


def test_pairs_of_beta_beside_mpmath():
    """p and q are each within 8 units of the quotients of the two gamma draws, and 0 only below 1e-300."""
    random = np.random.default_rng(0)
    a, b = 10 ** random.uniform(-4, 6, (1, 2000)), 10 ** random.uniform(-4, 6, (1, 2000))
    a[0, :4], b[0, :4] = (1e-300, 1e300, 1e-8, 1e300), (1e-300, 1e300, 1e-8, 1e-300)
    m_a, m_b, apart = (each[0] for each in parts(a, b))
    for name, made in zip("pq", beta_pair(a, b, RNG), strict=True):
        with mp.workdps(50):
            sign = 1 if name == "p" else -1
            exact = [
                1 / (1 + (mp.mpf(y) / mp.mpf(x) * mp.exp(mp.mpf(t))) ** sign)
                for x, y, t in zip(m_a, m_b, apart, strict=True)
            ]
            zero = np.array([x < mp.mpf("1e-300") for x in exact])
            error = [float(abs(mp.mpf(v) / x - 1)) for v, x, z in zip(made[0], exact, zero, strict=True) if not z]
        assert max(error) < 8 * U and (made[0][~zero] > 0).all() and (made[0][zero] <= 1e-300).all()
    p, q = beta_pair(a, b, RNG)
    assert np.abs((p + q) - 1).max() <= 2 * U


def test_extremes_of_beta(backend):
    """Every pair of shapes that is allowed gives a number in 0..1."""
    ends = np.array([1e-300, 1e-200, 1e-8, 0.5, 1.0, 3.0, 1e8, 1e200, 1e300])
    p = fb.beta(np.repeat(ends[:, None], 100, 1)[:, None], ends[:, None], rng=RNG)
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(p[-1, -1], 0.5, rtol=8 * U)
    assert np.isin(p[0, 0], (0.0, 1.0)).all() and 20 < p[0, 0].sum() < 80
    assert (p[0, -1] == 0).all() and (p[-1, 0] == 1).all()
