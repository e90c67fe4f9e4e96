"""The family "bayes-logistic" of fb.posterior_loss and fb.posterior_step: values, gradients, draws, limits, errors."""

import math

import mpmath
import numpy as np
import pytest
import torch

import fastblackout as fb
from support import bayes_law
from support.arrays import DLPackOnly, bits
from support.helpers import chi_square_counts

LAW = {"family": "bayes-logistic"}
RNG = fb.Philox(seed=23, first_sample=3, call=4)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 50 of them
DRAWS = 40_000


def problem(components, most=255, shape=(4, 60), spread=1.0, seed=0):
    """(head, x_t, births, offset); among the states are 0 and the largest, among the births none and all."""
    made = torch.Generator().manual_seed(seed)
    x_t = (torch.rand(shape, generator=made, dtype=torch.float64) * (most + 1)).long().clamp(max=most)
    x_t[:, ::7], x_t[:, 3::11] = 0, most
    births = ((most - x_t + 1) * torch.rand(shape, generator=made, dtype=torch.float64)).long()
    births[:, 1::5], births[:, 2::5] = 0, (most - x_t)[:, 2::5]
    head = [spread * torch.randn(shape, generator=made) for _ in range(3 * components - 1)]
    return head, x_t, births, torch.tensor([0.0, -0.5, -3.0, -12.0])[: shape[0]]


def graded(head, x_t, births, offset, most):
    leaves = [each.clone().requires_grad_() for each in head]
    loss = fb.posterior_loss(leaves, x_t, births, 1.0, offset=offset, max_count=most, **LAW)
    return loss.detach(), *torch.autograd.grad(loss.sum(), leaves)


@pytest.mark.parametrize("components", [1, 2, 3])
@pytest.mark.parametrize("spread", [0.5, 2.0])
@pytest.mark.parametrize("most", [1, 2, 15, 255, 400])
def test_value_and_gradient(components, spread, most, backend):
    """Against float64 autograd of the law as it is written in textbooks, whose own error is below 2e-8 here."""
    head, x_t, births, offset = problem(components, most, spread=spread)
    loss, *grads = graded(head, x_t, births, offset, most)
    leaves = [each.double().requires_grad_() for each in head]
    exact = bayes_law.losses(leaves, x_t, births, offset, most)
    exact = torch.where(x_t < most, exact, 0.0)  # nothing is open there
    torch.testing.assert_close(loss.double(), exact.sum(1).detach(), rtol=1e-6, atol=1e-6)
    for got, expected in zip(grads, torch.autograd.grad(exact.sum(), leaves), strict=True):
        torch.testing.assert_close(got.double(), expected, rtol=1e-5, atol=2e-8)
        assert (got[x_t == most] == 0).all()


def test_elements_against_40_digits():
    """Within a float32 rounding, where differences of distribution functions lose all."""
    mpmath.mp.dps = 40
    random = np.random.default_rng(3)
    for components, most, mean, wide, offset in (
        (1, 255, 6.0, -4.5, -0.3), (1, 255, -6.0, -4.0, 0.0), (2, 255, 4.0, -3.0, -5.0), (3, 60, 2.0, 4.0, -1.0),
        (1, 1000, 0.4, 7.0, -0.01), (1, 255, -1.0, -9.0, -0.1),
    ):  # fmt: skip
        head = [np.float32(random.normal(mean, 0.5)) for _ in range(components)]
        head += [np.float32(random.normal(wide, 0.5)) for _ in range(components)]
        head += [np.float32(random.normal(0, 3)) for _ in range(components - 1)]
        for x, n in ((0, 0), (0, most), (most // 3, 1), (most // 3, most // 3), (most // 3, most - most // 3)):
            offset = float(np.float32(offset))
            numbers = [mpmath.mpf(float(each)) for each in head]
            exact = bayes_law.exact_loss(numbers, x, n, offset, most)
            arrays = [np.full((1, 1), each) for each in head]
            loss = fb.posterior_loss(
                arrays, np.array([[x]]), np.array([[n]]), 1.0, offset=offset, max_count=most, **LAW
            )
            assert abs(float(loss[0]) - exact) <= 2e-7 * abs(exact) + 1e-9, (components, x, n)


def law_of(head, x, offset, most):
    """Pr(N = n), n = 0..most - x"""
    numbers = [torch.tensor(float(each), dtype=torch.float64) for each in head]
    logs = bayes_law.log_weights(numbers, torch.tensor(x), float(np.float32(offset)), most)
    return torch.softmax(logs[x:], -1).numpy()


def drawn(head, x, offset, q, most=255, draws=DRAWS, rng=RNG):
    arrays = [np.full((1, draws), each, np.float32) for each in head]
    x_t = np.full((1, draws), x)
    made = fb.posterior_step(x_t, arrays, q, offset=offset, max_count=most, rng=rng, outputs="x_s", **LAW)
    return made.x_s[0] - x


# Head, x_t, offset, max_count. The prior on the births that are likely by themselves, far from them on either side,
# narrow and wide, at both edges, of several components, and one that is likely everywhere with no state between.
CASES = [
    ((0.2, 0.0), 100, -0.7, 255), ((0.9, -2.0), 30, -2.0, 255), ((-0.9, -2.0), 60, -0.3, 255),
    ((1.5, 1.0), 0, -0.1, 255), ((-3.0, 0.5), 0, -0.2, 255), ((0.0, 3.0), 0, 0.0, 255),
    ((3.0, -1.0), 10, -3.0, 255), ((0.1, -5.0), 128, -0.01, 255),
    ((0.1, 0.2, -2.0, 0.0, 1.0), 20, -1.0, 255), ((-0.5, 0.5, -3.0, -3.0, 0.3), 20, -0.2, 255),
    ((0.0, 0.1, 0.2, -1.0, -2.0, -3.0, 0.5, -0.5), 5, -0.3, 255), ((0.0, 0.0), 0, -0.5, 1), ((0.3, -1.0), 1, -0.5, 3),
]  # fmt: skip


@pytest.mark.parametrize("head, x, offset, most", CASES)
@pytest.mark.parametrize("q", [0.03, 0.5, 1.0])
def test_law_of_steps(head, x, offset, most, q):
    """Chi-square against the finite sum over N of Pr(N) Binomial(N, q)."""
    from scipy import stats

    births, n = drawn(head, x, offset, q, most), np.arange(most - x + 1)
    expected = law_of(head, x, offset, most) @ stats.binom.pmf(n[None, :], n[:, None], q)
    seen = np.bincount(births, minlength=n.size)
    assert seen.size == n.size
    assert chi_square_counts(seen, DRAWS * expected) > FALSE_ALARM


def test_limits(backend):
    """Means far outside, scales beyond both clamps, offsets of no and of nearly all particles: all finite, within the
    room, and with the law that is left."""
    for most in (1, 255):
        x_t = np.array([[0, 0, 1, 1, most, most]])
        births = np.minimum(np.array([[0, 1, 0, most, 0, 0]]), most - x_t)
        for mean in (-3e38, -40.0, 0.0, 40.0, 3e38):
            for wide in (-3e38, 0.0, 3e38):
                for offset in (-3e38, -700.0, 0.0, 20.0, 3e38):
                    head = [torch.full(x_t.shape, each, requires_grad=True) for each in (mean, wide)]
                    given = torch.from_numpy(x_t), torch.from_numpy(births), 1.0
                    loss = fb.posterior_loss(head, *given, offset=offset, max_count=most, **LAW)
                    grads = torch.autograd.grad(loss.sum(), head)
                    assert not loss.isnan().any() and not any(each.isnan().any() for each in grads)
                    if max(abs(mean), abs(offset)) < 1e30:
                        assert loss.isfinite().all() and all(each.isfinite().all() for each in grads)
                    assert all((each[:, 4:] == 0).all() for each in grads)
                    arrays = [each.detach().numpy() for each in head]
                    born = fb.posterior_step(x_t, arrays, 1.0, offset=offset, max_count=most, rng=RNG, **LAW).x_s - x_t
                    assert (born >= 0).all() and (born <= most - x_t).all()
                    if offset == -3e38 and abs(mean) < 1e30:
                        assert (born == 0).all()


def test_a_prior_far_away_keeps_the_quotients_of_its_tail(backend):
    """Where pi lies far below x_t, its tail falls by exp(-1 / s) a state: with x_t particles kept of x_0, N has
    w(n) = C(x + n, x) (e^(L - d))^n, negative binomial but for the last state, which has the rest of the tail."""
    most, x, offset = 255, 100, 0.0
    for mean in (-30.0, -1e6, -3e38):
        arrays = [np.full((most - x, 1), each, np.float32) for each in (mean, 0.0)]
        n = np.arange(most - x)[:, None]
        loss = fb.posterior_loss(arrays, np.full_like(n, x), n, 1.0, offset=offset, max_count=most, **LAW)
        d = 32 / most
        expected = np.log((x + n[1:, 0]) / n[1:, 0]) + offset - d
        np.testing.assert_allclose(-np.diff(loss.astype(np.float64)), expected, atol=3e-5)


def test_right_without_learning_as_the_particles_are_kept():
    """p -> 1: the likelihood alone says N is nearly always 0, and for x_t = 0 too, whatever the prior."""
    random = np.random.default_rng(0)
    head = [random.normal(0, 0.5, (1, 2000)).astype(np.float32) for _ in range(2)]
    x_t = random.integers(20, 200, (1, 2000))
    made = fb.posterior_step(x_t, head, 1.0, offset=math.log(1e-7), max_count=255, rng=RNG, **LAW).x_s
    assert (made == x_t).mean() > 0.99


def test_kinds_of_arrays_keys_and_splits(backend):
    head, x_t, births, offset = problem(2, shape=(6, 40))
    x, offset = x_t.to(torch.uint8), torch.linspace(-3, 0, 6)

    def run(rows, arrays=head, state=x, **options):
        rng = RNG.at(first_sample=RNG.first_sample + rows.start)
        given = [each[rows] for each in arrays]
        return fb.posterior_step(state[rows], given, 0.6, offset=offset[rows], rng=rng, **LAW, **options)

    whole = run(slice(0, 6))
    for rows in (slice(0, 2), slice(2, 6)):
        assert all(torch.equal(a, b[rows]) for a, b in zip(run(rows), whole, strict=True))
    network = torch.cat([each[:, None] for each in head], 1)  # chunks of a network's output
    assert torch.equal(run(slice(0, 6), [each[:, 0] for each in network.chunk(5, 1)]).x_s, whole.x_s)
    made = fb.posterior_step(
        DLPackOnly(x.numpy()), [DLPackOnly(each.numpy()) for each in head], 0.6, offset=offset.numpy(), rng=RNG, **LAW
    )
    assert bits(np.asarray(made.x_s)) == bits(whole.x_s.numpy())
    narrow = [each.to(torch.bfloat16) for each in head]
    assert torch.equal(run(slice(0, 6), narrow).x_s, run(slice(0, 6), [each.float() for each in narrow]).x_s)
    for shape in ((0, 3), (3, 0)):
        none = [torch.empty(shape, requires_grad=True) for _ in range(8)]
        loss = fb.posterior_loss(none, torch.empty(shape, dtype=torch.uint8), torch.empty(shape), 1.0, **LAW)
        loss.sum().backward()
        assert torch.equal(loss.detach(), torch.zeros(shape[0])) and none[7].grad.shape == shape


def test_streams_of_its_own():
    """No other draw with the same key has its uniform: correlations within 6 standard errors."""
    n = np.full((1, DRAWS), 100)
    births, others = drawn((0.0, 2.0), 0, 0.0, 1.0), [fb.normal(0.0 * n, 1.0, rng=RNG)[0]]
    others += [fb.binomial(n, 0.5, rng=RNG)[0], fb.thin(n, 0.5, max_count=300, rng=RNG).x_t[0]]
    assert np.abs(np.corrcoef([births, *others])[0, 1:]).max() < 6 / math.sqrt(DRAWS)


def test_vmap_compile_and_threads():
    head, x_t, births, offset = problem(3, shape=(4, 30))
    loss, *grads = graded(head, x_t, births, offset, 255)

    def one(net, state, born, shift):
        given = [each[None] for each in net]
        return fb.posterior_loss(given, state[None], born[None], 1.0, offset=shift, max_count=255, **LAW)[0]

    assert torch.equal(torch.func.vmap(one)(tuple(head), x_t, births, offset), loss)
    per_sample = torch.func.vmap(torch.func.grad(one))(tuple(head), x_t, births, offset)
    assert all(map(torch.equal, per_sample, grads))
    torch.compiler.reset()  # a call that failed while it was traced is not traced again
    compiled = torch.compile(fb.posterior_loss, fullgraph=True, backend="aot_eager")
    leaves = [each.clone().requires_grad_() for each in head]
    made = compiled(leaves, x_t, births, 1.0, offset=offset, max_count=255, **LAW)
    made.sum().backward()
    assert torch.equal(made.detach(), loss)
    assert all(torch.equal(leaf.grad, grad) for leaf, grad in zip(leaves, grads, strict=True))
    large, results = problem(1, shape=(1, 20_000)), []
    for threads in (1, 3):
        with fb.use_backend("cpu", threads=threads):
            results.append(graded(*large, 255))
    assert all(map(torch.equal, *results))


@pytest.mark.parametrize("at", range(8))
def test_heads_that_are_not_finite(at, backend):
    head, x_t, births, offset = problem(3, shape=(2, 30))
    head[at][1, 17] = math.nan
    for call in (
        lambda: fb.posterior_loss(head, x_t, births, 1.0, offset=offset, max_count=255, **LAW),
        lambda: fb.posterior_step(x_t, head, 0.5, offset=offset, max_count=255, rng=RNG, **LAW),
    ):
        with pytest.raises(ValueError, match=rf"^posterior_\w+: head\[{at}\]: must be finite in float32, got nan"):
            call()
