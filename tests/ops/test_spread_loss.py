"""birth_loss of gains and weights that differ within a sample, and of the expected births in the place of logits."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.ops.birth_loss import _ONE, gradient_by_expected, gradient_of
from fastblackout.reference import portfloat as pf
from fastblackout.reference.birth_loss import sum_sample
from support.helpers import BACKENDS, using
from support.spread_calls import BORN, EXPECTED, GAIN, LOGITS, MASK, SHAPE, WEIGHT, losses

SLOPES = torch.tensor([1.0, -2.5, 0.5, 3.0])


def tensor(array):
    return torch.from_numpy(np.array(array))  # of the scalar kinds, too


def bits(values):
    return [np.asarray(each).tobytes() for each in values]


@pytest.mark.parametrize("shape", [(3, 1), (4, 2, 5), (2, 2500), (1, 1025)])
def test_uniform_numbers_give_the_bits_of_one_number(shape, backend):
    rng = np.random.default_rng(shape)
    logits, births = tensor(rng.normal(0, 9, shape).astype(np.float32)), tensor(rng.integers(0, 99, shape))
    ones = torch.ones(shape)
    for weight in (0.7, [-3.0, 0.0, 1e-300, 0.3][: shape[0]]):
        weight = torch.as_tensor(weight, dtype=torch.float64)
        gain = tensor(40 * rng.random(shape[0]) + 1e-3)
        column = weight.reshape(-1, *[1] * (len(shape) - 1)), gain.reshape(-1, *[1] * (len(shape) - 1))
        made = []
        for w, g in ((weight, gain), (column[0] * ones, gain), (weight, column[1] * ones), [c * ones for c in column]):
            leaf = logits.clone().requires_grad_()
            loss = fb.birth_loss(leaf, births, w, gain=g)
            loss.backward(SLOPES[torch.arange(shape[0]) % 4])
            alone = fb.birth_loss(logits.numpy(), births.numpy(), w.numpy(), gain=g.numpy())
            assert alone.tobytes() == loss.detach().numpy().tobytes()
            made.append(bits((loss.detach(), leaf.grad)))
        assert made[0] == made[1] == made[2] == made[3]


def test_the_bits_are_those_of_the_formula():
    """Costs, weighted by the share of the largest weight, summed as the reference sums, times that weight."""
    most = np.abs(WEIGHT.reshape(4, -1)).max(1, keepdims=True)
    share = WEIGHT.reshape(4, -1) / most

    def total(y, log_y):
        cost = (y - BORN.astype(np.float32) * log_y).reshape(4, -1)
        return (most[:, 0] * sum_sample((share * cost).astype(np.float32))).astype(np.float32)

    gain = np.broadcast_to(GAIN, SHAPE).astype(np.float32)
    log_gain = pf.log(gain.astype(np.float64)).astype(np.float32)
    by_logits = total(gain * pf.softplus(LOGITS), log_gain + pf.log_softplus(LOGITS))
    assert by_logits.tobytes() == fb.birth_loss(LOGITS, BORN, WEIGHT, gain=GAIN).tobytes()
    y = EXPECTED.astype(np.float32)
    log_y = pf.log(np.where(y > 0, y, 1).astype(np.float64)).astype(np.float32)
    assert total(y, log_y).tobytes() == fb.birth_loss(None, BORN, WEIGHT, expected=EXPECTED).tobytes()


def test_the_logit_of_one():
    one = np.float32([_ONE])
    assert pf.softplus(one) == 1 and pf.log_softplus(one) == 0 and not np.signbit(pf.log_softplus(one))


def exact(name, given):
    """The formula in float64. given: logits, or the expected births."""
    born, weight, gain = tensor(BORN).double(), tensor(WEIGHT), tensor(GAIN)
    weight = {"gain": 1.5, "expected": 0.7}.get(name, weight)
    if "expected" in name:
        y, log_y = given, torch.where(given == 0, 1.0, given).log()
    else:
        y = (2.0 if name == "weight" else gain) * torch.nn.functional.softplus(given)
        log_y = y.log()
    known = tensor(np.broadcast_to(MASK, SHAPE)) if name in ("both, masked", "expected, weight") else True
    cost = torch.where(torch.as_tensor(known), weight * (y - born * log_y), 0.0)
    return cost.sum((1, 2)), cost.abs().sum((1, 2)).detach()


@pytest.mark.parametrize("name", ["weight", "gain", "both, masked", "expected", "expected, weight"])
def test_value_and_gradient_by_autograd(name):
    loss, gradient = losses(tensor, graded=True)[name]
    given = tensor(EXPECTED.astype(np.float32) if "expected" in name else LOGITS).double().requires_grad_()
    value, size = exact(name, given)
    (value * SLOPES).sum().backward()
    assert ((loss - value).abs() <= 1e-5 * size).all()
    assert ((gradient - given.grad).abs() <= 1e-5 * given.grad.abs().clamp(min=1e-3)).all() and gradient.any()


def test_where_none_is_expected():
    """The cost of births 0 is 0 there, and its slope the weight."""
    y = torch.tensor([[0.0, 2.0, -0.0]], requires_grad=True)
    loss = fb.birth_loss(None, torch.tensor([[0, 0, 0]]), torch.tensor([[3.0, 1.0, -2.0]]), expected=y)
    loss.backward()
    assert loss.item() == 2.0 and y.grad.tolist() == [[3.0, 1.0, -2.0]]
    assert not (fb.birth_loss(None, BORN * 0, 1.0, expected=EXPECTED * 0) != 0).any()


def test_transforms():
    born, weight, gain = tensor(BORN), tensor(WEIGHT), tensor(GAIN)
    by_logits = lambda given: fb.birth_loss(given, born, weight, gain=gain)  # noqa: E731
    by_births = lambda given: fb.birth_loss(None, born, weight, expected=given)  # noqa: E731
    for call, given in ((by_logits, tensor(LOGITS)), (by_births, tensor(EXPECTED).float())):
        leaf = given.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(call(leaf).sum(), leaf)
        assert torch.equal(torch.func.grad(lambda given, call=call: call(given).sum())(given), gradient)
        each = torch.func.vmap(torch.func.grad(lambda given, call=call: call(given).sum()))(given.expand(2, *SHAPE))
        assert torch.equal(each[1], gradient)
    slopes = lambda given: torch.func.grad(lambda inner: by_births(inner).sum())(given).sum()  # noqa: E731
    y = tensor(EXPECTED)
    curved = torch.where(y == 0, 0, weight * born / y**2)
    torch.testing.assert_close(torch.func.grad(slopes)(y), curved, rtol=1e-5, atol=1e-9)
    leaf = tensor(LOGITS).requires_grad_()
    (gradient,) = torch.autograd.grad(by_logits(leaf).sum(), leaf, create_graph=True)
    with pytest.raises(RuntimeError, match="^birth_loss: .* differentiated again"):
        gradient.sum().backward()


def by_logits(given, born, weight):
    return fb.birth_loss(given, born, weight, gain=weight.abs())


def by_births(given, born, weight):
    return fb.birth_loss(None, born, weight, expected=given.exp())


@pytest.mark.slow
@pytest.mark.parametrize("call", [by_logits, by_births])
def test_compiled(call):
    torch._dynamo.reset()
    compiled = torch.compile(call, fullgraph=True, dynamic=True, backend="aot_eager")
    made = []
    for function in (call, compiled):
        leaf = tensor(LOGITS).requires_grad_()
        loss = function(leaf, tensor(BORN), tensor(WEIGHT))
        loss.backward(SLOPES)
        made.append(bits((loss.detach(), leaf.grad)))
    assert made[0] == made[1]


@pytest.mark.parametrize("backend", BACKENDS[:2])
def test_the_gradient_of_arrays_has_the_bits_of_tensors(backend):
    """As JAX asks for it."""
    upstream = SLOPES.numpy()
    with using(backend):
        wanted = {name: gradient.numpy() for name, (_, gradient) in losses(tensor, graded=True).items()}
        one, many = {"upstream": upstream, "births": BORN}, {"weight": WEIGHT, "mask": np.broadcast_to(MASK, SHAPE)}
        made = {
            "weight": gradient_of(LOGITS, **one, weight=WEIGHT, gain=2.0),
            "gain": gradient_of(LOGITS, **one, weight=1.5, gain=GAIN),
            "both, masked": gradient_of(LOGITS, **one, **many, gain=GAIN),
            "expected": gradient_by_expected(EXPECTED.astype(np.float32), **one, weight=0.7),
            "expected, weight": gradient_by_expected(EXPECTED.astype(np.float32), **one, **many),
        }
    for name, gradient in made.items():
        assert gradient.dtype == np.float32 and np.array_equal(gradient, wanted[name]), name


def test_the_gradient_of_no_elements():
    """As JAX asks for it."""
    for shape in ((0, 3), (2, 0)):
        logits, upstream, weight = np.zeros(shape, np.float32), np.ones(shape[0], np.float32), np.ones((*shape[:1], 3))
        gradient = gradient_of(logits, upstream, np.zeros(shape), weight[:, : shape[1]], gain=np.ones((1, shape[1])))
        assert gradient.shape == shape and gradient.dtype == np.float32


def test_mask():
    """Whatever lies outside; inside nothing changes."""
    mask = np.broadcast_to(MASK, SHAPE)
    for name, values in (("logits", LOGITS), ("expected", EXPECTED)):
        leaf = tensor(np.where(mask, values, np.nan)).requires_grad_()
        given = {"logits": None, name: leaf}
        loss = fb.birth_loss(births=tensor(np.where(mask, BORN, -3)), weight=WEIGHT, mask=tensor(MASK), **given)
        loss.sum().backward()
        none = WEIGHT * mask
        plain = {"logits": None, name: values}
        alone = fb.birth_loss(births=BORN, weight=none, **plain)
        assert not leaf.grad[~tensor(mask)].any() and torch.isfinite(leaf.grad).all()
        assert np.allclose(loss.detach().numpy(), alone, rtol=1e-6)
