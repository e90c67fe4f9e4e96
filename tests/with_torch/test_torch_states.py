"""The ops on states inside torch: opcheck, torch.compile, meta tensors; bits as in eager calls."""

import pytest
import torch
from torch._dynamo.testing import CompileCounterWithBackend

import fastblackout as fb
from support.arrays import bits
from support.torch_states import CALLS, KEYS, forward, inputs


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


@pytest.mark.slow  # for a graph that serves all batches, torch makes that dimension a dynamic one anyway
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
