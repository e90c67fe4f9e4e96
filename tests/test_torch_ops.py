"""The ops inside torch: opcheck, torch.compile, keys as tensors; bits as in eager calls."""

import math

import numpy as np
import pytest
import torch
from helpers import bits, same
from torch._dynamo.testing import CompileCounterWithBackend

import fastblackout as fb
from fastblackout.call import torch_registry  # noqa: F401  (registers torch.ops.fastblackout)
from fastblackout.training.loss import blackout_loss

# torch's own tracing looks at the .grad of tensors that are no leaves.
pytestmark = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
OPS = torch.ops.fastblackout
KEYS = [fb.Philox(0), fb.Philox(2**63 + 5, 3, 7), fb.Philox(2**64 - 1, 2**32 - 64, 2**32 - 1), fb.Philox(1)]


@pytest.fixture(autouse=True)
def fresh():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch._dynamo.reset()
    yield
    torch.set_num_threads(threads)


def inputs(batch=4, shape=(2, 3, 5), seed=0, dtype=torch.uint8):
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.integers(0, 200, (batch, *shape))).to(dtype)
    logits = torch.from_numpy(random.normal(0, 3, (batch, *shape)).astype(np.float32))
    p = torch.from_numpy(random.random(batch))
    return x, logits, fb.Prob(p, 1.0 - p)


def numbers(batch, value, dtype=torch.float32):
    return torch.linspace(value / 2, value, batch).to(dtype)


def thin(x, logits, p, q, key):
    center = p.float()[:, None, None] * 100.0
    return fb.thin(x, fb.Prob(p, q), rng=key, center=center, scale=0.5, outputs=("x_t", "model_input"))


def bridge(x, logits, p, q, key):
    return fb.bridge_step(x, logits, fb.Prob(p, q), rng=key, gain=20.0, attrition=0.1, input_dtype=torch.bfloat16)


def bridge_births(x, logits, p, q, key):
    return fb.bridge_step(x, births=x, step=fb.Prob(p, q), rng=key, rounding="nearest", outputs=("x_s",))


def tau_leap(x, logits, p, q, key):
    return fb.tau_leap_step(x, logits, fb.Prob(p, q), rng=key, gain=p * 40.0, center=1.5)


def binomial(x, logits, p, q, key):
    return fb.Thinned(fb.binomial(x, p[:, None, None, None], rng=key), fb.binomial(9, fb.Prob(p, q), rng=key))


def poisson(x, logits, p, q, key):
    return fb.Thinned(fb.poisson(logits.exp(), rng=key))


def loss(x, logits, p, q, key):
    return fb.Thinned(fb.birth_loss(logits, x, p.float()[:, None, None, None], gain=3.0))


CALLS = [thin, bridge, bridge_births, tau_leap, binomial, poisson, loss]


def registered():
    """name: arguments of every registered op, in layouts and options that differ."""
    x, logits, (p, q) = inputs()
    key, last = KEYS[1].tensor(), x.to(memory_format=torch.channels_last)
    gain, center, scale = numbers(4, 3.0), numbers(4, 9.0), numbers(4, 0.5)
    f32, bf16 = torch.float32, torch.bfloat16
    end = (key, 255, gain)
    some, both = ["births", "model_input"], ["x_s", "model_input"]
    leaf = logits.clone().requires_grad_()
    return [
        ("thin", (x, p, q, key, 255, center, scale, some, f32, "auto")),
        ("thin", (last, p, q, key, 255, center, scale, ["x_t"], f32, "reference")),
        ("thin", (x[:, 0, 0, 0].int(), p, q, key, 1000, center, scale, ["model_input"], bf16, "auto")),
        ("bridge_step", (last, logits, None, p, q, None, None, *end, True, center, scale, both, bf16, "auto")),
        ("bridge_step", (x, None, x.float(), p, q, q, p, *end, False, center, scale, ["x_s"], f32, "auto")),
        ("tau_leap_step", (x, logits.half(), None, p, *end, center, scale, both, f32, "auto")),
        ("birth_loss", (leaf, x, p, gain, "auto")),
        ("birth_loss", (leaf.detach().bfloat16().requires_grad_(), x.float(), p, gain, "reference")),
        ("birth_loss_backward", (logits, x, p, gain, "auto")),
        ("binomial", (x, p.float()[:, None, None, None].expand_as(x), None, key, "auto")),
        ("binomial", (x.double()[:, 0, 0, 0], p, q, key, "auto")),
        ("poisson", (logits.exp(), key, "auto")),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(len(registered())))
def test_opcheck(number):
    name, arguments = registered()[number]
    torch.library.opcheck(getattr(OPS, name).default, arguments)


@pytest.mark.parametrize("call", CALLS, ids=lambda c: c.__name__)
def test_one_compiled_graph_serves_all_keys_and_batches(call):
    """fullgraph, equal to eager to the bit; other seeds, calls and first samples compile nothing, batches once more."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(call, fullgraph=True, backend=counter)
    x, logits, (p, q) = inputs()
    for key in KEYS:
        same(compiled(x, logits, p, q, key.tensor()), call(x, logits, p, q, key), call.__name__)
    assert counter.frame_count == 1
    for batch in (7, 6, 9, 11):
        x, logits, (p, q) = inputs(batch, seed=batch)
        same(compiled(x, logits, p, q, KEYS[1].tensor()), call(x, logits, p, q, KEYS[1]), call.__name__)
    assert counter.frame_count == 2


@pytest.mark.parametrize("call", CALLS, ids=lambda c: c.__name__)
def test_dynamic_shapes_compile_once(call):
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(call, fullgraph=True, backend=counter, dynamic=True)
    seen = []
    for batch, shape in ((7, (2, 4, 6)), (11, (4, 6, 10)), (5, (6, 10, 14))):  # equal sizes would be taken for one
        x, logits, (p, q) = inputs(batch, shape, seed=batch)
        same(compiled(x, logits, p, q, KEYS[1].tensor()), call(x, logits, p, q, KEYS[1]), call.__name__)
        seen.append(counter.frame_count)
    assert seen[1:] == seen[:1] * 2


def test_a_training_loss_is_one_graph():
    """Schedule and wrapper included, for all keys and times; times out of range are clamped there, not looked at."""
    schedule = fb.Schedule.logit(steps=50)
    model = fb.models.BlackoutModel(torch.nn.Identity(), schedule)
    model.network.forward = lambda model_input, time: model_input * 0.1
    counter = CompileCounterWithBackend("aot_eager")

    def step(x, k, key):
        return blackout_loss(model, schedule, x, k, key, "likelihood")

    compiled = torch.compile(step, fullgraph=True, backend=counter)
    x = inputs(8)[0]
    for key in KEYS[:3]:
        k = schedule.draw(8, fb.Philox(key.seed))
        assert bits(compiled(x, k, key.tensor())) == bits(step(x, k, key))
    assert counter.frame_count == 1
    assert bits(compiled(x, k + 50, key.tensor())) == bits(step(x, torch.full((8,), 50), key))
    with pytest.raises(ValueError, match="Schedule.survival: k: must be in"):
        step(x, k + 50, key)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_gradient(dtype):
    x, logits, (p, _) = inputs()

    def step(net, born, weight):
        return (fb.birth_loss(net * 1.5, born, weight, gain=2.0) * 3.0).sum()

    grads = []
    for function in (step, torch.compile(step, fullgraph=True, backend="aot_eager")):
        leaf = logits.to(dtype, copy=True).requires_grad_()
        value = function(leaf, x, p)
        value.backward()
        grads.append((bits(value), bits(leaf.grad)))
    assert grads[0] == grads[1]


def test_inductor():
    """Thin, a network, the loss and its gradient in one graph through inductor, two seeds, channels_last too."""
    torch.manual_seed(0)
    net = torch.nn.Conv2d(2, 2, 1)

    def train_step(x, p, q, key):
        noised = fb.thin(x, fb.Prob(p, q), rng=key, center=50.0, scale=0.1)
        logits = net(noised.model_input)
        return noised.x_t, noised.births, logits, fb.birth_loss(logits, noised.births, p, gain=5.0)

    compiled = torch.compile(train_step, fullgraph=True)
    for layout in (torch.contiguous_format, torch.channels_last):
        x, _, (p, q) = inputs()
        x = x.to(memory_format=layout)
        for key in KEYS[:2]:
            net.zero_grad()
            x_t, births, logits, value = compiled(x, p, q, key.tensor())
            value.sum().backward()
            expected = fb.thin(x, fb.Prob(p, q), rng=key)
            assert torch.equal(x_t, expected.x_t) and torch.equal(births, expected.births)
            # The convolution may differ in the last bit; the loss of the logits it made may not.
            assert bits(value) == bits(fb.birth_loss(logits.detach(), births, p, gain=5.0))
            compiled_grad = net.weight.grad.clone()
            net.zero_grad()
            train_step(x, p, q, key)[-1].sum().backward()
            torch.testing.assert_close(compiled_grad, net.weight.grad, rtol=1e-4, atol=1e-3)


def test_constant_keys_and_no_key():
    x, logits, prob = inputs()
    compiled = torch.compile(lambda x, p: fb.thin(x, p, rng=KEYS[1]), fullgraph=True, backend="aot_eager")
    same(compiled(x, prob.p), fb.thin(x, prob.p, rng=KEYS[1]))
    fresh = torch.compile(lambda x, p: fb.thin(x, p, outputs="x_t"), fullgraph=True, backend="aot_eager")
    drawn = []
    for function in (fresh, fresh, lambda x, p: fb.thin(x, p, outputs="x_t")):
        torch.manual_seed(5)
        drawn.append(function(x, prob.p).x_t)
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])  # torch.manual_seed governs both
    assert not torch.equal(fresh(x, prob.p).x_t, drawn[0])


def test_errors_in_a_compiled_graph():
    """Metadata while tracing, values on the CPU when it runs; with the eager call's text."""
    x, logits, (p, q) = inputs()
    compiled = torch.compile(bridge, fullgraph=True, backend="aot_eager")
    bad = logits.clone()
    bad[1, 0, 2, 3] = math.nan
    for broken in ((x, bad, p, q, KEYS[0].tensor()), (x, logits, p + 1, q, KEYS[0].tensor())):
        with pytest.raises(ValueError) as eager:
            bridge(*broken)
        with pytest.raises(ValueError) as traced:
            compiled(*broken)
        # torch 2.6 adds which node of the graph it was
        assert str(traced.value).startswith(str(eager.value)) and str(eager.value).startswith("bridge_step: ")
    key = KEYS[0].tensor()
    key[2] = -1
    with pytest.raises(ValueError, match="bridge_step: rng: call of a key tensor must be in"):
        compiled(x, logits, p, q, key)
    # Of an error while tracing, torch 2.11 shows the pieces that its text is made of, and torch 2.6 only that it was.
    text = "(?s)bridge_step.*: .*logits.*: shape must be"
    text = "Observed exception" if torch.__version__.startswith("2.6.") else text
    with pytest.raises(Exception, match=text):
        compiled(x, logits[..., :2], p, q, KEYS[0].tensor())


def test_key_tensors_in_eager_calls():
    x, logits, (p, q) = inputs()
    for call in CALLS:
        same(call(x, logits, p, q, KEYS[1].tensor()), call(x, logits, p, q, KEYS[1]), call.__name__)
    assert KEYS[2].tensor().tolist() == [-1, 2**32 - 64, 2**32 - 1]
    for wrong in (torch.zeros(3), torch.zeros(2, dtype=torch.int64)):
        with pytest.raises(TypeError, match=r"^thin: rng: a key tensor must be int64 \(3,\)"):
            fb.thin(x, p, rng=wrong)
    with pytest.raises(ValueError, match=r"^thin: rng: first_sample \+ samples"):
        fb.thin(x, p, rng=fb.Philox(0, 2**32 - 2).tensor())
    with pytest.raises(ValueError, match="^thin: rng: must not be given together"):
        fb.thin(x, p, rng=KEYS[0].tensor(), generator=torch.Generator())


def test_an_output_array_in_a_compiled_graph():
    x, _, prob = inputs()
    out = fb.Thinned(x_t=torch.zeros_like(x))

    @torch.compile(fullgraph=True, backend="aot_eager")
    def into(x, p, x_t):
        return fb.thin(x, p, rng=KEYS[1], out=fb.Thinned(x_t=x_t)).x_t

    into(x, prob.p, out.x_t)
    assert torch.equal(out.x_t, fb.thin(x, prob.p, rng=KEYS[1]).x_t)


def test_the_backend_is_chosen_when_the_graph_runs():
    x, logits, (p, q) = inputs()
    compiled = torch.compile(thin, fullgraph=True, backend="aot_eager")
    expected = compiled(x, logits, p, q, KEYS[1].tensor())
    with fb.use_backend("reference"):
        same(compiled(x, logits, p, q, KEYS[1].tensor()), expected)
    with fb.use_backend("cuda"), pytest.raises(ValueError, match="^thin: backend: 'cuda' does not run on cpu arrays"):
        compiled(x, logits, p, q, KEYS[1].tensor())
