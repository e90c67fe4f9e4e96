"""docs/draw.md as a program (tests/support/specified_*.py) beside the package, on every CPU backend: counts."""

import numpy as np
import pytest

import fastblackout as fb
from support import specified_counts
from support.specification_checks import DIGITS, KEYS, LARGE, PAIRS, PROBS, equal, mixed
from support.specified_words import elements


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
    """Elements whose first 16 bits equal a threshold's, so that the refinement decides: about one in 500."""
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


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
def test_bridge_step_of_given_births_and_no_attrition(rounding):
    """Halves among them, which are rounded up to the nearest."""
    x_t, births = np.zeros((2, 40), np.uint8), mixed((2, 40), [0.0, 0.5, 1.5, 2.5, 7.3, 254.9999, 1e30, 0.1])
    wanted = specified_counts.bridge_step(
        x_t, births.astype("float32"), PAIRS[4:6], [(0.0, 1.0)] * 2, 255, rounding, KEYS[1]
    ).astype("uint8")
    probs = fb.Prob(*np.array(PAIRS[4:6]).T)
    equal(wanted, lambda: fb.bridge_step(x_t, births=births, step=probs, rng=KEYS[1], rounding=rounding).x_s)


@pytest.mark.parametrize("key", KEYS[1:])
def test_tau_leap_step(key):
    """Rates on both sides of 10, next to 0, and above what float32 and the state hold."""
    steps, max_count = [0.0, 0.3, 1.7, 1e12], 5000
    x_t = mixed((4, 30), [*DIGITS, *LARGE[:-1], 5000, 5000]).astype("int32")
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
