"""birth_loss, energy_loss and posterior_loss: value and gradient against float64 autograd of the formula, autograd's
rules, which are the same of all, and the ends of each.

tests/battery compares single elements with mpmath; what holds of any op is in test_contract.py.
"""

import math

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.reference import portfloat as pf
from fastblackout.reference.birth_loss import sum_sample
from support import negative_binomial_law
from support.arrays import bits

RNG = fb.Philox(seed=23, first_sample=3, call=4)
softplus, lgamma = torch.nn.functional.softplus, torch.lgamma


def spread(numbers, x):
    return numbers.double().reshape(-1, *[1] * (x.ndim - 1))


def birth_formula(logits, x_t, births, weight, offset, most):
    """y - births log y, y = gain softplus(logits), the gain exp(offset) times 30; log y exact far below zero."""
    g = (30 * offset.double().exp()).float().double()
    log_soft = torch.where(logits < -30, logits, torch.log(softplus(logits.clamp(min=-30), threshold=40)))
    cost = spread(g, x_t) * softplus(logits, threshold=40) - births * (spread(g, x_t).log() + log_soft)
    return weight * cost.flatten(1).sum(1)


def energy_formula(logits, x_t, births, weight, offset, most):
    """By the mean over all ordered pairs of draws."""
    y = (most - x_t.double()) * torch.sigmoid(2 * logits + spread(offset, x_t))
    y, n = y.flatten(2), births.double().flatten(1)
    others = [(y[s] - y[r]).norm(dim=1) for s in range(len(y)) for r in range(len(y)) if r != s]
    return weight * ((y - n).norm(dim=2).mean(0) - 0.5 * torch.stack(others).mean(0))


def beta_binomial_formula(*given):
    """As the law is written in textbooks."""
    *head, x_t, births, weight, offset, most = given
    room, n = most - x_t.double(), births.double()
    z, c = head[0] + spread(offset, x_t), torch.exp((head[1] + 1).clamp(-5, 7))
    a, b = torch.sigmoid(z) * c, torch.sigmoid(-z) * c
    chosen = lgamma(room + 1) - lgamma(n + 1) - lgamma(room - n + 1)
    drawn = lgamma(n + a) + lgamma(room - n + b) - lgamma(room + a + b) + lgamma(a + b) - lgamma(a) - lgamma(b)
    return weight * -(chosen + drawn).flatten(1).sum(1)


def negative_binomial_formula(*given):
    *head, x_t, births, weight, offset, most = given
    losses = negative_binomial_law.losses(head, x_t.double(), births.double(), spread(offset, x_t), most)
    return weight * losses.flatten(1).sum(1)


# name: its arrays, the formula, the error of a gradient beside 1e-5 of itself: a share of the largest, and a number;
# large and small counts
LOSSES = {
    "birth_loss": (1, birth_formula, 1e-5, 0, ()),
    "energy_loss": (1, energy_formula, 1e-5, 0, (1, 15, 2**24 + 2, 2**53)),
    "beta-binomial": (2, beta_binomial_formula, 1e-10, 1e-11, (1, 15, 1000, 2**20)),
    "negative-binomial": (2, negative_binomial_formula, 0, 1e-7, (1, 15, 2**20)),
}
LARGE = [(name, most) for name, row in LOSSES.items() for most in row[-1]]
every = pytest.mark.parametrize("name", LOSSES)


def problem(name, shape=(4, 3, 20), most=255, seed=0):
    """(the arrays that have a gradient, x_t, births, weight, offset)"""
    made = torch.Generator().manual_seed(seed)
    x_0 = (torch.rand(shape, generator=made, dtype=torch.float64) * (most + 1)).long().clamp(max=most)
    x_0[:, 1::7] = most
    x_t = (x_0 * torch.rand(shape, generator=made, dtype=torch.float64)).long()
    x_t[:, ::7], x_t[:, 1::14] = 0, most
    births = (x_0 - x_t).clamp(min=0)
    weight = 0.1 + torch.rand(shape[0], generator=made, dtype=torch.float64)
    shapes = [(3, *shape)] if name == "energy_loss" else [shape] * LOSSES[name][0]
    leaves = [2 * torch.randn(each, generator=made) for each in shapes]
    dtype = torch.uint8 if most < 256 else torch.int64
    return leaves, x_t.to(dtype), births.to(dtype), weight, -3 * torch.rand(shape[0], generator=made)


def loss_of(name, leaves, x_t, births, weight, offset, most=255, **how):
    if name == "birth_loss":
        return fb.birth_loss(leaves[0], births, weight, gain=30 * offset.double().exp(), **how)
    if name == "energy_loss":
        return fb.energy_loss(leaves[0], x_t, births, weight, offset=offset, max_count=most, **how)
    return fb.posterior_loss(tuple(leaves), x_t, births, weight, family=name, offset=offset, max_count=most, **how)


def graded(name, leaves, *others, upstream=None, **how):
    """(the loss, a gradient by each array)"""
    leaves = [each.detach().clone(memory_format=torch.preserve_format).requires_grad_() for each in leaves]
    loss = loss_of(name, leaves, *others, **how)
    return loss.detach(), *torch.autograd.grad(loss, leaves, torch.ones_like(loss) if upstream is None else upstream)


def check_beside_the_formula(name, leaves, *others, most=255, backend="auto"):
    _, formula, share, least, _ = LOSSES[name]
    upstream = torch.linspace(-2, 3, len(others[0]))
    loss, *grads = graded(name, leaves, *others, most=most, upstream=upstream, backend=backend)
    assert loss.dtype == torch.float32 and all(grad.dtype == torch.float32 for grad in grads)
    wide = [each.double().requires_grad_() for each in leaves]
    exact = formula(*wide, *others, most)
    torch.testing.assert_close(loss.double(), exact.detach(), rtol=1e-5, atol=1e-6 * exact.abs().max().item())
    for grad, right in zip(grads, torch.autograd.grad(exact, wide, upstream.double()), strict=True):
        right = torch.nan_to_num(right)
        torch.testing.assert_close(grad.double(), right, rtol=1e-5, atol=share * right.abs().max().item() + least)


@every
@pytest.mark.parametrize(
    "shape, kernels", [((3, 60), "reference"), ((3, 7), "auto"), ((2, 1025), "auto"), ((3, 1, 20, 30), "auto")]
)
def test_value_and_gradient(name, shape, kernels):
    check_beside_the_formula(name, *problem(name, shape), backend=kernels)


@pytest.mark.parametrize("name, most", LARGE)
def test_small_and_large_counts(name, most):
    check_beside_the_formula(name, *problem(name, (3, 300), most), most=most)


@every
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_narrow_and_wide_arrays(name, dtype):
    """They are taken as float32; gradients come back in their dtype."""
    leaves, *others = problem(name)
    given = [each.to(dtype) for each in leaves]
    loss, *grads = graded(name, given, *others)
    expected, *wide = graded(name, [each.float() for each in given], *others)
    assert loss.dtype == torch.float32 and torch.equal(loss, expected)
    assert all(
        grad.dtype == dtype and torch.equal(grad, other.to(dtype)) for grad, other in zip(grads, wide, strict=True)
    )


@every
def test_memory_order(name):
    """In any order the same bits, and gradients laid out alike; of every second element a gradient of the whole."""
    leaves, x_t, births, *rest = problem(name, (4, 3, 8, 9))
    expected = graded(name, leaves, x_t, births, *rest)
    last = [each.movedim(-1, 0).contiguous().movedim(0, -1) for each in leaves]
    made = graded(name, last, x_t.to(memory_format=torch.channels_last), births.mT.contiguous().mT, *rest)
    assert all(map(torch.equal, made, expected))
    assert all(grad.stride() == each.stride() for grad, each in zip(made[1:], last, strict=True))
    wide = torch.zeros(2 * leaves[0].shape[0], *leaves[0].shape[1:])
    wide[::2] = leaves[0]
    wide.requires_grad_()
    loss_of(name, [wide[::2], *leaves[1:]], x_t, births, *rest).sum().backward()
    assert torch.equal(wide.grad[::2], expected[1]) and not wide.grad[1::2].any()


def test_chunks_of_a_network_need_no_copy():
    """Channels of one output, in any layout: the same bits, and one gradient in the layout of the output."""
    head, *others = problem("beta-binomial", (4, 3, 8, 9))
    loss, *grads = graded("beta-binomial", head, *others)
    for layout in (torch.contiguous_format, torch.channels_last):
        net = torch.cat(head, 1).to(memory_format=layout).requires_grad_()
        made = loss_of("beta-binomial", net.chunk(2, 1), *others)
        made.sum().backward()
        assert torch.equal(made.detach(), loss) and torch.equal(net.grad, torch.cat(grads, 1))


@every
def test_autograd_rules(name, backend):
    leaves, x_t, births, *rest = problem(name)
    given = [each.clone().requires_grad_() for each in leaves]

    def score(arrays=given, born=births):
        return loss_of(name, arrays, x_t, born, *rest)

    with torch.no_grad():
        assert not score().requires_grad
    assert not score(leaves).requires_grad and bits(score(leaves)) == bits(score().detach())
    grads = torch.autograd.grad(score().sum(), given, create_graph=True)
    owner = "posterior_loss" if "-" in name else name
    for grad in grads:  # a penalty on the gradient must not be dropped in silence
        with pytest.raises(RuntimeError, match=f"^{owner}: .* differentiated again"):
            grad.sum().backward(retain_graph=True)
    for at, one in enumerate(given):  # a gradient by one array alone
        assert torch.equal(torch.autograd.grad(score([*leaves[:at], one, *leaves[at + 1 :]]).sum(), one)[0], grads[at])
    others = torch.autograd.grad(score(born=births.numpy()).sum(), given)  # of another library than the arrays
    assert all(map(torch.equal, others, grads))
    loss = score()
    for upstream in (torch.ones(4), torch.linspace(1, 2, 4), torch.ones(4)):  # through a retained graph
        found = torch.autograd.grad(loss, given, upstream, retain_graph=True)
        assert all(map(torch.equal, found, graded(name, leaves, x_t, births, *rest, upstream=upstream)[1:]))
    for changed in given if name == "birth_loss" else (*given, x_t, births):
        loss = score()
        with torch.no_grad():
            changed.sub_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            loss.sum().backward()
        with torch.no_grad():
            changed.add_(1)


@every
def test_upstream_kinds_and_accumulation(name):
    leaves, *others = problem(name)
    first = leaves[0].clone().requires_grad_()

    def backward(reduce, leaf):
        reduce(loss_of(name, [leaf, *leaves[1:]], *others)).backward()
        return leaf.grad

    whole = backward(torch.sum, first).clone()
    samples = whole.movedim(1, 0) if name == "energy_loss" else whole
    torch.testing.assert_close(4 * backward(torch.mean, leaves[0].clone().requires_grad_()), whole)
    one = backward(lambda loss: loss[2], leaves[0].clone().requires_grad_())
    one = one.movedim(1, 0) if name == "energy_loss" else one
    assert torch.equal(one[2], samples[2]) and not one[[0, 1, 3]].any()
    assert torch.equal(backward(torch.sum, first), 2 * whole)


@every
def test_vmap_and_grad(name):
    """As one sample after the other; of arrays whose mapped dimension lies anywhere; under grad inside and outside."""
    leaves, *others = problem(name)
    whole, *expected = graded(name, leaves, *others)
    at = 1 if name == "energy_loss" else 0

    def one(net, *numbers):
        state = [each[None] for each in numbers]
        return loss_of(name, [each.unsqueeze(at) for each in net], *state)[0]

    dims = ([at] * len(leaves), 0, 0, 0, 0)
    assert bits(torch.func.vmap(one, in_dims=dims)(leaves, *others)) == bits(whole)
    per_sample = torch.func.vmap(torch.func.grad(one), in_dims=dims, out_dims=at)(leaves, *others)
    assert all(map(torch.equal, per_sample, expected))

    def score(first):
        return loss_of(name, [first, *leaves[1:]], *others)

    grad, value = torch.func.grad_and_value(lambda first: score(first).sum())(leaves[0])
    assert torch.equal(grad, expected[0]) and bits(value) == bits(whole.sum())
    mapped = torch.func.vmap(score, in_dims=-1)(torch.stack([leaves[0], leaves[0] + 1], dim=-1))
    assert bits(mapped[0]) == bits(whole) and bits(mapped[1]) == bits(score(leaves[0] + 1))
    with pytest.raises(RuntimeError, match="differentiated again"):
        square = torch.func.grad(lambda first: score(first).sum())
        torch.func.grad(lambda first: square(first).pow(2).sum())(leaves[0])


@every
def test_autocast_and_compile_leave_the_loss_in_float32(name):
    leaves, *others = problem(name)
    expected = graded(name, leaves, *others)
    torch.compiler.reset()  # a call that failed while it was traced is not traced again
    compiled = torch.compile(lambda arrays, *state: loss_of(name, arrays, *state), fullgraph=True, backend="aot_eager")
    leaves = [each.clone().requires_grad_() for each in leaves]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = compiled(leaves, *others)
    made = loss.detach(), *torch.autograd.grad(loss.sum(), leaves)
    assert all(bits(a) == bits(b) for a, b in zip(made, expected, strict=True))


@every
def test_threads_and_large_samples(name):
    """Sums do not depend on the number of threads, over which large samples are spread."""
    given, results = problem(name, (2, 50_000)), []
    for threads in (1, 3):
        with fb.use_backend("cpu", threads=threads):
            results.append(graded(name, *given))
    assert all(map(torch.equal, *results))


@every
def test_empty(name, backend):
    for shape in ((0, 3), (3, 0), (2, 0, 4)):
        leaves, *others = problem(name, shape)
        loss, *grads = graded(name, leaves, *others)
        assert torch.equal(loss, torch.zeros(shape[0]))
        assert all(grad.shape == leaf.shape for grad, leaf in zip(grads, leaves, strict=True))


@every
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_an_infinite_upstream_gradient_is_taken(name, backend):
    """As of a loss scaled too far: nothing of the gradient is finite, as gradient scalers look for."""
    leaves, x_t, births, *rest = problem(name, (1, 2))
    given = leaves, torch.tensor([[0, 5]], dtype=torch.uint8), torch.tensor([[4, 3]]), *rest
    plain, scaled = (graded(name, *given, upstream=torch.tensor([up]), backend=backend)[1] for up in (1.0, np.inf))
    assert torch.isfinite(plain).all() and not torch.isfinite(scaled).any()
    owner = "posterior_loss" if "-" in name else name
    assert "coefficient" in str(getattr(torch.ops.fastblackout, f"{owner}_backward").default._schema)


# birth_loss


def test_the_order_of_sums_is_the_written_one():
    """Chunks of 1,024, halving tree in float32, chunk sums ascending in float64: an independent loop, to the bit."""
    v = np.random.default_rng(1).normal(0, 1e3, (2, 2500)).astype(np.float32)
    for row, got in zip(v, sum_sample(v), strict=True):
        total = 0.0
        for start in range(0, 2500, 1024):
            chunk = [*row[start : start + 1024]]
            chunk += [np.float32(0)] * (1024 - len(chunk))
            h = 512
            while h >= 1:
                chunk = [chunk[i] + chunk[i + h] for i in range(h)]
                h //= 2
            total += float(chunk[0])
        assert total == got


def birth_gradient(logits, births, **how):
    leaf = logits.clone().requires_grad_()
    loss = fb.birth_loss(leaf, torch.full(logits.shape, births), 1.0, **how)
    return loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]


@pytest.mark.parametrize("step", (0.25, 0.0, -0.0, torch.nan, torch.linspace(-2, 3, 4)), ids=str)
def test_the_gradient_for_any_one_from_above(backend, step):
    leaves, *others = problem("birth_loss")
    upstream = step if isinstance(step, torch.Tensor) else torch.full((4,), step)
    made, other = (
        graded("birth_loss", leaves, *others, upstream=upstream, backend=b)[1] for b in ("auto", "reference")
    )
    assert torch.equal(made, other) or (made.isnan() & other.isnan()).all()
    assert torch.equal(made.signbit(), other.signbit()) or made.isnan().all()


@pytest.mark.parametrize("births", [0, 1, 255])
def test_extremes_of_birth_loss_stay_finite(births, backend):
    logits = torch.tensor([[-1e30, -1e4, -87.5, -86.9, 0.0, 88.0, 1e4, 1e30]])
    loss, grad = birth_gradient(logits, births, gain=0.5)
    assert torch.isfinite(loss).all() and torch.isfinite(grad).all()
    wide = logits.double().requires_grad_()
    state = torch.zeros(1, 8), torch.full(logits.shape, births), torch.ones(1), torch.tensor([1 / 60]).double().log()
    (exact,) = torch.autograd.grad(birth_formula(wide, *state, 255).sum(), wide)
    torch.testing.assert_close(grad.double(), exact, rtol=1e-6, atol=1e-30)


@pytest.mark.parametrize("births", [0, 3])
def test_the_largest_logits_have_a_loss(births, backend):
    """One a sample, since their sum is no float32; of births 0 too, where an infinite logarithm would give NaN."""
    logits = torch.tensor([2.5e38, 2.6e38, 3.4e38, -1e38])[:, None].expand(4, 40).clone()
    logits[:, 1:] = 0
    loss, wanted = (birth_gradient(logits, births, backend=name)[0] for name in ("auto", "reference"))
    assert torch.isfinite(wanted).all() and bits(loss) == bits(wanted)


def test_flushing_subnormals_changes_no_bit(backend):
    """Above 2^126 the slope is the gain: 1 / softplus, of which it is made elsewhere, is subnormal there."""
    logits = torch.tensor([[-87.5, -86.9, -1e-40, 1e-40, 0.5, 1e30, 1e38, 3e38]])
    plain = birth_gradient(logits, 3, gain=0.5)
    torch.set_flush_denormal(True)
    try:
        flushed = birth_gradient(logits, 3, gain=0.5)
    finally:
        torch.set_flush_denormal(False)
    assert all(bits(a) == bits(b) for a, b in zip(plain, flushed, strict=True))
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


# energy_loss


@pytest.mark.parametrize("draws", [2, 4, 5, 8])
def test_numbers_of_draws(draws):
    leaves, *others = problem("energy_loss", (2, 33))
    made = torch.Generator().manual_seed(draws)
    check_beside_the_formula("energy_loss", [2 * torch.randn((draws, 2, 33), generator=made)], *others)


def test_a_full_pixel_has_no_room_however_large_the_counts(backend):
    """max_count - x_t is exact before it is rounded to float32, which 2^53 - 3 is not."""
    x_t = torch.tensor([[2**53 - 3, 2**53]])
    logits = torch.tensor([[[80.0, 80.0]], [[80.0, -80.0]]])
    assert fb.energy_loss(logits, x_t, torch.zeros(1, 2), 1.0, max_count=2**53).item() == 3.0


def test_energy_loss_is_strictly_proper():
    """Births of two pixels that are always equal, 0 or 10. Draws of that law score better than independent draws with
    the same law of each pixel, and than the mean: over all values exactly, no chance is left."""
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
        black = torch.zeros(len(pairs), 2, dtype=torch.uint8)
        scores = [fb.energy_loss(logits, black, black + born, 1.0, max_count=10).mean() for born in (0, 10)]
        expected[name] = torch.stack(scores).mean().item()
    assert min(expected, key=expected.get) == "right" and expected["independent"] > expected["right"] + 0.1
    assert expected["right"] == pytest.approx(10 * 2**0.5 / 4, rel=1e-6)  # half of the mean distance of two draws


def test_norms_of_zero(backend):
    """Equal draws, draws that are the births, and full pixels: what has no direction pulls nowhere."""
    x_t = torch.tensor([[255, 255], [0, 255], [100, 7]], dtype=torch.uint8)
    logits = torch.zeros(2, 3, 2, requires_grad=True)
    births = torch.tensor([[0.0, 0.0], [127.5, 0.0], [77.5, 124.0]])
    loss = fb.energy_loss(logits, x_t, births, 2.0)
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    assert torch.equal(loss, torch.zeros(3)) and torch.equal(grad, torch.zeros(2, 3, 2))
    apart, one = torch.tensor([[[0.0, 0.0]], [[0.0, 1.0]]]), torch.ones(1)
    check_beside_the_formula("energy_loss", [apart], x_t[2:], births[2:], 2 * one, 0 * one)


def test_extremes_of_energy_loss_stay_finite(backend):
    logits = torch.tensor([-3.4e38, -1e30, -87.5, -40.0, 0.0, 44.0, 1e30, 3.4e38]).expand(3, 2, 8).clone()
    logits[1], logits[2] = logits[1].flip(1), 0.5
    logits.requires_grad_()
    black = torch.zeros(2, 8, dtype=torch.uint8)
    loss = fb.energy_loss(logits, black, torch.full((2, 8), 255), 1.0, offset=[0.0, -1e30])
    loss.sum().backward()
    assert torch.isfinite(loss).all() and torch.isfinite(logits.grad).all()
    assert torch.isinf(fb.energy_loss(logits, black, torch.full((2, 8), 3e38), 1.0)).all()


# posterior_loss, and where its laws end in posterior_step

BETA_BINOMIAL = {"family": "beta-binomial"}


@pytest.mark.parametrize("place", [(0, 0), (0, 4), (1, 0)])
def test_wrong_births_are_found_at_both_ends_of_a_sample(place, backend):
    births = torch.zeros(2, 5)
    births[place] = 0.5
    with pytest.raises(ValueError, match=f"got 0.5 at sample {place[0]}, element {place[1]}$"):
        fb.posterior_loss([torch.zeros(2, 5)] * 2, births.int(), births, 1.0, max_count=100, **BETA_BINOMIAL)


def test_a_wrong_name_is_refused_where_torch_traces():
    x = torch.ones(2, 3, dtype=torch.uint8)
    compiled = torch.compile(lambda head: fb.posterior_loss(head, x, x, 1.0, family="normal"), backend="aot_eager")
    with pytest.raises(Exception, match="posterior_loss: family: must be one of .*, got 'normal'"):
        compiled((torch.zeros(2, 3),) * 2)


def test_no_room_costs_nothing_and_clamps_cut(backend):
    x_t = torch.full((1, 4), 255, dtype=torch.uint8)
    head = [torch.tensor([[-3e4, -2.0, 5.0, 3e4]]).requires_grad_() for _ in range(2)]
    loss = fb.posterior_loss(head, x_t, torch.zeros(1, 4), 1.0, **BETA_BINOMIAL)
    grads = torch.autograd.grad(loss.sum(), head)
    assert loss.item() == 0.0 and not any(grad.any() for grad in grads)
    ends = torch.tensor([[math.nextafter(-6.0, -7.0), -6.0, 6.0, 6.0001]]).requires_grad_()
    second = fb.posterior_loss((torch.zeros(1, 4), ends), x_t - 100, torch.full((1, 4), 30), 1.0, **BETA_BINOMIAL)
    (grad,) = torch.autograd.grad(second.sum(), ends)
    assert (grad[0] != 0).tolist() == [True, True, True, False]  # the first rounds to -6, as torch.clamp takes it


def test_extremes_of_beta_binomial_stay_finite(backend):
    """Where sigmoid, its complement or a concentration is beyond all floats, the loss goes on with the logit."""
    values = torch.tensor([-3e33, -1e30, -800.0, -87.5, 0.0, 87.5, 800.0, 3e33])
    head = [values.expand(2, 8).clone().requires_grad_(), values.flip(0).expand(2, 8).clone().requires_grad_()]
    births, x_t = torch.tensor([[0.0] * 8, [200.0] * 8]), torch.full((2, 8), 55, dtype=torch.uint8)
    loss = fb.posterior_loss(head, x_t, births, 1.0, offset=[0.0, -1e30], **BETA_BINOMIAL)
    grads = torch.autograd.grad(loss.sum(), head)
    assert torch.isfinite(loss).all() and all(torch.isfinite(grad).all() for grad in grads)
    far, one = torch.tensor([[-1000.0]], requires_grad=True), torch.ones(1, 1)
    loss = fb.posterior_loss((far, -one), 0 * one.byte(), one, 1.0, max_count=1, **BETA_BINOMIAL)
    assert loss.item() == 1000.0 and torch.autograd.grad(loss.sum(), far)[0].item() == -1.0


def test_limits_of_negative_binomial(backend):
    """Outputs far outside, offsets of no and of nearly all particles and above 0: no NaN, births within the room."""
    for most in (1, 255, 2**53):
        x_t = np.array([[0, 0, 1, most, most]])
        births = np.minimum(np.array([[0, 1, most - 1, 0, 0]]), most - x_t)
        given = torch.from_numpy(x_t), torch.from_numpy(births), 1.0
        for mean in (-3e38, -40.0, 0.0, 40.0, 3e38):
            for wide in (-3e38, 0.0, 3e38):
                for offset in (-3e38, -700.0, 0.0, 20.0, 3e38):
                    head = [torch.full(x_t.shape, each, requires_grad=True) for each in (mean, wide)]
                    how = {"family": "negative-binomial", "offset": offset, "max_count": most}
                    loss = fb.posterior_loss(head, *given, **how)
                    grads = torch.autograd.grad(loss.sum(), head)
                    assert not loss.isnan().any() and all(each.isfinite().all() for each in grads)
                    assert offset < -1e30 or loss.isfinite().all()
                    assert abs(mean) < 1e30 or not grads[0].any()
                    assert abs(wide) < 1e30 or not grads[1].any()
                    arrays = [each.detach().numpy() for each in head]
                    born = fb.posterior_step(x_t, arrays, 1.0, rng=RNG, **how).x_s - x_t
                    assert (born >= 0).all() and (born <= most - x_t).all()
                    if offset == -3e38:
                        assert (born == 0).all()


def test_offsets_above_0_count_as_0_and_full_pixels_cost_something(backend):
    """Of the law that has no bound."""
    (head, x_t, births, *_), law = problem("negative-binomial"), {"family": "negative-binomial", "max_count": 255}
    now = [fb.posterior_loss(head, x_t, births, 1.0, offset=y, **law) for y in (0.0, 2.0)]
    steps = [fb.posterior_step(x_t, head, 0.3, offset=y, rng=RNG, **law).x_s for y in (0.0, 2.0)]
    assert torch.equal(*now) and torch.equal(*steps)
    full = torch.full((1, 4), 255), torch.zeros(1, 4)
    assert fb.posterior_loss([torch.zeros(1, 4)] * 2, *full, 1.0, offset=-1.0, **law).item() > 1


# The family "mean" is bridge_step and birth_loss

X = torch.randint(0, 200, (3, 2, 5, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LOGITS = torch.randn(X.shape, generator=torch.Generator().manual_seed(1))
OFFSET = torch.tensor([-0.1, -1.0, -7.0], dtype=torch.float64)


def gain_of(offset, most=255):
    return pf.exp(np.asarray(offset, np.float64)) * (most / 4)


@pytest.mark.parametrize("head", [LOGITS, (LOGITS,), [LOGITS.bfloat16()]], ids=["array", "tuple", "bfloat16"])
@pytest.mark.parametrize("offset", [OFFSET, OFFSET.numpy(), -0.5, np.float32(-0.5), 0], ids=str)
def test_the_step_of_the_mean_is_the_bridge(head, offset):
    how = dict(rng=fb.Philox(5), center=3.0, scale=0.5)
    made = fb.posterior_step(X, head, 0.25, family="mean", offset=offset, **how)
    logits = head if isinstance(head, torch.Tensor) else head[0]
    wanted = fb.bridge_step(X, logits, 0.25, gain=gain_of(offset), **how)
    assert bits(made.x_s) == bits(wanted.x_s) and bits(made.model_input) == bits(wanted.model_input)
    assert (made.x_s != X).any()
    made = fb.posterior_step(X.short(), LOGITS, 0.25, family="mean", rng=fb.Philox(5), max_count=1000).x_s
    wanted = fb.bridge_step(X.short(), LOGITS, 0.25, gain=250.0, rng=fb.Philox(5), max_count=1000).x_s
    assert bits(made) == bits(wanted)


def test_the_loss_of_the_mean_is_birth_loss(backend):
    leaf, other, births = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_(), (255 - X) // 3
    loss = fb.posterior_loss(leaf, X, births, 2.0, family="mean", offset=OFFSET)
    wanted = fb.birth_loss(other, births, 2.0, gain=gain_of(OFFSET))
    assert bits(loss.detach()) == bits(wanted.detach())
    assert torch.equal(*(torch.autograd.grad(made.sum(), one)[0] for made, one in ((loss, leaf), (wanted, other))))


def near_halves(count=300):
    """Offsets whose gain lies next to the middle of two float32: other exponentials come out on the other side."""
    below = np.random.default_rng(0).uniform(1, 1e4, count).astype(np.float32)
    middle = (below.astype(np.float64) + np.nextafter(below, np.float32(np.inf))) / 2
    offset = np.log(middle / (255 / 4))
    return np.concatenate([offset, np.nextafter(offset, -50), np.nextafter(offset, 50)])


NUMBERS = {
    "float64": np.concatenate([np.linspace(-80, 80, 401), near_halves(), [-1000.0, -np.inf]]),
    "float32": np.linspace(-80, 80, 999).astype(np.float32),
    "float16": np.linspace(-80, 80, 999).astype(np.float16),
    "int64": np.arange(-9, 80),
}


@pytest.mark.parametrize("dtype", NUMBERS)
def test_the_gain_of_the_mean_is_the_portable_exponential_whatever_library_and_dtype(dtype):
    """Without births, and where softplus is 1, the loss is the gain."""
    offset = NUMBERS[dtype]
    wanted = gain_of(offset).astype(np.float32)
    offset, wanted = offset[wanted > 0], wanted[wanted > 0]
    logits, none = np.full((len(offset), 1), 0.5413248, np.float32), np.zeros((len(offset), 1), np.uint8)

    def loss(logits, none, offset):
        return fb.posterior_loss(logits, none, none, 1.0, family="mean", offset=offset)

    given = [torch.from_numpy(each) for each in (logits, none, offset)]
    assert bits(loss(logits, none, offset)) == bits(wanted)
    assert bits(loss(*given)) == bits(loss(logits, none, given[2])) == bits(wanted)
    assert bits(torch.compile(loss, fullgraph=True, backend="eager")(*given)) == bits(wanted)
    number = offset[-1].item()
    assert loss(logits[:1], none[:1], number) == loss(given[0][:1], given[1][:1], number) == wanted[-1]


def test_wrong_values_of_the_mean_are_told():
    def step(head=LOGITS, **changed):
        return fb.posterior_step(X, head, 0.25, **{"family": "mean", "rng": RNG} | changed)

    with pytest.raises(ValueError, match="^posterior_step: head: must be an array, or a tuple of one.*got 2"):
        step((LOGITS, LOGITS))
    for offset in (1000.0, float("nan")):
        with pytest.raises(ValueError, match="^bridge_step: gain: must be finite"):
            step(offset=offset)
    x = np.ones((2, 3), np.uint8)
    with np.errstate(all="raise"):  # an offset next to 0 raises no floating-point error
        loss = fb.posterior_loss(x * np.float32(0.5), x, x, 1.0, family="mean", offset=np.array([5e-324, 1e-310]))
    assert np.isfinite(loss).all()
