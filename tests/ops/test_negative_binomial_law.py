"""The family "negative-binomial" of fb.posterior_loss and fb.posterior_step: values, gradients, draws and limits."""

import math

import mpmath
import numpy as np
import pytest
import torch
from scipy import special, stats

import fastblackout as fb
from support.helpers import chi_square_counts
from support.negative_binomial_law import losses, numbers_of

RNG = fb.Philox(seed=23, first_sample=3, call=4)
LAW = {"family": "negative-binomial"}
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 30 of them
DRAWS = 20_000
# Head, x_t, offset, max_count: a black pixel and a bright one, wide and narrow, both clamps of r, all particles left
# and nearly none, a law that is cut at the bound, and counts that have no bound.
CASES = [
    ((0.0, 0.0), 0, -0.7, 255), ((1.5, 1.0), 30, -2.0, 255), ((-3.0, -9.0), 0, 0.0, 255), ((2.0, 20.0), 60, -0.3, 255),
    ((-1.0, -4.0), 3, -1e-6, 255), ((0.5, 2.0), 0, 0.0, 1), ((2.5, 0.0), 250, -0.5, 255), ((3.0, -1.0), 5, -4.0, 255),
    ((-2.0, 0.5), 2, -0.1, 2**40), ((-16.0, 3.0), 0, -3.0, 2**53),
]  # fmt: skip


def problem(seed=0, shape=(3, 700), most=255, spread=2.0):
    random = np.random.default_rng(seed)
    x_t = np.minimum(random.geometric(0.02, shape) - 1, most)
    births = np.minimum(random.geometric(0.02, shape) - 1, most - x_t)
    head = [torch.from_numpy(random.normal(0, spread, shape)).float() for _ in range(2)]
    offset = torch.from_numpy(-random.exponential(1.0, shape[0])).float()
    return head, torch.from_numpy(x_t), torch.from_numpy(births), offset


@pytest.mark.parametrize("most", [1, 15, 255, 2**20])
def test_value_and_gradient(most, backend):
    """Against autograd in float64, by log-gamma: gradients within 1e-5 of themselves."""
    head, x_t, births, offset = problem(most, most=most)
    upstream = torch.tensor([1.0, -2.0, 0.5])
    given = [each.clone().requires_grad_() for each in head]
    loss = fb.posterior_loss(given, x_t, births, 1.0, offset=offset, max_count=most, **LAW)
    grads = torch.autograd.grad(loss, given, upstream)
    wide = [each.double().requires_grad_() for each in head]
    wanted = losses(wide, x_t.double(), births.double(), offset.double()[:, None], most).sum(1)
    exact = torch.autograd.grad(wanted, wide, upstream.double())
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-6, atol=0)
    for got, known in zip(grads, exact, strict=True):
        torch.testing.assert_close(got.double(), known, rtol=1e-5, atol=1e-7)


def law_of(o_1, o_2, x, n, offset, most):
    """(-log P(n), its derivatives by both outputs) to 40 digits"""
    mpmath.mp.dps = 40
    middle, wide = mpmath.log(most) / 2 + mpmath.mpf(o_1), mpmath.mpf(o_2) + 1
    log_m, log_r, y = min(max(middle, -12), 36), min(max(wide, -7), 16), min(mpmath.mpf(offset), 0)

    def minus_log(log_m, log_r):
        m, r, p = mpmath.exp(log_m), mpmath.exp(log_r), -mpmath.expm1(y)
        theta, size = mpmath.exp(y) * m / (r + p * m), r + x
        total = n * (y - mpmath.log1p(r / m)) - size * mpmath.log1p(theta)
        return -(total + mpmath.loggamma(size + n) - mpmath.loggamma(size) - mpmath.loggamma(n + 1))

    slopes = [mpmath.diff(minus_log, (log_m, log_r), order) for order in ((1, 0), (0, 1))]
    free = log_m == middle, log_r == wide
    return minus_log(log_m, log_r), *(slope * each for slope, each in zip(slopes, free, strict=True))


def test_elements_against_40_digits():
    """Sizes from exp(-7) to the Poisson limit, no births and all, no particle dead and nearly all: within a float32
    rounding and the bounds of the docstring."""
    random, offsets = np.random.default_rng(5), (-1e-30, -1e-7, -0.4999, -0.5001, -30.0, -700.0, -1e30)
    cases = [(o_1, o_2, x, n, y) for o_1, o_2 in ((0.0, -9.0), (3.0, 14.9), (-14.0, 0.0), (40.0, 3.0), (1.0, 20.0))
             for x, n, y in ((0, 0, 0.0), (0, 200, 0.0), (100, 1, -1e-7), (255, 0, -0.5), (3, 40, -300.0))]  # fmt: skip
    cases += [(random.normal(0, 3), random.uniform(-8, 15), (x := int(random.integers(0, 256))),
               int(random.integers(0, 256 - x)), offsets[at] if at < 7 else -random.exponential(2))
              for at in range(40)]  # fmt: skip
    for case in cases:
        o_1, o_2, offset = (float(np.float32(value)) for value in (*case[:2], case[4]))
        x, n = case[2:4]
        head = [torch.tensor([[value]], requires_grad=True) for value in (o_1, o_2)]
        given = torch.tensor([[x]]), torch.tensor([[n]]), 1.0
        loss = fb.posterior_loss(head, *given, offset=offset, max_count=255, **LAW)
        grads = torch.autograd.grad(loss.sum(), head)
        truth, *slopes = law_of(o_1, o_2, x, n, offset, 255)
        assert abs(loss.item() - truth) <= 2.0**-23 * abs(truth) + 1e-11, case
        for grad, slope in zip(grads, slopes, strict=True):
            assert abs(grad.item() - slope) <= 1e-5 * abs(slope) + 1e-8, case


@pytest.mark.parametrize("head, x, offset, most", CASES)
def test_bayes_rule(head, x, offset, most):
    """P is the prior of x_0, negative binomial, times the law of x_t given x_0, as scipy has both."""
    m, r = numbers_of(head, most)
    n = np.arange(min(most - x, 3000) + 1)[:, None]
    arrays = [np.full(n.shape, each, np.float32) for each in head]
    loss = fb.posterior_loss(arrays, np.full_like(n, x), n, 1.0, offset=offset, max_count=most, **LAW)
    y = float(np.float32(offset))
    v = np.arange(x, x + 10_000)
    logs = stats.nbinom.logpmf(v, r, r / (r + m)) + stats.binom.logpmf(x, v, -math.expm1(y))
    logs = (logs - special.logsumexp(logs))[: n.size]
    np.testing.assert_allclose(loss, -logs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("head, x, offset, most", CASES)
@pytest.mark.parametrize("q", [0.03, pytest.param(0.5, marks=pytest.mark.slow), 1.0])
def test_law_of_steps(head, x, offset, most, q):
    """Chi-square against the finite sum over N of scipy's Pr(N) Binomial(N, q), all beyond the room at the room."""
    m, r = numbers_of(head, most)
    y = min(float(np.float32(offset)), 0.0)
    theta = math.exp(y) / (r / m - math.expm1(y))
    left = np.arange(2500 if r < 0.1 else 700)
    law = stats.nbinom.pmf(left, r + x, 1 / (1 + theta))
    assert law.sum() > 1 - 1e-4
    room = min(most - x, 300)  # of those above all are one class
    thinned = law @ stats.binom.pmf(left[None, :room], left[:, None], q)
    expected = np.append(thinned, 1 - thinned.sum())
    arrays = [np.full((1, DRAWS), each, np.float32) for each in head]
    how = {"offset": offset, "max_count": most, "rng": RNG, "outputs": "x_s", **LAW}
    births = fb.posterior_step(np.full((1, DRAWS), x), arrays, q, **how).x_s[0] - x
    assert births.min() >= 0 and births.max() <= most - x
    seen = np.bincount(np.minimum(births, room), minlength=room + 1)
    assert chi_square_counts(seen, DRAWS * expected) > FALSE_ALARM


def test_the_poisson_limit():
    """At the upper clamp r is beyond what a law of these counts shows: N ~ Poisson(m (1 - p)), whatever x_t."""
    n = np.arange(120)[:, None]
    head = [np.full(n.shape, each, np.float32) for each in (1.0, 1e4)]
    loss = fb.posterior_loss(head, np.full_like(n, 9), n, 1.0, offset=-0.25, max_count=255, **LAW)
    expected = -stats.poisson.logpmf(n[:, 0], numbers_of((1.0, 1e4), 255)[0] * math.exp(-0.25))
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_limits(backend):
    """Outputs far outside, offsets of no and of nearly all particles and above 0: no NaN, births within the room."""
    for most in (1, 255, 2**53):
        x_t = np.array([[0, 0, 1, most, most]])
        births = np.array([[0, 1, most - 1, 0, 0]])
        for mean in (-3e38, -40.0, 0.0, 40.0, 3e38):
            for wide in (-3e38, 0.0, 3e38):
                for offset in (-3e38, -700.0, 0.0, 3e38):
                    head = [torch.full(x_t.shape, each, requires_grad=True) for each in (mean, wide)]
                    given = torch.from_numpy(x_t), torch.from_numpy(births), 1.0
                    loss = fb.posterior_loss(head, *given, offset=offset, max_count=most, **LAW)
                    grads = torch.autograd.grad(loss.sum(), head)
                    assert not loss.isnan().any() and all(each.isfinite().all() for each in grads)
                    assert offset < -1e30 or loss.isfinite().all()
                    assert abs(mean) < 1e30 or not grads[0].any()
                    assert abs(wide) < 1e30 or not grads[1].any()
                    arrays = [each.detach().numpy() for each in head]
                    born = fb.posterior_step(x_t, arrays, 1.0, offset=offset, max_count=most, rng=RNG, **LAW).x_s - x_t
                    assert (born >= 0).all() and (born <= most - x_t).all()
                    if offset == -3e38:
                        assert (born == 0).all()


def test_offsets_above_0_count_as_0_and_full_pixels_cost_something(backend):
    head, x_t, births, _ = problem(3)
    now = [fb.posterior_loss(head, x_t, births, 1.0, offset=y, max_count=255, **LAW) for y in (0.0, 2.0)]
    steps = [fb.posterior_step(x_t, head, 0.3, offset=y, max_count=255, rng=RNG, **LAW).x_s for y in (0.0, 2.0)]
    assert torch.equal(*now) and torch.equal(*steps)
    full = torch.full((1, 4), 255), torch.zeros(1, 4)
    assert fb.posterior_loss([torch.zeros(1, 4)] * 2, *full, 1.0, offset=-1.0, **LAW, max_count=255).item() > 1


@pytest.mark.slow
def test_descent_finds_the_law():
    """A head of two numbers finds mean and size of x_0, seen at p = 1/2: 20,000 draws, whose estimates have standard
    deviations below 0.01 and 0.02; fails one time in 1e6."""
    random = np.random.default_rng(6)
    x_0 = torch.from_numpy(stats.nbinom(4.0, 4 / 24).rvs(20_000, random_state=random))[None]
    seen = fb.thin(x_0, 0.5, rng=RNG, max_count=1000)
    head = torch.zeros(2, requires_grad=True)
    adam = torch.optim.Adam([head], 0.1)
    for _ in range(120):
        given = [each.expand(x_0.shape) for each in head], seen.x_t, seen.births, 1e-4
        loss = fb.posterior_loss(*given, offset=math.log(0.5), max_count=1000, **LAW).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert head[0].item() + math.log(1000) / 2 == pytest.approx(math.log(20), abs=0.06)
    assert head[1].item() + 1 == pytest.approx(math.log(4), abs=0.15)


@pytest.mark.parametrize("at", [0, 1])
def test_heads_that_are_not_finite(at, backend):
    head, x_t, births, offset = problem(3, shape=(2, 30))
    head[at][1, 17] = math.nan
    for call in (
        lambda: fb.posterior_loss(head, x_t, births, 1.0, offset=offset, max_count=255, **LAW),
        lambda: fb.posterior_step(x_t, head, 0.5, offset=offset, max_count=255, rng=RNG, **LAW),
    ):
        with pytest.raises(ValueError, match=rf"^posterior_\w+: head\[{at}\]: must be finite in float32, got nan"):
            call()
