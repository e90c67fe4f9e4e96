"""fb.binomial and fb.binomial_log_prob as a caller sees them, and the bugs of other libraries as tests."""

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from support.arrays import DLPackOnly, bits
from support.helpers import BACKENDS, chi_square, using

RNG = fb.Philox(seed=31, first_sample=1, call=6)
FALSE_ALARM = 1e-6  # of each chi-square, seeds fixed; about 110 of them: 1e-4
NATIVE = BACKENDS[-1]


def draw(n, p, size=200_000, rng=RNG):
    return fb.binomial(np.full((1, size), n, np.int64), p, rng=rng)


# n = 6, 0.45: dust #244. 300..1459: tensorflow #34398, numba #9493. 5e10, 5e-17 and 1e10: numpy #29522, #5254.
@pytest.mark.parametrize(
    "n, p",
    [
        (1, 0.5), (6, 0.45), (40, 0.2), (40, 0.3), (255, 0.97), (300, 0.04), (301, 0.7), (700, 0.75), (1000, 0.3),
        (1459, 0.1), (10**6, 0.37), (10**10, 3e-9), (5 * 10**10, 5e-17), (2**31, 4e-8), (2**31 - 1, 1e-9),
    ],
)  # fmt: skip
def test_law(n, p, backend):
    drawn = draw(n, p)
    assert drawn.min() >= 0 and drawn.max() <= n
    assert chi_square(drawn, stats.binom(n, p)) > FALSE_ALARM


@pytest.mark.slow
@pytest.mark.parametrize("n", [300, 500, 700, 1000])
def test_law_where_stirling_errors_showed(n):
    """tensorflow #34398, numpy #31986: 2e7 draws see a relative error of 1e-3 of a typical cell."""
    with using(NATIVE):
        assert chi_square(draw(n, 0.41, size=20_000_000), stats.binom(n, 0.41)) > FALSE_ALARM


@pytest.mark.parametrize("n", [2**26, 2**31, 2**45, 2**53])
def test_large_counts_are_neither_quantised_nor_too_wide(n, backend):
    """torch's float32 draws at 2^26 are all even; rust's rand_distr has steps from 2^54. Mean, variance: 6 errors."""
    drawn = draw(n, 0.3, size=100_000)[0]
    assert stats.chisquare(np.bincount(drawn & 15, minlength=16)).pvalue > FALSE_ALARM
    z = (drawn - n * 0.3) / np.sqrt(n * 0.21)
    assert abs(z.mean()) < 6 / np.sqrt(z.size) and abs(z.var() - 1) < 6 * np.sqrt(2 / z.size)


@pytest.mark.parametrize("library", [np.asarray, torch.from_numpy], ids=["numpy", "torch"])
def test_float_counts_end_where_their_dtype_has_gaps(library, backend):
    """Among the float32 from 2^24 on are no odd numbers: of Binomial(2^26, 1/2), half the outcomes."""
    most = {np.float32: 2**24, np.float64: 2**53}
    for dtype, end in most.items():
        count = np.full((1, 20_000), end, dtype)
        drawn = fb.binomial(library(count), 0.5, rng=RNG)
        assert bits(drawn.double() if library is torch.from_numpy else drawn.astype(float)) == bits(
            fb.binomial(np.full(count.shape, float(end)), 0.5, rng=RNG)
        )
        assert 0.4 < float((drawn % 2).mean()) < 0.6
        count[0, 700] = np.nextafter(dtype(end), dtype(np.inf))
        with pytest.raises(
            ValueError, match=rf"^binomial: count: must be whole numbers in 0\.\.{end}, got {end + 2}\b"
        ):
            fb.binomial(library(count), 0.5, rng=RNG)


def test_certain_and_impossible_outcomes(backend):
    """p = 0 gave 1 and p = 1 gave 0 elsewhere (torch #15356, cpython #149221)."""
    n = np.array([[0, 1, 255, 2**31, 2**53]])
    assert (fb.binomial(n, 0.0, rng=RNG) == 0).all()
    assert np.array_equal(fb.binomial(n, 1.0, rng=RNG), n)
    assert np.array_equal(fb.binomial(n, fb.Prob(1.0, 1e-300), rng=RNG), n)
    assert (fb.binomial(n, 1e-300, rng=RNG) == 0).all()
    assert (draw(0, 0.7) == 0).all()


def test_pair_keeps_the_tail(backend):
    n, q = 2**31 - 1, 1e-9
    count = np.full((1, 200_000), n)
    deaths = count - fb.binomial(count, fb.Prob(1 - q, q), rng=RNG)
    assert chi_square(deaths, stats.binom(n, q), 0, 16) > FALSE_ALARM


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "int64", "float32", "float64"])
def test_count_dtypes(dtype, backend):
    count = np.arange(0, 100).reshape(4, 25)
    expected = fb.binomial(count, 0.3, rng=RNG)
    got = fb.binomial(count.astype(dtype), 0.3, rng=RNG)
    assert got.dtype == dtype and np.array_equal(got, expected)
    tensor = fb.binomial(torch.from_numpy(count.astype(dtype)), 0.3, rng=RNG)
    assert bits(tensor) == bits(got)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_probabilities_are_taken_exactly(dtype, backend):
    p = torch.tensor([[0.1, 0.3, 0.7, 0.999]]).to(dtype)
    count = torch.full((5000, 4), 1000)
    assert torch.equal(fb.binomial(count, p, rng=RNG), fb.binomial(count, p.double(), rng=RNG))


def test_broadcasting_is_the_written_out_draw(backend):
    count, p = np.arange(60).reshape(3, 4, 5), np.random.default_rng(0).random((4, 1))
    whole = fb.binomial(count, p, rng=RNG)
    written_out = np.broadcast_to(p, (3, 4, 5)).copy()
    assert whole.flags.c_contiguous and np.array_equal(whole, fb.binomial(count, written_out, rng=RNG))
    assert fb.binomial(9, p, rng=RNG).shape == (4, 1)
    assert fb.binomial(count[0], p[None], rng=RNG).shape == (1, 4, 5)
    assert fb.binomial(7, 0.5, rng=RNG).shape == ()
    assert fb.binomial(np.int16(7), np.float32(0.5), rng=RNG).dtype == np.int16
    assert fb.binomial(torch.tensor([5, 6]), np.float64(0.5), rng=RNG).shape == (2,)
    for shape in ((0, 3), (3, 0)):
        assert fb.binomial(np.empty(shape, np.uint8), 0.5, rng=RNG).shape == shape


def test_layouts_do_not_matter(backend):
    count, p = np.arange(120).reshape(4, 5, 6), np.random.default_rng(0).random((4, 5, 6))
    expected = fb.binomial(count, p, rng=RNG)
    for other in (np.asfortranarray(count), count[:, ::-1][:, ::-1], np.repeat(count, 2, 2)[..., ::2]):
        assert np.array_equal(fb.binomial(other, np.asfortranarray(p), rng=RNG), expected)
    assert np.array_equal(fb.binomial(DLPackOnly(count), DLPackOnly(p), rng=RNG), expected)


def test_batch_split_and_keys(backend):
    count = np.full((6, 500), 1000)
    whole = fb.binomial(count, 0.3, rng=RNG)
    parts = [fb.binomial(count[r : r + 2], 0.3, rng=RNG.at(first_sample=RNG.first_sample + r)) for r in (0, 2, 4)]
    assert np.array_equal(np.concatenate(parts), whole)
    torch.manual_seed(3)
    first, second = fb.binomial(count, 0.3), fb.binomial(count, 0.3)
    torch.manual_seed(3)
    assert np.array_equal(fb.binomial(count, 0.3), first) and not np.array_equal(first, second)
    generator = torch.Generator().manual_seed(3)
    assert np.array_equal(fb.binomial(count, 0.3, generator=generator), first)
    lanes = [whole[0], whole[1], first[0], second[0], fb.binomial(count, 0.3, rng=RNG.at(call=7))[0]]
    z = np.corrcoef(lanes)[np.triu_indices(5, 1)] * np.sqrt(500)
    assert np.abs(z).max() < 6  # rows, calls and seeds do not correlate


@pytest.mark.parametrize("n, p", [(0, 0.3), (5, 0.3), (255, 0.5), (255, 1e-9), (1000, 0.999), (10_000, 0.2)])
def test_log_prob_against_scipy(n, p):
    x = np.arange(-1, n + 2)
    expected = stats.binom.logpmf(x, n, p)
    for q in (1 - p, None):
        got = fb.binomial_log_prob(x, n, fb.Prob(p, q) if q else p)
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-9)
        tensor = fb.binomial_log_prob(torch.from_numpy(x), n, fb.Prob(p, q) if q else p)
        assert tensor.dtype == torch.float64
        np.testing.assert_allclose(tensor.numpy(), expected, rtol=1e-11, atol=1e-9)
    assert abs(np.exp(got).sum() - 1) < 1e-9


def test_log_prob_edges_and_gradient():
    assert fb.binomial_log_prob(0, 7, 0.0) == 0 and fb.binomial_log_prob(7, 7, 1.0) == 0
    assert fb.binomial_log_prob(1, 7, 0.0) == fb.binomial_log_prob(6, 7, 1.0) == -np.inf
    assert fb.binomial_log_prob(1.5, 7, 0.5) == -np.inf
    deep = fb.binomial_log_prob(2**31 - 1, 2**31 - 1, fb.Prob(1.0, 1e-17))
    assert abs(deep) < 1e-6
    p = torch.tensor([0.2, 0.7], dtype=torch.float64, requires_grad=True)
    fb.binomial_log_prob(torch.tensor([3, 4]), 10, p).sum().backward()
    k = torch.tensor([3.0, 4.0]).double()
    torch.testing.assert_close(p.grad, k / p.detach() - (10 - k) / (1 - p.detach()))
    cases = ((1, -1, 0.5), "count: .* got -1"), ((1, 2, 1.5), "prob: .* 1.5"), ((1, 2, np.nan), "prob: .* nan")
    pair = r"prob: p \+ q must be 1 within 1e-9, got p = 0\.5 and q = 0\.4"
    for bad, text in (*cases, ((1, 2, fb.Prob(0.5, 0.4)), pair)):
        for kind in (lambda v: v, torch.tensor):
            with pytest.raises(ValueError, match=f"^binomial_log_prob: {text}"):
                fb.binomial_log_prob(kind(bad[0]), *bad[1:])
