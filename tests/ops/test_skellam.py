"""fb.skellam and its log-probability: the law, the draws it is made of, keys, kinds, gradients and errors."""

import mpmath
import numpy as np
import pytest
import torch
from mpmath import mpf
from scipy import stats

import fastblackout as fb
from fastblackout.reference.poisson import poisson
from support.arrays import DLPackOnly, bits
from support.composed_keys import key_of
from support.helpers import chi_square

RNG = fb.Philox(seed=94, first_sample=2, call=5)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 16 of them a run


@pytest.mark.parametrize("rate_1", [0.05, 1.7, 30.0, 900.0])
@pytest.mark.parametrize("rate_2", [0.05, 1.7, 30.0, 900.0])
def test_law(rate_1, rate_2):
    drawn = fb.skellam(np.full((2, 40_000), rate_1), rate_2, rng=RNG)
    assert chi_square(drawn, stats.skellam(rate_1, rate_2)) > FALSE_ALARM


def test_it_is_the_difference_of_poisson_draws(backend):
    rates = np.geomspace(1e-3, 1e5, 1400).reshape(2, 700), np.broadcast_to(np.geomspace(1e4, 0.1, 700), (2, 700))
    first, second = (poisson(rate, key_of(RNG, "SKELLAM", at)) for at, rate in enumerate(rates))
    assert np.array_equal(fb.skellam(*rates, rng=RNG), first - second)
    same = fb.skellam(np.full((1, 4000), 50.0), 50.0, rng=RNG)[0], fb.poisson(np.full((1, 4000), 50.0), rng=RNG)[0]
    assert abs(np.corrcoef(*same)[0, 1]) < 0.08  # unlike fb.poisson's by the key itself


def test_batch_split_keys_and_kinds(backend):
    a, b = np.geomspace(1e-2, 1e3, 1200).reshape(6, 200), np.linspace(0, 50, 200)
    whole = fb.skellam(a, b, rng=RNG)
    assert whole.dtype == np.int64 and whole.flags.c_contiguous and whole.min() < 0 < whole.max()
    for size in (1, 2, 3):
        made = [fb.skellam(a[at : at + size], b, rng=RNG.at(first_sample=2 + at)) for at in range(0, 6, size)]
        assert bits(np.concatenate(made)) == bits(whole)
    assert np.array_equal(fb.skellam(a, b, rng=RNG.tensor()), whole)
    assert not np.array_equal(fb.skellam(a, b, rng=RNG.at(call=6)), whole)
    for other in (np.asfortranarray(a), np.repeat(a, 2, 1)[:, ::2], DLPackOnly(a)):
        assert bits(fb.skellam(other, b, rng=RNG)) == bits(whole)
    assert bits(fb.skellam(torch.from_numpy(a), torch.from_numpy(b), rng=RNG)) == bits(whole)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        given = torch.from_numpy(a).to(dtype)
        assert torch.equal(fb.skellam(given, 3.0, rng=RNG), fb.skellam(given.double(), 3, rng=RNG))
    assert fb.skellam(7, 1.0, rng=RNG).shape == () and fb.skellam(np.empty((0, 3)), 1.0, rng=RNG).shape == (0, 3)
    assert not fb.skellam(np.zeros(50), 0.0, rng=RNG).any()
    most = fb.skellam(np.full(50, 2.0**52), np.full(50, 0.0), rng=RNG)
    assert 2**52 - 2**30 < most.min() < most.max() < 2**52 + 2**30


def exact(x, a, b):
    """The textbook form; where the Bessel function's series is too long, three terms of its expansion at 60 digits."""
    x, a, b = int(x), mpf(a), mpf(b)
    if x < 0:
        x, a, b = -x, b, a
    if b == 0 or a == 0:
        return -a - b + (x * mpmath.log(a) - mpmath.loggamma(x + 1) if x else 0)
    z, r = 2 * mpmath.sqrt(a * b), mpmath.sqrt(mpf(x) ** 2 + 4 * a * b)
    if r < 3e4:
        log_bessel = mpmath.log(mpmath.besseli(x, z, maxterms=10**6))
    else:
        p = x / r
        terms = 1 + (3 - 5 * p**2) / (24 * r) + (81 - 462 * p**2 + 385 * p**4) / (1152 * r**2)
        log_bessel = r - x * mpmath.asinh(x / z) - mpmath.log(2 * mpmath.pi * r) / 2 + mpmath.log(terms)
    return mpf(x) / 2 * mpmath.log(a / b) - a - b + log_bessel


def bound_of(x, a, b, truth):
    sizes = sum(abs(np.log(rate)) for rate in (a, b) if rate) + np.log1p(abs(x))
    return 5e-15 * (1 + sizes + abs(float(truth))) + 1e-15 * abs(x - a + b)


def test_log_prob_against_60_digits():
    """Typical values and far ones; rates that are small, alike, unlike and huge, and both sides of r = 32."""
    random = np.random.default_rng(1)
    cases = [(0.0, 3.0), (2.0, 0.0), (1e-300, 5.0), (1e-310, 1e15), (2.0**52, 2.0**52), (2.0**52, 1.0), (15.99, 16.0)]
    cases += [tuple(10 ** random.uniform(-6, 4, 2)) for _ in range(60)]
    cases += [tuple(random.uniform(5, 25, 2)) for _ in range(20)]
    cases += [tuple(10 ** random.uniform(5, 15, 2)) for _ in range(20)]
    worst = 0.0
    with mpmath.workdps(60):
        for a, b in cases:
            near = round(a - b + random.normal() * np.sqrt(a + b))
            for x in (near, -near, 0, int(random.integers(-40, 40)), round(1.5 * near) + 3):
                if (a == 0 and x > 0) or (b == 0 and x < 0):
                    assert fb.skellam_log_prob(x, a, b) == -np.inf
                    continue
                truth = exact(x, a, b)
                worst = max(worst, float(abs(fb.skellam_log_prob(x, a, b) - truth)) / bound_of(x, a, b, truth))
    assert worst < 1, worst


def test_log_prob_is_a_law():
    x = np.arange(-1500, 1500)
    for a, b in ((0.3, 2.0), (15.9, 16.1), (300.0, 280.0)):
        got = fb.skellam_log_prob(x, a, b)
        assert np.exp(got).sum() == pytest.approx(1, abs=1e-13)
        some = np.exp(got) > 1e-200
        np.testing.assert_allclose(got[some], stats.skellam(a, b).logpmf(x[some]), rtol=1e-9)
    outside = fb.skellam_log_prob(np.array([0.5, np.nan, np.inf, -np.inf, 2.0**54]), 3.0, 4.0)
    np.testing.assert_array_equal(outside, np.full(5, -np.inf))
    assert fb.skellam_log_prob(0, 0.0, 0.0) == 0


def test_log_prob_gradient():
    """By autograd, and as ratios of neighbouring probabilities: d log P(x) / d rate_1 = P(x - 1) / P(x) - 1."""
    random = np.random.default_rng(2)
    a, b = np.exp(random.normal(2, 2, (4, 30))), np.exp(random.normal(2, 2, 30))
    x = np.round(a - b + random.normal(0, 1, (4, 30)) * np.sqrt(a + b))
    plain = fb.skellam_log_prob(x, a, b)
    tensors = [torch.from_numpy(value) for value in (x, a, b)]
    assert plain.shape == (4, 30) and np.array_equal(fb.skellam_log_prob(*tensors).numpy(), plain)
    x, *leaves = tensors
    leaves = [leaf.expand(4, 30).clone().requires_grad_() for leaf in leaves]
    got = fb.skellam_log_prob(x, *leaves)
    np.testing.assert_allclose(got.detach().numpy(), plain, rtol=1e-13, atol=1e-13)
    for leaf, step in zip(torch.autograd.grad(got.sum(), leaves), (-1, 1), strict=True):
        neighbour = fb.skellam_log_prob(x + step, *(leaf.detach() for leaf in leaves))
        torch.testing.assert_close(leaf, torch.expm1(neighbour - got.detach()), rtol=1e-9, atol=1e-9)
    none = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    some = torch.full((2,), 3.0, dtype=torch.float64, requires_grad=True)
    slopes = torch.autograd.grad(fb.skellam_log_prob(torch.tensor([2, 50]), some, none).sum(), (some, none))
    np.testing.assert_allclose(slopes[0].numpy(), [2 / 3 - 1, 50 / 3 - 1], rtol=1e-13)
    np.testing.assert_allclose(slopes[1].numpy(), [3 / 3 - 1, 3 / 51 - 1], rtol=1e-9, atol=1e-15)


@pytest.mark.slow
def test_log_prob_is_traced():
    """As one graph, with the bits of the eager call that has a gradient."""
    x = torch.arange(-6.0, 90.0, dtype=torch.float64)
    leaves = [torch.full((), rate, dtype=torch.float64, requires_grad=True) for rate in (20.0, 5.0)]
    compiled = torch.compile(fb.skellam_log_prob, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, *leaves), fb.skellam_log_prob(x, *leaves))


def test_known_answers(backend):
    """Frozen draws."""
    rates = np.array([0.05, 0.5, 3.0, 1e4]), np.array([3.0, 0.1, 100.0, 1e9])
    assert fb.skellam(*rates, rng=fb.Philox(7, first_sample=1, call=2)).tolist() == [-1, 0, -96, -999961055]
