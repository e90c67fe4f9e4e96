"""The families "categorical" and "bayes-categorical" of fb.posterior_loss and fb.posterior_step: values, gradients,
draws, limits, layouts, errors."""

import math
import re

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.reference.portfloat import exp_minus_abs
from support import state_law
from support.arrays import DLPackOnly, bits
from support.helpers import chi_square_counts

FAMILIES = ("categorical", "bayes-categorical")
RNG = fb.Philox(seed=29, first_sample=3, call=4)
FALSE_ALARM = 1e-6  # of each statistical check, seeds fixed; 36 of them
DRAWS = 20_000
every_family = pytest.mark.parametrize("family", FAMILIES)


def problem(most=255, shape=(4, 30), spread=3.0, seed=0):
    """(logits, x_t, births, offset); among the states are 0 and the largest, among the births none and all."""
    made = torch.Generator().manual_seed(seed)
    x_t = (torch.rand(shape, generator=made, dtype=torch.float64) * (most + 1)).long().clamp(max=most)
    x_t[:, ::7], x_t[:, 3::11] = 0, most
    births = ((most - x_t + 1) * torch.rand(shape, generator=made, dtype=torch.float64)).long()
    births[:, 1::5], births[:, 2::5] = 0, (most - x_t)[:, 2::5]
    logits = spread * torch.randn((*shape, most + 1), generator=made)
    return logits, x_t, births, torch.tensor([0.0, -0.5, -3.0, -12.0])[: shape[0]]


def graded(logits, x_t, births, offset, family, **options):
    leaf = logits.clone().requires_grad_()
    how = {"family": family, "offset": offset, "max_count": logits.shape[-1] - 1}
    loss = fb.posterior_loss(leaf, x_t, births, options.pop("weight", 1.0), **how, **options)
    return loss.detach(), torch.autograd.grad(loss.sum(), leaf)[0]


@every_family
@pytest.mark.parametrize("most, spread", [(1, 3.0), (15, 0.5), (16, 10.0), (255, 3.0), (300, 1.0)])
def test_value_and_gradient(family, most, spread, backend):
    """Against float64 autograd of the law as it is written in textbooks; every derivative that is above 1e-30."""
    logits, x_t, births, offset = problem(most, spread=spread)
    loss, grad = graded(logits, x_t, births, offset, family)
    leaf = logits.double().requires_grad_()
    exact = state_law.losses(leaf, x_t, births, offset, family)
    torch.testing.assert_close(loss.double(), exact.sum(1).detach(), rtol=1e-6, atol=1e-6)
    (expected,) = torch.autograd.grad(exact.sum(), leaf)
    torch.testing.assert_close(grad.double(), expected, rtol=1e-5, atol=1e-16 if family == "categorical" else 1e-12)
    v = torch.arange(most + 1)
    assert (grad[(v < x_t[..., None])] == 0).all() and (grad[x_t == most] == 0).all()


@every_family
@pytest.mark.parametrize("sizes", [(4, 16), (5, 8), (3, 5)])
def test_channels_of_a_network(family, sizes, backend):
    """Logits of a state side by side: groups of 16 elements and the rest, gradients that were foreseen and others."""
    most, made = 39, torch.Generator().manual_seed(5)
    output = 4.0 * torch.randn((2, most + 1, *sizes), generator=made)
    x_t = torch.randint(0, most + 1, (2, 1, *sizes), generator=made)
    x_t[1] = x_t[1].clamp(min=19)  # no state below the nineteenth in any group
    births = ((most - x_t + 1) * torch.rand(x_t.shape, generator=made)).long()
    how = {"family": family, "offset": torch.tensor([-0.5, -3.0]), "max_count": most}
    for upstream in torch.tensor([[0.25, 0.25]] * 3 + [[-0.0, -0.0]] * 3 + [[0.5, 2.0]]):
        made_by = []
        for name in ("auto", "reference"):
            leaf = output.clone().requires_grad_()
            logits = leaf.unflatten(1, (most + 1, 1)).movedim(1, -1)
            loss = fb.posterior_loss(logits, x_t, births, torch.tensor([1.5, -2.0]), **how, backend=name)
            loss.backward(upstream)
            made_by.append((bits(loss), bits(leaf.grad)))
        assert made_by[0] == made_by[1]


def test_each_law_is_the_other_with_logits_moved_by_the_likelihood():
    logits, x_t, births, offset = problem(most=30)
    zero = torch.zeros_like(logits).double()
    known = state_law.log_weights(zero, x_t, offset, "bayes-categorical").clamp(min=-1e3)
    moved, _ = graded((logits + known).float(), x_t, births, offset, "categorical")
    torch.testing.assert_close(graded(logits, x_t, births, offset, "bayes-categorical")[0], moved, rtol=1e-5, atol=0.0)


@every_family
def test_nothing_cancels_where_births_are_nearly_sure(family):
    """-log P and P - 1 of a state that all but 1e-12 of the weight lies on, relative to themselves."""
    logits = torch.zeros(1, 1, 17)
    logits[0, 0, 9] = 28.0
    x_t, births = torch.tensor([[5]]), torch.tensor([[4]])
    loss, grad = graded(logits, x_t, births, -0.5, family)
    leaf = logits.double().requires_grad_()
    logs = state_law.log_weights(leaf, x_t, -0.5, family)[0, 0]
    others = torch.exp(torch.cat([logs[5:9], logs[10:]]) - logs[9]).sum()
    assert others < 1e-8
    torch.testing.assert_close(loss[0].double(), torch.log1p(others).detach(), rtol=2e-6, atol=0.0)
    torch.testing.assert_close(grad[0, 0, 9].double(), (-others / (1 + others)).detach(), rtol=2e-6, atol=0.0)


def test_the_exponential_is_within_its_bound():
    """Of every 997th float32 of 0..86.99, within 1.2 units in the last place, which the derived bounds stand on."""
    x = np.arange(0x2F000000, np.float32(86.9).view(np.int32), 997, dtype=np.int32).view(np.float32)
    exact = np.exp(-x.astype(np.float64))
    ulp = np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert (np.abs(exp_minus_abs(x).astype(np.float64) - exact) / ulp).max() < 1.2


def drawn(family, logits, x, offset, q, draws=DRAWS):
    head = np.broadcast_to(np.asarray(logits, np.float32), (1, draws, len(logits)))  # one row in memory
    how = {"family": family, "offset": offset, "max_count": len(logits) - 1, "rng": RNG, "outputs": "x_s"}
    return fb.posterior_step(np.full((1, draws), x), head, q, **how).x_s[0] - x


RANDOM = np.random.default_rng(5)
# Logits, x_t, offset: of one state above and of many, flat and steep, in all sums and in few, far from x_t.
CASES = [
    ((0.3, -0.4), 0, -0.5), (RANDOM.normal(0, 2, 17), 0, -0.2), (RANDOM.normal(0, 2, 17), 11, -1.0),
    (RANDOM.normal(0, 1, 256), 100, -0.7), (np.linspace(-30, 30, 256), 20, 0.0), (np.linspace(9, -90, 40), 3, -3.0),
]  # fmt: skip


@every_family
@pytest.mark.parametrize("logits, x, offset", CASES)
@pytest.mark.parametrize("q", [0.03, 0.5, 1.0])
def test_law_of_steps(family, logits, x, offset, q):
    """Chi-square against the finite sum over N of Pr(N) Binomial(N, q)."""
    from scipy import stats

    births, n = drawn(family, logits, x, offset, q), np.arange(len(logits) - x)
    row = torch.tensor(np.asarray(logits, np.float32)).double()
    law = torch.softmax(state_law.log_weights(row, torch.tensor(x), offset, family), -1)[x:].numpy()
    expected = law @ stats.binom.pmf(n[None, :], n[:, None], q)
    seen = np.bincount(births, minlength=n.size)
    assert seen.size == n.size
    assert chi_square_counts(seen, DRAWS * expected) > FALSE_ALARM


@every_family
def test_limits(family, backend):
    """Logits and offsets of any size that float32 holds: no NaN, births within the room, none from an impossible state,
    and the law that is left."""
    for most in (1, 2, 255):
        x_t = np.array([[0, 0, 1, 1, most, most]])
        births = np.minimum(np.array([[0, 1, 0, most, 0, 0]]), most - x_t)
        for low, high in ((0.0, 0.0), (-1e30, 1e30), (1e30, -1e30), (-3e38, -3e38), (-3e38, 3e38), (-80.0, 50.0)):
            for offset in (-3e38, -700.0, 0.0, 20.0, 3e38):
                logits = torch.full((1, 6, most + 1), high)
                logits[..., :1] = low
                given = torch.from_numpy(x_t), torch.from_numpy(births), offset, family
                loss, grad = graded(logits, *given)
                assert not loss.isnan().any() and not grad.isnan().any() and grad.isfinite().all()
                if max(abs(low), abs(high), abs(offset)) < 1e35:
                    assert loss.isfinite().all()
                assert (grad[:, 4:] == 0).all()
                how = {"family": family, "offset": offset, "max_count": most, "rng": RNG, "outputs": "x_s"}
                for q in (0.0, 1.0):
                    born = fb.posterior_step(x_t, logits.numpy(), q, **how).x_s - x_t
                    assert (born >= 0).all() and (born <= most - x_t).all() and (q == 1 or (born == 0).all())
                if family == "categorical" and abs(low - high) > 1e29:
                    assert (born[0, :2] == 0).all() == (low > high)
                if family == "bayes-categorical" and abs(offset) == 3e38 and abs(high) < 1e35:
                    assert (born == (0 if offset < 0 else most - x_t)).all()


def test_right_without_learning_as_the_particles_are_kept():
    """p -> 1: the likelihood alone says N is nearly always 0, and for x_t = 0 too, whatever the prior."""
    random = np.random.default_rng(0)
    logits, x_t = random.normal(0, 0.5, (1, 500, 256)).astype(np.float32), random.integers(0, 200, (1, 500))
    how = {"family": "bayes-categorical", "offset": math.log(1e-7), "max_count": 255, "rng": RNG}
    assert (fb.posterior_step(x_t, logits, 1.0, **how).x_s == x_t).mean() > 0.99


@every_family
def test_layouts_kinds_keys_and_splits(family, backend):
    """A network's output goes in without a copy, its gradient has the strides of the output; all give the same bits."""
    logits, x_t, births, offset = problem(shape=(6, 40), most=40)
    offset, x = torch.linspace(-3, 0, 6), x_t.to(torch.uint8)

    def run(rows, head=logits, **options):
        rng = RNG.at(first_sample=RNG.first_sample + rows.start)
        how = {"family": family, "offset": offset[rows], "max_count": 40, "rng": rng}
        return fb.posterior_step(x[rows], head[rows], 0.6, **how, **options)

    whole = run(slice(0, 6))
    for rows in (slice(0, 2), slice(2, 6)):
        assert all(torch.equal(a, b[rows]) for a, b in zip(run(rows), whole, strict=True))
    network = logits.movedim(-1, 1).contiguous()
    given = x, births, offset, family
    loss, grad = graded(logits, *given, weight=0.3)
    leaf = network.clone().requires_grad_()
    how = {"family": family, "offset": offset, "max_count": 40}
    made = fb.posterior_loss((leaf.movedim(1, -1),), x, births, 0.3, **how)
    made.sum().backward()
    assert torch.equal(made.detach(), loss) and torch.equal(leaf.grad.movedim(1, -1), grad)
    assert leaf.grad.stride() == network.stride()
    assert torch.equal(run(slice(0, 6), network.movedim(1, -1)).x_s, whole.x_s)
    how |= {"rng": RNG}
    step = fb.posterior_step(DLPackOnly(x.numpy()), DLPackOnly(logits.numpy()), 0.6, **how | {"offset": offset.numpy()})
    assert bits(np.asarray(step.x_s)) == bits(whole.x_s.numpy())
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        narrow = logits.to(dtype)
        assert torch.equal(run(slice(0, 6), narrow).x_s, run(slice(0, 6), narrow.float()).x_s)
        loss, grad = graded(narrow, *given)
        same, full = graded(narrow.float(), *given)
        assert torch.equal(loss, same) and grad.dtype == dtype and torch.equal(grad, full.to(dtype))
    for shape in ((3, 0, 4), (0, 2)):
        none = torch.zeros(*shape, 41, requires_grad=True)
        zeros = torch.zeros(shape, dtype=torch.uint8)
        loss = fb.posterior_loss(none, zeros, zeros, 1.0, **{"family": family, "max_count": 40})
        loss.sum().backward()
        assert torch.equal(loss.detach(), torch.zeros(shape[0])) and none.grad.shape == none.shape


@every_family
def test_vmap_compile_and_threads(family):
    logits, x_t, births, offset = problem(most=20, shape=(4, 30))
    loss, grad = graded(logits, x_t, births, offset, family)

    def one(net, state, born, shift):
        how = {"family": family, "offset": shift, "max_count": 20}
        return fb.posterior_loss(net[None], state[None], born[None], 1.0, **how)[0]

    assert torch.equal(torch.func.vmap(one)(logits, x_t, births, offset), loss)
    assert torch.equal(torch.func.vmap(torch.func.grad(one))(logits, x_t, births, offset), grad)
    if family == "categorical":  # the other is traced alike
        return
    torch.compiler.reset()  # a call that failed while it was traced is not traced again
    compiled = torch.compile(fb.posterior_loss, fullgraph=True, backend="aot_eager")
    leaf = logits.clone().requires_grad_()
    made = compiled(leaf, x_t, births, 1.0, offset=offset, max_count=20, family=family)
    made.sum().backward()
    assert torch.equal(made.detach(), loss) and torch.equal(leaf.grad, grad)
    large, results = problem(most=20, shape=(1, 9_000)), []
    for threads in (1, 3):
        with fb.use_backend("cpu", threads=threads):
            results.append(graded(*large, family))
    assert all(map(torch.equal, *results))


@every_family
@pytest.mark.parametrize("wrong, at", [(math.nan, 3), (-math.inf, 0), (math.inf, 20)])
def test_logits_that_are_not_finite(family, wrong, at, backend):
    """Also of states below x_t, whose probability is 0."""
    logits, x_t, births, offset = problem(most=20, shape=(2, 30))
    logits[1, 17, at], x_t[1, 17], births[1, 17] = wrong, 5, 0
    how, text = {"family": family, "offset": offset, "max_count": 20}, "head[0]: must be finite in float32, got"
    for head in (logits, logits.movedim(-1, 1).contiguous().movedim(1, -1)):
        with pytest.raises(ValueError, match=f"^posterior_loss: {re.escape(text)}"):
            fb.posterior_loss(head, x_t, births, 1.0, **how)
        with pytest.raises(ValueError, match=f"^posterior_step: {re.escape(text)}"):
            fb.posterior_step(x_t, head, 0.5, rng=RNG, **how)
