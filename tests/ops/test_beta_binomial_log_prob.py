"""fb.beta_binomial_log_prob as a caller sees it: against 40 digits, scipy and autograd of log-gammas; errors."""

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch

import fastblackout as fb


def exact(x, n, a, b):
    mpmath.mp.dps = 40
    a, b, total = mpmath.mpf(a), mpmath.mpf(b), mpmath.log(mpmath.binomial(n, x))
    for first, count, sign in ((a, x, 1), (b, n - x, 1), (a + b, n, -1)):
        total += sign * mpmath.fsum(mpmath.log(first + j) for j in range(count))
    return total


def bound(x, n, a, b, truth):
    """The docstring's."""
    sizes = 1 + abs(np.log(a)) + abs(np.log(b)) + np.log1p(n) + abs(truth)
    return 5e-15 * sizes + 2e-15 * abs(x - n * (a / (a + b)))


def test_value_against_40_digits():
    """a and b from 1e-300 to 1e15, alike and not: within the bound of the docstring, NumPy and torch."""
    random = np.random.default_rng(1)
    sizes = [(10.0 ** random.uniform(-8, 6), 10.0 ** random.uniform(-8, 6)) for _ in range(40)]
    sizes += [(1e-300, 1e-300), (1e-300, 1e15), (1e15, 1e15), (0.5, 0.5), (1.0, 1.0), (1e-8, 1e6)]
    for a, b in sizes:
        n = int(10 ** random.uniform(0, 2.5))
        for x in {0, n, int(random.integers(0, n + 1))}:
            truth = exact(x, n, a, b)
            assert abs(fb.beta_binomial_log_prob(x, n, a, b) - truth) <= bound(x, n, a, b, float(truth)), (x, n, a, b)
            leaf = torch.tensor(a, dtype=torch.float64, requires_grad=True)
            of_tensors = 1e-15 * (1 + abs(np.log(a)) + abs(np.log(b)) + n * (1 + np.log(a + b + n)))
            assert abs(fb.beta_binomial_log_prob(x, n, leaf, b).item() - truth) <= of_tensors, (x, n, a, b)


def test_where_stirlings_series_begins():
    """Shapes of 1 to 20, of one count, whose log-probability is small: errors of log Gamma, which is 20, would show."""
    a, b = np.linspace(1, 20, 500)[:, None], np.linspace(1, 4, 20)
    for x in (0, 1):
        got = fb.beta_binomial_log_prob(x, 1, a, b)
        with np.errstate(all="raise"):
            truth = np.log1p(-((b if x else a) / (a + b)))
        assert (np.abs(got - truth) <= 0.7 * bound(x, 1, a, b, truth) + 3e-16 * np.abs(truth)).all()


def test_extremes_against_80_digits():
    """Counts up to 2^53 and shapes from 2^-1022 to 2^53, both likely and not."""
    random = np.random.default_rng(4)
    n = np.floor(np.exp(random.uniform(0, np.log(2.0**53), 600)))
    a, b = np.exp(
        np.where(random.random((2, 600)) < 0.7, random.uniform(-40, 36.7, (2, 600)), random.uniform(-708, -40))
    )
    x = np.floor(np.where(random.random(600) < 0.5, n * random.random(600), n ** random.random(600)))
    x[::7], x[1::7] = 0, n[1::7]
    x[2::7] = np.floor(n[2::7] * (a / (a + b))[2::7])
    cases = [
        *zip(x, n, a, b, strict=True),
        (0.0, 6555660010934146.0, 1.3e-8, 6865.0),
        (3.0, 7.0, 2.0**-1022, 2.0**-1022),
    ]
    lgamma = mpmath.loggamma
    with mpmath.workdps(80):
        for case in cases:
            k, m, p, q = map(mpmath.mpf, map(float, case))
            truth = lgamma(m + 1) - lgamma(k + 1) - lgamma(m - k + 1) + lgamma(p + k) + lgamma(q + m - k)
            truth += lgamma(p + q) - lgamma(p) - lgamma(q) - lgamma(p + q + m)
            got = fb.beta_binomial_log_prob(*case)
            assert abs(got - truth) <= bound(*case, float(truth)), case


def test_whole_laws():
    """Over all x, and what lies outside."""
    x = np.arange(41)
    for a, b in ((0.3, 0.2), (2.0, 5.0), (1e4, 3e3)):
        got = fb.beta_binomial_log_prob(x, 40, a, b)
        np.testing.assert_allclose(got, scipy.stats.betabinom(40, a, b).logpmf(x), rtol=1e-10, atol=1e-10)
        assert np.exp(got).sum() == pytest.approx(1, abs=1e-12)
    outside = fb.beta_binomial_log_prob(np.array([-1, 41, 1.5, np.nan, np.inf]), 40, 1.0, 2.0)
    np.testing.assert_array_equal(outside, np.full(5, -np.inf))
    assert fb.beta_binomial_log_prob(0, 0, 1.0, 2.0) == 0


def test_arrays_and_gradient():
    random = np.random.default_rng(2)
    n = random.integers(1, 256, (4, 1))
    x = (n * random.random((4, 5))).astype(np.int64)
    a, b = np.exp(random.normal(0, 2, (4, 5))), np.exp(random.normal(0, 2, 5))
    plain = fb.beta_binomial_log_prob(x, n, a, b)
    tensors = [torch.from_numpy(value) for value in (x, n, a, b)]
    assert plain.shape == (4, 5) and np.array_equal(fb.beta_binomial_log_prob(*tensors).numpy(), plain)
    x, n, *leaves = tensors
    leaves = [leaf.requires_grad_() for leaf in leaves]
    got = fb.beta_binomial_log_prob(x, n, *leaves)
    np.testing.assert_allclose(got.detach().numpy(), plain, rtol=1e-13, atol=1e-13)
    compiled = torch.compile(fb.beta_binomial_log_prob, fullgraph=True, backend="aot_eager")(x, n, *leaves)
    assert torch.equal(compiled, got)
    a, b, lgamma = *leaves, torch.lgamma
    chosen = lgamma(n + 1.0) - lgamma(x + 1.0) - lgamma(n - x + 1.0)
    truth = chosen + lgamma(x + a) + lgamma(n - x + b) - lgamma(n + a + b) + lgamma(a + b) - lgamma(a) - lgamma(b)
    for grad, other in zip(*(torch.autograd.grad(each.sum(), leaves) for each in (got, truth)), strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-9, atol=1e-9)
