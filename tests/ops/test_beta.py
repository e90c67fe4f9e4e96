"""fb.beta: the law from tiny shapes to large ones, the pair p and q, keys, layouts, dtypes and errors."""

import mpmath as mp
import numpy as np
import pytest
import torch
from scipy import special, stats

import fastblackout as fb
from fastblackout.reference.beta import beta_pair
from fastblackout.reference.gamma import exponents, magnitudes
from fastblackout.reference.philox import Stream
from fastblackout.reference.portfloat import round_to_bfloat16
from support.arrays import DLPackOnly, bits
from support.helpers import assert_named, chi_square_counts

RNG = fb.Philox(seed=82, first_sample=2, call=5)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 60 of them a run
SHAPES = (1e-8, 1e-3, 0.3, 1.0, 40.0, 1e6)
GRID = [(a, b) for a in SHAPES for b in SHAPES]
DRAWS = 100_000
U = 2.0**-53


def parts(a, b, rng=RNG):
    """m_a, m_b and s_b - s_a."""
    m_a, m_b = magnitudes(a, rng, Stream.BETA_A), magnitudes(b, rng, Stream.BETA_B)
    return m_a, m_b, exponents(b, rng, Stream.BETA_BOOST, 1) - exponents(a, rng, Stream.BETA_BOOST)


def below(logit, a, b):
    """Pr(log(p / q) < logit), p ~ Beta(a, b), also where p or q is no float64: by a series' first term."""

    def lower(logit, a, b):
        first = np.exp(np.minimum(a * logit - special.betaln(a, b) - np.log(a), 0.0))
        return np.where(logit < -40, first, special.betainc(a, b, special.expit(np.maximum(logit, -40))))

    return np.where(logit < 0, lower(np.minimum(logit, 0.0), a, b), 1 - lower(-np.maximum(logit, 0.0), b, a))


@pytest.mark.parametrize(("a", "b"), GRID)
def test_law(a, b):
    """Kolmogorov and Smirnov's distance, and 300 cells of equal probability, of log(p / q), whose law has no atoms."""
    both = np.full((1, DRAWS), a), np.full((1, DRAWS), b)
    m_a, m_b, apart = parts(*both)
    logit = (np.log(m_a) - np.log(m_b) - apart)[0]
    u = below(logit, a, b)
    assert stats.kstest(u, "uniform").pvalue > FALSE_ALARM
    seen = np.bincount(np.clip((u * 300).astype(int), 0, 299), minlength=300)
    assert chi_square_counts(seen, np.full(300, DRAWS / 300)) > FALSE_ALARM
    p = fb.beta(*both, rng=RNG)[0]
    shown = logit > -690
    np.testing.assert_allclose(p[shown], special.expit(logit[shown]), rtol=1e-12)
    assert (p[logit < -746] == 0).all() and (p[logit > 37.5] == 1).all() and (p[np.abs(logit) < 36] < 1).all()


@pytest.mark.slow
@pytest.mark.parametrize(("a", "b"), [(0.4, 0.4), (1.0, 3.0), (30.0, 2.0), (500.0, 500.0)])
def test_law_of_both_tails(a, b):
    """1e6 draws: chi-square of ten cells of each tail, the outermost expecting ten draws. It misses a tail of 0.01 that
    is a tenth off once in 10,000 times, one that is twice too heavy from 1e-4 on once in 200."""
    both, rng = (np.full((4, 250_000), a), np.full((4, 250_000), b)), RNG.at(call=9)
    p, q = (side.ravel() for side in beta_pair(*both, rng))
    assert np.array_equal(fb.beta(*both, rng=rng).ravel(), p)
    cells = np.geomspace(1e-2, 1e-5, 11)
    expected = np.append(-np.diff(cells), cells[-1]) * p.size
    for side, edges in ((p, special.betaincinv(a, b, cells)), (q, special.betaincinv(b, a, cells))):
        assert chi_square_counts(np.histogram(side, np.append(0.0, edges[::-1]))[0][::-1], expected) > FALSE_ALARM


def test_pairs_beside_mpmath():
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


def test_streams_of_both_shapes_differ():
    """Beta(a, a) draws p like q, but not of the same words; the two gammas are independent."""
    a = np.full((1, 100_000), 0.5)
    m_a, m_b, _ = parts(a, a)
    s_a, s_b = exponents(a, RNG, Stream.BETA_BOOST), exponents(a, RNG, Stream.BETA_BOOST, 1)
    for x, y in ((m_a, m_b), (s_a, s_b), (m_a, s_a), (m_b, s_a)):
        assert abs(stats.spearmanr(x[0], y[0]).statistic) * np.sqrt(x.size) < 5.5  # 4 of them: 1.5e-7


def test_batch_split_and_keys(backend):
    a, b = np.geomspace(1e-3, 1e4, 3000).reshape(6, 500), np.geomspace(1e3, 1e-4, 500)
    whole = fb.beta(a, b, rng=RNG)
    for size in (1, 2, 3):
        made = [fb.beta(a[r : r + size], b, rng=RNG.at(first_sample=RNG.first_sample + r)) for r in range(0, 6, size)]
        assert bits(np.concatenate(made)) == bits(whole)
    assert not np.array_equal(fb.beta(a, b, rng=RNG.at(call=6)), whole)
    torch.manual_seed(3)
    first, second = fb.beta(a, b), fb.beta(a, b)
    torch.manual_seed(3)
    assert bits(fb.beta(a, b)) == bits(first) != bits(second)


def test_kinds_and_layouts(backend):
    a, b = 10 ** np.random.default_rng(0).normal(size=(4, 5, 6)), np.random.default_rng(1).random((5, 1)) + 0.1
    expected = fb.beta(a, b, rng=RNG)
    assert expected.flags.c_contiguous and expected.dtype == np.float64 and expected.shape == (4, 5, 6)
    for other in (np.asfortranarray(a), np.repeat(a, 2, 2)[..., ::2], DLPackOnly(a)):
        assert bits(fb.beta(other, b, rng=RNG)) == bits(expected)
    assert bits(fb.beta(torch.from_numpy(a), torch.from_numpy(b), rng=RNG)) == bits(expected)
    spread = fb.beta(torch.tensor(0.5).expand(4, 2000), torch.ones(4, 1), rng=RNG)
    assert spread.is_contiguous() and torch.equal(spread, fb.beta(torch.full((4, 2000), 0.5), 1, rng=RNG))
    assert fb.beta(1, 1, rng=RNG).shape == () and fb.beta(1, 1, rng=RNG).dtype == np.float64
    assert fb.beta(np.float32(0.5), 1.0, rng=RNG).dtype == np.float32
    for empty in ((0, 3), (3, 0)):
        assert fb.beta(np.empty(empty), 1.0, rng=RNG).shape == empty


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_and_rounding(dtype, backend):
    """Values are taken exactly, the result is rounded once, to 16 bits by way of float32; it may be 0 or 1."""
    a = torch.logspace(-4, 4, 1000).reshape(4, 250).to(dtype)
    b = torch.logspace(1, -3, 250)
    drawn, wide = fb.beta(a, b, rng=RNG), fb.beta(a.double(), b.double(), rng=RNG)
    assert drawn.dtype == dtype and (drawn == 0).any() and (drawn == 1).any() and not drawn.isnan().any()
    if dtype == torch.bfloat16:
        rounded = torch.from_numpy(round_to_bfloat16(wide.float().numpy()).view(np.int16)).view(dtype)
    else:
        rounded = wide.to(torch.float32 if dtype == torch.float16 else dtype).to(dtype)
    assert torch.equal(drawn, rounded)


def test_extremes(backend):
    """Every pair of shapes that is allowed gives a number in 0..1."""
    ends = np.array([1e-300, 1e-200, 1e-8, 0.5, 1.0, 3.0, 1e8, 1e200, 1e300])
    p = fb.beta(np.repeat(ends[:, None], 100, 1)[:, None], ends[:, None], rng=RNG)
    assert ((p >= 0) & (p <= 1)).all()
    np.testing.assert_allclose(p[-1, -1], 0.5, rtol=8 * U)
    assert np.isin(p[0, 0], (0.0, 1.0)).all() and 20 < p[0, 0].sum() < 80
    assert (p[0, -1] == 0).all() and (p[-1, 0] == 1).all()


@pytest.mark.parametrize("value", [0.0, -1.0, 9.9e-301, 1.01e300, np.nan, np.inf])
def test_wrong_shapes(value, backend):
    wrong = np.ones((2, 3))
    wrong[1, 2] = value
    for name, call in (("a", lambda: fb.beta(wrong, 1.0, rng=RNG)), ("b", lambda: fb.beta(1.0, wrong, rng=RNG))):
        text = f"beta: {name}: must be finite and in 1e-300..1e+300"
        assert_named(call, ValueError, text, f"got {value:.17g}")


def test_other_errors(backend):
    assert_named(lambda: fb.beta(np.ones(3, int), 1.0, rng=RNG), TypeError, "beta: a: dtype must be one of", "int")
    assert_named(lambda: fb.beta(np.ones(3), [1.0], rng=RNG), TypeError, "beta: b: must be a NumPy array", "list")
    wrong = "beta: a and b: shapes must broadcast"
    assert_named(lambda: fb.beta(np.ones((2, 3)), np.ones(4), rng=RNG), ValueError, wrong, "(4,)")


def test_known_answers(backend):
    """Frozen draws."""
    expected = [2.9222532620136176e-05, 0.010420817863483296, 0.959716214120005, 0.9999831997086767]
    assert fb.beta(np.array([0.05, 0.5, 3.0, 1e4]), 0.5, rng=fb.Philox(7, first_sample=1, call=2)).tolist() == expected
