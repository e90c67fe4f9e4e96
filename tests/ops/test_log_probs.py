"""Log-probabilities: ends, what lies outside, sums over whole laws, and gradients.

Their values are compared with mpmath's in tests/battery, of which test_battery.py runs some hundred of each.
"""

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats

import fastblackout as fb
from support.arrays import bits

INF, NAN = np.inf, np.nan
ODD = np.array([-1.0, 0.5, NAN, INF, 2.0**60])  # no counts


def beta_binomial(x, n, a, b):
    """By torch's log-gammas."""
    lgamma = torch.lgamma
    chosen = lgamma(n + 1.0) - lgamma(x + 1.0) - lgamma(n - x + 1.0)
    return chosen + lgamma(x + a) + lgamma(n - x + b) - lgamma(n + a + b) + lgamma(a + b) - lgamma(a) - lgamma(b)


def multinomial(x, w):
    chosen = torch.lgamma(x.double().sum(-1) + 1) - torch.lgamma(x + 1.0).sum(-1)
    return chosen + (x * torch.log(w / w.sum(-1, keepdim=True))).sum(-1)


RANDOM = np.random.default_rng(2)
POSITIVE = np.exp(RANDOM.normal(0, 1, (4, 1))), np.exp(RANDOM.normal(0, 1, 5))
TRIALS = RANDOM.integers(1, 256, (4, 1))
DISTRIBUTIONS = torch.distributions
# name: x and the parameters that have no gradient, those that have one, x having one, and the law by torch
GRADED = {
    "binomial": ((RANDOM.integers(0, 10, (4, 5)), 10), (RANDOM.uniform(0.1, 0.9, 5),), False,
                 lambda x, n, p: DISTRIBUTIONS.Binomial(n, p).log_prob(x)),
    "beta_binomial": (((TRIALS * RANDOM.random((4, 5))).astype(int), TRIALS), POSITIVE, False, beta_binomial),
    "gamma": ((RANDOM.uniform(0.1, 5, (4, 5)),), POSITIVE, True,
              lambda x, a, b: DISTRIBUTIONS.Gamma(a, 1 / b).log_prob(x)),
    "beta": ((RANDOM.uniform(0.1, 0.9, (4, 5)),), POSITIVE, True,
             lambda x, a, b: DISTRIBUTIONS.Beta(a, b).log_prob(x)),
    "negative_binomial": ((RANDOM.integers(0, 20, (4, 5)),), POSITIVE, False,
                          lambda x, r, m: DISTRIBUTIONS.NegativeBinomial(r, logits=(m / r).log()).log_prob(x)),
    "multinomial": ((RANDOM.integers(0, 9, (4, 1, 3)),), (np.exp(RANDOM.normal(0, 1, (5, 3))),), False, multinomial),
}  # fmt: skip


@pytest.mark.parametrize("name", GRADED)
def test_arrays_and_gradient(name):
    """Shapes that broadcast, NumPy and torch alike, traced too, and the gradients of torch's functions."""
    log_prob, (fixed, free, with_x, law) = getattr(fb, f"{name}_log_prob"), GRADED[name]
    plain = log_prob(*fixed, *free)
    fixed = [torch.as_tensor(each) for each in fixed]
    free = [torch.from_numpy(each).requires_grad_() for each in free]
    assert np.array_equal(log_prob(*fixed, *(leaf.detach() for leaf in free)).numpy(), plain)
    fixed = [fixed[0].requires_grad_()] if with_x else fixed
    got, truth = log_prob(*fixed, *free), law(*(each.double() for each in fixed), *free)
    np.testing.assert_allclose(got.detach().numpy(), plain, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(truth.detach().numpy(), plain, rtol=1e-11, atol=1e-11)
    assert torch.equal(torch.compile(log_prob, fullgraph=True, backend="aot_eager")(*fixed, *free), got)
    leaves = [*fixed, *free] if with_x else free
    for grad, other in zip(*(torch.autograd.grad(each.sum(), leaves) for each in (got, truth)), strict=True):
        torch.testing.assert_close(grad, other, rtol=1e-9, atol=1e-9)


def test_gradient_of_bessel():
    """(2 (x - E x)) / argument, E x = argument I_(order + 1) / (2 I_order)."""
    order, argument, x = RANDOM.integers(0, 30, (4, 1)), RANDOM.uniform(0.5, 60, 6), RANDOM.integers(0, 20, (4, 6))
    plain, leaf = fb.bessel_log_prob(x, order, argument), torch.from_numpy(argument).requires_grad_()
    got = fb.bessel_log_prob(torch.from_numpy(x), torch.from_numpy(order), leaf)
    np.testing.assert_allclose(got.detach().numpy(), plain, rtol=1e-11, atol=1e-11)
    (slope,) = torch.autograd.grad(got.sum(), leaf)
    mean = argument * special.ive(order + 1, argument) / (2 * special.ive(order, argument))
    np.testing.assert_allclose(slope.numpy(), (2 * (x - mean) / argument).sum(0), rtol=1e-9, atol=1e-9)


def test_gradient_of_skellam():
    """As ratios of neighbouring probabilities: d log P(x) / d rate_1 = P(x - 1) / P(x) - 1."""
    a, b = np.exp(RANDOM.normal(2, 2, (4, 30))), np.exp(RANDOM.normal(2, 2, 30))
    x = np.round(a - b + RANDOM.normal(0, 1, (4, 30)) * np.sqrt(a + b))
    plain, x = fb.skellam_log_prob(x, a, b), torch.from_numpy(x)
    leaves = [torch.from_numpy(each).expand(4, 30).clone().requires_grad_() for each in (a, b)]
    got = fb.skellam_log_prob(x, *leaves)
    np.testing.assert_allclose(got.detach().numpy(), plain, rtol=1e-13, atol=1e-13)
    for slope, step in zip(torch.autograd.grad(got.sum(), leaves), (-1, 1), strict=True):
        neighbour = fb.skellam_log_prob(x + step, *(leaf.detach() for leaf in leaves))
        torch.testing.assert_close(slope, torch.expm1(neighbour - got.detach()), rtol=1e-9, atol=1e-9)
    none, some = (torch.full((2,), rate, dtype=torch.float64, requires_grad=True) for rate in (0.0, 3.0))
    slopes = torch.autograd.grad(fb.skellam_log_prob(torch.tensor([2, 50]), some, none).sum(), (some, none))
    np.testing.assert_allclose(slopes[0].numpy(), [2 / 3 - 1, 50 / 3 - 1], rtol=1e-13)
    np.testing.assert_allclose(slopes[1].numpy(), [3 / 3 - 1, 3 / 51 - 1], rtol=1e-9, atol=1e-15)


def test_gradient_of_hypergeometric_by_its_balls():
    x = torch.tensor([3.0, 7.0], dtype=torch.float64, requires_grad=True)
    got = fb.hypergeometric_log_prob(x, 30, 50, 20)
    np.testing.assert_allclose(got.detach().numpy(), stats.hypergeom(80, 30, 20).logpmf([3, 7]), rtol=1e-12)


WHOLE = {  # over all x: their number, the parameters and scipy's law
    "binomial": (256, (255, 0.5), stats.binom(255, 0.5)),
    "beta_binomial": (41, (40, 0.3, 0.2), stats.betabinom(40, 0.3, 0.2)),
    "negative_binomial": (400, (0.3, 2.0), stats.nbinom(0.3, 0.3 / 2.3)),
    "hypergeometric": (31, (30, 50, 40), stats.hypergeom(80, 30, 40)),
    "bessel": (100, (3, 20.0), None),
    "skellam": (1500, (15.9, 16.1), stats.skellam(15.9, 16.1)),
}


@pytest.mark.parametrize("name", WHOLE)
def test_whole_laws(name):
    many, parameters, law = WHOLE[name]
    x = np.arange(-many if name == "skellam" else 0, many)
    got = getattr(fb, f"{name}_log_prob")(x, *parameters)
    assert np.exp(got).sum() == pytest.approx(1, abs=1e-12)
    if law is not None:
        some = np.exp(got) > 1e-200
        np.testing.assert_allclose(got[some], law.logpmf(x[some]), rtol=1e-8, atol=1e-8)


def test_integrals_are_1():
    u = (np.arange(20000) + 0.5) / 20000
    assert np.exp(fb.beta_log_prob(u, 2.5, 3.5)).mean() == pytest.approx(1, abs=1e-6)
    assert 50 * np.exp(fb.gamma_log_prob(50 * u, 2.5, 1.5)).mean() == pytest.approx(1, abs=1e-6)


def test_what_is_no_count():
    for got in (
        fb.binomial_log_prob(np.array([-1.0, 0.5, INF, 2.0**60]), 7, 0.5),
        fb.beta_binomial_log_prob(ODD, 40, 1.0, 2.0),
        fb.bessel_log_prob(ODD, 3, 4.0),
        fb.skellam_log_prob(ODD[1:], 3.0, 4.0),
        fb.hypergeometric_log_prob(np.array([*ODD, 4, -1]), 3, 2, 3),
        fb.negative_binomial_log_prob(ODD[:4], 2.0, 0.0),
    ):
        assert (got == -INF).all()
    x = np.array([[1, 2, each] for each in ODD] + [[0, 0, 0], [0, 0, 1]])
    for probs in (np.array([0.5, 0.5, 0.0]), torch.tensor([0.5, 0.5, 0.0], requires_grad=True)):
        got = np.asarray(fb.multinomial_log_prob(x, probs).tolist())
        assert np.array_equal(got, [-INF] * 5 + [0.0, -INF])


def test_ends():
    assert fb.binomial_log_prob(0, 7, 0.0) == 0 == fb.binomial_log_prob(7, 7, 1.0)
    assert fb.binomial_log_prob(1, 7, 0.0) == fb.binomial_log_prob(6, 7, 1.0) == -INF
    assert abs(fb.binomial_log_prob(2**31 - 1, 2**31 - 1, fb.Prob(1.0, 1e-17))) < 1e-6
    assert fb.beta_binomial_log_prob(0, 0, 1.0, 2.0) == 0 == fb.skellam_log_prob(0, 0.0, 0.0)
    assert fb.skellam_log_prob(2, 0.0, 3.0) == fb.skellam_log_prob(-2, 3.0, 0.0) == -INF
    assert fb.hypergeometric_log_prob(0, 0, 0, 0) == 0 and fb.hypergeometric_log_prob(3, 3, 2, 5) == 0
    assert np.abs(fb.bessel_log_prob(0, np.arange(50), 0.0)).max() < 1e-13 and fb.bessel_log_prob(1, 3, 0.0) == -INF
    x = np.array([-1.0, 0.0, INF, NAN])
    for shape, at_0 in ((0.5, INF), (1.0, -np.log(2)), (2.0, -INF)):
        leaf = torch.tensor(shape, dtype=torch.float64, requires_grad=True)
        for got in (fb.gamma_log_prob(x, shape, 2.0), fb.gamma_log_prob(torch.from_numpy(x), leaf, 2.0).detach()):
            np.testing.assert_allclose(got, [-INF, at_0, -INF, NAN])
    x = np.array([-1e-9, 0.0, 1.0, 1.5, NAN])
    for a, b, at_0, at_1 in ((0.5, 2.0, INF, -INF), (1.0, 3.0, np.log(3), -INF), (3.0, 1.0, -INF, np.log(3))):
        leaf = torch.tensor(a, dtype=torch.float64, requires_grad=True)
        for got in (fb.beta_log_prob(x, a, b), fb.beta_log_prob(torch.from_numpy(x), leaf, b).detach()):
            np.testing.assert_allclose(got, [-INF, at_0, at_1, -INF, NAN])
    x = np.array([-1.0, 0.0, 0.5, 1.0, INF, NAN])
    np.testing.assert_array_equal(fb.negative_binomial_log_prob(x, 2.0, 0.0), [-INF, 0, -INF, -INF, -INF, -INF])


def test_a_beta_next_to_1_as_a_pair():
    """1 - 1e-30 is 1 in float64; the pair keeps it."""
    wanted = np.log(1e-30) * (0.25 - 1) - special.betaln(2.0, 0.25)
    assert fb.beta_log_prob(fb.Prob(1.0, 1e-30), 2.0, 0.25) == pytest.approx(wanted, rel=1e-14)


def test_bessel_of_the_smallest_arguments():
    """Of whose Bessel function's series the first term is left."""
    for x, order, argument in ((1, 0, 1e-157), (1, 0, 5e-324), (30, 2, 6.3e-211), (10**6, 2**40, 1e-99)):
        with mpmath.workdps(40):
            terms = mpmath.loggamma(x + 1), mpmath.loggamma(x + order + 1), -mpmath.loggamma(order + 1)
            truth = float(2 * x * mpmath.log(mpmath.mpf(argument) / 2) - mpmath.fsum(terms))
        bound = 2e-14 * (1 + abs(np.log(argument)) + np.log1p(x + order) + abs(truth)) + 2e-15 * x
        assert abs(fb.bessel_log_prob(x, order, argument) - truth) < bound


def test_multinomial_counts_above_2_53_are_none():
    weights = torch.tensor([1.0, 2.0], dtype=torch.float64)
    for most, wanted in ((2.0**53, -(2.0**53) * np.log(3)), (2.0**53 + 2, -INF)):
        x = np.array([most, 0.0])
        assert fb.multinomial_log_prob(x, weights.numpy()) == pytest.approx(wanted)
        leaf = weights.clone().requires_grad_()
        assert fb.multinomial_log_prob(torch.from_numpy(x), leaf).item() == pytest.approx(wanted)


def test_multinomial_weights_whose_quotients_are_none():
    """Quotients below the least float64, and those with few digits of it, on either side."""
    cases = [
        ([10, 31023252], [2.66e-295, 6.1e194]),
        ([3, 9, 2], [5e-324, 1e10, 3e-310]),
        ([0, 5, 7], [1e-300, 1e300, 1e-2]),
    ]
    with mpmath.workdps(60):
        for counts, weights in cases:
            for x, p in ((counts, weights), (counts[::-1], weights[::-1])):
                logs = [k * mpmath.log(mpmath.mpf(w)) - mpmath.loggamma(k + 1) for k, w in zip(x, p, strict=True)]
                whole = mpmath.log(mpmath.fsum(map(mpmath.mpf, p)))
                truth = mpmath.loggamma(sum(x) + 1) + mpmath.fsum(logs) - sum(x) * whole
                assert fb.multinomial_log_prob(np.array(x), np.array(p)) == pytest.approx(float(truth), rel=1e-13)


def test_a_multinomial_weight_of_0_has_a_slope():
    zero = torch.tensor([0.0, 0.5, 1.5], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(fb.multinomial_log_prob(torch.tensor([0, 2, 3]), zero), zero)
    np.testing.assert_allclose(slope.numpy(), [-5 / 2, 2 / 0.5 - 5 / 2, 3 / 1.5 - 5 / 2], rtol=1e-13)


# transition_rows, thin_log_prob and bridge_log_prob


def test_rows_at_the_ends_and_of_many(backend):
    p, q = np.array([0.0, 1.0, 0.25, 1e-300]), np.array([1.0, 0.0, 0.75, 1.0])
    rows = fb.transition_rows(fb.Prob(p, q), 40)
    assert rows.shape == (4, 41, 41) and np.isfinite(rows).all()
    assert (rows[0, :, 0] == 1).all() and rows[0].sum() == 41 and np.array_equal(rows[1], np.eye(41))
    assert np.array_equal(rows[2], fb.transition_rows(0.25, 40)) and (rows[2][np.triu_indices(41, 1)] == 0).all()
    tensor = fb.transition_rows(fb.Prob(torch.from_numpy(p), torch.from_numpy(q)), 40)
    assert isinstance(tensor, torch.Tensor) and bits(tensor) == bits(rows)
    assert np.abs(fb.transition_rows(0.5, 4095).sum(1) - 1).max() <= 1e-14
    first, second, both = fb.transition_rows(np.array([0.9, 0.5, 0.45]), 255)
    np.testing.assert_allclose(first @ second, both, atol=1e-13)  # thinning twice is thinning once
    none = fb.transition_rows(torch.empty(0, dtype=torch.float64), max_count=4095)
    assert none.shape == (0, 4096, 4096)


def test_bridge_and_thinning_fit_together(backend):
    """Pr(x_s | x_0) Pr(x_t | x_s) = Pr(x_t | x_0) Pr(x_s | x_t, x_0), in logs."""
    schedule = fb.Schedule.logit(steps=50)
    s, t, step = schedule.survival(20), schedule.survival(31), schedule.bridge(31, 20)
    x_s, x_t = np.meshgrid(np.arange(41), np.arange(41))
    x_0 = np.full_like(x_s, 40)
    left = fb.thin_log_prob(x_s, x_0, s) + fb.thin_log_prob(x_t, x_s, t.p / s.p)
    right = fb.thin_log_prob(x_t, x_0, t) + fb.bridge_log_prob(x_s, x_t, x_0, step)
    possible = x_t <= x_s
    np.testing.assert_allclose(left[possible], right[possible], rtol=1e-11)
    assert (right[~possible] == -INF).all()


def test_they_keep_memory_order(backend):
    x = torch.zeros((2, 3, 4, 5), dtype=torch.uint8).to(memory_format=torch.channels_last)
    assert fb.thin_log_prob(x, x, 0.5).stride() == x.stride()
    assert fb.thin_log_prob(x.numpy(), x.numpy(), 0.5).strides == tuple(8 * step for step in x.stride())


@pytest.mark.parametrize("x", [2.5, -0.5, NAN])
def test_the_first_number_of_a_chunk_is_looked_at_too(x, backend):
    found = fb.binomial_log_prob(np.array([x, 1.0, x]), 4, 0.5)
    assert found[1] == pytest.approx(np.log(0.25)) and np.array_equal(found[[0, 2]], [-INF] * 2, equal_nan=True)
