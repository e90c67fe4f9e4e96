"""fb.energy_loss as a caller sees it: value and gradient against float64 autograd of the formula; autograd's rules."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.arrays import DLPackOnly, bits


def problem(shape=(4, 3, 20, 30), draws=3, max_count=255, seed=0):
    """(logits, x_t, births, weight, offset)"""
    made = torch.Generator().manual_seed(seed)
    x_0 = torch.randint(0, max_count + 1, shape, generator=made)
    x_t = (x_0 * torch.rand(shape, generator=made)).long()
    logits = 2 * torch.randn((draws, *shape), generator=made)
    weight = 0.1 + torch.rand(shape[0], generator=made, dtype=torch.float64)
    dtype = torch.uint8 if max_count < 256 else torch.int64
    offset = -3 * torch.rand(shape[0], generator=made)
    return logits, x_t.to(dtype), (x_0 - x_t).to(dtype), weight, offset


def formula(logits, x_t, births, weight, offset, max_count=255):
    """In float64, by the mean over all ordered pairs of draws."""
    spread = (-1, *[1] * (x_t.ndim - 1))
    y = (max_count - x_t.double()) * torch.sigmoid(2 * logits.double() + offset.double().reshape(spread))
    y, n = y.flatten(2), births.double().flatten(1)
    count = len(y)
    away = (y - n).norm(dim=2).mean(0)
    others = [(y[s] - y[r]).norm(dim=1) for s in range(count) for r in range(count) if r != s]
    return weight * (away - 0.5 * torch.stack(others).mean(0))


def both(logits, *others, backend="auto", upstream=None, **options):
    """((loss, gradient), the same in float64)"""
    results = []
    *arrays, offset = others
    for leaf, score in (
        (
            logits.detach().clone().requires_grad_(),
            lambda v: fb.energy_loss(v, *arrays, offset=offset, backend=backend, **options),
        ),
        (logits.detach().double().requires_grad_(), lambda v: formula(v, *others, **options)),
    ):
        loss = score(leaf)
        (grad,) = torch.autograd.grad(loss, leaf, torch.ones_like(loss) if upstream is None else upstream.to(loss))
        results.append((loss.detach(), grad))
    return results


def close(got, exact):
    """Within 1e-5 of the largest entry, which is more than 40 float32 roundings of it."""
    return bool(((got.double() - exact.double()).abs() <= 1e-5 * exact.double().abs().max()).all())


@pytest.mark.parametrize("draws", range(2, 9))
@pytest.mark.parametrize("shape", [(3, 7), (2, 1025), (4, 1, 28, 28), (2, 33), (3, 1)])
def test_value_and_gradient(shape, draws, backend):
    given = problem(shape, draws)
    (loss, grad), (exact_loss, exact_grad) = both(*given, upstream=torch.linspace(-2, 3, shape[0]))
    assert loss.dtype == torch.float32 and loss.shape == shape[:1] and grad.shape == given[0].shape
    assert close(loss, exact_loss) and close(grad, exact_grad)


@pytest.mark.parametrize("max_count", [1, 15, 2**24, 2**24 + 2, 2**40 + 1, 2**53])
def test_large_counts(max_count, backend):
    given = problem((3, 700), 3, max_count)
    (loss, grad), (exact_loss, exact_grad) = both(*given, max_count=max_count)
    assert close(loss, exact_loss) and close(grad, exact_grad) and torch.isfinite(grad).all()


def test_a_full_pixel_has_no_room_however_large_the_counts(backend):
    """max_count - x_t is exact before it is rounded to float32, which 2^53 - 3 is not."""
    x_t = torch.tensor([[2**53 - 3, 2**53]])
    logits = torch.tensor([[[80.0, 80.0]], [[80.0, -80.0]]])
    loss = fb.energy_loss(logits, x_t, torch.zeros(1, 2), 1.0, max_count=2**53)
    assert loss.item() == 3.0


def test_strictly_proper():
    """Births of two pixels that are always equal, 0 or 10. Draws of that law score better than independent draws with
    the same law of each pixel, and than the mean: over all values exactly, no chance is left."""
    outcomes = torch.tensor([[0, 0], [10, 10]])
    laws = {
        "right": [(0, 0), (10, 10)],
        "independent": [(0, 0), (0, 10), (10, 0), (10, 10)],
        "mean": [(5, 5)],
        "too narrow": [(2, 2), (8, 8)],
    }
    expected = {}
    for name, law in laws.items():
        pairs = torch.tensor([(a, b) for a in law for b in law], dtype=torch.float64)  # (pairs, draws, pixels)
        share = (pairs / 10).clamp(1e-12, 1 - 1e-12)
        logits = (torch.log(share / (1 - share)) / 2).transpose(0, 1)
        scores = []
        for births in outcomes:
            born = births.expand(len(pairs), 2)
            scores.append(
                fb.energy_loss(logits, torch.zeros(born.shape, dtype=torch.uint8), born, 1.0, max_count=10).mean()
            )
        expected[name] = torch.stack(scores).mean().item()
    assert min(expected, key=expected.get) == "right"
    assert expected["independent"] > expected["right"] + 0.1
    assert expected["right"] == pytest.approx(10 * 2**0.5 / 4, rel=1e-6)  # half of the mean distance of two draws


def test_descent_finds_a_joint_law():
    """A network of one number and noise learns that two pixels are equal: of the births (0, 0) and (10, 10)."""
    made = torch.Generator().manual_seed(3)
    weights = torch.zeros(2, 2, requires_grad=True)
    adam = torch.optim.Adam([weights], 0.1)
    for _ in range(200):
        noise = torch.randn(2, 64, 2, generator=made)
        births = 10 * torch.randint(0, 2, (64, 1), generator=made).expand(64, 2)
        loss = fb.energy_loss(noise @ weights, torch.zeros(64, 2, dtype=torch.uint8), births, 1.0, max_count=10).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    y = 10 * torch.sigmoid(2 * torch.randn(2000, 2, generator=made) @ weights.detach())
    assert torch.corrcoef(y.T)[0, 1] > 0.95 and y.std() > 3


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_logits_dtypes(dtype, backend):
    logits, x_t, births, weight, offset = problem()
    given = logits.to(dtype).requires_grad_()
    wide = given.detach().float().requires_grad_()
    loss, expected = (fb.energy_loss(v, x_t, births, weight, offset=offset) for v in (given, wide))
    assert loss.dtype == torch.float32 and torch.equal(loss, expected)
    loss.sum().backward()
    expected.sum().backward()
    assert given.grad.dtype == dtype and torch.equal(given.grad, wide.grad.to(dtype))


@pytest.mark.parametrize("dtype", ["int16", "int32", "int64", "float32", "float64", "float16", "bfloat16"])
def test_counts_and_births_dtypes(dtype, backend):
    logits, x_t, births, weight, offset = problem()
    expected = fb.energy_loss(logits, x_t, births, weight, offset=offset)
    kind = getattr(torch, dtype)
    assert torch.equal(fb.energy_loss(logits, x_t, births.to(kind), weight, offset=offset), expected)
    if not kind.is_floating_point:
        got = fb.energy_loss(logits, x_t.to(kind), births, weight, offset=offset, max_count=255)
        assert torch.equal(got, expected)


def test_kinds_of_arrays(backend):
    logits, x_t, births, weight, offset = problem()
    expected = fb.energy_loss(logits, x_t, births, weight, offset=offset)
    plain = [value.numpy() for value in (logits, x_t, births, weight, offset)]
    got = fb.energy_loss(*plain[:4], offset=plain[4])
    assert isinstance(got, np.ndarray) and bits(got) == bits(expected)
    got = fb.energy_loss(DLPackOnly(plain[0]), DLPackOnly(plain[1]), births, weight, offset=offset)
    assert bits(got) == bits(expected)
    shared = fb.energy_loss(logits, x_t, births, 0.5, offset=-1)
    assert torch.equal(shared, fb.energy_loss(logits, x_t, births, [0.5] * 4, offset=np.full((4, 1, 1, 1), -1)))


def test_strides(backend):
    """The draws last, between, or every second one of a larger tensor: the same bits, and a gradient laid out alike."""
    logits, x_t, births, weight, offset = problem((4, 3, 8, 9))
    leaf = logits.clone().requires_grad_()
    expected = fb.energy_loss(leaf, x_t, births, weight, offset=offset)
    expected.sum().backward()
    wide = torch.zeros(6, 4, 3, 8, 9)
    wide[::2] = logits
    layouts = [logits.movedim(0, at).contiguous().movedim(at, 0) for at in (1, 2, 4)] + [wide[::2]]
    for given in layouts:
        other = given.detach().requires_grad_()
        last = x_t.to(memory_format=torch.channels_last)
        loss = fb.energy_loss(other, last, births.mT.contiguous().mT, weight, offset=offset)
        (grad,) = torch.autograd.grad(loss.sum(), other)
        assert bits(loss.detach()) == bits(expected.detach()) and torch.equal(grad, leaf.grad)
    repeated = logits[:1].expand(3, -1, -1, -1, -1).requires_grad_()
    loss = fb.energy_loss(repeated, x_t, births, weight, offset=offset)
    assert close(loss.detach(), formula(repeated.detach(), x_t, births, weight, offset))


def test_norms_of_zero(backend):
    """Equal draws, draws that are the births, and full pixels: what has no direction pulls nowhere."""
    x_t = torch.tensor([[255, 255], [0, 255], [100, 7]], dtype=torch.uint8)
    logits = torch.zeros(2, 3, 2, requires_grad=True)
    births = torch.tensor([[0.0, 0.0], [127.5, 0.0], [77.5, 124.0]])
    loss = fb.energy_loss(logits, x_t, births, 2.0)
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.equal(loss, torch.zeros(3)) and torch.equal(grad, torch.zeros(2, 3, 2))
    apart = torch.tensor([[[0.0, 0.0]], [[0.0, 1.0]]], requires_grad=True)
    (grad,) = torch.autograd.grad(fb.energy_loss(apart, x_t[2:], births[2:], 2.0).sum(), apart)
    exact_leaf = apart.detach().double().requires_grad_()
    (exact,) = torch.autograd.grad(formula(exact_leaf, x_t[2:], births[2:], 2.0, torch.zeros(1)).sum(), exact_leaf)
    assert close(grad, torch.nan_to_num(exact))


def test_extremes_stay_finite(backend):
    logits = torch.tensor([-3.4e38, -1e30, -87.5, -40.0, 0.0, 44.0, 1e30, 3.4e38]).expand(3, 2, 8).clone()
    logits[1], logits[2] = logits[1].flip(1), 0.5
    logits.requires_grad_()
    loss = fb.energy_loss(
        logits, torch.zeros(2, 8, dtype=torch.uint8), torch.full((2, 8), 255), 1.0, offset=[0.0, -1e30]
    )
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()
    far = torch.full((2, 8), 3e38)
    loss = fb.energy_loss(logits, torch.zeros(2, 8, dtype=torch.uint8), far, 1.0)
    assert torch.isinf(loss).all()


def test_autograd_rules(backend):
    logits, x_t, births, weight, offset = problem()
    leaf = logits.clone().requires_grad_()

    def score(value):
        return fb.energy_loss(value, x_t, births, weight, offset=offset)

    with torch.no_grad():
        assert not score(leaf).requires_grad
    assert not score(logits).requires_grad and bits(score(logits)) == bits(score(leaf).detach())
    loss = score(leaf)
    (grad,) = torch.autograd.grad(loss.sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="^energy_loss: .* differentiated again"):
        grad.sum().backward()
    born = births.numpy()  # of another library than the logits
    assert torch.equal(torch.autograd.grad(fb.energy_loss(leaf, x_t, born, weight, offset=offset).sum(), leaf)[0], grad)
    loss = score(leaf)
    first, second = (torch.autograd.grad(loss.sum(), leaf, retain_graph=True)[0] for _ in range(2))
    assert torch.equal(first, second) and torch.equal(first, grad)
    for changed in (leaf, x_t, births):
        loss = score(leaf)
        with torch.no_grad():
            changed.sub_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.sum().backward()
        with torch.no_grad():
            changed.add_(1)


def test_empty(backend):
    for shape in ((0, 3), (3, 0), (2, 0, 4)):
        leaf = torch.empty(2, *shape, requires_grad=True)
        loss = fb.energy_loss(leaf, torch.empty(shape, dtype=torch.uint8), torch.empty(shape), 1.0)
        loss.sum().backward()
        assert torch.equal(loss, torch.zeros(shape[0])) and leaf.grad.shape == leaf.shape


def test_threads_and_large_samples():
    """Sums do not depend on the number of threads; 100,000 elements are spread over them."""
    given, results = problem((2, 50_000)), []
    for threads in (1, 2, 3):
        with fb.use_backend("cpu", threads=threads):
            results.append(both(*given)[0])
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_vmap_and_grad():
    """As one sample after the other; of logits whose mapped dimension lies anywhere; under grad inside and outside."""
    logits, x_t, births, weight, offset = problem((4, 3, 20))
    (whole, expected), _ = both(logits, x_t, births, weight, offset)

    def one(net, state, born, scale, shift):
        return fb.energy_loss(net[:, None], state[None], born[None], scale, offset=shift)[0]

    others = x_t, births, weight, offset
    assert bits(torch.func.vmap(one, in_dims=(1, 0, 0, 0, 0))(logits, *others)) == bits(whole)
    per_sample = torch.func.vmap(torch.func.grad(one), in_dims=(1, 0, 0, 0, 0), out_dims=1)(logits, *others)
    assert bits(per_sample) == bits(expected)

    def score(net):
        return fb.energy_loss(net, x_t, births, weight, offset=offset)

    grad, value = torch.func.grad_and_value(lambda net: score(net).sum())(logits)
    assert bits(grad) == bits(expected) and bits(value) == bits(whole.sum())
    mapped = torch.func.vmap(score, in_dims=-1)(torch.stack([logits, logits + 1], dim=-1))
    assert bits(mapped[0]) == bits(whole) and bits(mapped[1]) == bits(score(logits + 1))
    with pytest.raises(RuntimeError, match="^energy_loss: .* differentiated again"):
        square = torch.func.grad(lambda net: score(net).sum())
        torch.func.grad(lambda net: square(net).pow(2).sum())(logits)


def test_autocast_and_compile_leave_the_loss_in_float32():
    logits, x_t, births, weight, offset = problem((4, 3, 20))
    (expected, grad), _ = both(logits, x_t, births, weight, offset)
    compiled = torch.compile(fb.energy_loss, fullgraph=True, backend="aot_eager")
    leaf = logits.clone().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = compiled(leaf, x_t, births, weight, offset=offset)
    loss.sum().backward()
    assert bits(loss.detach()) == bits(expected) and bits(leaf.grad) == bits(grad)
