"""Numbers that differ within a sample, and masks: thin, bridge_step, tau_leap_step and birth_loss."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.call.elements import seed_change
from fastblackout.reference.philox import Stream

KEY = fb.Philox(3, first_sample=2, call=5)
RNG = np.random.default_rng(0)
SHAPE = 4, 3, 5
X = RNG.integers(0, 200, SHAPE).astype(np.int32)
FEATURE, ELEMENT = RNG.random((1, 3, 1)), RNG.random(SHAPE)
MASK = RNG.random((1, 3, 5)) < 0.5
Y = RNG.random(SHAPE) * 40
INPUT = {"center": RNG.random((4, 1, 5)), "scale": np.array([1.0, 2, 3, 4])}


def changed(stream, number):
    return fb.Philox(KEY.seed ^ seed_change(stream, number), first_sample=KEY.first_sample, call=KEY.call)


def same(results, others):
    for a, b in zip(results, others, strict=True):
        assert a.dtype == b.dtype and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("p", [FEATURE, ELEMENT, fb.Prob(ELEMENT, 1 - ELEMENT), ELEMENT.astype(np.float32)])
def test_what_is_drawn(p):
    drawn = fb.thin(X, p, rng=KEY, max_count=200, **INPUT)
    x_t = fb.binomial(X, p, rng=changed(Stream.THIN_ELEMENT, 0))
    scale = INPUT["scale"].astype(np.float32).reshape(4, 1, 1)
    same(drawn, (x_t, X - x_t, (x_t.astype(np.float32) - INPUT["center"].astype(np.float32)) * scale))
    births = fb.bridge_step(X, step=1.0, births=Y, rng=KEY, max_count=220).x_s - X
    x_s = X + fb.binomial(births, p, rng=changed(Stream.BRIDGE_ELEMENT, 0))
    assert (fb.bridge_step(X, step=p, births=Y, rng=KEY, max_count=220).x_s == x_s).all()
    dead = fb.binomial(X, p, rng=changed(Stream.BRIDGE_ELEMENT, 1))
    assert (fb.bridge_step(X, step=p, births=Y, attrition=p, rng=KEY, max_count=220).x_s == x_s - dead).all()
    alone = fb.bridge_step(X, step=0.3, births=Y, rng=KEY, max_count=220).x_s
    assert (fb.bridge_step(X, step=0.3, births=Y, attrition=p, rng=KEY, max_count=220).x_s == alone - dead).all()


def test_tau_leaping_and_its_overshoot():
    leaped = fb.tau_leap_step(X, births=Y, step=4 * ELEMENT, rng=KEY, max_count=220)
    rate = Y.astype(np.float32).astype(np.float64) * (4 * ELEMENT)
    drawn, room = fb.poisson(rate, rng=changed(Stream.TAU_LEAP, 0)), 220 - X
    assert (leaped.x_s == X + np.minimum(drawn, room)).all() and leaped.x_s.dtype == X.dtype
    assert leaped.overshoot.tolist() == (drawn > room).sum((1, 2)).tolist() and (drawn > room).any()


def test_read_only_numbers_beside_tensors():
    """Without torch's warning of them, which is an error here."""
    alive, births = ELEMENT.copy(), X.copy()
    alive.flags.writeable = births.flags.writeable = False
    torch.set_warn_always(True)
    try:
        drawn = fb.thin(torch.from_numpy(X), alive, rng=KEY, max_count=200)
        loss = fb.birth_loss(None, births, 1.0, expected=torch.from_numpy(Y + 1))
    finally:
        torch.set_warn_always(False)
    same([each.numpy() for each in drawn], fb.thin(X, ELEMENT, rng=KEY, max_count=200))
    same([loss.numpy()], [fb.birth_loss(None, X, 1.0, expected=Y + 1)])


def test_mask_keeps_what_is_outside():
    """Whatever it is: counts out of range and logits that are NaN; inside nothing is drawn otherwise."""
    mask = np.broadcast_to(MASK, SHAPE)
    broken, logits = np.where(mask, X, -7), np.where(mask, np.log(Y), np.nan)
    plain = fb.thin(X, 0.4, rng=KEY, max_count=220)
    drawn = fb.thin(broken, 0.4, rng=KEY, max_count=220, mask=MASK)
    assert (drawn.x_t == np.where(mask, plain.x_t, -7)).all() and (
        drawn.births == np.where(mask, plain.births, 0)
    ).all()
    assert (drawn.model_input == drawn.x_t).all()
    for dtype in (np.float32, np.uint16):
        outside = np.nan if dtype is np.float32 else 60_000
        others = fb.thin(np.where(mask, X, outside).astype(dtype), 0.4, rng=KEY, max_count=220, mask=MASK)
        kept = np.where(mask, plain.x_t, outside).astype(dtype)
        assert np.array_equal(others.x_t, kept, equal_nan=dtype is np.float32) and others.x_t.dtype == dtype
        assert (others.births == np.where(mask, plain.births, 0)).all() and others.births.dtype == dtype
    tensors = torch.from_numpy(X).to(torch.uint16), torch.from_numpy(MASK)
    others = fb.thin(tensors[0], 0.4, rng=KEY, max_count=220, mask=tensors[1])
    assert others.x_t.dtype == torch.uint16 and (others.x_t.numpy() == np.where(mask, plain.x_t, X)).all()
    how = {"step": 0.4, "rng": KEY, "max_count": 220, "gain": 30.0}
    for op in (fb.bridge_step, fb.tau_leap_step):
        inside, stepped = op(X, np.log(Y), **how), op(broken, logits, mask=MASK, **how)
        assert (stepped.x_s == np.where(mask, inside.x_s, -7)).all() and (inside.x_s > X).any()
    full = fb.tau_leap_step(X, births=np.full(SHAPE, 1e4), mask=MASK, **how).overshoot
    assert full.tolist() == [int(MASK.sum())] * 4


def test_a_mask_whatever_numpy_is_told_of_small_numbers():
    """A model input that is too small for a normal float32 is no error."""
    how = {"rng": KEY, "max_count": 220, "mask": MASK, "scale": 1e-41}
    with np.errstate(all="raise"):
        drawn = fb.thin(X, 0.4, **how)
    same(drawn, fb.thin(X, 0.4, **how))
    assert drawn.model_input.any() and drawn.model_input.max() < np.finfo(np.float32).tiny


def test_masked_loss():
    mask = np.broadcast_to(MASK, SHAPE)
    logits = torch.tensor(np.where(mask, np.log(Y), np.nan), dtype=torch.float32, requires_grad=True)
    births = torch.from_numpy(np.where(mask, X, -3))
    loss = fb.birth_loss(logits, births, 1.5, gain=20.0, mask=torch.from_numpy(MASK))
    loss.sum().backward()
    inside = torch.tensor(np.log(Y)[mask].reshape(4, -1), dtype=torch.float32, requires_grad=True)
    alone = fb.birth_loss(inside, torch.from_numpy(X[mask].reshape(4, -1)), 1.5, gain=20.0)
    alone.sum().backward()
    assert torch.allclose(loss, alone, rtol=1e-6)
    assert (logits.grad.numpy()[mask].reshape(4, -1) == inside.grad.numpy()).all() and not logits.grad.numpy()[
        ~mask
    ].any()
    numbers = fb.birth_loss(logits.detach().numpy(), births.numpy(), 1.5, gain=20.0, mask=MASK)
    assert numbers.tobytes() == loss.detach().numpy().tobytes()


@pytest.mark.parametrize("dynamic", [None, pytest.param(True, marks=pytest.mark.slow)])
def test_compiled(dynamic):
    torch._dynamo.reset()

    @torch.compile(fullgraph=True, backend="aot_eager", dynamic=dynamic)
    def step(x, p, mask):
        return fb.thin(x, p, rng=KEY, max_count=220, mask=mask)

    for samples in (4, 3) if dynamic else (4,):
        given = X[:samples], ELEMENT[:samples], MASK
        with torch._dynamo.config.patch(error_on_recompile=samples < 4):
            made = step(*map(torch.from_numpy, given))
        same([each.numpy() for each in made], fb.thin(*given[:2], rng=KEY, max_count=220, mask=MASK))


def test_a_step_of_each_feature_and_no_samples():
    for of in (np.asarray, torch.from_numpy):
        leaped = fb.tau_leap_step(of(X[:0]), births=of(Y[:0]), step=of(FEATURE), max_count=220)
        assert leaped.x_s.shape == (0, 3, 5) and leaped.overshoot.shape == (0,)


def test_the_number_of_one_feature_is_that_of_all():
    x = X.reshape(-1, 1)
    expected = fb.thin(x, 0.3, rng=KEY, max_count=220, scale=2.0)
    same(fb.thin(x, [[0.3]], rng=KEY, max_count=220, scale=np.full((1, 1), 2.0)), expected)
    tensors = torch.from_numpy(x), torch.full((1, 1), 0.3, dtype=torch.float64)
    same([each.numpy() for each in fb.thin(*tensors, rng=KEY, max_count=220, scale=[[2.0]])], expected)
