"""The ops on states inside torch: opcheck, torch.compile, meta tensors; bits as in eager calls."""

import numpy as np
import pytest
import torch
from helpers import bits
from torch._dynamo.testing import CompileCounterWithBackend

import fastblackout as fb
from fastblackout.call import torch_registry  # noqa: F401  (registers torch.ops.fastblackout)

OPS = torch.ops.fastblackout
KEYS = [fb.Philox(0), fb.Philox(2**63 + 5, 3, 7), fb.Philox(2**64 - 1, 2**32 - 64, 2**32 - 1)]
STATES = 9
COUNT = 5  # matrices to choose from


@pytest.fixture(autouse=True)
def fresh():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch._dynamo.reset()
    yield
    torch.set_num_threads(threads)


def inputs(batch=4, shape=(2, 3, 7), seed=0):
    """state, logits, matrices (5, 9, 9), index, p."""
    random = np.random.default_rng(seed)
    weights = random.random((COUNT, STATES, STATES))
    return (
        torch.from_numpy(random.integers(0, STATES, (batch, *shape)).astype(np.uint8)),
        torch.from_numpy(random.normal(0, 3, (batch, *shape, STATES)).astype(np.float32)),
        torch.from_numpy(weights / weights.sum(-1, keepdims=True)),
        torch.from_numpy(random.integers(0, COUNT, batch)),
        torch.from_numpy(random.random(batch)),
    )


def forward(state, logits, matrices, index, p, key):
    return fb.categorical(state, matrices, index=index, rng=key), fb.categorical(state, matrices[0], rng=key)


def through_table(state, logits, matrices, index, p, key):
    return (fb.categorical(state, fb.CategoricalTable(matrices), index=index, rng=key),)


def bridge(state, logits, matrices, index, p, key):
    return (fb.categorical_bridge(state, logits=logits, before=matrices, after=matrices[1], index=index, rng=key),)


def bridge_known(state, logits, matrices, index, p, key):
    known = fb.categorical_bridge(state, state.int(), before=matrices[0], after=matrices[1], rng=key)
    return known, fb.categorical_bridge(
        state, probs=logits.double().softmax(-1), before=matrices[0], after=matrices[1], rng=key
    )


def log_probs(state, logits, matrices, index, p, key):
    pair = fb.Prob(p, 1.0 - p)
    return (
        fb.thin_log_prob(state, state + 2, pair),
        fb.bridge_log_prob(state + 1, state, state + 2, p),
        fb.transition_rows(pair, 11),
        fb.transition_rows(p[0], 3),
    )


CALLS = [forward, through_table, bridge, bridge_known, log_probs]


def registered():
    """name: arguments of every registered op, in layouts and options that differ."""
    state, logits, matrices, index, p = inputs()
    q, key, last = 1.0 - p, KEYS[1].tensor(), state.to(memory_format=torch.channels_last)
    table = fb.CategoricalTable(matrices)
    flat = state[:, 0, 0, 0].int()
    one = matrices[:1]
    predicted = logits.softmax(-1)
    return [
        ("categorical", (last, matrices, index, key, "auto")),
        ("categorical", (state, one, None, key, "reference")),
        ("categorical", (flat, matrices[1:].float(), None, key, "auto")),
        ("categorical_table", (last, table.thresholds, table.guide, index, key, "auto")),
        ("build_categorical_table", (matrices, "auto")),
        ("build_categorical_table", (matrices[:1].expand(3, -1, -1), "reference")),
        ("categorical_bridge", (last, None, logits.bfloat16(), True, matrices, matrices, index, key, "auto")),
        ("categorical_bridge", (state, None, predicted, False, one, one, None, key, "reference")),
        ("categorical_bridge", (state, last.int(), None, False, one, one.expand(4, -1, -1), None, key, "auto")),
        ("transition_rows", (p, q, 12, "auto")),
        ("thin_log_prob", (last, state.int(), p, q, "auto")),
        ("thin_log_prob", (flat, flat, p, q, "reference")),
        ("bridge_log_prob", (last, state, state, p, q, "auto")),
    ]  # fmt: skip


@pytest.mark.parametrize("number", range(len(registered())))
def test_opcheck(number):
    name, arguments = registered()[number]
    torch.library.opcheck(getattr(OPS, name).default, arguments)


@pytest.mark.parametrize("call", CALLS, ids=lambda c: c.__name__)
def test_one_compiled_graph_serves_all_keys_and_batches(call):
    """fullgraph, equal to eager to the bit; other keys compile nothing, other batches once more."""
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(call, fullgraph=True, backend=counter)
    for key in KEYS:
        given = inputs()
        got, expected = compiled(*given, key.tensor()), call(*given, key)
        assert [bits(value) for value in got] == [bits(value) for value in expected]
    assert counter.frame_count == 1
    for batch in (7, 6, 11):
        given = inputs(batch, seed=batch)
        got, expected = compiled(*given, KEYS[1].tensor()), call(*given, KEYS[1])
        assert [bits(value) for value in got] == [bits(value) for value in expected]
    assert counter.frame_count == 2


@pytest.mark.parametrize("call", CALLS, ids=lambda c: c.__name__)
def test_dynamic_shapes_compile_once(call):
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(call, fullgraph=True, backend=counter, dynamic=True)
    seen = []
    for batch, shape in ((8, (2, 4, 6)), (11, (4, 6, 10)), (4, (6, 10, 14))):  # equal sizes would be taken for one
        given = inputs(batch, shape, seed=batch)
        got, expected = compiled(*given, KEYS[1].tensor()), call(*given, KEYS[1])
        assert [bits(value) for value in got] == [bits(value) for value in expected]
        seen.append(counter.frame_count)
    assert seen[1:] == seen[:1] * 2


@pytest.mark.parametrize("call", CALLS, ids=lambda c: c.__name__)
def test_meta_tensors_give_shapes_types_and_strides(call):
    given = [value.to(memory_format=torch.channels_last) if value.ndim == 4 else value for value in inputs()]
    expected = call(*given, KEYS[0])
    got = call(*(value.to("meta") for value in given), KEYS[0].tensor("meta"))
    for value, real in zip(got, expected, strict=True):
        assert value.device.type == "meta" and value.dtype == real.dtype
        assert value.shape == real.shape and value.stride() == real.stride()


def test_inductor():
    given = inputs()
    expected = forward(*given, KEYS[1])
    compiled = torch.compile(forward, fullgraph=True)
    assert [bits(value) for value in compiled(*given, KEYS[1].tensor())] == [bits(value) for value in expected]


def test_errors_in_a_compiled_graph_are_those_of_eager_calls():
    state, logits, matrices, index, p = inputs()
    compiled = torch.compile(forward, fullgraph=True, backend="aot_eager")
    bad = matrices.clone()
    bad[:, :, 2] = 0.7
    for broken in (
        (state, logits, bad, index, p),
        (state + 9, logits, matrices, index, p),
        (state, logits, matrices, index - 9, p),
    ):
        with pytest.raises(ValueError) as eager:
            forward(*broken, KEYS[0])
        with pytest.raises(ValueError) as traced:
            compiled(*broken, KEYS[0].tensor())
        # torch 2.6 adds which node of the graph it was
        assert str(traced.value).startswith(str(eager.value)) and str(eager.value).startswith("categorical: ")
    # Of an error while tracing, torch 2.11 shows the pieces that its text is made of, and torch 2.6 only that it was.
    text = "Observed exception" if torch.__version__.startswith("2.6.") else "(?s)categorical.*: index: shape must be"
    with pytest.raises(Exception, match=text):
        compiled(state, logits, matrices, index[:2], p, KEYS[0].tensor())


def test_key_tensors_numpy_matrices_and_out():
    state, logits, matrices, index, p = inputs()
    for call in CALLS:
        got = call(state, logits, matrices, index, p, KEYS[1].tensor())
        assert [bits(v) for v in got] == [bits(v) for v in call(state, logits, matrices, index, p, KEYS[1])]
    constant = matrices[0].numpy()
    expected = fb.categorical(state, constant, rng=KEYS[1])

    @torch.compile(fullgraph=True, backend="aot_eager")
    def into(state, out):
        return fb.categorical(state, constant, rng=KEYS[1], out=out)

    out = torch.zeros_like(state)
    into(state, out)
    assert bits(out) == bits(expected)
    with fb.use_backend("cuda"), pytest.raises(ValueError, match="^categorical: backend: 'cuda' does not run on cpu"):
        fb.categorical(state, matrices[0], rng=KEYS[1])
