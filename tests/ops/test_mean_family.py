"""The family "mean" of posterior_step and posterior_loss is bridge_step and birth_loss, to the bit."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from support.arrays import bits

X = torch.randint(0, 200, (3, 2, 5, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LOGITS = torch.randn(X.shape, generator=torch.Generator().manual_seed(1))
BIRTHS = (255 - X) // 3
OFFSET = torch.tensor([-0.1, -1.0, -7.0], dtype=torch.float64)
STEP = fb.Prob(0.25, 0.75)
NUMPY = X.numpy(), LOGITS.numpy(), BIRTHS.numpy(), OFFSET.numpy()


def gain(offset, most=255):
    return np.exp(np.asarray(offset)) * most / 4


@pytest.mark.parametrize("head", [LOGITS, (LOGITS,), [LOGITS.bfloat16()]], ids=["array", "tuple", "bfloat16"])
@pytest.mark.parametrize("offset", [OFFSET, OFFSET.numpy(), -0.5, np.float32(-0.5), 0], ids=str)
def test_the_step_is_the_bridge(backend, head, offset):
    how = dict(rng=fb.Philox(5), center=3.0, scale=0.5)
    made = fb.posterior_step(X, head, STEP, family="mean", offset=offset, **how)
    logits = head if isinstance(head, torch.Tensor) else head[0]
    wanted = fb.bridge_step(X, logits, STEP, gain=gain(offset), **how)
    assert bits(made.x_s) == bits(wanted.x_s) and bits(made.model_input) == bits(wanted.model_input)
    assert (made.x_s != X).any()


def test_the_loss_is_birth_loss(backend):
    leaf, other = LOGITS.clone().requires_grad_(), LOGITS.clone().requires_grad_()
    loss = fb.posterior_loss(leaf, X, BIRTHS, 2.0, family="mean", offset=OFFSET)
    wanted = fb.birth_loss(other, BIRTHS, 2.0, gain=gain(OFFSET))
    assert bits(loss.detach()) == bits(wanted.detach())
    assert torch.equal(*(torch.autograd.grad(made.sum(), one)[0] for made, one in ((loss, leaf), (wanted, other))))
    x, logits, births, offset = NUMPY
    assert bits(fb.posterior_loss(logits, x, births, 2.0, family="mean", offset=offset)) == bits(loss.detach())


def test_the_largest_count_is_in_the_gain():
    x, how = X.short(), dict(rng=fb.Philox(5), max_count=1000)
    made = fb.posterior_step(x, LOGITS, STEP, family="mean", **how).x_s
    assert bits(made) == bits(fb.bridge_step(x, LOGITS, STEP, gain=250.0, **how).x_s)
    with pytest.raises(ValueError, match="^posterior_step: max_count: must be given for int16"):
        fb.posterior_step(x, LOGITS, STEP, family="mean")


def test_compiled_it_is_the_same():
    def step(x, logits, offset, key):
        return fb.posterior_step(x, logits, STEP, family="mean", offset=offset, rng=key).x_s

    given = X, LOGITS, OFFSET, fb.Philox(5).tensor()
    assert torch.equal(torch.compile(step, fullgraph=True, backend="eager")(*given), step(*given))


def test_wrong_values_are_told():
    def step(head=LOGITS, **changed):
        return fb.posterior_step(X, head, STEP, **{"family": "mean", "rng": fb.Philox(1)} | changed)

    with pytest.raises(ValueError, match="^posterior_step: head: must be an array, or a tuple of one.*got 2"):
        step((LOGITS, LOGITS))
    with pytest.raises(ValueError, match="^bridge_step: gain: must be finite"):
        step(offset=1000.0)
    with pytest.raises(ValueError, match="^bridge_step: gain: must be finite"):
        step(offset=float("nan"))
    with pytest.raises(TypeError, match="^posterior_step: offset: must be"):
        step(offset="a")
    with pytest.raises(TypeError, match="^posterior_loss: x_t: dtype"):
        fb.posterior_loss(LOGITS, LOGITS.half(), BIRTHS, 1.0, family="mean")
    with pytest.raises(ValueError, match="^posterior_step: family: .*negative-binomial.*mean"):
        step(family="median")
