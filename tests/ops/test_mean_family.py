"""The family "mean" of posterior_step and posterior_loss is bridge_step and birth_loss, to the bit."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.call.head import FAMILIES
from support import specified_floats
from support.arrays import bits

X = torch.randint(0, 200, (3, 2, 5, 5), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
LOGITS = torch.randn(X.shape, generator=torch.Generator().manual_seed(1))
BIRTHS = (255 - X) // 3
OFFSET = torch.tensor([-0.1, -1.0, -7.0], dtype=torch.float64)
STEP = fb.Prob(0.25, 0.75)
NUMPY = X.numpy(), LOGITS.numpy(), BIRTHS.numpy(), OFFSET.numpy()


def gain(offset, most=255):
    each = [specified_floats.exp(float(one)) for one in np.ravel(offset)]
    return np.reshape(each, np.shape(offset)) * (most / 4)


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


@pytest.mark.parametrize("dtype", NUMBERS)
def test_the_gain_is_the_portable_exponential_whatever_library_and_dtype(dtype):
    """Without births, and where softplus is 1, the loss is the gain."""
    offset = NUMBERS[dtype]
    wanted = gain(offset).astype(np.float32)
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


@pytest.mark.parametrize("floats", ["float16", "float32", "float64"])
@pytest.mark.parametrize("family", [*FAMILIES, "mean"])
def test_numpy_and_torch_agree_to_the_bit(family, floats):
    """For every family, heads and offsets of every dtype."""
    most, shape = 40, (3, 2, 5)
    random, head = np.random.default_rng(2), 1 if family == "mean" else 2
    x, births = random.integers(0, most // 2, (2, *shape)).astype(np.uint8)
    arrays = tuple(random.normal(0, 3, (head, *shape)).astype(floats))
    offset = np.array([-0.3, -4.7, 2.3]).astype(floats)
    how = {"family": family, "max_count": most}
    made = fb.posterior_step(x, arrays, 0.4, offset=offset, rng=fb.Philox(1), **how)
    loss = fb.posterior_loss(arrays, x, births, 0.7, offset=offset, **how)
    x, births, offset, *arrays = (torch.from_numpy(each) for each in (x, births, offset, *arrays))
    other = fb.posterior_step(x, arrays, 0.4, offset=offset, rng=fb.Philox(1), **how)
    assert [bits(each) for each in made[:2]] == [bits(each) for each in other[:2]]
    assert bits(loss) == bits(fb.posterior_loss(arrays, x, births, 0.7, offset=offset, **how))


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
    for wrong in ("a", torch.ones(3, dtype=torch.bool), np.ones(3, bool)):
        with pytest.raises(TypeError, match="^posterior_step: offset: must be"):
            step(offset=wrong)
    with pytest.raises(TypeError, match="^posterior_loss: x_t: dtype"):
        fb.posterior_loss(LOGITS, LOGITS.half(), BIRTHS, 1.0, family="mean")
    with pytest.raises(ValueError, match="^posterior_step: family: .*negative-binomial.*mean"):
        step(family="median")


def test_an_offset_next_to_0_raises_no_floating_point_error():
    x = np.ones((2, 3), np.uint8)
    with np.errstate(all="raise"):
        loss = fb.posterior_loss(x * np.float32(0.5), x, x, 1.0, family="mean", offset=np.array([5e-324, 1e-310]))
    assert np.isfinite(loss).all()
