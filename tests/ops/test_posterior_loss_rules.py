"""fb.posterior_loss: autograd's rules, threads, and what it refuses, whether its head needs a gradient or not."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.arrays import bits
from support.op_posterior import NAMES

LAW = {"family": "beta-binomial"}


def problem(shape=(4, 3, 20)):
    """(head, x_t, births, weight, offset)"""
    made = torch.Generator().manual_seed(0)
    x_t = torch.randint(0, 256, shape, generator=made, dtype=torch.uint8)
    births = ((255 - x_t) * torch.rand(shape, generator=made)).to(torch.uint8)
    weight = 0.1 + torch.rand(shape[0], generator=made, dtype=torch.float64)
    head = tuple(2 * torch.randn(shape, generator=made) for _ in range(2))
    return head, x_t, births, weight, -3 * torch.rand(shape[0], generator=made)


def graded(head, x_t, births, weight, offset):
    leaves = [each.detach().clone().requires_grad_() for each in head]
    loss = fb.posterior_loss(leaves, x_t, births, weight, offset=offset, **LAW)
    return loss.detach(), *torch.autograd.grad(loss.sum(), leaves)


def test_autograd_rules(backend):
    head, x_t, births, weight, offset = problem()
    leaves = [each.clone().requires_grad_() for each in head]

    def score(given=leaves, born=births):
        return fb.posterior_loss(given, x_t, born, weight, offset=offset, **LAW)

    with torch.no_grad():
        assert not score().requires_grad
    assert not score(head).requires_grad and bits(score(head)) == bits(score().detach())
    loss = score()
    grads = torch.autograd.grad(loss.sum(), leaves, create_graph=True)
    for grad in grads:
        with pytest.raises(RuntimeError, match="^posterior_loss: .* differentiated again"):
            grad.sum().backward(retain_graph=True)
    for at, one in enumerate(leaves):  # a gradient by one array alone
        given = [head[0], head[1]]
        given[at] = one
        assert torch.equal(torch.autograd.grad(score(given).sum(), one)[0], grads[at])
    others = torch.autograd.grad(score(born=births.numpy()).sum(), leaves)  # of another library than the head
    assert all(map(torch.equal, others, grads))
    loss = score()
    for _ in range(2):
        assert all(map(torch.equal, torch.autograd.grad(loss.sum(), leaves, retain_graph=True), grads))
    for changed in (*leaves, x_t, births):
        loss = score()
        with torch.no_grad():
            changed.sub_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.sum().backward()
        with torch.no_grad():
            changed.add_(1)


def test_empty(backend):
    for shape in ((0, 3), (3, 0), (2, 0, 4)):
        leaves = [torch.empty(shape, requires_grad=True) for _ in range(2)]
        loss = fb.posterior_loss(leaves, torch.empty(shape, dtype=torch.uint8), torch.empty(shape), 1.0, **LAW)
        loss.sum().backward()
        assert torch.equal(loss.detach(), torch.zeros(shape[0])) and all(leaf.grad.shape == shape for leaf in leaves)


def test_threads_and_large_samples():
    """Sums do not depend on the number of threads; 100,000 elements are spread over them."""
    given, results = problem((2, 50_000)), []
    for threads in (1, 2, 3):
        with fb.use_backend("cpu", threads=threads):
            results.append(graded(*given))
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other, strict=True))


def test_vmap_and_grad():
    """As one sample after the other; of arrays whose mapped dimension lies anywhere; under grad inside and outside."""
    head, x_t, births, weight, offset = problem()
    whole, *expected = graded(head, x_t, births, weight, offset)

    def one(net, state, born, scale, shift):
        given = [each[None] for each in net]
        return fb.posterior_loss(given, state[None], born[None], scale, offset=shift, **LAW)[0]

    others = x_t, births, weight, offset
    assert bits(torch.func.vmap(one)(head, *others)) == bits(whole)
    per_sample = torch.func.vmap(torch.func.grad(one))(head, *others)
    assert all(map(torch.equal, per_sample, expected))

    def score(*net):
        return fb.posterior_loss(net, x_t, births, weight, offset=offset, **LAW)

    grads = torch.func.grad(lambda *net: score(*net).sum(), argnums=(0, 1))(*head)
    assert all(map(torch.equal, grads, expected))
    assert torch.equal(torch.func.grad(lambda net: score(net, head[1]).sum())(head[0]), expected[0])
    mapped = torch.func.vmap(score, in_dims=(-1, None))(torch.stack([head[0], head[0] + 1], dim=-1), head[1])
    assert bits(mapped[0]) == bits(whole) and bits(mapped[1]) == bits(score(head[0] + 1, head[1]))
    with pytest.raises(RuntimeError, match="^posterior_loss: .* differentiated again"):
        square = torch.func.grad(lambda net: score(net, head[1]).sum())
        torch.func.grad(lambda net: square(net).pow(2).sum())(head[0])


def test_autocast_and_compile_leave_the_loss_in_float32():
    head, x_t, births, weight, offset = problem()
    expected, *grads = graded(head, x_t, births, weight, offset)
    compiled = torch.compile(fb.posterior_loss, fullgraph=True, backend="aot_eager")
    leaves = [each.clone().requires_grad_() for each in head]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = compiled(leaves, x_t, births, weight, offset=offset, **LAW)
    loss.sum().backward()
    assert bits(loss.detach()) == bits(expected)
    assert all(torch.equal(leaf.grad, grad) for leaf, grad in zip(leaves, grads, strict=True))


@pytest.mark.parametrize("place", [(0, 0), (0, 4), (1, 0)])
def test_wrong_births_are_found_at_both_ends_of_a_sample(place, backend):
    head, x_t, births = [torch.zeros(2, 5)] * 2, torch.zeros(2, 5, dtype=torch.int32), torch.zeros(2, 5)
    births[place] = 0.5
    with pytest.raises(ValueError, match=f"got 0.5 at sample {place[0]}, element {place[1]}$"):
        fb.posterior_loss(head, x_t, births, 1.0, offset=-1.0, max_count=100, **LAW)


def test_a_wrong_name_is_refused_where_torch_traces():
    x = torch.ones(2, 3, dtype=torch.uint8)
    compiled = torch.compile(lambda head: fb.posterior_loss(head, x, x, 1.0, family="normal"), backend="aot_eager")
    with pytest.raises(Exception, match=f"posterior_loss: family: must be one of {NAMES}, got 'normal'"):
        compiled((torch.zeros(2, 3),) * 2)
    assert np.isfinite(fb.posterior_loss((torch.zeros(2, 3),) * 2, x, x, 1.0, **LAW).numpy()).all()
