"""Cases of the categorical draws and transition probabilities in Triton's interpreter, run by triton_worker.py: the
reference's bits; and single tests of the draws that 48 bits decide and of what wrong values do."""

import numpy as np
import torch

import fastblackout as fb
from fastblackout.backends import triton as backend
from fastblackout.reference import categorical as reference
from fastblackout.reference import transition as reference_transition
from fastblackout.reference.philox import Stream
from support import helpers
from support.state_matrices import rows, strided, tensor, tied
from support.triton_cases import cases, counts, flag, floats, made, per_sample, results
from support.triton_cases import check as check_outputs

COUNTS = ["uint8", "int16", "int32", "int64"]
SHAPES = [(), (7,), (3, 0, 2), (2, 31), (2, 1, 28, 28), (1, 3, 32, 32)]  # a program costs 20 ms and more
LARGE = (1, 3, 257, 129)  # 25 programs: one case of it
MATRICES = {"matrices": ["one", "index", "each"], "strides": ["dense", "transposed"]}


def covered(seed, shapes, **factors):
    made = list(cases(seed, shapes, **factors))
    return [*made, made[-1] | {"shape": LARGE, "layout": "inner"}]


def matrices_of(case):
    """(index, how many)"""
    batch = case["shape"][0] if case["shape"] else 1
    index = case["random"].integers(0, 3, batch) if case["matrices"] == "index" else None
    return index, {"one": 1, "index": 3, "each": batch}[case["matrices"]]


def categorical_cases():
    sizes = [(3, 3), (17, 4), (5, 12), (1, 1)]
    return covered(21, SHAPES, dtype=COUNTS, probs=["float64", "float32"], sizes=sizes, **MATRICES)


def categorical(case):
    """From probabilities, then through a table of them."""
    r, s = case["sizes"]
    (index, count), x, flags = matrices_of(case), counts(case, case["dtype"], r - 1), flag()
    probs = strided(rows(case["random"], count, r, s).astype(case["probs"]), case["strides"])
    expected = results(out=tensor(reference.categorical(x.numpy(), probs, index, case["key"])))
    outputs, key = made(case, out=case["dtype"]), case["key"].tensor()
    backend.categorical(x, tensor(probs), tensor(index), key, outputs["out"].value, flags)
    check_outputs(outputs, expected, flags)
    table = torch.full(probs.shape, 7), torch.full((*probs.shape[:2], 256), 7, dtype=torch.uint16)
    backend.build_categorical_table(tensor(probs), *table, flags)
    for got, want in zip(table, reference.build_table(probs), strict=True):
        assert (got.numpy() == want).all()
    backend.categorical_table(x, *table, tensor(index), key, outputs["out"].value, flags)
    check_outputs(outputs, expected, flags)


def categorical_bridge_cases():
    given = ["x_0", "probs", "float32", "bfloat16", "float16", "float64"]
    return covered(22, SHAPES, dtype=COUNTS, given=given, states=[2, 5, 1, 9], **MATRICES)


def categorical_bridge(case):
    random, s, kind = case["random"], case["states"], case["given"]
    (index, count), x_t, flags = matrices_of(case), counts(case, case["dtype"], s - 1), flag()
    before = strided(rows(random, count, s, s), case["strides"])
    after = tensor(strided(0.01 + 0.9 * rows(random, 1, s, s), case["strides"])).expand(before.shape)
    x_0 = counts(case, "int32", s - 1) if kind == "x_0" else None
    weights = None
    if kind == "probs":
        weights = tensor(strided(rows(random, *x_t.shape, s), case["strides"]) if x_t.ndim else rows(random, s))
    elif kind != "x_0":
        weights = floats(case | {"shape": (*x_t.shape, s)}, kind, 4.0)
        weights = torch.where(weights > 6, -float("inf"), weights) if s > 1 else weights.clone()  # no longer expanded
        weights[..., -1] = 900.0 if case["strides"] == "dense" else 0.0
    given = weights.float() if kind == "bfloat16" else weights
    arrays = [None if value is None else value.numpy() for value in (x_0, given)]
    logits = kind not in ("x_0", "probs")
    want = reference.categorical_bridge(x_t.numpy(), *arrays, logits, before, after.numpy(), index, case["key"])
    outputs = made(case, out=case["dtype"])
    if weights is not None and x_t.ndim == 0:
        weights = weights[None]
    key, out = case["key"].tensor(), outputs["out"].value
    backend.categorical_bridge(x_t, x_0, weights, logits, tensor(before), after, tensor(index), key, out, flags)
    check_outputs(outputs, results(out=tensor(want)), flags)


def transition_cases():
    return covered(23, SHAPES, dtype=COUNTS, kind=[0, 1], states=[1, 2, 9], flat=[False, True])


def transition(case):
    p, flags = per_sample(case, (0.3, 0.0, 1.0, 1e-12, 1 - 1e-12, 5e-324, 0.02)), flag()
    if case["flat"]:
        p = p[:1].expand(p.shape)
    pair, s = (p.numpy(), 1 - p.numpy()), case["states"]
    out = torch.full((len(p), s, 2 * s), 7.0, dtype=torch.float64)
    backend.transition_rows(p, 1 - p, out.shape[1], out[:, :, ::2], flags)
    want = reference_transition.transition_rows(*pair, s)
    assert (out[:, :, ::2].numpy() == want).all() and bool((out[:, :, 1::2] == 7.0).all())
    x, a, b = (counts(case, case["dtype"], high) for high in (100, 120, 127))
    name, given = ("bridge_log_prob", (x, a, b)) if case["kind"] else ("thin_log_prob", (x, a))
    want = getattr(reference_transition, name)(*(each.numpy() for each in given), *pair)
    outputs = made(case, out="float64")
    getattr(backend, name)(*given, p, 1 - p, outputs["out"].value, flags)
    check_outputs(outputs, results(out=tensor(np.asarray(want))), flags)
    each = p.view(-1, *[1] * (x.ndim - 1)).expand(x.shape) if x.ndim else p[0]
    getattr(backend, name)(*given, each, 1 - each, outputs["out"].value, flags)
    check_outputs(outputs, results(out=tensor(np.asarray(want))), flags)


def tied_tensor(*arguments):
    probs, wanted = tied(*arguments)
    return tensor(probs[None]), wanted[0].tolist()


def state_ties():
    """Every element ties, and the last 16 bits decide between 0 and 1."""
    states, rng, flags = 24, helpers.KEYS[14], flag()
    x, key = torch.arange(states, dtype=torch.int32)[None], rng.tensor()
    out, one = torch.empty_like(x), torch.ones(1, states, states, dtype=torch.float64)
    probs, want = tied_tensor(rng, Stream.CATEGORICAL, Stream.CATEGORICAL_REFINE, states)
    assert 0 < sum(want) < states
    backend.categorical(x, probs, None, key, out, flags)
    assert out[0].tolist() == want
    table = torch.empty(probs.shape, dtype=torch.int64), torch.empty((1, states, 256), dtype=torch.uint16)
    backend.build_categorical_table(probs, *table, flags)
    backend.categorical_table(x, *table, None, key, out.fill_(7), flags)
    assert out[0].tolist() == want
    before, want = tied_tensor(rng, Stream.CATEGORICAL_BRIDGE, Stream.CATEGORICAL_BRIDGE_REFINE, states)
    backend.categorical_bridge(x, x, None, False, before, one, None, key, out, flags)
    assert out[0].tolist() == want
    predicted, want = tied_tensor(rng, Stream.CATEGORICAL_X0, Stream.CATEGORICAL_X0_REFINE, states)
    stay = torch.eye(states, dtype=torch.float64)[None]
    backend.categorical_bridge(x, None, predicted, False, stay, one, None, key, out, flags)
    assert out[0].tolist() == want and int(flags) == 0


def state_flags():
    """Wrong values set their bit and give what the CUDA kernels give (tests/backends/test_simt_states.py)."""
    x, key, nan, inf = torch.tensor([[0, 1, 2, 3, 4]], dtype=torch.int32), fb.Philox(1).tensor(), np.nan, np.inf
    stay = torch.eye(6, dtype=torch.float64)[None].repeat(2, 1, 1)
    stay[:, 5] = nan

    def drawn(x, probs, index=None):
        out, bits, built, through = torch.full_like(x, 99), flag(), flag(), flag()
        backend.categorical(x, probs, index, key, out, bits)
        table = torch.empty(probs.shape, dtype=torch.int64), torch.empty((*probs.shape[:2], 256), dtype=torch.uint16)
        backend.build_categorical_table(probs, *table, built)
        again = torch.full_like(x, 99)
        backend.categorical_table(x, *table, index, key, again, through)
        assert torch.equal(out, again) and int(built) == 8 and int(through) == int(bits) & 1
        return out[0].tolist(), int(bits)

    one = stay[:1].clone()
    assert drawn(x, one) == ([0, 1, 2, 3, 4], 0) and drawn(x - 1, one) == ([0, 0, 1, 2, 3], 1)
    for wrong in (nan, -0.5, inf, 2.0):
        one[0, 2, 4] = wrong
        assert drawn(x, one) == ([0, 1, 2, 3, 4], 8)
    one[0, 2] = 0.0
    assert drawn(x, one) == ([0, 1, 2, 3, 4], 8) and drawn(x, one[:, :, :2]) == ([0, 1, 1, 1, 1], 8)
    one[0, 2, 2] = 1.00005
    assert drawn(x, one) == ([0, 1, 2, 3, 4], 8) and drawn(x, one.float()) == ([0, 1, 2, 3, 4], 0)
    stay[1] = stay[1].roll(1, -1)
    for number, wanted in ((1, ([1, 2, 3, 4, 5], 0)), (7, ([1, 2, 3, 4, 5], 1)), (-1, ([0, 1, 2, 3, 4], 1))):
        assert drawn(x, stay, torch.tensor([number])) == wanted

    x_t, x_0 = torch.tensor([[2, 0, 1]], dtype=torch.int16), torch.tensor([[1, 2, 0]], dtype=torch.int16)
    stay, ones = torch.eye(3, dtype=torch.float64)[None], torch.ones(1, 3, 3, dtype=torch.float64)
    sure = torch.tensor([[[-inf, 5.0, -inf], [-inf, -inf, 0.0], [3.0, -inf, -inf]]])
    half = sure.clone()
    half[0, 0, 0] = inf
    probs = torch.softmax(sure, -1)
    for given, weights, logits, before, wanted in (
        (x_0, None, False, stay, ([1, 2, 0], 0)),
        (x_0 + 1, None, False, stay, ([2, 2, 1], 1)),
        (x_0, None, False, stay * 0, ([2, 0, 1], 8)),
        (None, sure, True, stay, ([1, 2, 0], 0)),
        (x_0, None, False, stay + torch.tensor([nan, 0, 0]), ([1, 2, 1], 8)),
        (None, half, True, stay, ([1, 2, 0], 2)),
        (None, half * nan, True, stay, ([2, 0, 1], 2)),
        (None, sure * 0 - inf, True, stay, ([2, 0, 1], 2)),
        (None, probs, False, stay, ([1, 2, 0], 0)),
        (None, probs * 0.9, False, stay, ([1, 2, 0], 8)),
        (None, probs * nan, False, stay, ([2, 0, 1], 8)),
        (None, probs.double() * (1 + 1e-6), False, stay, ([1, 2, 0], 8)),
    ):
        out, bits = torch.full_like(x_t, 99), flag()
        backend.categorical_bridge(x_t, given, weights, logits, before, ones, None, key, out, bits)
        assert (out[0].tolist(), int(bits)) == wanted
    for p, q, taken in ((1.5, -0.5, 1.0), (nan, nan, 0.0), (0.25, nan, 0.25)):
        pair, bits = (torch.tensor([p], dtype=torch.float64), torch.tensor([q], dtype=torch.float64)), flag()
        rows_out, clean = torch.empty(1, 4, 4, dtype=torch.float64), (np.array([taken]), np.array([1 - taken]))
        backend.transition_rows(*pair, 4, rows_out, bits)
        assert (rows_out.numpy() == reference_transition.transition_rows(*clean, 4)).all() and int(bits) == 8
        x, n, log = torch.tensor([[0, 3, 2, 7]]), torch.tensor([[3, 3, 3, 3]]), torch.empty(1, 4, dtype=torch.float64)
        backend.thin_log_prob(x, n, *pair, log, bits.zero_())
        assert (log.numpy() == reference_transition.thin_log_prob(x.numpy(), n.numpy(), *clean)).all()
        assert int(bits) == 8
    x, half, log = torch.tensor([[-1, 2**53 + 2]]), torch.full((1,), 0.5, dtype=torch.float64), log[:, :2].clone()
    backend.bridge_log_prob(x, x * 0, x * 0 + 4, half, half, log, bits.zero_())
    assert log.tolist() == [[4 * np.log(0.5), -inf]] and int(bits) == 1


SINGLE = (state_ties, state_flags)
GROUPS = ("categorical", "categorical_bridge", "transition")
