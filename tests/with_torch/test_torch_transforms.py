"""The ops under autocast and torch.func; bits as in eager calls."""

import pytest
import torch

import fastblackout as fb
from support.arrays import bits
from support.draws import DRAWS
from support.torch_ops import WARNINGS, inputs, numbers

pytestmark = WARNINGS


@pytest.mark.parametrize("compiled", [False, True])
def test_autocast_leaves_the_loss_in_float32(compiled):
    x, logits, (p, _) = inputs()

    def value(net):
        return fb.birth_loss(net, x, p, gain=3.0)

    function = torch.compile(value, fullgraph=True, backend="aot_eager") if compiled else value
    for dtype in (torch.float32, torch.bfloat16):
        leaf = logits.to(dtype, copy=True).requires_grad_()
        expected = value(leaf)
        (grad,) = torch.autograd.grad(expected.sum(), leaf)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            inside = function(leaf)
        assert inside.dtype == torch.float32 and bits(inside) == bits(expected)
        (again,) = torch.autograd.grad(inside.sum(), leaf)
        assert again.dtype == dtype and bits(again) == bits(grad)


def test_vmap_and_grad():
    x, logits, (p, _) = inputs()

    def one(net, born, weight):
        return fb.birth_loss(net[None], born[None], weight, gain=3.0)[0]

    whole = fb.birth_loss(logits, x, p, gain=3.0)
    leaf = logits.clone().requires_grad_()
    (expected,) = torch.autograd.grad(fb.birth_loss(leaf, x, p, gain=3.0).sum(), leaf)
    assert bits(torch.func.vmap(one)(logits, x, p)) == bits(whole)
    per_sample = torch.func.vmap(torch.func.grad(one))(logits, x, p)
    assert bits(per_sample) == bits(expected)
    grad, value = torch.func.grad_and_value(lambda net: fb.birth_loss(net, x, p, gain=3.0).sum())(logits)
    assert bits(grad) == bits(expected) and bits(value) == bits(whole.sum())
    # Only the logits mapped, over their last dimension but one, the births shared.
    stack = torch.stack([logits, logits + 1], dim=-1)
    mapped = torch.func.vmap(lambda net: fb.birth_loss(net, x, p, gain=3.0), in_dims=-1)(stack)
    assert bits(mapped[0]) == bits(whole) and bits(mapped[1]) == bits(fb.birth_loss(logits + 1, x, p, gain=3.0))


def made_of(results):
    """What an op made, as torch.vmap takes it back."""
    return tuple(each for each in (results if isinstance(results, tuple) else (results,)) if each is not None)


def test_every_slice_of_vmap_draws_by_a_key_of_its_own():
    x, keys = torch.full((3, 2, 5), 100), torch.stack([fb.Philox(seed).tensor() for seed in range(3)])
    probs, logits = torch.full((101, 101), 1 / 101, dtype=torch.float64), torch.linspace(-2, 2, 10).reshape(2, 5)
    each, most = torch.linspace(0, 1, 5).expand(2, 5), {"max_count": 200}
    steps = (
        lambda x, key: fb.thin(x, 0.5, rng=key, center=3.0, **most),
        lambda x, key: fb.thin(x, each, rng=key, mask=logits > 0, **most),
        lambda x, key: fb.thin(x, 0.5, rng=key, center=each, max_count=torch.full((1, 5), 150)),
        lambda x, key: fb.bridge_step(x, logits, 0.5, rng=key, attrition=0.1, outputs=("x_s",), **most),
        lambda x, key: fb.bridge_step(x, logits, each, rng=key, attrition=each, gain=each, **most),
        lambda x, key: fb.tau_leap_step(x, logits, torch.tensor([0.5, 0.25]), rng=key, **most),
        lambda x, key: fb.tau_leap_step(x, logits, each, rng=key, **most),
        lambda x, key: fb.posterior_step(x, (logits, logits), 0.5, family="beta-binomial", rng=key, **most),
        lambda x, key: fb.posterior_step(x, logits, 0.5, family="mean", rng=key, **most),
        lambda x, key: fb.PureDeath(200).sample_forward(x, 0.5, rng=key),
    )
    draws = (
        *steps,
        lambda x, key: fb.Uniform(200).sample_forward(x, 0.5, rng=key),
        lambda x, key: fb.categorical_rows(logits=logits + x, rng=key),
        *(lambda x, key, op=op: getattr(fb, op)(**DRAWS[op].right(x, logits / 2), rng=key) for op in DRAWS),
        lambda x, key: fb.multinomial(x, torch.ones(3), rng=key),
        lambda x, key: fb.skellam(x.float(), 50.0, rng=key),
        lambda x, key: fb.split(x, rng=key)[0],
        lambda x, key: fb.count_bridge(x, 9 - x, 0.5, slack=2.0, rng=key),
        lambda x, key: fb.categorical(x, probs, rng=key),
    )
    refused = pytest.raises(ValueError, match=": rng: must be a key tensor for each slice of torch.vmap, got one")
    for draw in draws:
        wanted = [made_of(draw(x[0], key)) for key in keys]

        def function(x, key, draw=draw):
            return made_of(draw(x, key))

        drawn = torch.func.vmap(function, randomness="different")(x, keys)
        alone = torch.func.vmap(lambda key, function=function: function(x[0], key))(keys)
        inside = torch.func.vmap(torch.func.vmap(function, in_dims=(0, 0)), in_dims=(None, 1))(x, keys[:, None])
        for made in (drawn, alone, [each[0] for each in inside]):
            assert all(bits(a[n]) == bits(b) for n in range(3) for a, b in zip(made, wanted[n], strict=True))
        for key in (fb.Philox(1), keys[0], None):
            with refused:
                torch.func.vmap(lambda x, key=key, function=function: function(x, key))(x)
    outer = torch.func.vmap(torch.func.vmap(function, in_dims=(0, None)), in_dims=(None, 0))
    with refused:  # the inner slices would draw alike
        outer(x, keys)
    with refused:
        torch.func.vmap(lambda key: torch.func.vmap(lambda y: function(x[0], key)[0] + y)(x))(keys)
    with refused:  # inside a derivative
        torch.func.vmap(torch.func.grad(lambda x: steps[0](x, keys[0]).model_input.sum() + x.sum()))(x.float())


def test_a_second_derivative_is_refused():
    x, logits, (p, _) = inputs()
    for call in (fb.birth_loss, lambda *a: torch.ops.fastblackout.birth_loss(*a, numbers(4, 1.0), "auto")):
        leaf = logits.clone().requires_grad_()
        (grad,) = torch.autograd.grad(call(leaf, x, p).sum(), leaf, create_graph=True)
        with pytest.raises(RuntimeError, match="^birth_loss: .* differentiated again"):
            grad.sum().backward()
    with pytest.raises(RuntimeError, match="differentiated again"):
        square = torch.func.grad(lambda net: fb.birth_loss(net, x, p).sum())
        torch.func.grad(lambda net: square(net).pow(2).sum())(logits)
