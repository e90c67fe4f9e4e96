"""fb.posterior_loss as a caller sees it: value and gradient against float64 autograd of log-gammas and against 40
digits; autograd's rules."""

import math

import mpmath
import numpy as np
import pytest
import scipy.stats
import torch

import fastblackout as fb
from support.arrays import DLPackOnly, bits

LAW = {"family": "beta-binomial"}


def problem(shape=(4, 3, 20, 30), max_count=255, seed=0, spread=3.0):
    """(head, x_t, births, weight, offset)"""
    made = torch.Generator().manual_seed(seed)
    x_0 = torch.randint(0, max_count + 1, shape, generator=made)
    x_t = (x_0 * torch.rand(shape, generator=made)).long()
    head = tuple(spread * torch.randn(shape, generator=made) for _ in range(2))
    weight = 0.1 + torch.rand(shape[0], generator=made, dtype=torch.float64)
    dtype = torch.uint8 if max_count < 256 else torch.int64
    offset = -3 * torch.rand(shape[0], generator=made)
    return head, x_t.to(dtype), (x_0 - x_t).to(dtype), weight, offset


def formula(head, x_t, births, weight, offset, max_count=255):
    """In float64, by torch.lgamma, as the law is written in textbooks."""
    room, n, lgamma = max_count - x_t.double(), births.double(), torch.lgamma
    z = head[0].double() + offset.double().reshape(-1, *[1] * (x_t.ndim - 1))
    c = torch.exp((head[1].double() + 1).clamp(-5, 7))
    a, b = torch.sigmoid(z) * c, torch.sigmoid(-z) * c
    chosen = lgamma(room + 1) - lgamma(n + 1) - lgamma(room - n + 1)
    drawn = lgamma(n + a) + lgamma(room - n + b) - lgamma(room + a + b) + lgamma(a + b) - lgamma(a) - lgamma(b)
    return weight * -(chosen + drawn).flatten(1).sum(1)


def both(head, *others, backend="auto", upstream=None, **options):
    """((loss, gradients), the same in float64)"""
    results = []
    *arrays, offset = others
    for leaves, score in (
        (
            [each.detach().clone().requires_grad_() for each in head],
            lambda v: fb.posterior_loss(v, *arrays, offset=offset, backend=backend, **LAW, **options),
        ),
        ([each.detach().double().requires_grad_() for each in head], lambda v: formula(v, *others, **options)),
    ):
        loss = score(leaves)
        upward = torch.ones_like(loss) if upstream is None else upstream.to(loss)
        results.append((loss.detach(), *torch.autograd.grad(loss, leaves, upward)))
    return results


def close(got, exact):
    """Within 1e-5 of itself, or of a hundred-thousandth of the largest entry where it is smaller than that; 1e-11 is
    autograd's own error: for one count there is no concentration, and its gradient is 0."""
    exact = exact.double()
    scale = exact.abs().clamp(min=1e-5 * float(exact.abs().max()))
    return bool(((got.double() - exact).abs() <= 1e-5 * scale + 1e-11).all())


@pytest.mark.parametrize("spread", [0.3, 3.0, 12.0])
@pytest.mark.parametrize("shape", [(3, 7), (2, 1025), (4, 1, 28, 28), (2, 33), (3, 1)])
def test_value_and_gradient(shape, spread, backend):
    given = problem(shape, spread=spread)
    (loss, *grads), (exact_loss, *exact) = both(*given, upstream=torch.linspace(-2, 3, shape[0]))
    assert loss.dtype == torch.float32 and loss.shape == shape[:1]
    assert close(loss, exact_loss) and all(map(close, grads, exact))
    assert all(grad.shape == shape for grad in grads)


@pytest.mark.parametrize("max_count", [1, 15, 256, 1000, 2**20])
def test_large_counts(max_count, backend):
    given = problem((3, 700), max_count)
    (loss, *grads), (exact_loss, *exact) = both(*given, max_count=max_count)
    assert close(loss, exact_loss) and all(map(close, grads, exact))


def test_the_largest_counts_stay_finite(backend):
    (loss, *grads), _ = both(*problem((3, 700), 2**53), max_count=2**53)
    assert torch.isfinite(loss).all() and all(torch.isfinite(grad).all() for grad in grads)


def law_of(o_1, o_2, room, n, offset):
    """(-log P(n), its derivatives) to 40 digits."""
    mpmath.mp.dps = 40
    z, wide = mpmath.mpf(o_1) + mpmath.mpf(offset), mpmath.mpf(o_2) + 1
    log_c = min(max(wide, -5), 7)

    def minus_log(z, log_c):
        c = mpmath.exp(log_c)
        a, b = c / (1 + mpmath.exp(-z)), c / (1 + mpmath.exp(z))
        total = mpmath.log(mpmath.binomial(room, n))
        for x, count, sign in ((a, n, 1), (b, room - n, 1), (c, room, -1)):
            total += sign * mpmath.fsum(mpmath.log(x + j) for j in range(count))
        return -total

    slopes = [mpmath.diff(minus_log, (z, log_c), order) for order in ((1, 0), (0, 1))]
    return minus_log(z, log_c), slopes[0], slopes[1] if wide == log_c else mpmath.mpf(0)


def test_elements_against_40_digits():
    """Also where a or b is below 1e-30, c at both clamps, and counts at both ends: within a float32 rounding and the
    bounds of the docstring."""
    random = np.random.default_rng(5)
    cases = [
        (o_1, o_2, room, n, 0.0)
        for o_1 in (-90.0, 0.0, 90.0)
        for o_2 in (-9.0, 0.0, 9.0)
        for room, n in ((255, 0), (255, 255), (255, 100), (1, 0), (1, 1), (2, 1))
    ]
    cases += [(random.normal(0, 6), random.normal(0, 4), (room := int(random.integers(1, 256))),
               int(random.integers(0, room + 1)), -random.exponential(3)) for _ in range(60)]  # fmt: skip
    for case in cases:
        o_1, o_2, offset = (float(np.float32(value)) for value in (*case[:2], case[4]))
        room, n = case[2:4]
        head = [torch.tensor([[value]], requires_grad=True) for value in (o_1, o_2)]
        x_t = torch.tensor([[255 - room]], dtype=torch.uint8)
        loss = fb.posterior_loss(head, x_t, torch.tensor([[n]]), 1.0, offset=offset, **LAW)
        grads = torch.autograd.grad(loss.sum(), head)
        truth, *slopes = law_of(o_1, o_2, room, n, offset)
        assert abs(loss.item() - truth) <= 2.0**-23 * abs(truth) + 1e-11, case
        for grad, slope in zip(grads, slopes, strict=True):
            assert abs(grad.item() - slope) <= 2.0**-23 * abs(slope) + 1e-12 * (1 + room), case


def test_probabilities_sum_to_one():
    """And are scipy's: over all births of a few rooms."""
    for room, o_1, o_2 in ((1, 0.3, 0.0), (40, -2.0, -4.0), (255, 1.0, 3.0)):
        n = torch.arange(room + 1)[:, None]
        head = torch.full(n.shape, o_1), torch.full(n.shape, o_2)
        x_t = torch.full(n.shape, 255 - room, dtype=torch.uint8)
        chance = torch.exp(-fb.posterior_loss(head, x_t, n, 1.0, offset=-0.5, **LAW).double())
        assert chance.sum().item() == pytest.approx(1, abs=1e-5)
        mean, c = 1 / (1 + math.exp(0.5 - o_1)), math.exp(o_2 + 1)
        exact = scipy.stats.betabinom(room, mean * c, (1 - mean) * c).pmf(np.arange(room + 1))
        np.testing.assert_allclose(chance.numpy(), exact, rtol=2e-5)


def test_descent_finds_the_law():
    """A head of two numbers finds mean and concentration of births that were drawn by them: 20,000 draws, whose
    estimates have standard deviations of 0.01 and 0.02; fails one time in 1e6."""
    random = np.random.default_rng(6)
    births = torch.from_numpy(scipy.stats.betabinom(100, 2.0, 6.0).rvs(20_000, random_state=random))[None]
    head = torch.zeros(2, requires_grad=True)
    adam = torch.optim.Adam([head], 0.1)
    x_t = torch.full(births.shape, 155, dtype=torch.uint8)
    for _ in range(150):
        loss = fb.posterior_loss([each.expand(births.shape) for each in head], x_t, births, 1e-4, **LAW).sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    assert head[0].item() == pytest.approx(math.log(2 / 6), abs=0.05)
    assert head[1].item() + 1 == pytest.approx(math.log(8), abs=0.1)


def test_no_room_costs_nothing_and_clamps_cut(backend):
    x_t = torch.full((1, 4), 255, dtype=torch.uint8)
    head = [torch.tensor([[-3e4, -2.0, 5.0, 3e4]]).requires_grad_() for _ in range(2)]
    loss = fb.posterior_loss(head, x_t, torch.zeros(1, 4), 1.0, **LAW)
    grads = torch.autograd.grad(loss.sum(), head)
    assert loss.item() == 0.0 and not any(grad.any() for grad in grads)
    ends = torch.tensor([[math.nextafter(-6.0, -7.0), -6.0, 6.0, 6.0001]]).requires_grad_()
    second = fb.posterior_loss((torch.zeros(1, 4), ends), x_t - 100, torch.full((1, 4), 30), 1.0, **LAW)
    (grad,) = torch.autograd.grad(second.sum(), ends)
    assert (grad[0] != 0).tolist() == [True, True, True, False]  # the first rounds to -6, as torch.clamp takes it


def test_extremes_stay_finite(backend):
    """Where sigmoid, its complement or a concentration is beyond all floats, the loss goes on with the logit."""
    values = torch.tensor([-3e33, -1e30, -800.0, -87.5, 0.0, 87.5, 800.0, 3e33])
    head = [values.expand(2, 8).clone().requires_grad_(), values.flip(0).expand(2, 8).clone().requires_grad_()]
    births = torch.tensor([[0.0] * 8, [200.0] * 8])
    loss = fb.posterior_loss(head, torch.full((2, 8), 55, dtype=torch.uint8), births, 1.0, offset=[0.0, -1e30], **LAW)
    grads = torch.autograd.grad(loss.sum(), head)
    assert torch.isfinite(loss).all() and all(torch.isfinite(grad).all() for grad in grads)
    far = torch.tensor([[-1000.0]], requires_grad=True)
    loss = fb.posterior_loss(
        (far, torch.tensor([[-1.0]])), torch.zeros(1, 1).byte(), torch.ones(1, 1), 1.0, max_count=1, **LAW
    )
    assert loss.item() == 1000.0 and torch.autograd.grad(loss.sum(), far)[0].item() == -1.0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_head_dtypes(dtype, backend):
    """Each array may have its own."""
    head, x_t, births, weight, offset = problem()
    given = head[0].to(dtype).requires_grad_(), head[1].requires_grad_()
    wide = given[0].detach().float().requires_grad_(), head[1].detach().clone().requires_grad_()
    loss, expected = (fb.posterior_loss(v, x_t, births, weight, offset=offset, **LAW) for v in (given, wide))
    assert loss.dtype == torch.float32 and torch.equal(loss, expected)
    loss.sum().backward()
    expected.sum().backward()
    assert given[0].grad.dtype == dtype and torch.equal(given[0].grad, wide[0].grad.to(dtype))
    assert torch.equal(given[1].grad, wide[1].grad)


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "float32", "float64", "float16", "bfloat16"])
def test_counts_and_births_dtypes(dtype, backend):
    head, x_t, births, weight, offset = problem()
    expected = fb.posterior_loss(head, x_t, births, weight, offset=offset, **LAW)
    kind = getattr(torch, dtype)
    assert torch.equal(fb.posterior_loss(head, x_t, births.to(kind), weight, offset=offset, **LAW), expected)
    if not kind.is_floating_point:
        got = fb.posterior_loss(head, x_t.to(kind), births, weight, offset=offset, max_count=255, **LAW)
        assert torch.equal(got, expected)


def test_kinds_of_arrays(backend):
    head, x_t, births, weight, offset = problem()
    expected = fb.posterior_loss(head, x_t, births, weight, offset=offset, **LAW)
    first, second, *plain = [value.numpy() for value in (*head, x_t, births, weight, offset)]
    got = fb.posterior_loss((first, second), *plain[:3], offset=plain[3], **LAW)
    assert isinstance(got, np.ndarray) and bits(got) == bits(expected)
    got = fb.posterior_loss(
        [DLPackOnly(first), DLPackOnly(second)], DLPackOnly(plain[0]), births, weight, offset=offset, **LAW
    )
    assert bits(got) == bits(expected)
    shared = fb.posterior_loss(head, x_t, births, 0.5, offset=-1, **LAW)
    spread = {"offset": np.full((4, 1, 1, 1), -1)}
    assert torch.equal(shared, fb.posterior_loss(head, x_t, births, [0.5] * 4, **spread, **LAW))


def test_chunks_of_a_network_need_no_copy(backend):
    """Channels of one output, in any layout: the same bits, and one gradient in the layout of the output."""
    head, x_t, births, weight, offset = problem((4, 3, 8, 9))
    output = torch.cat(head, 1)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        net = output.detach().to(memory_format=layout).requires_grad_()
        last = x_t.to(memory_format=torch.channels_last)
        loss = fb.posterior_loss(net.chunk(2, 1), last, births.mT.contiguous().mT, weight, offset=offset, **LAW)
        (grad,) = torch.autograd.grad(loss.sum(), net)
        results.append((loss.detach(), grad))
    leaves = [each.clone().requires_grad_() for each in head]
    loss = fb.posterior_loss(leaves, x_t, births, weight, offset=offset, **LAW)
    grad = torch.cat(torch.autograd.grad(loss.sum(), leaves), 1)
    for other in results:
        assert torch.equal(other[0], loss.detach()) and torch.equal(other[1], grad)
