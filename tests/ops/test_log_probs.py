"""fb.gamma_log_prob, beta_log_prob and negative_binomial_log_prob: against 60 digits, scipy and autograd; ends; errors.

The tests of the binomial laws are in test_binomial_element.py and test_beta_binomial_log_prob.py.
"""

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch
from mpmath import mpf

import fastblackout as fb


def log_gamma_density(x, a, scale):
    x, a, scale = mpf(x), mpf(a), mpf(scale)
    return (a - 1) * mpmath.log(x / scale) - x / scale - mpmath.loggamma(a) - mpmath.log(scale)


def log_beta_density(x, a, b, q=None):
    x, a, b = mpf(x), mpf(a), mpf(b)
    log_b = mpmath.loggamma(a) + mpmath.loggamma(b) - mpmath.loggamma(a + b)
    return (a - 1) * mpmath.log(x) + (b - 1) * mpmath.log(1 - x if q is None else mpf(q)) - log_b


def log_negative_binomial(x, r, mean):
    x, r, mean = mpf(x), mpf(r), mpf(mean)
    chosen = mpmath.loggamma(x + r) - mpmath.loggamma(x + 1) - mpmath.loggamma(r)
    return chosen - r * mpmath.log(1 + mean / r) + (x * mpmath.log(mean / (r + mean)) if x else 0)


def logs(*values):
    return sum(abs(float(mpmath.log(value))) for value in values if value)


@pytest.fixture(autouse=True)
def digits():
    with mpmath.workdps(60):
        yield


def shapes():
    random = np.random.default_rng(1)
    return [*(10.0 ** random.uniform(-8, 6, 60)), 1e-300, 1e-20, 1.0, 2.0, 15.999, 16.0, 1e12, 4e15]


def test_gamma_against_60_digits():
    random = np.random.default_rng(2)
    for a in shapes():
        scale = 10.0 ** random.uniform(-3, 3)
        typical = scale * a * (1 + random.normal() / np.sqrt(a + 1))
        for x in (abs(typical), scale * a * 1e-4, scale * (a + 50), 1e-290, 5e-324, 1e300):
            truth = log_gamma_density(x, a, scale)
            bound = 5e-15 * (1 + logs(x, a, scale) + abs(truth)) + 2e-16 * abs(a - mpf(x) / mpf(scale))
            assert abs(fb.gamma_log_prob(x, a, scale) - truth) <= bound, (x, a, scale)


def test_beta_against_60_digits():
    random = np.random.default_rng(3)
    for a, b in zip(shapes(), shapes()[::-1], strict=True):
        for x in (a / (a + b), random.random(), 1e-12, 1e-300, 1 - 2.0**-53):
            if not 0 < x < 1:
                continue
            truth = log_beta_density(x, a, b)
            bound = 5e-15 * (1 + logs(x, 1 - x, a, b) + abs(truth)) + 1e-15 * abs(a * (1 - mpf(x)) - b * mpf(x))
            assert abs(fb.beta_log_prob(x, a, b) - truth) <= bound, (x, a, b)


def test_a_beta_next_to_1_as_a_pair():
    """1 - 1e-30 is 1 in float64; the pair keeps it."""
    got = fb.beta_log_prob(fb.Prob(1.0, 1e-30), 2.0, 0.25)
    assert got == pytest.approx(float(log_beta_density(1, 2.0, 0.25, q=1e-30)), rel=1e-14)


def test_negative_binomial_against_60_digits():
    random = np.random.default_rng(4)
    for r in shapes():
        for mean in (10.0 ** random.uniform(-6, 6), 1e-310, 1e15, 0.7):
            for x in (0, 1, int(mean), int(mean * random.exponential()) + 3, 10**6):
                truth = log_negative_binomial(x, r, mean)
                bound = 5e-15 * (1 + logs(x, r, mean) + abs(truth)) + 1e-15 * abs(x - mean) * (r / (r + mean))
                assert abs(fb.negative_binomial_log_prob(x, r, mean) - truth) <= bound, (x, r, mean)


def test_whole_laws():
    """Against scipy, and the sum and the integrals are 1."""
    x = np.arange(400)
    for r, mean in ((0.3, 2.0), (5.0, 8.0), (1e6, 30.0)):
        got = fb.negative_binomial_log_prob(x, r, mean)
        np.testing.assert_allclose(got, scipy.stats.nbinom(r, r / (r + mean)).logpmf(x), rtol=1e-8, atol=1e-8)
        assert np.exp(got).sum() == pytest.approx(1, abs=1e-12)
    u = (np.arange(20000) + 0.5) / 20000
    assert np.exp(fb.beta_log_prob(u, 2.5, 3.5)).mean() == pytest.approx(1, abs=1e-6)
    assert 50 * np.exp(fb.gamma_log_prob(50 * u, 2.5, 1.5)).mean() == pytest.approx(1, abs=1e-6)


def test_ends_and_outside():
    inf = np.inf
    x = np.array([-1.0, 0.0, inf, np.nan])
    for shape, at_0 in ((0.5, inf), (1.0, -np.log(2)), (2.0, -inf)):
        np.testing.assert_allclose(fb.gamma_log_prob(x, shape, 2.0), [-inf, at_0, -inf, np.nan])
        leaf = torch.tensor(shape, dtype=torch.float64, requires_grad=True)
        np.testing.assert_allclose(
            fb.gamma_log_prob(torch.from_numpy(x), leaf, 2.0).detach(), [-inf, at_0, -inf, np.nan]
        )
    x = np.array([-1e-9, 0.0, 1.0, 1.5, np.nan])
    for a, b, at_0, at_1 in ((0.5, 2.0, inf, -inf), (1.0, 3.0, np.log(3), -inf), (3.0, 1.0, -inf, np.log(3))):
        np.testing.assert_allclose(fb.beta_log_prob(x, a, b), [-inf, at_0, at_1, -inf, np.nan])
        leaf = torch.tensor(a, dtype=torch.float64, requires_grad=True)
        got = fb.beta_log_prob(torch.from_numpy(x), leaf, b).detach()
        np.testing.assert_allclose(got, [-inf, at_0, at_1, -inf, np.nan])
    x = np.array([-1.0, 0.0, 0.5, 1.0, inf, np.nan])
    np.testing.assert_array_equal(fb.negative_binomial_log_prob(x, 2.0, 0.0), [-inf, 0, -inf, -inf, -inf, -inf])
    np.testing.assert_allclose(
        fb.negative_binomial_log_prob(x, 1.0, 1.0), [-inf, -np.log(2), -inf, -2 * np.log(2), -inf, -inf]
    )


@pytest.mark.parametrize(
    "name, x, law",
    [
        ("gamma", (0.1, 5), lambda a, b: torch.distributions.Gamma(a, 1 / b)),
        ("beta", (0.1, 0.9), torch.distributions.Beta),
        (
            "negative_binomial",
            (0, 20),
            lambda r, mean: torch.distributions.NegativeBinomial(r, logits=(mean / r).log()),
        ),
    ],
)
def test_arrays_and_gradient(name, x, law):
    """Shapes that broadcast, NumPy and torch alike, and the gradients of torch.distributions."""
    log_prob, random = getattr(fb, f"{name}_log_prob"), np.random.default_rng(5)
    x = random.uniform(*x, (4, 5))
    x = np.floor(x) if name == "negative_binomial" else x
    a, b = np.exp(random.normal(0, 1, (4, 1))), np.exp(random.normal(0, 1, 5))
    plain = log_prob(x, a, b)
    leaves = [torch.from_numpy(value).requires_grad_() for value in (x, a, b)]
    assert np.array_equal(log_prob(*(leaf.detach() for leaf in leaves)).numpy(), plain)
    got = log_prob(*leaves)
    np.testing.assert_allclose(got.detach().numpy(), plain, rtol=1e-13, atol=1e-13)
    assert torch.equal(torch.compile(log_prob, fullgraph=True, backend="aot_eager")(*leaves), got)
    leaves = leaves[1:] if name == "negative_binomial" else leaves
    truth = law(*leaves[-2:]).log_prob(torch.from_numpy(x) if len(leaves) == 2 else leaves[0])
    np.testing.assert_allclose(truth.detach().numpy(), plain, rtol=1e-12, atol=1e-12)
    for grad, other in zip(*(torch.autograd.grad(each.sum(), leaves) for each in (got, truth)), strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-9, atol=1e-9)
