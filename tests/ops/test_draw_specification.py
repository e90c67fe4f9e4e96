"""docs/draw.md as a program (tests/support/specified_*.py) beside the package, on every CPU backend."""

import numpy as np
import pytest

import fastblackout as fb
from support import specified_counts, specified_reals, specified_states
from support.helpers import BACKENDS, using
from support.specified_words import drawn, elements

KEYS = [fb.Philox(0), fb.Philox(2**32 + 5, 7, 3), fb.Philox(2**64 - 1, 2**32 - 12, 2**32 - 1)]
# (p, 1 - p) of samples: both limits, the middle and what is next to it, and a small p whose complement rounds to 1.
PAIRS = [(0.0, 1.0), (1.0, 0.0), (0.5, 0.5), (np.nextafter(0.5, 1), 0.5), (0.3, 0.7), (0.9, 0.1), (1e-9, 1.0 - 1e-9)]
PAIRS += [(1.0 - 1e-12, 1e-12)]
PROBS = fb.Prob(*np.array(PAIRS).T)
DIGITS = [0, 1, 15, 16, 17, 31, 32, 128, 200, 239, 240, 254, 255]  # around the parts 16 a and b of a table draw
LARGE = [256, 257, 300, 1000, 99_999]


def mixed(shape, values, seed=1):
    return np.random.default_rng(seed).permutation(np.resize(values, int(np.prod(shape)))).reshape(shape)


def equal(wanted, call):
    """What `call` makes is `wanted`, to the bit, on every CPU backend."""
    for backend in BACKENDS:
        with using(backend):
            np.testing.assert_array_equal(call(), wanted, strict=True, err_msg=backend)


@pytest.mark.parametrize("counts", ["uint8", "beyond a byte"])
@pytest.mark.parametrize("key", KEYS)
def test_thin(key, counts):
    """51 elements a sample, odd: all places of a pair of blocks, and words that are left over."""
    values = DIGITS if counts == "uint8" else DIGITS + LARGE
    x_0 = mixed((len(PAIRS), 3, 17), values).astype("uint8" if counts == "uint8" else "int32")
    wanted = specified_counts.thin(x_0, PAIRS, key).astype(x_0.dtype)
    equal(wanted, lambda: fb.thin(x_0, PROBS, rng=key, max_count=int(max(values))).x_t)


def test_thin_gives_births_and_the_next_input():
    x_0, center, scale = mixed((2, 9), DIGITS).astype("uint8"), [0.1, -3.3], [0.7, 1e-3]
    x_t = specified_counts.thin(x_0, PAIRS[4:6], KEYS[1]).astype("uint8")
    probs, how = fb.Prob(*np.array(PAIRS[4:6]).T), {"rng": KEYS[1], "center": center, "scale": scale}
    equal(x_0 - x_t, lambda: fb.thin(x_0, probs, **how).births)
    equal(specified_counts.model_input(x_t, center, scale), lambda: fb.thin(x_0, probs, **how).model_input)


def test_a_probability_alone_has_the_float64_complement():
    x_0, p = mixed((1, 60), DIGITS).astype("uint8"), 0.1 + 0.2
    equal(specified_counts.thin(x_0, [(p, 1 - p)], KEYS[1]).astype("uint8"), lambda: fb.thin(x_0, p, rng=KEYS[1]).x_t)


def test_a_table_draw_where_the_first_bits_do_not_decide():
    """Elements whose first 16 bits are those of a threshold, so that the refinement decides: about one in 500."""
    key, tops = fb.Philox(3), [{c >> 32 for c in specified_counts.thresholds(n, 0.5, 0.5)} for n in (240, 15)]
    close = []
    for _, place, at in elements((1, 20_000), key):
        u1, u2 = at.halves("THIN_DRAW")
        if (u1 in tops[0] and 0 < u1 < 65_535) or u2 in tops[1]:
            close.append((place, specified_counts.table_draw(at, 255, 0.5, 0.5, "THIN_DRAW", "THIN_REFINE")))
    assert len(close) > 10
    places, wanted = np.array(close).T
    x_0 = np.full((1, 20_000), 255, np.uint8)
    equal(wanted.astype("uint8"), lambda: fb.thin(x_0, 0.5, rng=key).x_t[0, places])


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("max_count", [255, 200, 3000])
@pytest.mark.parametrize("key", KEYS[1:])
def test_bridge_step(key, max_count, rounding):
    """Means of births from 0 to far above the room; with max_count 3000 N and x_t lie on both sides of 255."""
    shape, random = (len(PAIRS), 27), np.random.default_rng(5)
    x_t = mixed(shape, [x for x in DIGITS + LARGE if x <= max_count] + [max_count, 0, 0, 0])
    x_t = x_t.astype("uint8" if max_count <= 255 else "int32")
    logits = mixed(shape, [-90.0, -87.0, -3.0, 0.0, 0.4, 1.7, 5.0, 25.0, *random.normal(0, 3, 60)], 2).astype("float32")
    gain = np.resize([1.0, 37.7, 1.0 / 3, 150.0], len(PAIRS))
    gain_of = np.broadcast_to(gain[:, None], shape).ravel()
    means = np.array([specified_counts.mean_births(*each) for each in zip(logits.ravel(), gain_of, strict=True)])
    falls = PAIRS[4:] + PAIRS[:4]
    wanted = specified_counts.bridge_step(x_t, means, PAIRS, falls, max_count, rounding, key).astype(x_t.dtype)
    how = {"attrition": fb.Prob(*np.array(falls).T), "gain": gain, "rounding": rounding, "max_count": max_count}
    equal(wanted, lambda: fb.bridge_step(x_t, logits, PROBS, rng=key, **how).x_s)


def test_bridge_step_of_given_births_and_no_attrition():
    x_t, births = np.zeros((2, 40), np.uint8), mixed((2, 40), [0.0, 0.5, 1.5, 2.5, 7.3, 254.9999, 1e30, 0.1])
    wanted = specified_counts.bridge_step(
        x_t, births.astype("float32"), PAIRS[4:6], [(0.0, 1.0)] * 2, 255, "stochastic", KEYS[1]
    ).astype("uint8")
    probs = fb.Prob(*np.array(PAIRS[4:6]).T)
    equal(wanted, lambda: fb.bridge_step(x_t, births=births, step=probs, rng=KEYS[1]).x_s)


@pytest.mark.parametrize("key", KEYS[1:])
def test_tau_leap_step(key):
    """Rates on both sides of 10, next to 0, and above what float32 and the state hold."""
    steps, max_count = [0.0, 0.3, 1.7, 1e12], 5000
    x_t = mixed((4, 30), DIGITS + LARGE[:-1]).astype("int32")
    means = mixed((4, 30), [0.0, 0.4, 3.0, 33.0, 33.34, 900.0, 4e9, 3e38]).astype("float32")
    x_s, overshoot = specified_counts.tau_leap_step(x_t, means, steps, max_count, key)
    how = {"births": means, "step": steps, "rng": key, "max_count": max_count}
    equal(x_s.astype("int32"), lambda: fb.tau_leap_step(x_t, **how).x_s)
    equal(np.array(overshoot), lambda: fb.tau_leap_step(x_t, **how).overshoot)
    assert 0 < overshoot[2] < overshoot[3]


@pytest.mark.parametrize("key", KEYS)
def test_binomial(key):
    """Both ways on both sides of n p = 10, and p on both sides of 1/2."""
    count = np.array([0, 1, 7, 19, 20, 99, 255, 256, 1000, 12_345, 2**31, 2**53 - 1])[:, None]
    p = np.array([0.0, 1.0, 0.5, 0.3, 0.9, 1e-3, 1 - 1e-6, 9.999e-16, 10 / 12_345])
    wanted = np.reshape(specified_counts.binomial(count, p, 1 - p, key), (len(count), len(p)))
    equal(wanted, lambda: fb.binomial(np.repeat(count, len(p), 1), p, rng=key))
    wanted = np.reshape(specified_counts.binomial(count[2:9], p, 1 - p, key), (7, len(p)))
    equal(wanted, lambda: fb.binomial(count[2:9], fb.Prob(p, 1 - p), rng=key))


@pytest.mark.parametrize("key", KEYS)
def test_poisson(key):
    rate = np.array(
        [[0.0, 1e-9, 0.5, 3.0, 9.999999, 10.0, 14.05], [30.86, 100.0, 12_345.6, 2.0**31, 1e15, 2.0**52, 10.5]]
    )
    rate = np.tile(rate, (1, 5))
    equal(np.reshape(specified_counts.poisson(rate, key), rate.shape), lambda: fb.poisson(rate, rng=key))


def rows_of_chances(states, seed=3):
    made = np.random.default_rng(seed).random((states, states)) ** 6
    made[:, 2] = made[0, -1] = 0.0
    return made / made.sum(1, keepdims=True)


@pytest.mark.parametrize("key", KEYS)
def test_categorical(key):
    matrix, state = rows_of_chances(21), mixed((2, 45), range(21))
    wanted = np.reshape(specified_states.categorical(state, matrix.tolist(), key), state.shape)
    equal(wanted, lambda: fb.categorical(state, matrix, rng=key))
    equal(wanted, lambda: fb.categorical(state, fb.CategoricalTable(matrix), rng=key))


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


@pytest.mark.parametrize("states", [5, 1 << 12])
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


SHAPES = np.array([[1e-300, 1e-8, 0.3, 0.999, 1.0, 1.4, 5.0, 88.8, 1e6, 1e300] * 3])
COUNTS = np.array([[0, 1, 9, 40, 200, 300, 5000, 10**6, 2**40, 2**53] * 3])
STDS = np.resize([0.0, 1.0, 2.5, 1e-9], (2, 30))
ELEMENTS = {  # the op: what the page says of an element, and arguments
    "normal": (specified_reals.normal, np.linspace(-3, 3, 60).reshape(2, 30), STDS),
    "gamma": (specified_reals.gamma, SHAPES, [[2.0], [1e-3], [0.0]]),
    "beta": (specified_reals.beta, SHAPES, np.roll(SHAPES, 1) * [[1.0], [0.01]] + 1e-290),
    "beta_binomial": (specified_reals.beta_binomial, COUNTS, SHAPES[:, ::-1], [[0.5], [30.0]]),
    "negative_binomial": (specified_reals.negative_binomial, SHAPES[:, 2:9], [[0.0], [3.0], [1e4], [2.0**52]]),
    "hypergeometric": (specified_reals.hypergeometric, COUNTS[:, :9], COUNTS[:, 8::-1] + 7, [[0], [3], [7], [9]]),
    "bessel": (specified_reals.bessel, COUNTS[:, :7], [[0.0], [1e-151], [0.7], [25.0], [1e5]]),
}


@pytest.mark.parametrize("op", ELEMENTS)
def test_draws_with_parameters_for_each_element(op):
    draw, *arrays = ELEMENTS[op]
    arrays = [np.array(each) for each in np.broadcast_arrays(*arrays)]
    wanted = np.reshape(drawn(draw, KEYS[1], *arrays), arrays[0].shape)
    equal(wanted, lambda: getattr(fb, op)(*arrays, rng=KEYS[1]))


FAMILIES = ("beta-binomial", "negative-binomial", "categorical", "bayes-categorical")


@pytest.mark.parametrize("family", FAMILIES)
def test_posterior_step(family):
    key, most, random, pairs = KEYS[1], 300, np.random.default_rng(9), PAIRS[3:6]
    x_t, offset = mixed((3, 15), [0, 0, 1, 17, 100, 254, 290, 300]).astype("int32"), [-0.2, -3.0, -40.0]
    of_states = "categorical" in family
    head = random.normal(0, 3, (1, 3, 15, most + 1) if of_states else (2, 3, 15)).astype("float32")
    outputs = head[0].reshape(45, -1) if of_states else head.reshape(2, 45).T

    def draw(at, place, b, x):
        log_q, row = float(np.float32(offset[b])), outputs[place].tolist()
        if of_states:
            return x + specified_reals.state_births(at, row, log_q if "bayes" in family else None, x, pairs[b])
        if family == "beta-binomial":
            return x + specified_reals.beta_binomial_births(at, row, log_q, most - x, pairs[b])
        return x + specified_reals.negative_binomial_births(at, row, log_q, most - x, pairs[b][0], most)

    wanted = drawn(draw, key, np.arange(45).reshape(3, 15), np.arange(3)[:, None], x_t)
    how = {"family": family, "offset": offset, "max_count": most, "rng": key, "outputs": ("x_s",)}
    given = head[0] if of_states else tuple(head)
    probs = fb.Prob(*np.array(pairs).T)
    equal(np.reshape(wanted, x_t.shape).astype("int32"), lambda: fb.posterior_step(x_t, given, probs, **how).x_s)


@pytest.mark.parametrize("mask", [False, True])
def test_redraw_processes(mask):
    states, key = 50_258, KEYS[1]
    process, law = (fb.Absorbing(states), states - 1) if mask else (fb.Uniform(states), -1)
    x_0 = mixed((2, 40), [0, 7, states - 2])
    t = np.resize([0.0, 1e-4, 0.3, 2.0, 800.0], (2, 40))

    def forward(at, x, time):
        return specified_states.redraw(at, x, time, states, law)

    def between(at, x, y, s, further):
        return specified_states.redraw_bridge(at, x, y, s, further, states, law)

    x_t = np.reshape(drawn(forward, key, x_0, t), x_0.shape)
    equal(x_t, lambda: process.sample_forward(x_0, t, rng=key))
    s = t * np.resize([0.1, 0.5, 1.0], (2, 40))
    equal(
        np.reshape(drawn(between, key, x_0, x_t, s, t - s), x_0.shape),
        lambda: process.sample_bridge(x_t, x_0, s, t, rng=key),
    )


def test_ops_that_are_made_of_others():
    key, rates = KEYS[1], (np.array([[3.0, 80.0]]), np.array([[5.0, 1e4]]))

    def of(stream, number):
        return fb.Philox(specified_reals.changed_seed(key.seed, stream, number), key.first_sample, key.call)

    first, second = (
        np.reshape(specified_counts.poisson(rate, of("SKELLAM", n)), (1, 2)) for n, rate in enumerate(rates)
    )
    equal(first - second, lambda: fb.skellam(*rates, rng=key))
    counts = np.array([[100, 7, 1000]])

    def left(whole, p, q, number, stream):
        return np.reshape(specified_counts.binomial(whole, p, q, of(stream, number)), np.shape(whole))

    one = left(counts, 1 / 3.0, 2.0 / 3.0, 1, "SPLIT")
    two = left(counts - one, 0.5, 0.5, 2, "SPLIT")
    equal(np.stack([one, two, counts - one - two]), lambda: np.stack(fb.split(counts, 3, rng=key)))
    weights = np.array([0.5, 1.5, 3.0])
    pair = left(counts[..., None], 2.0 / 5.0, 3.0 / 5.0, 0, "MULTINOMIAL")
    first = left(pair, 0.5 / 2.0, 1.5 / 2.0, 1, "MULTINOMIAL")
    wanted = np.concatenate([first, pair - first, counts[..., None] - pair], -1)
    equal(wanted, lambda: fb.multinomial(counts, weights, rng=key))
