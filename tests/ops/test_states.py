"""Draws of states: categorical, its table, categorical_bridge and categorical_rows.

Ties and the ends of the uniforms, laws by enumeration of integers, and memory in place. Laws of draws are in
tests/battery, their bits in test_known_answers.py, and all that holds of any op in test_contract.py.
"""

import itertools
import math

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.backends import tensors
from fastblackout.reference import categorical as reference
from fastblackout.reference import categorical_rows as rows_reference
from fastblackout.reference import portfloat as pf
from fastblackout.reference.philox import Stream, philox4x32
from support.arrays import Through, bits
from support.helpers import BACKENDS, KEYS, pairwise, using

RNG = fb.Philox(seed=21, first_sample=5, call=9)


def matrices(count, rows, states, seed=0, dtype="float64"):
    """(count, rows, states) laws with zeros among them, the first and last state included."""
    random = np.random.default_rng(seed)
    weights = random.random((count, rows, states)) ** 3
    weights[random.random(weights.shape) < 0.3] = 0
    weights[..., -1] *= random.random((count, rows)) < 0.5
    weights[..., random.integers(0, states)] += 0.1
    return (weights / weights.sum(-1, keepdims=True)).astype(dtype)


def states_of(shape, rows, dtype="uint8", seed=1):
    return np.random.default_rng(seed).integers(0, rows, shape).astype(dtype)


def test_strided_probabilities_are_read_as_they_are(backend):
    probs = matrices(4, 9, 6)
    state, index = states_of((5, 40), 9), np.array([3, 0, 2, 2, 1])
    expected = fb.categorical(state, probs, index=index, rng=RNG)
    for other in (np.asfortranarray(probs), np.ascontiguousarray(probs[::-1])[::-1], np.repeat(probs, 2, 1)[:, ::2]):
        assert bits(fb.categorical(state, other, index=index, rng=RNG)) == bits(expected)
        assert bits(fb.categorical(state, fb.CategoricalTable(other), index=index, rng=RNG)) == bits(expected)
    assert bits(fb.categorical(state, torch.from_numpy(probs), index=torch.from_numpy(index), rng=RNG)) == bits(
        expected
    )


def tied_rows(v, high):
    """Two-state rows whose threshold has the first 32 bits of each uniform, then `high` as its last 16 bits."""
    first = ((v >> 16 << 16) + high) / 2.0**48
    return np.stack([first, 1.0 - first], axis=-1)


@pytest.mark.parametrize("high", [0, 1, 20_000, 65_535])
def test_ties_of_the_first_bits_are_decided_by_the_last(high, backend):
    """Each element has a row of its own, made to tie: the state is 1 where the last 16 bits are at or above `high`."""
    v = reference.uniforms(2, 500, RNG, Stream.CATEGORICAL, Stream.CATEGORICAL_REFINE)
    state = np.tile(np.arange(500, dtype=np.int16), (2, 1))
    probs = tied_rows(v, high)
    expected = ((v & 0xFFFF) >= high).astype(np.int16)
    assert np.array_equal(fb.categorical(state, probs, rng=RNG), expected)
    assert np.array_equal(fb.categorical(state, fb.CategoricalTable(probs), rng=RNG), expected)
    assert expected.sum() > 0 or high == 65_535


def test_a_threshold_equal_to_the_uniform_is_passed(backend):
    """C(0) = V gives state 1, C(0) = V + 1 gives state 0: to the last of the 48 bits."""
    v = reference.uniforms(2, 500, RNG, Stream.CATEGORICAL, Stream.CATEGORICAL_REFINE)
    state = np.tile(np.arange(500, dtype=np.int16), (2, 1))
    for more, expected in ((0, 1), (1, 0)):
        probs = tied_rows(v, (v & 0xFFFF) + more)
        assert (fb.categorical(state, probs, rng=RNG) == expected).all()
        assert (fb.categorical(state, fb.CategoricalTable(probs), rng=RNG) == expected).all()


def laws(states):
    """Rows of several kinds, zeros among them: name, (R, S)."""
    random = np.random.default_rng(states)
    eye, n = np.eye(states), min(states, 40)
    ramp = np.arange(1.0, states + 1)
    decay = np.exp(-np.arange(states) * 0.7)
    absorbing = 0.3 * eye[:n]
    absorbing[:, -1] += 0.7
    yield "uniform", 0.4 * eye[:n] + 0.6 / states
    yield "absorbing", absorbing
    yield "deterministic", eye[:n]
    yield "tiny", np.where(eye[:n] > 0, 1.0, 1e-20)
    yield "random", random.dirichlet(np.full(states, 0.2), n)
    yield "ramp", (ramp / ramp.sum())[None]
    yield "decay", np.stack([decay / decay.sum(), decay[::-1] / decay.sum()])
    thinned = fb.transition_rows(fb.Prob(0.3, 0.7), min(states, 512) - 1)[-n:]
    yield "thinning", np.pad(thinned, ((0, 0), (0, states - thinned.shape[1])))


@pytest.mark.parametrize("states", [2, 3, 256, 4096])
def test_law_by_enumeration(states, backend):
    """The law the integer thresholds imply is within 0.5625 S 2^-48 of the rows, and zero where they are."""
    for name, rows in laws(states):
        table = fb.CategoricalTable(rows)
        edges = np.concatenate([np.zeros((len(rows), 1), np.int64), table.thresholds[0]], axis=1)
        cells = np.diff(edges, axis=1)
        assert (edges[:, -1] == 2**48).all() and (cells >= 0).all()
        exact = rows.astype(np.longdouble)
        exact = exact / exact.sum(axis=1, keepdims=True)
        distance = np.abs(cells.astype(np.longdouble) / 2**48 - exact).sum(axis=1) / 2
        assert distance.max() <= 0.5625 * states / 2**48, (name, float(distance.max()))
        assert (cells[rows == 0] == 0).all(), name


def test_the_last_state_takes_what_rounding_leaves(backend):
    """Rows of float32 whose sums are off 1: of some of them the product by 2^48 / sum falls short of 2^48."""
    rows = matrices(400, 1, 21)[:, 0] * np.linspace(1 - 9e-5, 1 + 9e-5, 400)[:, None]
    last = 20 - np.argmax(rows[:, ::-1] > 0, axis=1)
    table = fb.CategoricalTable(rows.astype("float32"))
    assert (table.thresholds[0, np.arange(400), last] == 2**48).all()
    sums = np.cumsum(rows.astype("float32").astype(float), axis=1)[:, -1]
    assert (np.floor(sums * (2.0**48 / sums)) < 2.0**48).any()


def test_guide_is_where_each_search_starts(backend):
    table = fb.CategoricalTable(matrices(2, 5, 300))
    starts = np.arange(256) << 40
    expected = (table.thresholds[..., None, :] <= starts[:, None]).sum(-1)
    assert np.array_equal(table.guide, expected)


def test_zero_probability_states_are_never_drawn(backend):
    """Zeros before, between and after the states of positive weight, over a million draws."""
    row = np.zeros(64)
    row[[5, 17, 18, 40]] = (0.5, 1e-9, 0.25, 0.25 - 1e-9)
    drawn = fb.categorical(np.zeros((4, 250_000), np.uint8), row[None], rng=RNG)
    assert set(np.unique(drawn)) <= {5, 17, 18, 40}


@pytest.mark.parametrize("rows, states", [(1, 1), (3, 64), (64, 3), (33, 256), (256, 33)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_matrices_that_are_not_square(rows, states, dtype, backend):
    """Beside the reference, as they are and through a table."""
    probs, index = matrices(3, rows, states, dtype=dtype), np.array([2, 0, 0, 1])
    state = states_of((4, 1025), rows, "int32")
    expected = fb.categorical(state, probs, index=index, rng=RNG, backend="reference")
    for given in (probs, fb.CategoricalTable(probs)):
        assert bits(fb.categorical(state, given, index=index, rng=RNG)) == bits(expected)


def test_out_may_be_the_state_itself(backend):
    probs, state = matrices(1, 9, 9)[0], states_of((2, 30), 9)
    expected = fb.categorical(state.copy(), probs, rng=RNG)
    for make in (lambda a: a, torch.from_numpy):
        out = make(np.zeros_like(state))
        assert fb.categorical(make(state.copy()), probs, rng=RNG, out=out) is out and bits(out) == bits(expected)
        same = make(state.copy())
        assert fb.categorical(same, probs, rng=RNG, out=same) is same and bits(same) == bits(expected)


# categorical_bridge


def positive(count, states, seed):
    made = matrices(count, states, states, seed) + 0.01
    return made / made.sum(-1, keepdims=True)


@pytest.mark.parametrize("states", [1, 8, 9, 33, 256])  # around a group of 8
@pytest.mark.parametrize("kind", ["x_0", "logits", "probs float32", "probs float64"])
def test_bridges_of_many_states(states, kind, backend):
    """Beside the reference, of one matrix before and an indexed one after."""
    random, shape = np.random.default_rng(5), (3, 2, 17)
    name, _, dtype = kind.partition(" ")
    given = {"x_0": states_of(shape, states, seed=2), "logits": random.normal(0, 3, (*shape, states)).astype("float32")}
    given["probs"] = (given["logits"] == given["logits"].max(-1, keepdims=True)) * 0.5 + 0.5 / states
    value = given[name].astype(dtype) if dtype else given[name]
    rest = {"before": positive(1, states, 1)[0], "after": positive(3, states, 2), "index": np.array([2, 0, 0])}
    call = lambda **how: fb.categorical_bridge(states_of(shape, states), **{name: value}, **rest, rng=RNG, **how)  # noqa: E731
    assert bits(call()) == bits(call(backend="reference"))


def test_out_of_a_bridge_may_be_its_end(backend):
    rest = {"before": positive(6, 7, 1), "after": positive(6, 7, 2), "rng": RNG}
    x_t, logits = states_of((6, 3, 5), 7), np.random.default_rng(5).normal(0, 3, (6, 3, 5, 7)).astype(np.float32)
    whole = fb.categorical_bridge(x_t, logits=logits, **rest)
    assert fb.categorical_bridge(x_t, logits=logits, **rest, out=x_t) is x_t and bits(x_t) == bits(whole)


# categorical_rows

NAN, INF = float("nan"), float("inf")


def rows(shape, states, kind, seed=0):
    random = np.random.default_rng(seed)
    if kind == "logits":
        values = random.normal(size=(*shape, states)) * 6 - 40
        values[random.random(values.shape) < 0.2] = -INF
        values[..., states // 2] = -40
    else:
        values = random.random((*shape, states)) ** 4 * 1e-3
        values[random.random(values.shape) < 0.2] = 0
        values[..., states // 2] += 1e-4
    return values


def uniform(key, i):
    """The 62 bits of a row of the first sample."""
    high, low = (
        int(philox4x32(i // 4, key.first_sample, key.call, stream.word(), *key.key)[i % 4])
        for stream in (Stream.CATEGORICAL_ROWS, Stream.CATEGORICAL_ROWS_REFINE)
    )
    return (high << 32 | low) >> 2


def plainly(values, is_logits, key):
    """Of one sample, by integers of Python."""
    drawn = []
    for i, row in enumerate(values):
        row = row.astype(np.float64)
        row = pf.exp(row - row.max()) * (row - row.max() >= -700) if is_logits else row / row.max()
        scale = 2 ** min(52, 62 - (len(row) - 1).bit_length())
        q = [round(w * scale) for w in row.tolist()]  # ties to even
        goal = uniform(key, i) * sum(q) >> 62
        drawn.append(next(j for j, below in enumerate(itertools.accumulate(q)) if below > goal))
    return drawn


@pytest.mark.parametrize("kind", ["weights", "logits"])
@pytest.mark.parametrize("states", [1, 2, 3, 255, 256, 257, 1500])
def test_the_reference_is_what_it_says(kind, states):
    key = fb.Philox(2**63 + 5, first_sample=11, call=3)
    values = rows((1, 15), states, kind).astype(np.float32)
    got = fb.categorical_rows(**{kind: values}, rng=key, backend="reference")
    assert got.dtype == np.int64 and got[0].tolist() == plainly(values[0], kind == "logits", key)


CASES = pairwise(
    kind=("weights", "logits"),
    shape=((1,), (2, 5), (3, 4, 2), (2, 300), (0, 4), (4, 0)),
    states=(1, 2, 256, 257, 700),
    floats=("float64", "float32", "float16", "bfloat16"),
    dtype=("int64", "int32", "int16"),
    layout=("contiguous", "transposed", "sliced"),
    threads=(1, 3),
    key=range(0, len(KEYS), 3),
    backend=BACKENDS,
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())).replace(" ", ""))
def test_every_way_equals_the_reference(case):
    values = torch.from_numpy(rows(case["shape"], case["states"], case["kind"])).to(getattr(torch, case["floats"]))
    if case["kind"] == "weights" and case["states"]:
        values = values * 1024  # within float16
    key = KEYS[case["key"]]
    how = {"rng": key, "dtype": case["dtype"]}
    expected = fb.categorical_rows(**{case["kind"]: values}, **how, backend="reference")
    assert tuple(expected.shape) == case["shape"] and expected.dtype == getattr(torch, case["dtype"])
    laid = values
    if case["layout"] == "transposed":
        laid = values.transpose(0, -1).contiguous().transpose(0, -1)
    elif case["layout"] == "sliced":
        laid = torch.stack([values, values * 0 + 1], -1)[..., 0]
    with using(case["backend"], case["threads"]):
        assert bits(fb.categorical_rows(**{case["kind"]: laid}, **how)) == bits(expected)
        if case["floats"] != "bfloat16":
            assert bits(fb.categorical_rows(**{case["kind"]: laid.numpy()}, **how)) == bits(expected)
    with Through():
        assert bits(fb.categorical_rows(**{case["kind"]: laid}, **how | {"rng": key.tensor()})) == bits(expected)


@pytest.mark.parametrize("states", [2, 256, 1000, 50_258])
def test_integers_are_within_the_stated_distance(states):
    row = rows((1,), states, "weights", seed=states)
    q = (row / row.max() * 2.0 ** rows_reference.bits_of(states) + 2.0**52).view(np.int64) - rows_reference.OF_TWO_52
    assert q.sum() <= 2**62 and (q >= 0).all()
    distance = 0.5 * np.abs(q[0] / float(q.sum()) - row[0] / math.fsum(row[0].tolist())).sum()
    assert distance < states * 2.0 ** -(rows_reference.bits_of(states) + 1) + 1e-13  # the sum above is rounded, too


def test_the_last_bit_of_a_weight_decides(backend):
    """Weights (q 2^-52, 1), of the least q that draws state 0 by the bits of a row, and of one less."""
    key = fb.Philox(7)
    for i in range(12):
        u, low, high = uniform(key, i), 0, 2**52
        if u >> 61:
            continue  # more than half: state 1 has the larger weight
        while high - low > 1:
            q = (low + high) // 2
            low, high = (low, q) if u * (q + 2**52) >> 62 < q else (q, high)
        for q, state in ((high, 0), (high - 1, 1)):
            row = np.broadcast_to(np.array([q * 2.0**-52, 1.0]), (1, 12, 2))
            assert fb.categorical_rows(row, rng=key)[0, i] == state
            with Through():
                assert fb.categorical_rows(torch.from_numpy(row.copy()), rng=key)[0, i] == state


def test_bits_and_a_uniform_of_0(monkeypatch):
    """What has no weight is not drawn by the least uniform either."""
    sizes = {1: 52, 2: 52, 1024: 52, 1025: 51, 50_258: 46, 2**18: 44}
    assert {states: rows_reference.bits_of(states) for states in sizes} == sizes
    row = np.array([[[0.0, 0.0, 2.0, 1.0]]])
    monkeypatch.setattr(rows_reference, "words", lambda shape, key, stream: np.zeros(shape, np.int64))
    monkeypatch.setattr(tensors, "stream_words", lambda shape, *_: torch.zeros(shape, dtype=torch.int64))
    assert fb.categorical_rows(row, backend="reference") == 2
    with Through():
        assert fb.categorical_rows(torch.from_numpy(row), rng=fb.Philox(0)) == 2


def test_targets_are_whole_parts_of_wide_products():
    random = np.random.default_rng(0)
    high, low = (np.append(random.integers(0, 2**32, 500), [0, 2**32 - 1]) for _ in range(2))
    for total in (1, 2**31 - 1, 2**31, 2**52, 2**62 - 1, 2**62, 12345678901234567):
        expected = [((int(h) << 32 | int(w)) >> 2) * total >> 62 for h, w in zip(high, low, strict=True)]
        assert rows_reference.target(high, low, np.int64(total)).tolist() == expected


def test_words_of_a_vocabulary():
    logits = torch.randn(2, 3, 50_258, generator=torch.Generator().manual_seed(0))
    drawn = fb.categorical_rows(logits=logits, dtype="int32", rng=fb.Philox(1))
    assert (drawn == fb.categorical_rows(logits=logits, dtype="int32", rng=fb.Philox(1), backend="reference")).all()
    most = fb.categorical_rows(np.full((1, 4, 2**18), 3.0), rng=fb.Philox(2))
    assert most.max() < 2**18 and len(np.unique(most)) == 4


def test_wrong_rows_of_tensors_give_0_and_are_not_looked_at():
    values = torch.ones((2, 3, 4), dtype=torch.float64)
    values[1, 2, 3] = NAN
    with Through():
        drawn = fb.categorical_rows(values, rng=fb.Philox(0))
    assert drawn[1, 2] == 0 and (drawn < 4).all()
