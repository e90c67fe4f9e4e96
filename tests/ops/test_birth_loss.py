"""fb.birth_loss as a caller sees it: value and gradient against float64 autograd of the formula; autograd's rules."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.arrays import DLPackOnly, bits

CHUNK_ULP = 18 * 2.0**-24  # 8 ulp an element and 10 levels of a tree of 1,024


def problem(shape=(5, 3, 20, 30), seed=0, scale=4.0):
    torch.manual_seed(seed)
    logits = scale * torch.randn(shape)
    births = torch.randint(0, 256, shape, dtype=torch.uint8)
    return logits, births, torch.rand(shape[0], dtype=torch.float64) + 0.1, 60 * torch.rand(shape[0]).double() + 0.01


def formula(logits, births, weight, gain):
    """(loss, its scale) in float64: y - births log y, y = gain softplus(logits), log y exact far below zero."""
    x = logits.double()
    g = gain.float().double().reshape(-1, *[1] * (x.ndim - 1))
    soft = torch.nn.functional.softplus(x, threshold=40)
    log_soft = torch.where(x < -30, x, torch.log(torch.nn.functional.softplus(x.clamp(min=-30), threshold=40)))
    element = g * soft - births * (g.log() + log_soft)
    size = g * soft + births * (g.log().abs() + log_soft.abs())
    dims = tuple(range(1, x.ndim))
    return weight * element.sum(dims), (weight.abs() * size.sum(dims)).detach()


@pytest.mark.parametrize("shape", [(1, 1), (5, 3, 20, 30), (2, 1023), (2, 1025), (3, 7)])
def test_value_and_gradient(shape, backend):
    logits, births, weight, gain = problem(shape)
    leaf, exact_leaf = logits.clone().requires_grad_(), logits.double().requires_grad_()
    loss = fb.birth_loss(leaf, births, weight, gain=gain)
    exact, size = formula(exact_leaf, births, weight, gain)
    assert loss.dtype == torch.float32 and loss.shape == shape[:1]
    assert ((loss.double() - exact).abs() <= CHUNK_ULP * size).all()
    upstream = torch.linspace(-2, 3, len(loss))
    loss.backward(upstream)
    exact.backward(upstream.double())
    assert leaf.grad.dtype == torch.float32
    per_sample = (upstream.double().abs() * weight).reshape(-1, *[1] * (len(shape) - 1))
    bound = 8 * 2.0**-24 * per_sample * (gain.reshape(per_sample.shape) * torch.sigmoid(logits.double()) + births)
    assert ((leaf.grad.double() - exact_leaf.grad).abs() <= bound).all()


def test_gradient_is_the_slope_of_the_loss(backend):
    """Central differences of the op itself, one logit at a time: float32 sums of a few elements leave 1e-3."""
    logits, births, weight, gain = problem((2, 3), scale=1.5)
    leaf = logits.clone().requires_grad_()
    fb.birth_loss(leaf, births, weight, gain=gain).sum().backward()
    for b, i in np.ndindex(2, 3):
        ends = []
        for sign in (-1, 1):
            moved = logits.clone()
            moved[b, i] += sign * 2.0**-7
            ends.append(float(fb.birth_loss(moved, births, weight, gain=gain)[b].double()))
        slope = (ends[1] - ends[0]) / 2.0**-6
        assert abs(slope - float(leaf.grad[b, i])) <= 2e-2 * (1 + abs(slope))


def test_minimum_is_at_the_expected_births(backend):
    """births averaging 3: gradient descent on one logit ends at gain * softplus = 3."""
    births = torch.tensor([[1.0, 2.0, 6.0]])
    logit = torch.zeros(1, 1, requires_grad=True)
    for _ in range(300):
        (grad,) = torch.autograd.grad(fb.birth_loss(logit.expand(1, 3), births, 1.0, gain=2.0), logit)
        logit = (logit - 0.1 * grad).detach().requires_grad_()
    assert abs(2 * float(torch.nn.functional.softplus(logit.detach())) - 3) < 1e-4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_dtypes(dtype, backend):
    logits, births, weight, gain = problem()
    given = logits.to(dtype).requires_grad_()
    wide = given.detach().float().requires_grad_()
    loss, expected = (fb.birth_loss(v, births, weight, gain=gain) for v in (given, wide))
    assert loss.dtype == torch.float32 and torch.equal(loss, expected)
    loss.sum().backward()
    expected.sum().backward()
    assert given.grad.dtype == dtype and torch.equal(given.grad, wide.grad.to(dtype))


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "float32", "float64", "float16", "bfloat16"])
def test_births_dtypes(dtype, backend):
    logits, births, weight, gain = problem()
    expected = fb.birth_loss(logits, births, weight, gain=gain)
    assert torch.equal(fb.birth_loss(logits, births.to(getattr(torch, dtype)), weight, gain=gain), expected)


def test_kinds_of_arrays(backend):
    logits, births, weight, gain = problem()
    expected = fb.birth_loss(logits, births, weight, gain=gain)
    got = fb.birth_loss(logits.numpy(), births.numpy(), weight.numpy(), gain=gain.numpy())
    assert isinstance(got, np.ndarray) and bits(got) == bits(expected)
    assert bits(fb.birth_loss(DLPackOnly(logits.numpy()), births, weight, gain=gain)) == bits(expected)
    shared = fb.birth_loss(logits, births, 0.5, gain=2)
    assert torch.equal(shared, fb.birth_loss(logits, births, torch.full((5,), 0.5), gain=np.full(5, 2)))


def test_memory_order_of_the_gradient(backend):
    logits, births, weight, gain = problem()
    leaf = logits.clone().requires_grad_()
    fb.birth_loss(leaf, births, weight, gain=gain).sum().backward()
    last = logits.to(memory_format=torch.channels_last).clone(memory_format=torch.preserve_format).requires_grad_()
    fb.birth_loss(last, births.to(memory_format=torch.channels_last), weight, gain=gain).sum().backward()
    assert last.grad.stride() == last.stride() and torch.equal(leaf.grad, last.grad)
    wide = torch.zeros(5, 3, 20, 60).requires_grad_()
    with torch.no_grad():
        wide[..., ::2] = logits
    fb.birth_loss(wide[..., ::2], births, weight, gain=gain).sum().backward()
    assert torch.equal(wide.grad[..., ::2], leaf.grad) and (wide.grad[..., 1::2] == 0).all()


def test_upstream_kinds_and_accumulation(backend):
    logits, births, weight, gain = problem()
    grads = []
    for reduce in (torch.sum, torch.mean, lambda v: (v * torch.arange(5.0)).sum(), lambda v: v[2]):
        leaf = logits.clone().requires_grad_()
        reduce(fb.birth_loss(leaf, births, weight, gain=gain)).backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(grads[1] * 5, grads[0])
    torch.testing.assert_close(grads[2][3], grads[0][3] * 3)
    assert (grads[3][[0, 1, 3, 4]] == 0).all() and torch.equal(grads[3][2], grads[0][2])
    leaf = logits.clone().requires_grad_()
    for _ in range(2):
        fb.birth_loss(leaf, births, weight, gain=gain).sum().backward()
    assert torch.equal(leaf.grad, 2 * grads[0])


@pytest.mark.parametrize("step", (0.25, 0.0, -0.0, torch.nan, torch.linspace(-2, 3, 5)), ids=str)
def test_the_gradient_for_any_one_from_above(backend, step):
    logits, births, weight, gain = problem()
    upstream = step if isinstance(step, torch.Tensor) else torch.full((5,), step)
    grads = []
    for name in ("auto", "reference"):
        leaf = logits.clone().requires_grad_()
        fb.birth_loss(leaf, births, weight, gain=gain, backend=name).backward(upstream)
        grads.append(leaf.grad)
    assert torch.equal(grads[0], grads[1]) or (grads[0].isnan() & grads[1].isnan()).all()
    assert torch.equal(grads[0].signbit(), grads[1].signbit()) or grads[0].isnan().all()


def test_autograd_rules(backend):
    logits, births, weight, gain = problem()
    leaf = logits.clone().requires_grad_()
    with torch.no_grad():
        assert not fb.birth_loss(leaf, births, weight, gain=gain).requires_grad
    assert not fb.birth_loss(logits, births, weight, gain=gain).requires_grad
    loss = fb.birth_loss(leaf, births.float().requires_grad_(), weight, gain=gain)
    (grad,) = torch.autograd.grad(loss.sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="^birth_loss: .* differentiated again"):
        grad.sum().backward()  # a penalty on the gradient must not be dropped in silence
    loss = fb.birth_loss(leaf, births, weight, gain=gain)
    with torch.no_grad():
        leaf.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.sum().backward()


def test_backward_again_through_a_retained_graph(backend):
    """The first backward may take the memory of the forward pass; it must not change what the second returns."""
    logits, births, weight, gain = problem()
    upstreams = [torch.linspace(-2, 3, 5), torch.linspace(1, 2, 5), torch.linspace(-2, 3, 5)]
    leaf = logits.clone().requires_grad_()
    loss = fb.birth_loss(leaf, births, weight, gain=gain)
    grads = [torch.autograd.grad(loss, leaf, upstream, retain_graph=True)[0] for upstream in upstreams]
    for upstream, grad in zip(upstreams, grads, strict=True):
        fresh = logits.clone().requires_grad_()
        fb.birth_loss(fresh, births, weight, gain=gain).backward(upstream)
        assert torch.equal(grad, fresh.grad)


@pytest.mark.parametrize(
    "name, wrong", [("logits", torch.nan), ("logits", torch.inf), ("births", -1.0), ("births", torch.inf)]
)
def test_wrong_values_are_told_before_a_gradient_exists(name, wrong, backend):
    logits, births, weight, gain = problem()
    given = {"logits": logits, "births": births.float()}
    given[name][3, 2, 19, 7] = wrong
    with pytest.raises(ValueError, match=f"^birth_loss: {name}: must be finite"):
        fb.birth_loss(given["logits"].requires_grad_(), given["births"], weight, gain=gain)


@pytest.mark.parametrize("births", [0, 1, 255])
def test_extremes_stay_finite(births, backend):
    logits = torch.tensor([[-1e30, -1e4, -87.5, -86.9, 0.0, 88.0, 1e4, 1e30]]).requires_grad_()
    born = torch.full(logits.shape, births)
    loss = fb.birth_loss(logits, born, 1.0, gain=torch.tensor([0.5]))
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()
    exact = logits.detach().double().requires_grad_()
    value, _ = formula(exact, born, torch.ones(1).double(), torch.tensor([0.5]).double())
    value.sum().backward()
    torch.testing.assert_close(logits.grad.double(), exact.grad, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("births", [0, 3])
def test_the_largest_logits_have_a_loss(births, backend):
    """One a sample, since their sum is no float32; of births 0 too, where an infinite logarithm would give NaN."""
    logits = torch.tensor([2.5e38, 2.6e38, 3.4e38, -1e38])[:, None].expand(4, 40).clone()
    logits[:, 1:] = 0
    loss = fb.birth_loss(logits, torch.full(logits.shape, births), 1.0)
    wanted = fb.birth_loss(logits, torch.full(logits.shape, births), 1.0, backend="reference")
    assert torch.isfinite(wanted).all() and bits(loss) == bits(wanted)


def test_flushing_subnormals_changes_no_bit(backend):
    """Above 2^126 the slope is the gain: 1 / softplus, of which it is made elsewhere, is subnormal there."""
    logits = torch.tensor([[-87.5, -86.9, -1e-40, 1e-40, 0.5, 1e30, 1e38, 3e38]])

    def both():
        leaf = logits.clone().requires_grad_()
        loss = fb.birth_loss(leaf, torch.full(logits.shape, 3), 1.0, gain=0.5)
        loss.sum().backward()
        return loss.detach(), leaf.grad

    plain = both()
    torch.set_flush_denormal(True)
    try:
        flushed = both()
    finally:
        torch.set_flush_denormal(False)
    assert bits(plain[0]) == bits(flushed[0]) and bits(plain[1]) == bits(flushed[1])
    assert plain[1][0, -2:].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("births", [0, 200])
def test_kernels_flush_subnormals_for_themselves_alone(births, backend):
    """Until softplus is made, on some processors: gradients below 2^-126 stay, and what the caller computes next."""
    logits = torch.linspace(-88, 88, 3000)[None]
    results = []
    for options in ({}, {"backend": "reference"}):
        leaf = logits.clone().requires_grad_()
        loss = fb.birth_loss(leaf, torch.full(logits.shape, births, dtype=torch.uint8), 1e-3, **options)
        (grad,) = torch.autograd.grad(loss, leaf)
        results.append((bits(loss.detach()), bits(grad)))
        assert births > 0 or ((grad != 0) & (grad.abs() < torch.finfo(torch.float32).tiny)).any()
        fb.bridge_step(torch.zeros(logits.shape, dtype=torch.uint8), logits, 0.5, rng=fb.Philox(1), **options)
        assert torch.tensor(1e-38).mul(0.1) > 0
    assert results[0] == results[1]


def test_empty(backend):
    for shape in ((0, 3), (3, 0), (2, 0, 4)):
        leaf = torch.empty(shape, requires_grad=True)
        loss = fb.birth_loss(leaf, torch.empty(shape), 1.0)
        loss.sum().backward()
        assert torch.equal(loss, torch.zeros(shape[0])) and leaf.grad.shape == shape


def test_threads_and_large_samples():
    """Sums do not depend on the number of threads; 200,000 elements are spread over them."""
    logits, births, weight, gain = problem((2, 100_000))
    results = []
    for threads in (1, 2, 3):
        with fb.use_backend("cpu", threads=threads):
            leaf = logits.clone().requires_grad_()
            loss = fb.birth_loss(leaf, births, weight, gain=gain)
            loss.sum().backward()
            results.append((loss.detach(), leaf.grad))
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))
