"""fb.categorical and fb.CategoricalTable: bits against the reference, the law of the thresholds, and of draws."""

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from fastblackout.reference import categorical as reference
from fastblackout.reference.philox import Stream
from support.arrays import LAYOUTS, NUMPY_ONLY, DLPackOnly, as_library, bits, lay
from support.helpers import BACKENDS, KEYS, chi_square_counts, pairwise, using

FALSE_ALARM = 1e-9  # of each chi-square test, with fixed seeds
RNG = fb.Philox(seed=21, first_sample=5, call=9)
STATES = ("uint8", "int16", "int32", "int64")


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


# Shapes around a vector (8, 16), a chunk (1,024) and a block (16,384) of elements; no dimension, one, and four.
SHAPES = ((), (3,), (2, 1), (5, 7, 3), (2, 17), (3, 1023), (2, 1025), (1, 16_385), (4, 2, 3, 5))
CASES = pairwise(
    shape=SHAPES,
    size=((1, 1), (2, 2), (7, 5), (3, 64), (64, 3), (33, 256), (256, 33)),
    dtype=STATES,
    probs=("float64", "float32"),
    which=("one", "index", "each", "expanded"),
    layout=LAYOUTS,
    library=("numpy", "torch"),
    threads=(1, 3),
    key=range(0, len(KEYS), 3),
    backend=BACKENDS[1:],
)


@pytest.mark.parametrize("case", CASES, ids=lambda c: "-".join(map(str, c.values())).replace(" ", ""))
def test_equals_the_reference(case):
    """The same bits through probs and through a table, on every instruction set."""
    if case["library"] == "torch" and case["layout"] in NUMPY_ONLY:
        case = case | {"layout": "inner"}
    samples = case["shape"][0] if case["shape"] else 1
    rows, columns = case["size"]
    probs = matrices(samples, rows, columns, dtype=case["probs"])
    index = None
    if case["which"] == "one":
        probs = probs[0]
    elif case["which"] == "expanded":
        probs = np.broadcast_to(probs[:1], probs.shape)
    elif case["which"] == "index":
        index = np.random.default_rng(3).integers(0, samples, samples)
    state = lay(states_of(case["shape"], rows, case["dtype"]), case["layout"])
    key = KEYS[case["key"]]
    if key.first_sample + samples > 2**32:
        key = key.at(first_sample=0)
    expected = fb.categorical(state, probs, index=index, rng=key, backend="reference")
    given = as_library(state, case["library"])
    with using(case["backend"], case["threads"]):
        got = fb.categorical(given, probs, index=index, rng=key)
        table = fb.CategoricalTable(probs)
        through = fb.categorical(given, table, index=index, rng=key)
    assert bits(got) == bits(expected) and bits(through) == bits(expected)
    built = fb.CategoricalTable(probs, backend="reference")
    assert bits(table.thresholds) == bits(built.thresholds)
    assert np.array_equal(table.guide, built.guide)


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


def test_guide_is_where_each_search_starts(backend):
    table = fb.CategoricalTable(matrices(2, 5, 300))
    starts = np.arange(256) << 40
    expected = (table.thresholds[..., None, :] <= starts[:, None]).sum(-1)
    assert np.array_equal(table.guide, expected)


@pytest.mark.parametrize("states", [2, 10, 256])
def test_draws_follow_the_rows(states, backend):
    """Chi-square of 60,000 draws a row, through probs and a table; 24 tests at 1e-9."""
    probs = matrices(1, 3, states, seed=states)[0]
    state = np.repeat(np.arange(3, dtype=np.uint8), 60_000).reshape(3, 60_000)
    table = fb.CategoricalTable(probs)
    drawn = fb.categorical(state, probs, rng=RNG)
    for row, result in zip(probs, drawn, strict=True):
        seen = np.bincount(result, minlength=states)
        assert (seen[row == 0] == 0).all()
        possible = row > 0
        assert chi_square_counts(seen[possible], row[possible] * 60_000) > FALSE_ALARM
    assert np.array_equal(fb.categorical(state, table, rng=RNG), drawn)


def test_zero_probability_states_are_never_drawn(backend):
    """Zeros before, between and after the states of positive weight, over a million draws."""
    row = np.zeros(64)
    row[[5, 17, 18, 40]] = (0.5, 1e-9, 0.25, 0.25 - 1e-9)
    drawn = fb.categorical(np.zeros((4, 250_000), np.uint8), row[None], rng=RNG)
    assert set(np.unique(drawn)) <= {5, 17, 18, 40}


def test_composition_of_steps_is_the_product(backend):
    """Two draws in turn follow the product of the matrices."""
    first, second = matrices(2, 6, 6, seed=4)
    state = np.full((1, 200_000), 2, np.uint8)
    middle = fb.categorical(state, first, rng=RNG)
    last = fb.categorical(middle, second, rng=RNG.at(call=RNG.call + 1))
    law = (first @ second)[2]
    seen = np.bincount(last[0], minlength=6)
    assert chi_square_counts(seen[law > 0], law[law > 0] * state.size) > FALSE_ALARM


def test_batch_split_and_keys(backend):
    probs, state = matrices(6, 8, 8), states_of((6, 5, 11), 8)
    whole = fb.categorical(state, probs, rng=RNG)
    for rows in (slice(0, 1), slice(1, 4), slice(4, 6)):
        rng = RNG.at(first_sample=RNG.first_sample + rows.start)
        assert bits(fb.categorical(state[rows], probs[rows], rng=rng)) == bits(whole[rows])
    assert not np.array_equal(fb.categorical(state, probs, rng=RNG.at(call=3)), whole)
    torch.manual_seed(3)
    first, second = fb.categorical(state, probs), fb.categorical(state, probs)
    torch.manual_seed(3)
    assert np.array_equal(fb.categorical(state, probs), first) and not np.array_equal(first, second)


def test_kinds_of_arrays_and_memory_order(backend):
    probs, state = matrices(1, 9, 9)[0], states_of((2, 3, 4, 5), 9)
    expected = fb.categorical(state, probs, rng=RNG)
    tensor = torch.from_numpy(state).to(memory_format=torch.channels_last)
    got = fb.categorical(tensor, torch.from_numpy(probs).requires_grad_(), rng=RNG)
    assert got.stride() == tensor.stride() and not got.requires_grad and bits(got) == bits(expected)
    assert bits(fb.categorical(DLPackOnly(state), DLPackOnly(probs), rng=RNG)) == bits(expected)
    assert isinstance(fb.categorical(DLPackOnly(state, namespace=True), probs, rng=RNG), DLPackOnly)


def test_out_may_be_the_state_itself(backend):
    probs, state = matrices(1, 9, 9)[0], states_of((2, 30), 9)
    expected = fb.categorical(state.copy(), probs, rng=RNG)
    for make in (lambda a: a, torch.from_numpy):
        out = make(np.zeros_like(state))
        assert fb.categorical(make(state.copy()), probs, rng=RNG, out=out) is out and bits(out) == bits(expected)
        same = make(state.copy())
        assert fb.categorical(same, probs, rng=RNG, out=same) is same and bits(same) == bits(expected)


def test_empty(backend):
    for shape in ((0, 3), (3, 0)):
        for probs in (matrices(1, 4, 4)[0], matrices(shape[0], 4, 4)):
            assert fb.categorical(np.empty(shape, np.uint8), probs, rng=RNG).shape == shape


def test_law_of_one_state_out_of_many_binomial(backend):
    """Thinning by its matrix is thinning: chi-square against scipy."""
    rows = fb.transition_rows(0.3, 40)
    drawn = fb.categorical(np.full((1, 100_000), 40, np.uint8), rows, rng=RNG)
    seen = np.bincount(drawn[0], minlength=41)
    assert chi_square_counts(seen, stats.binom(40, 0.3).pmf(np.arange(41)) * drawn.size) > FALSE_ALARM
