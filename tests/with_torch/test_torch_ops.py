"""The ops inside torch: opcheck, torch.compile, meta tensors, keys as tensors; bits as in eager calls."""

import math

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import fastblackout as fb
from fastblackout.blackout.losses import blackout_loss
from support import torch_states
from support.arrays import bits, same
from support.torch_ops import CALLS, IDS, KEYS, TRACED, WARNINGS, bridge, composed, given, inputs, registered, thin

pytestmark = WARNINGS


REGISTERED = registered()


@pytest.mark.parametrize("number", range(len(REGISTERED)), ids=lambda n: f"{n}-{REGISTERED[n][0]}")
def test_opcheck(number):
    name, arguments = REGISTERED[number]
    torch.library.opcheck(getattr(torch.ops.fastblackout, name).default, arguments)


@pytest.mark.parametrize("call", TRACED, ids=IDS)
def test_one_compiled_graph_serves_all_keys_and_batches(call):
    """fullgraph, equal to eager to the bit; other seeds, calls and first samples compile nothing, batches once more."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(call, fullgraph=True, backend=counter)
    values = given(call)
    for key in KEYS:
        same(compiled(*values, key.tensor()), call(*values, key), call.__name__)
    assert counter.frame_count == 1
    for batch in (7, 6, 11):
        values = given(call, batch, seed=batch)
        same(compiled(*values, KEYS[1].tensor()), call(*values, KEYS[1]), call.__name__)
    assert counter.frame_count == 2


@pytest.mark.slow  # for a graph that serves all batches, torch makes that dimension a dynamic one anyway
@pytest.mark.parametrize("call", TRACED, ids=IDS)
def test_dynamic_shapes_compile_once(call):
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(call, fullgraph=True, backend=counter, dynamic=True)
    seen = []
    for batch, shape in ((8, (2, 4, 6)), (11, (4, 6, 10)), (4, (6, 10, 14))):  # equal sizes would be taken for one
        values = given(call, batch, shape, seed=batch)
        same(compiled(*values, KEYS[1].tensor()), call(*values, KEYS[1]), call.__name__)
        seen.append(counter.frame_count)
    assert seen[1:] == seen[:1] * 2


@pytest.mark.parametrize("call", [*CALLS, *torch_states.CALLS], ids=lambda call: call.__name__)
def test_meta_tensors_give_shapes_types_and_strides(call):
    for layout in (torch.contiguous_format, torch.channels_last):
        values = [value.to(memory_format=layout) if value.ndim == 4 else value for value in given(call)]
        made = call(*(value.to("meta") for value in values), KEYS[1].tensor("meta"))
        for one, other in zip(made, call(*values, KEYS[1]), strict=True):
            assert (one is None) == (other is None)
            if one is not None:
                assert one.device.type == "meta"
                assert (one.shape, one.dtype, one.stride()) == (other.shape, other.dtype, other.stride())


def test_ops_made_of_others_compile_once():
    counter = CompileCounterWithBackend("aot_eager")
    compiled, seen = torch.compile(composed, fullgraph=True, backend=counter, dynamic=True), []
    for batch, shape, key in ((7, (2, 4, 6), KEYS[1]), (11, (4, 6, 10), KEYS[2])):
        x, logits, (p, q) = inputs(batch, shape, seed=batch)
        same(compiled(x, logits, p, q, key.tensor()), composed(x, logits, p, q, key), "composed")
        seen.append(counter.frame_count)
    assert seen[0] == seen[1]


WITH_NUMBERS = {
    "normal": lambda x, y, n, k, key: (fb.normal(y, n, rng=key), fb.normal(k, y.exp(), rng=key)),
    "binomial": lambda x, y, n, k, key: (fb.binomial(x, n, rng=key), fb.binomial(k, y.sigmoid(), rng=key)),
    "gamma": lambda x, y, n, k, key: (fb.gamma(y.exp(), scale=n, rng=key), fb.gamma(k, scale=y.exp(), rng=key)),
    "beta": lambda x, y, n, k, key: (fb.beta(y.exp(), n, rng=key), fb.beta(k, y.exp(), rng=key)),
    "beta_binomial": lambda x, y, n, k, key: (fb.beta_binomial(x, k, n, rng=key),),
    "negative_binomial": lambda x, y, n, k, key: (fb.negative_binomial(k, mean=y.exp(), rng=key),),
    "hypergeometric": lambda x, y, n, k, key: (fb.hypergeometric(x, bad=k, draws=k, rng=key),),
    "bessel": lambda x, y, n, k, key: (fb.bessel(x, n, rng=key), fb.bessel(k, y.exp(), rng=key)),
    "skellam": lambda x, y, n, k, key: (fb.skellam(y.exp(), n, rng=key),),
    "split": lambda x, y, n, k, key: fb.split(x, (n, 1 - n), k, rng=key),
    "count_bridge": lambda x, y, n, k, key: (fb.count_bridge(x, 9 - x.int(), n, slack=k, rng=key),),
    "thin": lambda x, y, n, k, key: fb.thin(x, n, center=k, scale=n, rng=key),
    "bridge_step": lambda x, y, n, k, key: (fb.bridge_step(x, y, n, attrition=n, gain=k, rng=key).x_s,),
    "birth_loss": lambda x, y, n, k, key: (fb.birth_loss(y, x, k, gain=n),),
    "mean": lambda x, y, n, k, key: (
        fb.posterior_step(x, y, 0.5, family="mean", offset=n, rng=key).x_s,
        fb.posterior_step(x, y, n, family="mean", rng=key).x_s,
        fb.posterior_loss(y, x, x, k, family="mean", offset=k),
    ),
}


@pytest.mark.parametrize("dynamic", [None, True])
@pytest.mark.parametrize("name", WITH_NUMBERS)
def test_numbers_that_change_need_no_other_graph(name, dynamic):
    """torch has symbols for Python's numbers from the second call on, or with dynamic=True from the first."""
    counter = CompileCounterWithBackend("aot_eager")
    call, (x, logits, _), key = WITH_NUMBERS[name], inputs(), KEYS[1].tensor()
    compiled, seen = torch.compile(call, fullgraph=True, backend=counter, dynamic=dynamic), []
    for n in range(2, 6):
        values = x, logits, n / 8, n, key
        same(compiled(*values), call(*values), name)
        seen.append(counter.frame_count)
    older = tuple(map(int, torch.__version__.split(".")[:2])) < (2, 12)
    assert seen[1] == seen[-1] or older  # 2.6 compiles anew for some, and 2.11 for `split`


def test_a_training_loss_is_one_graph():
    """Schedule and wrapper included, for all keys and times; times out of range are clamped there, not looked at."""
    schedule = fb.Schedule.logit(steps=50)
    model = fb.BlackoutModel(torch.nn.Identity(), schedule, 255)
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


def test_inductor_on_states():
    values = given(torch_states.forward)
    compiled = torch.compile(torch_states.forward, fullgraph=True)
    same(compiled(*values, KEYS[1].tensor()), torch_states.forward(*values, KEYS[1]))


def test_constant_keys_and_no_key():
    x, logits, prob = inputs()
    compiled = torch.compile(lambda x, p: fb.thin(x, p, rng=KEYS[1]), fullgraph=True, backend="aot_eager")
    same(compiled(x, prob.p), fb.thin(x, prob.p, rng=KEYS[1]))
    seeded = torch.compile(lambda x, p, seed: fb.thin(x, p, rng=seed), fullgraph=True, backend="aot_eager")
    for seed in (3, 4, 5):  # from the second on torch traces it as a symbol
        same(seeded(x, prob.p, seed), fb.thin(x, prob.p, rng=fb.Philox(seed)))
    fresh = torch.compile(lambda x, p: fb.thin(x, p, outputs="x_t"), fullgraph=True, backend="aot_eager")
    drawn = []
    for function in (fresh, fresh, lambda x, p: fb.thin(x, p, outputs="x_t")):
        torch.manual_seed(5)
        drawn.append(function(x, prob.p).x_t)
    assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])  # torch.manual_seed governs both
    assert not torch.equal(fresh(x, prob.p).x_t, drawn[0])


@pytest.mark.parametrize(
    "call, op, number, wrong",
    [
        (bridge, "bridge_step", 1, lambda logits: logits.index_fill(0, torch.tensor(1), math.nan)),
        (bridge, "bridge_step", 2, lambda p: p + 1),
        (torch_states.forward, "categorical", 2, lambda matrices: matrices.index_fill(2, torch.tensor(2), 0.7)),
        (torch_states.forward, "categorical", 0, lambda state: state + 9),
        (torch_states.forward, "categorical", 3, lambda index: index - 9),
    ],
)
def test_wrong_values_in_a_compiled_graph(call, op, number, wrong):
    """They are told when it runs, with the eager call's text; torch 2.6 adds which node of the graph it was."""
    values = list(given(call))
    values[number] = wrong(values[number])
    with pytest.raises(ValueError) as eager:
        call(*values, KEYS[0])
    with pytest.raises(ValueError) as traced:
        torch.compile(call, fullgraph=True, backend="aot_eager")(*values, KEYS[0].tensor())
    assert str(traced.value).startswith(str(eager.value)) and str(eager.value).startswith(f"{op}: ")


@pytest.mark.parametrize(
    "call, number, text",
    [
        (bridge, 1, "bridge_step.*: .*logits.*: must have the shape of"),
        (torch_states.forward, 3, "categorical.*: index: shape must be"),
    ],
)
def test_wrong_shapes_are_told_while_tracing(call, number, text):
    values = list(given(call))
    values[number] = values[number][:2]
    # torch 2.11 shows the pieces that the text is made of, and torch 2.6 only that there was an error.
    text = "Observed exception" if torch.__version__.startswith("2.6.") else f"(?s){text}"
    with pytest.raises(Exception, match=text):
        torch.compile(call, fullgraph=True, backend="aot_eager")(*values, KEYS[0].tensor())


def test_errors_of_a_key_and_of_a_composed_op_in_a_compiled_graph():
    x, logits, (p, q) = inputs()
    nan = logits.index_fill(0, torch.tensor(1), math.nan)
    apart = torch.compile(lambda x, y, key: fb.count_bridge(x, y, 0.5, rng=key), fullgraph=True, backend="aot_eager")
    for wrong in (logits + 0.5, nan, logits.round() + 2**30):
        for ends in ((wrong, logits.round()), (logits.round(), wrong)):
            with pytest.raises(ValueError, match=r"thin: x_0: must be whole numbers in 0\.\.2147483647, got -1"):
                apart(*ends, KEYS[0].tensor())
    key = KEYS[0].tensor()
    key[2] = -1
    with pytest.raises(ValueError, match="bridge_step: rng: call of a key tensor must be in"):
        torch.compile(bridge, fullgraph=True, backend="aot_eager")(x, logits, p, q, key)


def test_key_tensors_in_eager_calls():
    x, _, (p, _) = inputs()
    for call in TRACED:
        values = given(call)
        same(call(*values, KEYS[1].tensor()), call(*values, KEYS[1]), call.__name__)
    assert KEYS[2].tensor().tolist() == [-1, 2**32 - 64, 2**32 - 1]
    for wrong in (torch.zeros(3), torch.zeros(2, dtype=torch.int64)):
        with pytest.raises(TypeError, match=r"^thin: rng: a key tensor must be int64 \(3,\)"):
            fb.thin(x, p, rng=wrong)
    with pytest.raises(ValueError, match=r"^thin: rng: first_sample \+ samples"):
        fb.thin(x, p, rng=fb.Philox(0, first_sample=2**32 - 2).tensor())
    with pytest.raises(ValueError, match="^thin: rng: must not be given together"):
        fb.thin(x, p, rng=KEYS[0].tensor(), generator=torch.Generator())


def test_an_output_array_in_a_compiled_graph():
    x, _, prob = inputs()
    state, _, matrices, *_ = torch_states.inputs()
    constant = matrices[0].numpy()

    @torch.compile(fullgraph=True, backend="aot_eager")
    def into(x, p, x_t, state, out):
        fb.thin(x, p, rng=KEYS[1], out=fb.Thinned(x_t=x_t))
        return fb.categorical(state, constant, rng=KEYS[1], out=out)

    x_t, out = torch.zeros_like(x), torch.zeros_like(state)
    into(x, prob.p, x_t, state, out)
    assert torch.equal(x_t, fb.thin(x, prob.p, rng=KEYS[1]).x_t)
    assert torch.equal(out, fb.categorical(state, constant, rng=KEYS[1]))


def test_a_matrix_for_each_of_two_samples():
    generator = torch.Generator().manual_seed(0)
    before, after = torch.rand(2, 2, 4, 4, dtype=torch.float64, generator=generator).softmax(-1)
    x_t, x_0 = torch.randint(0, 4, (2, 2, 50), generator=generator)

    def call(x_t, x_0):
        return fb.categorical_bridge(x_t, x_0, before=before, after=after, rng=KEYS[1])

    expected = call(x_t, x_0)
    assert bits(torch.compile(call, fullgraph=True, backend="eager")(x_t, x_0)) == bits(expected)
    alone = fb.categorical_bridge(
        x_t[1:], x_0[1:], before=before[1], after=after[1], rng=KEYS[1].at(first_sample=KEYS[1].first_sample + 1)
    )
    assert bits(alone) == bits(expected[1:])


def test_the_backend_is_chosen_when_the_graph_runs():
    x, logits, (p, q) = inputs()
    compiled = torch.compile(thin, fullgraph=True, backend="aot_eager")
    expected = compiled(x, logits, p, q, KEYS[1].tensor())
    with fb.use_backend("reference"):
        same(compiled(x, logits, p, q, KEYS[1].tensor()), expected)
    with fb.use_backend("cuda"), pytest.raises(ValueError, match="^thin: backend: 'cuda' does not run on cpu arrays"):
        compiled(x, logits, p, q, KEYS[1].tensor())
