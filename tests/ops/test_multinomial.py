"""fb.multinomial and its log-probability: the law, the draws it is made of, keys, kinds, gradients and errors."""

import itertools

import mpmath
import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from fastblackout.reference.binomial import binomial
from support.arrays import DLPackOnly, bits
from support.composed_keys import key_of
from support.helpers import chi_square, chi_square_counts

RNG = fb.Philox(seed=93, first_sample=2, call=5)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 40 of them a run


@pytest.mark.parametrize("probs", [(1,), (0.3, 0.7), (3, 0, 2), (0.1, 0.2, 0.3, 0.4), (5, 1, 1, 1, 2)])
@pytest.mark.parametrize("count", [1, 4, 7])
def test_the_whole_law(count, probs):
    """Every outcome of few counts in few categories."""
    drawn = fb.multinomial(np.full((3, 20_000), count), np.array(probs, float), rng=RNG).reshape(-1, len(probs))
    outcomes = np.array([k for k in itertools.product(range(count + 1), repeat=len(probs)) if sum(k) == count])
    law = stats.multinomial(count, np.array(probs) / sum(probs)).pmf(outcomes)
    codes = (count + 1) ** np.arange(len(probs))  # outcomes as numbers to a base
    order, found = np.argsort(outcomes @ codes), drawn @ codes
    places = np.searchsorted(np.sort(outcomes @ codes), found)
    assert np.array_equal((outcomes @ codes)[order[places]], found)
    seen = np.bincount(order[places], minlength=len(outcomes))
    assert not seen[law == 0].any()
    assert chi_square_counts(seen[law > 0], law[law > 0] * len(drawn)) > FALSE_ALARM


@pytest.mark.parametrize("count, categories", [(1000, 6), (100_000, 11), (50, 100)])
def test_each_category_and_sums_of_them(count, categories):
    weights = np.random.default_rng(categories).random(categories) + 0.1
    p = weights / weights.sum()
    drawn = fb.multinomial(np.full((4, 5000), count), weights, rng=RNG).reshape(-1, categories)
    assert (drawn.sum(1) == count).all()
    for some in ([0], [categories - 1], [0, 2], [1, 2, 3], list(range(0, categories, 3))):
        assert chi_square(drawn[:, some].sum(1), stats.binom(count, p[some].sum())) > FALSE_ALARM


def test_it_is_made_of_binomial_draws(backend):
    """Five categories: (1 2)(3 4) from 5; then 1 2 from 3 4; then 1 from 2 and 3 from 4. To the bit."""
    random = np.random.default_rng(3)
    count, w = random.integers(0, 300, (3, 700)), random.random((700, 5))

    def drawn(n, left, right, level):
        p, q = (np.broadcast_to(part / (left + right), n.shape) for part in (left, right))
        return binomial(n.reshape(3, -1), p.reshape(3, -1), q.reshape(3, -1), key_of(RNG, "MULTINOMIAL", level))

    pairs = w[:, 0:4:2] + w[:, 1:4:2]
    four = drawn(count, pairs[:, 0] + pairs[:, 1], w[:, 4], 0)
    first = drawn(four, pairs[:, 0], pairs[:, 1], 1)
    two = np.stack([first, four - first], -1)
    odd = drawn(two, w[:, 0:4:2], w[:, 1:4:2], 2).reshape(two.shape)
    expected = np.concatenate([np.stack([odd, two - odd], -1).reshape(3, 700, 4), (count - four)[..., None]], -1)
    assert np.array_equal(fb.multinomial(count, w, rng=RNG), expected)


def test_batch_split_and_keys():
    random = np.random.default_rng(4)
    count, probs = random.integers(0, 100, (6, 50)), random.random((6, 1, 7))
    whole = fb.multinomial(count, probs, rng=RNG)
    for size in (1, 2, 3):
        rows = [slice(at, at + size) for at in range(0, 6, size)]
        made = [fb.multinomial(count[row], probs[row], rng=RNG.at(first_sample=2 + row.start)) for row in rows]
        assert np.array_equal(np.concatenate(made), whole)
    assert np.array_equal(fb.multinomial(count, probs, rng=RNG.tensor()), whole)
    assert not np.array_equal(fb.multinomial(count, probs, rng=RNG.at(call=6)), whole)
    # One count alone is one sample, whatever the number of categories: its draws differ from other samples' draws.
    alone = [fb.multinomial(10**9, np.ones(8), rng=fb.Philox(1, first_sample=at)) for at in range(4)]
    assert np.array_equal(fb.multinomial(np.full(4, 10**9), np.ones(8), rng=fb.Philox(1)), alone)
    assert len({int(each) for each in np.ravel(alone)}) == 32


def test_kinds_and_layouts(backend):
    random = np.random.default_rng(5)
    count, probs = random.integers(0, 100, (4, 5)), random.random((4, 5, 6))
    expected = fb.multinomial(count, probs, rng=RNG)
    assert expected.dtype == np.int64 and expected.shape == (4, 5, 6) and expected.flags.c_contiguous
    for other in (np.asfortranarray(probs), np.repeat(probs, 2, 2)[..., ::2], DLPackOnly(probs)):
        assert bits(fb.multinomial(count, other, rng=RNG)) == bits(expected)
    for dtype in ("uint8", "int16", "int32", "int64", "float32", "float64"):
        given = torch.from_numpy(count).to(getattr(torch, dtype))
        drawn = fb.multinomial(given, torch.from_numpy(probs), rng=RNG)
        assert drawn.dtype == given.dtype and np.array_equal(drawn.numpy(), expected)
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        rounded = torch.from_numpy(probs).to(dtype)
        drawn = fb.multinomial(torch.from_numpy(count), rounded, rng=RNG)
        assert torch.equal(drawn, fb.multinomial(torch.from_numpy(count), rounded.double(), rng=RNG))
    assert fb.multinomial(count[:, :1], probs, rng=RNG).shape == (4, 5, 6)
    assert fb.multinomial(9, torch.ones(2, 3, 4), rng=RNG).sum(-1).tolist() == [[9] * 3] * 2
    assert fb.multinomial(np.empty((0, 3), int), np.ones(2), rng=RNG).shape == (0, 3, 2)
    assert fb.multinomial(7, np.ones(1), rng=RNG).tolist() == [7]


def test_log_prob_against_40_digits():
    random = np.random.default_rng(6)
    with mpmath.workdps(40):
        for categories in (1, 2, 3, 7, 40):
            for scale in (1.0, 30.0, 1e5):
                p = random.dirichlet(np.full(categories, 0.7)) * 3 + 1e-9
                x = random.poisson(scale * p)
                each = zip(x.tolist(), map(mpmath.mpf, p), strict=True)
                terms = [k * mpmath.log(w) - mpmath.loggamma(k + 1) for k, w in each]
                n, whole = int(x.sum()), mpmath.fsum(map(mpmath.mpf, p))
                truth = mpmath.loggamma(n + 1) + mpmath.fsum(terms) - n * mpmath.log(whole)
                away = np.abs(x - n * p / p.sum()).sum()
                bound = categories * (1e-14 * (1 + abs(float(truth))) + 1e-15 * away)
                assert abs(fb.multinomial_log_prob(x, p) - truth) <= bound
                leaf = torch.tensor(p, requires_grad=True)
                assert abs(fb.multinomial_log_prob(x, leaf).item() - truth) <= bound + 1e-15 * n * np.log(n + 2)


def test_counts_above_2_53_are_none():
    weights = torch.tensor([1.0, 2.0], dtype=torch.float64)
    for most, known in ((2.0**53, True), (2.0**53 + 2, False)):
        x = np.array([most, 0.0])
        found = fb.multinomial_log_prob(x, weights.numpy())
        leaf = fb.multinomial_log_prob(torch.from_numpy(x), weights.clone().requires_grad_()).item()
        assert found == pytest.approx(-most * np.log(3) if known else -np.inf) and leaf == pytest.approx(found)


def test_log_prob_of_weights_whose_quotients_are_none():
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


def test_log_prob_and_gradient():
    random = np.random.default_rng(7)
    x, w = random.integers(0, 9, (4, 1, 3)), np.exp(random.normal(0, 1, (5, 3)))
    plain = fb.multinomial_log_prob(x, w)
    assert plain.shape == (4, 5) and plain.dtype == np.float64
    expected = [[stats.multinomial(row.sum(), p / p.sum()).logpmf(row) for p in w] for row in x[:, 0]]
    np.testing.assert_allclose(plain, expected, rtol=1e-12)
    assert np.array_equal(fb.multinomial_log_prob(torch.from_numpy(x), torch.from_numpy(w)).numpy(), plain)
    leaf, other = (torch.from_numpy(w.copy()).requires_grad_() for _ in range(2))
    got = fb.multinomial_log_prob(torch.from_numpy(x), leaf)
    np.testing.assert_allclose(got.detach().numpy(), plain, rtol=1e-12)
    # torch's own takes one count for all.
    truth = torch.lgamma(torch.from_numpy(x).double().sum(-1) + 1) - torch.lgamma(torch.from_numpy(x) + 1.0).sum(-1)
    truth = truth + (torch.from_numpy(x) * torch.log(other / other.sum(-1, keepdim=True))).sum(-1)
    grads = [torch.autograd.grad(each.sum(), leaf) for each, leaf in ((got, leaf), (truth, other))]
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-10)
    zero = torch.tensor([0.0, 0.5, 1.5], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(fb.multinomial_log_prob(torch.tensor([0, 2, 3]), zero), zero)
    np.testing.assert_allclose(slope.numpy(), [-5 / 2, 2 / 0.5 - 5 / 2, 3 / 1.5 - 5 / 2], rtol=1e-13)


def test_log_prob_outside():
    x = np.array([[1, 2, -1], [1, 2, 0.5], [1, 2, np.nan], [1, 2, np.inf], [1, 2, 2.0**60], [0, 0, 0], [0, 0, 1]])
    for probs in (np.array([0.5, 0.5, 0.0]), torch.tensor([0.5, 0.5, 0.0], requires_grad=True)):
        got = np.asarray(fb.multinomial_log_prob(x, probs).tolist())
        assert np.array_equal(got, [-np.inf] * 5 + [0.0, -np.inf])


@pytest.mark.slow
def test_log_prob_is_traced():
    """As one graph, with the bits of the eager call that has a gradient."""
    x, leaf = (
        torch.tensor([[1, 2, 3], [0, 0, 5]]),
        torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64, requires_grad=True),
    )
    compiled = torch.compile(fb.multinomial_log_prob, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, leaf), fb.multinomial_log_prob(x, leaf))


def test_known_answers(backend):
    """Frozen draws."""
    drawn = fb.multinomial(
        np.array([5, 300, 2**40]), np.array([1.0, 2.0, 0.5, 4.0]), rng=fb.Philox(7, first_sample=1, call=2)
    )
    assert drawn.tolist() == [[0, 2, 0, 3], [45, 87, 24, 144], [146601316983, 293203417744, 73300447780, 586406445269]]
