"""fb.transition_rows, fb.thin_log_prob and fb.bridge_log_prob against mpmath, scipy and the reference."""

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from support.arrays import LAYOUTS, NUMPY_ONLY, as_library, bits, lay
from support.helpers import BACKENDS, pairwise, using

mpmath.mp.dps = 40
TAILS = (1e-12, 1e-6, 0.01, 0.3, 0.5, 0.7, 0.99)  # also as 1 - p


def prob(p, mirrored):
    """The pair whose smaller part is p, exact on both sides."""
    return fb.Prob(float(1 - mpmath.mpf(p)), p) if mirrored else fb.Prob(p, float(1 - mpmath.mpf(p)))


def exact(n, x, p, q):
    """log Pr(Binomial(n, p) = x); the smaller of the float64 p and q is taken as it is, the other as 1 minus it."""
    if not 0 <= x <= n:
        return mpmath.mpf("-inf")
    small = mpmath.mpf(float(min(p, q)))
    p, q = (1 - small, small) if p > q else (small, 1 - small)
    powers = [k * mpmath.log(v) if k else 0 for k, v in ((x, p), (n - x, q))]
    orders = mpmath.loggamma(n + 1) - mpmath.loggamma(x + 1) - mpmath.loggamma(n - x + 1)
    return orders + sum(powers)


def exact_row(n, states, p, q):
    return [mpmath.exp(exact(n, k, p, q)) if k <= n else mpmath.mpf(0) for k in range(states)]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("p", TAILS)
def test_rows_against_mpmath(p, mirrored, backend):
    """Entries within 1e-13 of 40 digits for S up to 512, rows sum to 1 within 1e-14, none is negative."""
    pair = prob(p, mirrored)
    for states in (1, 2, 17, 512):
        rows = fb.transition_rows(pair, states - 1)
        assert rows.shape == (states, states) and rows.dtype == np.float64
        assert (rows >= 0).all() and np.abs(rows.sum(1) - 1).max() <= 1e-14
        assert (rows[np.triu_indices(states, 1)] == 0).all()
        for n in {0, states // 3, states - 1}:
            error = max(
                abs(mpmath.mpf(float(a)) - b) for a, b in zip(rows[n], exact_row(n, states, *pair), strict=True)
            )
            assert error <= 1e-13, (states, n, float(error))


def test_rows_at_the_ends_and_of_many(backend):
    p, q = np.array([0.0, 1.0, 0.25, 1e-300]), np.array([1.0, 0.0, 0.75, 1.0])
    rows = fb.transition_rows(fb.Prob(p, q), 40)
    assert rows.shape == (4, 41, 41)
    assert (rows[0, :, 0] == 1).all() and rows[0].sum() == 41 and np.array_equal(rows[1], np.eye(41))
    assert np.array_equal(rows[2], fb.transition_rows(0.25, 40)) and np.isfinite(rows).all()
    tensor = fb.transition_rows(fb.Prob(torch.from_numpy(p), torch.from_numpy(q)), 40)
    assert isinstance(tensor, torch.Tensor) and bits(tensor) == bits(rows)
    assert fb.transition_rows(torch.tensor(0.25, dtype=torch.float64), 3).shape == (4, 4)
    large = fb.transition_rows(0.5, 4095)
    assert np.abs(large.sum(1) - 1).max() <= 1e-14


def test_rows_compose(backend):
    """P(s) P(t - s) = P(t): thinning twice is thinning once."""
    p = np.array([0.9, 0.5, 0.45])
    first, second, both = fb.transition_rows(p, 255)
    np.testing.assert_allclose(first @ second, both, atol=1e-13)


@pytest.mark.parametrize("name", BACKENDS[1:])
def test_rows_have_the_bits_of_the_reference(name):
    p = np.array([0.0, 1e-12, 0.1, 0.5, 0.9, 1 - 1e-12, 1.0])
    for states in (1, 5, 33, 300):
        expected = fb.transition_rows(p, states - 1, backend="reference")
        for threads in (1, 3):
            with using(name, threads):
                assert bits(fb.transition_rows(p, states - 1)) == bits(expected)


COUNTS = ("uint8", "int16", "int32", "int64")
CASES = pairwise(
    shape=((), (3,), (2, 1), (5, 7, 3), (3, 1025), (4, 2, 3, 5)),  # around a chunk of 1,024
    top=(1, 3, 16, 40, 127),
    dtype=COUNTS,
    layout=LAYOUTS,
    library=("numpy", "torch"),
    threads=(1, 3),
    each=(False, True),
    backend=BACKENDS[1:],
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())).replace(" ", ""))
def test_log_prob_has_the_bits_of_the_reference(case):
    layout = "inner" if case["library"] == "torch" and case["layout"] in NUMPY_ONLY else case["layout"]
    random = np.random.default_rng(1)
    counts = [lay(random.integers(0, case["top"] + 1, case["shape"]).astype(case["dtype"]), layout) for _ in range(3)]
    samples = case["shape"][0] if case["shape"] else 1
    p = np.linspace(0, 1, samples) if case["each"] else 0.3
    thin = fb.thin_log_prob(counts[0], counts[1], p, backend="reference")
    bridge = fb.bridge_log_prob(*counts, p, backend="reference")
    given = [as_library(array, case["library"]) for array in counts]
    with using(case["backend"], case["threads"]):
        got = fb.thin_log_prob(given[0], given[1], p), fb.bridge_log_prob(*given, p)
    assert bits(got[0]) == bits(thin) and bits(got[1]) == bits(bridge)


@pytest.mark.parametrize("p", [1e-320, 1e-200, 1e-12, 0.01, 0.3, 0.5])
@pytest.mark.parametrize("mirrored", [False, True])
def test_log_prob_against_mpmath(p, mirrored, backend):
    """Within 4e-15 max(1, |log Pr|) + 2^-52 |x - n p| of 40 digits, to counts of 2^40; also fb.binomial_log_prob."""
    pair = prob(p, mirrored)
    for n in (0, 1, 2, 5, 15, 16, 17, 255, 4096, 10**6, 2**40):
        mean = int(n * pair.p)
        picked = {0, 1, n // 3, n // 2, mean, mean + 1, mean + 3, mean + int(mean**0.5), n - 1, n}
        x = sorted(k for k in picked if 0 <= k <= n)
        x, full = np.array(x, np.int64), np.full(len(x), n, np.int64)
        truth = [exact(n, int(k), *pair) for k in x]
        moved = fb.bridge_log_prob(x + 7, np.full_like(x, 7), full + 7, pair)
        for got in (fb.thin_log_prob(x, full, pair), moved, fb.binomial_log_prob(x, n, pair)):
            for k, a, b in zip(x, got, truth, strict=True):
                error = abs(mpmath.mpf(float(a)) - b)
                assert error <= 4e-15 * max(1, abs(b)) + abs(k - n * pair.p) * 2.0**-52, (n, int(k), float(error))


def test_log_prob_against_scipy(backend):
    """Every cell of counts to 60 against scipy, -inf outside, and probabilities that sum to 1."""
    x, n = np.meshgrid(np.arange(61), np.arange(61))
    for p in (0.0, 0.2, 0.5, 0.97, 1.0):
        got = fb.thin_log_prob(x, n, p)
        np.testing.assert_allclose(got, stats.binom.logpmf(x, n, p), rtol=1e-12, atol=1e-12)
        assert (got[x > n] == -np.inf).all()
        np.testing.assert_allclose(np.exp(got).sum(1), 1, atol=1e-13)
        np.testing.assert_allclose(np.exp(got), fb.transition_rows(p, 60), atol=1e-13)


def test_bridge_and_thinning_fit_together(backend):
    """Pr(x_s | x_0) Pr(x_t | x_s) = Pr(x_t | x_0) Pr(x_s | x_t, x_0), in logs."""
    schedule = fb.Schedule.logit(steps=50)
    k_s, k_t = 20, 31
    s, t, step = schedule.survival(k_s), schedule.survival(k_t), schedule.bridge(k_t, k_s)
    x_s, x_t = np.meshgrid(np.arange(41), np.arange(41))
    x_0 = np.full_like(x_s, 40)
    left = fb.thin_log_prob(x_s, x_0, s) + fb.thin_log_prob(x_t, x_s, t.p / s.p)
    right = fb.thin_log_prob(x_t, x_0, t) + fb.bridge_log_prob(x_s, x_t, x_0, step)
    possible = x_t <= x_s
    np.testing.assert_allclose(left[possible], right[possible], rtol=1e-11)
    assert (right[~possible] == -np.inf).all()


def test_log_prob_keeps_memory_order(backend):
    x = torch.zeros((2, 3, 4, 5), dtype=torch.uint8).to(memory_format=torch.channels_last)
    assert fb.thin_log_prob(x, x, 0.5).stride() == x.stride()
    assert fb.thin_log_prob(x.numpy(), x.numpy(), 0.5).strides == tuple(8 * step for step in x.stride())
    assert fb.bridge_log_prob(np.empty((0, 3), np.uint8), *[np.empty((0, 3), np.uint8)] * 2, 0.5).shape == (0, 3)


def test_the_largest_max_count():
    assert fb.transition_rows(torch.empty(0, dtype=torch.float64), max_count=4095).shape == (0, 4096, 4096)
    with pytest.raises(ValueError, match=r"^transition_rows: max_count: must be in 0\.\.4095, got 4096$"):
        fb.transition_rows(0.5, max_count=4096)


@pytest.mark.parametrize("x", [2.5, -0.5, np.nan])
def test_the_first_number_of_a_chunk_is_looked_at_too(x, backend):
    found = fb.binomial_log_prob(np.array([x, 1.0, x]), 4, 0.5)
    assert found[1] == pytest.approx(np.log(0.25)) and np.array_equal(found[[0, 2]], [-np.inf] * 2, equal_nan=True)
