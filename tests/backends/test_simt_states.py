"""Categorical draws and transition probabilities of the CUDA kernels, run on the CPU by csrc/simt: what test_product.py
does not reach. Matrices of any shape and strides, tables, 48 bits that decide, wrong values with their flags."""

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.backends import cuda
from fastblackout.reference import categorical as reference
from fastblackout.reference import transition
from fastblackout.reference.philox import Stream
from support.helpers import pairwise
from support.op_table import COUNTS, FLOATS
from support.simt import _simt, check, new_flag
from support.state_matrices import array, rows, strided, tensor, tied

SCHEDULES = ("forward", "reverse", "random")

CASES = pairwise(
    shape=[(1, 1), (2, 7), (3, 31), (2, 1, 28, 28), (2, 3, 17, 19), (1, 2051)],
    key=[0, 1, 16, 2**63, 2**64 - 1],
    schedule=SCHEDULES,
    counts=COUNTS,
    probs=["float64", "float32"],
    matrices=["one", "index", "each"],
    sizes=[(5, 5), (256, 256), (200, 37), (512, 4), (600, 9), (2, 255), (1, 1)],
    strides=["dense", "transposed"],
)


@pytest.fixture(autouse=True)
def built():
    _simt.configure("forward", 0, 1)


def prepared(case, number, states):
    """(states, generator, key, index, number of matrices)"""
    _simt.configure(case["schedule"], 3, 2)
    generator = np.random.default_rng(number)
    samples = case["shape"][0]
    states = min(states, np.iinfo(case["counts"]).max + 1)
    x = tensor(generator.integers(0, states, case["shape"]).astype(case["counts"]))
    index = generator.integers(0, 3, samples) if case["matrices"] == "index" else None
    count = {"one": 1, "index": 3, "each": samples}[case["matrices"]]
    return x, generator, fb.Philox(case["key"], first_sample=2**32 - 1000, call=2**32 - 1), index, count


def size_of(case):
    """Rows and columns that the dtype holds."""
    most = np.iinfo(case["counts"]).max + 1
    return tuple(min(size, most) for size in case["sizes"])


@pytest.mark.parametrize("number", range(len(CASES)))
def test_categorical_equals_the_reference(number):
    """From matrices, and of every second case from the tables of them."""
    case = CASES[number]
    r, s = size_of(case)
    x, generator, rng, index, count = prepared(case, number, r)
    probs = strided(rows(generator, count, r, s).astype(case["probs"]), case["strides"])
    want = tensor(reference.categorical(x.numpy(), probs, index, rng))
    out, flag = torch.full_like(x, 99), new_flag()
    cuda.categorical(x, tensor(probs), tensor(index), rng.tensor(), out, flag, module=_simt)
    check("categorical", out, want)
    if number % 2 == 0:
        thresholds, guide = map(tensor, reference.build_table(probs))
        made = torch.full(thresholds.shape, 7), torch.full(guide.shape, 7, dtype=torch.uint16)
        cuda.build_categorical_table(tensor(probs), *made, flag, module=_simt)
        check("thresholds", made[0], thresholds)
        check("guide", made[1], guide)
        cuda.categorical_table(x, *made, tensor(index), rng.tensor(), out.fill_(99), flag, module=_simt)
        check("categorical_table", out, want)
    assert flag.item() == 0


@pytest.mark.parametrize("number", range(0, len(CASES), 2))
def test_bridge_equals_the_reference(number):
    case, number = CASES[number], number // 2
    s = [2, 5, 33, 64][number % 4]
    x_t, generator, rng, index, count = prepared(case, number, s)
    # One of the two matrices may be the same for all: expanded, without a copy.
    before = strided(rows(generator, count, s, s), case["strides"])
    after = tensor(strided(0.01 + 0.9 * rows(generator, 1, s, s), case["strides"])).expand(before.shape)
    x_0 = weights = None
    kind = ["x_0", "probs", *FLOATS][number % 6]
    if kind == "x_0":
        x_0 = tensor(generator.integers(0, s, x_t.shape).astype("int32"))
    elif kind == "probs":
        weights = tensor(strided(rows(generator, *x_t.shape, s).astype(case["probs"]), case["strides"]))
    else:
        values = generator.normal(0.0, 4.0, (*x_t.shape, s)).astype("float32")
        values[..., 0] = -np.inf
        values[..., 1] += 800.0 * (number % 2)
        weights = tensor(strided(values, case["strides"])).to(getattr(torch, kind))
    given = weights
    if kind == "bfloat16":
        given = weights.float()
    logits, known, given = kind not in ("x_0", "probs"), array(x_0), array(given)
    want = reference.categorical_bridge(x_t.numpy(), known, given, logits, before, after.numpy(), index, rng)
    out, flag = torch.full_like(x_t, 99), new_flag()
    key = rng.tensor()
    cuda.categorical_bridge(
        x_t, x_0, weights, logits, tensor(before), after, tensor(index), key, out, flag, module=_simt
    )
    check("categorical_bridge", out, tensor(want))
    assert flag.item() == 0


@pytest.mark.parametrize("states", [40, 600])
def test_ties_are_decided_by_the_last_bits(states):
    """Every element ties: the last 16 bits decide between 0 and 1. 600 rows are more than a block shares."""
    rng, flag = fb.Philox(77, first_sample=3, call=9), new_flag()
    x = torch.arange(states, dtype=torch.int32)[None]
    probs, want = tied(rng, Stream.CATEGORICAL, Stream.CATEGORICAL_REFINE, states)
    assert 0.3 < want.mean() < 0.7
    out, key = torch.empty_like(x), rng.tensor()
    cuda.categorical(x, tensor(probs[None]), None, key, out, flag, module=_simt)
    check("categorical", out, tensor(want))
    if states == 40:
        table = torch.empty((1, states, states), dtype=torch.int64), torch.empty((1, states, 256), dtype=torch.uint16)
        cuda.build_categorical_table(tensor(probs[None]), *table, flag, module=_simt)
        cuda.categorical_table(x, *table, None, key, out.fill_(7), flag, module=_simt)
        check("categorical_table", out, tensor(want))
    one, stay = torch.ones(1, states, states, dtype=torch.float64), torch.eye(states, dtype=torch.float64)[None]
    before, want = tied(rng, Stream.CATEGORICAL_BRIDGE, Stream.CATEGORICAL_BRIDGE_REFINE, states)
    cuda.categorical_bridge(x, x, None, False, tensor(before[None]), one, None, key, out, flag, module=_simt)
    check("categorical_bridge", out, tensor(want))
    predicted, want = tied(rng, Stream.CATEGORICAL_X0, Stream.CATEGORICAL_X0_REFINE, states)
    cuda.categorical_bridge(x, None, tensor(predicted[None]), False, stay, one, None, key, out, flag, module=_simt)
    check("x_0", out, tensor(want))
    assert flag.item() == 0


@pytest.mark.parametrize("shape", [(3, 1), (2, 7), (1, 3, 32, 32)])
def test_in_place(shape):
    x, rng, flag = torch.randint(0, 256, shape, dtype=torch.uint8), fb.Philox(9), new_flag()
    probs = rows(np.random.default_rng(1), 1, 256, 256)
    want = reference.categorical(x.numpy(), probs, None, rng)
    cuda.categorical(x, tensor(probs), None, rng.tensor(), x, flag, module=_simt)
    check("categorical", x, tensor(want))


@pytest.mark.parametrize("states", [1, 2, 33, 150])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_transition_rows_equal_the_reference(states, schedule):
    _simt.configure(schedule, 4, 2)
    p = np.array([0.3, 0.0, 1.0, 1e-12, 1 - 1e-12, 5e-324, 0.99, 0.02])  # 0.99: row 149 ends early, one way only
    whole = torch.full((len(p), states, 2 * states), 7.0, dtype=torch.float64)
    out = whole[:, :, ::2].transpose(1, 2).contiguous().transpose(1, 2) if schedule == "random" else whole[:, :, ::2]
    cuda.transition_rows(tensor(p), tensor(1 - p), states, out, None, module=_simt)
    check("transition_rows", out, tensor(transition.transition_rows(p, 1 - p, states)))
    assert bool((whole[:, :, 1::2] == 7.0).all())


@pytest.mark.parametrize("states", [6, 600])
def test_wrong_values_of_categorical(states):
    """What each wrong value is taken for, and its bit; rows that do not occur may hold anything."""
    x, key = torch.tensor([[0, 1, 2, 3, 4]], dtype=torch.int32), fb.Philox(1).tensor()
    stay = torch.eye(states, dtype=torch.float64)[None].repeat(2, 1, 1)
    stay[:, 5] = float("nan")

    def drawn(x, probs, index=None):
        out, flag = torch.full_like(x, 99), new_flag()
        cuda.categorical(x, probs, index, key, out, flag, module=_simt)
        if states == 6:
            built, again, through = new_flag(), torch.full_like(x, 99), new_flag()
            table = (
                torch.empty(probs.shape, dtype=torch.int64),
                torch.empty((*probs.shape[:2], 256), dtype=torch.uint16),
            )
            cuda.build_categorical_table(probs, *table, built, module=_simt)
            cuda.categorical_table(x, *table, index, key, again, through, module=_simt)
            assert torch.equal(out, again) and built.item() == 8 and through.item() == flag.item() & 1
        return out[0].tolist(), flag.item()

    one = stay[:1].clone()
    assert drawn(x, one) == ([0, 1, 2, 3, 4], 0)
    assert drawn(x - 1, one) == ([0, 0, 1, 2, 3], 1)
    for wrong in (float("nan"), -0.5, float("inf"), 2.0):
        one = stay[:1].clone()
        one[0, 2, 4] = wrong  # counts as 0
        assert drawn(x, one) == ([0, 1, 2, 3, 4], 8)
    one[0, 2] = 0.0
    assert drawn(x, one) == ([0, 1, 2, 3, 4], 8)  # nothing to draw: the state
    assert drawn(x, one[:, :, :2]) == ([0, 1, 1, 1, 1], 8)  # or the last there is
    one[0, 2, 2] = 0.999
    assert drawn(x, one) == ([0, 1, 2, 3, 4], 8)
    assert drawn(x, one.float()) == ([0, 1, 2, 3, 4], 8)
    one[0, 2, 2] = 1.00005
    assert drawn(x, one.float()) == ([0, 1, 2, 3, 4], 0)
    stay[1] = stay[1].roll(1, -1)
    assert drawn(x, stay, torch.tensor([1])) == ([1, 2, 3, 4, 5], 0)
    assert drawn(x, stay, torch.tensor([7])) == ([1, 2, 3, 4, 5], 1)
    assert drawn(x, stay, torch.tensor([-1])) == ([0, 1, 2, 3, 4], 1)


def test_wrong_values_of_the_bridge():
    x_t, key, nan, inf = torch.tensor([[2, 0, 1]], dtype=torch.int16), fb.Philox(1).tensor(), np.nan, np.inf
    stay, ones = torch.eye(3, dtype=torch.float64)[None], torch.ones(1, 3, 3, dtype=torch.float64)

    def drawn(x_0=None, weights=None, logits=False, before=stay, x_t=x_t):
        out, flag = torch.full_like(x_t, 99), new_flag()
        cuda.categorical_bridge(x_t, x_0, weights, logits, before, ones, None, key, out, flag, module=_simt)
        return out[0].tolist(), flag.item()

    x_0 = torch.tensor([[1, 2, 0]], dtype=torch.int16)
    assert drawn(x_0) == ([1, 2, 0], 0)
    assert drawn(x_0 + 1) == ([2, 2, 1], 1)
    assert drawn(x_0, x_t=x_t * 3 - 1) == ([1, 2, 0], 1)
    assert drawn(x_0, before=stay * 0) == ([2, 0, 1], 8)  # no path: x_t
    assert drawn(x_0, before=stay + torch.tensor([nan, 0, 0])) == ([1, 2, 1], 8)
    sure = torch.tensor([[[-inf, 5.0, -inf], [-inf, -inf, 0.0], [3.0, -inf, -inf]]])
    assert drawn(weights=sure, logits=True) == ([1, 2, 0], 0)
    for wrong in (nan, inf):
        changed = sure.clone()
        changed[0, 0, 0] = wrong
        assert drawn(weights=changed, logits=True) == ([1, 2, 0], 2)
    assert drawn(weights=sure * 0 - inf, logits=True) == ([2, 0, 1], 2)  # x_0 is taken for x_t
    probs = torch.softmax(sure, -1)
    assert drawn(weights=probs) == ([1, 2, 0], 0)
    assert drawn(weights=probs * 0.9) == ([1, 2, 0], 8)
    assert drawn(weights=probs * nan) == ([2, 0, 1], 8)
    assert drawn(weights=probs.double() * (1 + 1e-6)) == ([1, 2, 0], 8)


def test_wrong_probabilities_of_transitions():
    for p, q, taken in ((1.5, -0.5, 1.0), (np.nan, np.nan, 0.0), (0.25, np.nan, 0.25), (-1.0, 2.0, 0.0)):
        given, flag = (torch.tensor([p], dtype=torch.float64), torch.tensor([q], dtype=torch.float64)), new_flag()
        out = torch.empty(1, 4, 4, dtype=torch.float64)
        cuda.transition_rows(*given, 4, out, flag, module=_simt)
        pair = np.array([taken]), np.array([1 - taken])
        check("transition_rows", out, tensor(transition.transition_rows(*pair, 4)))
        assert flag.item() == 8
        x, n, log = torch.tensor([[0, 3, 2, 7]]), torch.tensor([[3, 3, 3, 3]]), torch.empty(1, 4, dtype=torch.float64)
        cuda.thin_log_prob(x, n, *given, log, flag.zero_(), module=_simt)
        check("log_prob", log, tensor(transition.thin_log_prob(x.numpy(), n.numpy(), *pair)))
        assert flag.item() == 8 and log[0, 3].item() == -np.inf
    x, half = torch.tensor([[-1, 2**53 + 2]]), torch.full((1,), 0.5, dtype=torch.float64)
    log = log[:, :2].clone()
    cuda.bridge_log_prob(x, x * 0, x * 0 + 4, half, half, log, flag.zero_(), module=_simt)
    assert log.tolist() == [[4 * np.log(0.5), -np.inf]] and flag.item() == 1
