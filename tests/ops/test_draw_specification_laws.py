"""docs/draw.md as a program beside the package: states, laws of each element, and what is made of them."""

import inspect
from fractions import Fraction

import numpy as np
import pytest

import fastblackout as fb
from support import specified_composed, specified_reals, specified_states
from support.specification_checks import KEYS, PAIRS, equal, mixed, rows_of_chances
from support.specified_words import Element, drawn


@pytest.mark.parametrize("key", KEYS)
def test_categorical(key):
    matrix, state = rows_of_chances(21), mixed((2, 45), range(21))
    wanted = np.reshape(specified_states.categorical(state, matrix.tolist(), key), state.shape)
    equal(wanted, lambda: fb.categorical(state, matrix, rng=key))
    equal(wanted, lambda: fb.categorical(state, fb.CategoricalTable(matrix), rng=key))


def test_thresholds_of_a_table():
    """Rows of float32, whose sums are off 1: of some of them the product by 2^48 / sum falls short of 2^48."""
    rows = np.resize(rows_of_chances(21), (400, 21)) * np.linspace(1 - 9e-5, 1 + 9e-5, 400)[:, None]
    rows = rows.astype("float32")
    wanted = np.array([specified_states.thresholds(row) for row in rows.tolist()])
    equal(wanted, lambda: fb.CategoricalTable(rows).thresholds[0])


def test_categorical_bridge():
    states, key = 12, KEYS[1]
    before, after = rows_of_chances(states, 4) + 0.01, rows_of_chances(states, 5) + 0.01
    before, after = before / before.sum(1, keepdims=True), after / after.sum(1, keepdims=True)
    x_t, x_0 = mixed((2, 21), range(states)), mixed((2, 21), range(states), 8)
    logits = np.random.default_rng(6).normal(0, 3, (2, 21, states)).astype("float32")
    logits[0, 0, :4], logits[0, 1, 5] = -800.0, -np.inf
    starts = {
        "x_0": x_0.ravel().tolist(),
        "logits": [specified_states.of_logits(row) for row in logits.reshape(42, -1)],
    }
    for given, array in (("x_0", x_0), ("logits", logits)):
        wanted = specified_states.categorical_bridge(x_t, starts[given], before.tolist(), after.tolist(), key)
        how = {given: array, "before": before, "after": after, "rng": key}
        equal(np.reshape(wanted, x_t.shape), lambda how=how: fb.categorical_bridge(x_t, **how))


@pytest.mark.parametrize("states", [5, 1 << 11])
def test_categorical_rows(states):
    weights, key = np.random.default_rng(7).random((3, 7, states)) ** 4 * 1e-5, KEYS[1]
    weights[0, 0, 1:] = 0.0

    def draw(at, place):
        return specified_states.categorical_row(at, rows[place])

    places = np.arange(21).reshape(3, 7)
    rows = weights.reshape(21, -1).tolist()
    equal(np.reshape(drawn(draw, key, places), (3, 7)), lambda: fb.categorical_rows(weights, rng=key))
    logits = np.log(weights + 1e-20).astype("float32")
    rows = [specified_states.of_logits(row) for row in logits.reshape(21, -1)]
    equal(np.reshape(drawn(draw, key, places), (3, 7)), lambda: fb.categorical_rows(logits=logits, rng=key))


@pytest.mark.parametrize("op", specified_reals.ELEMENTS)
def test_draws_with_parameters_for_each_element(op):
    draw, *arrays = specified_reals.ELEMENTS[op]
    arrays = [np.array(each) for each in np.broadcast_arrays(*arrays)]
    wanted = np.reshape(drawn(draw, KEYS[1], *arrays), arrays[0].shape)
    function = getattr(fb, op)
    given = dict(zip(inspect.signature(function).parameters, arrays, strict=False))
    equal(wanted, lambda: function(**given, rng=KEYS[1]))


def posterior_draw(at, family, row, offset, x, most, pair):
    if family == "beta-binomial":
        return specified_reals.beta_binomial_births(at, row, offset, most - x, pair)
    return specified_reals.negative_binomial_births(at, row, offset, most - x, pair[0], most)


@pytest.mark.parametrize("family", ["beta-binomial", "negative-binomial"])
def test_posterior_step(family):
    """Outputs of a network beyond all clamps, offsets from nearly all births to nearly none, and no room at all.

    Where step is 1, the births are all that the law draws.
    """
    key, random, pairs = KEYS[1], np.random.default_rng(9), [PAIRS[1], PAIRS[3], PAIRS[1], PAIRS[5]]
    most = 300
    x_t = mixed((4, 60), [0, 0, 0, 1, 17, 40, 60, most // 2, most - 1, most]).astype("int32")
    offset = np.array([-0.001, -0.2, -2.0, -40.0], "float32")
    shape = (2, *x_t.shape)
    head = (random.normal(0, 1, shape) * random.choice([0.3, 3, 30], shape)).astype("float32")
    outputs = head.reshape(2, 240).T.tolist()

    def draw(at, place, b, x):
        return x + posterior_draw(at, family, outputs[place], float(offset[b]), x, most, pairs[b])

    wanted = drawn(draw, key, np.arange(240).reshape(4, 60), np.arange(4)[:, None], x_t)
    how = {"family": family, "offset": offset, "max_count": most, "rng": key, "outputs": ("x_s",)}
    probs = fb.Prob(*np.array(pairs).T)
    equal(np.reshape(wanted, x_t.shape).astype("int32"), lambda: fb.posterior_step(x_t, tuple(head), probs, **how).x_s)


LAWS = {
    "Uniform": (fb.Uniform(50_258), specified_states.Fresh(50_258)),
    "Absorbing": (fb.Absorbing(50_258), specified_states.Fresh(50_258, mask=50_257)),
    "Redraw": (fb.Redraw(rows_of_chances(9)[0]), specified_states.Fresh(9, row=tuple(rows_of_chances(9)[0].tolist()))),
}


@pytest.mark.parametrize("name", LAWS)
def test_redraw_processes(name):
    key, (process, law) = KEYS[1], LAWS[name]
    x_0, t = mixed((2, 60), [0, 3, law.states - 2]), mixed((2, 60), [0.0, 1e-4, 0.3, 2.0, 800.0], 2)
    x_t = np.reshape(drawn(lambda at, x, time: specified_states.redraw(at, law, x, time), key, x_0, t), x_0.shape)
    equal(x_t, lambda: process.sample_forward(x_0, t, rng=key))
    s = t * mixed((2, 60), [0.1, 0.5, 1.0], 3)
    wanted = drawn(lambda at, *of: specified_states.redraw_bridge(at, law, *of), key, x_0, x_t, s, t - s)
    equal(np.reshape(wanted, x_0.shape), lambda: process.sample_bridge(x_t, x_0, s, t, rng=key))


@pytest.mark.parametrize("key", [fb.Philox(3), fb.Philox(2**64 - 1, first_sample=30, call=9)])
def test_times_of_a_schedule(key):
    whole, steps = 61, 1000

    def strata(stream):
        w0, w1, _, _ = Element(key.seed, 0, key.call, 0).block(stream, 0)
        product = (w1 << 32 | w0) * whole
        return [((product >> 64) + key.first_sample + row) % whole for row in range(20)], product % 2**64

    m, f = strata("SCHEDULE_INDEX")
    how = {"rng": key, "global_batch": whole, "like": np.zeros(1)}
    wanted = [1 + (each * steps + (f * steps >> 64)) // whole for each in m]
    equal(np.array(wanted), lambda: fb.Schedule.linear(steps=steps).draw(20, **how))
    m, f = strata("SCHEDULE_CONTINUOUS")
    wanted = [float((each + (f + Fraction(1, 2)) / 2**64) / whole) for each in m]
    equal(np.array(wanted), lambda: fb.Schedule.linear(steps=steps).draw_continuous(20, **how))


def test_ops_that_are_made_of_others():
    key, counts = KEYS[1], mixed((3, 5), [0, 7, 100, 1000])
    rates = mixed((3, 5), [0.0, 3.0, 80.0]), mixed((3, 5), [5.0, 1e4], 2)
    equal(specified_composed.skellam(*rates, key), lambda: fb.skellam(*rates, rng=key))
    for shares in ((0.5, 0.2, 0.3), (0.1, 0.1, 0.1, 0.3, 0.4)):
        for b in (None, 0.7):
            wanted = np.stack(specified_composed.split(counts, list(shares), b, key))
            equal(wanted, lambda shares=shares, b=b: np.stack(fb.split(counts, shares, b, rng=key)))
    wanted = np.stack(specified_composed.split(counts, [1.0] * 7, None, key))
    equal(wanted, lambda: np.stack(fb.split(counts, 7, rng=key)))
    for weights in ([0.5, 1.5, 3.0], [0.0, 0.0, 2.0, 0.1, 7.0, 1.0, 0.3]):
        wanted = specified_composed.multinomial(counts, weights, key)
        equal(wanted, lambda weights=weights: fb.multinomial(counts, np.array(weights), rng=key))
