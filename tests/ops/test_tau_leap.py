"""fb.tau_leap_step as a caller sees it: Poisson law, clamping and its count, factors, dtypes, out=, keys."""

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from support.arrays import DLPackOnly, same
from support.helpers import chi_square

RNG = fb.Philox(seed=21, first_sample=9, call=4)
FALSE_ALARM = 1e-6  # of each chi-square, seeds fixed; 20 of them


def state(shape=(4, 3, 8, 8)):
    random = np.random.default_rng(1)
    return random.integers(0, 200, shape, dtype=np.uint8), random.normal(1, 2, shape).astype(np.float32)


@pytest.mark.parametrize("y, factor", [(3.0, 0.5), (40.0, 0.25), (2.0, 1.75), (200.0, 0.6), (1e-3, 1.0)])
def test_law(y, factor, backend):
    x = np.full((1, 200_000), 7, np.int32)
    leaped = fb.tau_leap_step(x, births=np.full(x.shape, y, np.float32), step=factor, rng=RNG, max_count=1000)
    assert isinstance(leaped, fb.Leaped) and leaped.overshoot.tolist() == [0]
    rate = float(np.float32(y)) * factor
    assert chi_square(leaped.x_s - 7, stats.poisson(rate)) > FALSE_ALARM
    assert np.array_equal(leaped.model_input, leaped.x_s.astype(np.float32))


def test_clamped_elements_are_counted(backend):
    x = np.array([[0] * 4, [250] * 4, [255] * 4], np.uint8)
    births = np.full(x.shape, 1e6, np.float32)
    leaped = fb.tau_leap_step(x, births=births, step=np.array([0.0, 1.0, 1e-12]), rng=RNG)
    assert leaped.x_s.tolist() == [[0] * 4, [255] * 4, [255] * 4]
    assert leaped.overshoot.dtype == np.int64 and leaped.overshoot.tolist() == [0, 4, 0]
    x = np.zeros((2, 100_000), np.uint8)
    leaped = fb.tau_leap_step(x, births=np.full(x.shape, 20.0), step=np.array([1.0, 0.1]), rng=RNG, max_count=20)
    chance = stats.poisson.sf(20, 20.0)
    assert leaped.x_s.max() == 20 and leaped.overshoot[1] == 0
    assert abs(leaped.overshoot[0] - 1e5 * chance) < 6 * np.sqrt(1e5 * chance * (1 - chance))  # 2e-9


def test_factor_may_be_a_pair_a_number_or_one_a_sample(backend):
    x, logits = state()
    expected = fb.tau_leap_step(x, logits, 0.25, gain=9.0, rng=RNG)
    for step in (np.full(4, 0.25), torch.full((4,), 0.25, dtype=torch.float64), fb.Prob(0.25, 0.75)):
        same(fb.tau_leap_step(x, logits, step, gain=9.0, rng=RNG), expected)
    schedule = fb.Schedule.logit(steps=50)
    for form in ("bridge-mean", "rate"):
        leaped = fb.tau_leap_step(x, logits, schedule.leap(40, 20, form=form), gain=9.0, rng=RNG)
        assert (leaped.x_s >= x).all() and (leaped.x_s > x).any()


def test_kinds_of_arrays_and_dtypes(backend):
    x, logits = state()
    expected = fb.tau_leap_step(x, logits, 0.4, gain=20.0, rng=RNG)
    tensor = torch.from_numpy(x).to(memory_format=torch.channels_last)
    got = fb.tau_leap_step(tensor, torch.from_numpy(logits), 0.4, gain=20.0, rng=RNG)
    assert got.x_s.stride() == got.model_input.stride() == tensor.stride() and got.overshoot.dtype == torch.int64
    same(fb.Leaped(*(v.numpy() for v in got)), expected)
    same(fb.tau_leap_step(DLPackOnly(x), logits, 0.4, gain=20.0, rng=RNG), expected)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        given = torch.from_numpy(logits).to(dtype)
        wide = fb.tau_leap_step(tensor, given.float(), 0.4, gain=20.0, rng=RNG, input_dtype=dtype)
        assert wide.model_input.dtype == dtype
        same(fb.tau_leap_step(tensor, given, 0.4, gain=20.0, rng=RNG, input_dtype=dtype), wide)


def test_in_place_and_out(backend):
    x, logits = state()
    expected = fb.tau_leap_step(x.copy(), logits, 0.4, gain=20.0, rng=RNG)
    value = np.full(x.shape, np.nan, np.float32)
    got = fb.tau_leap_step(x, logits, 0.4, gain=20.0, rng=RNG, out=fb.Leaped(x, value))
    assert got.x_s is x and got.model_input is value
    same(got, expected)


def test_batch_split_and_keys(backend):
    x, logits = state((6, 7, 3))
    factor = np.linspace(0, 2, 6)

    def run(rows):
        rng = RNG.at(first_sample=RNG.first_sample + rows.start)
        return fb.tau_leap_step(x[rows], logits[rows], factor[rows], gain=30.0, rng=rng)

    whole = run(slice(0, 6))
    for rows in (slice(0, 2), slice(2, 3), slice(3, 6)):
        same(run(rows), fb.Leaped(*(v[rows] for v in whole)))
    torch.manual_seed(3)
    first, second = (fb.tau_leap_step(x, logits, 0.5, gain=20.0).x_s for _ in range(2))
    torch.manual_seed(3)
    assert np.array_equal(fb.tau_leap_step(x, logits, 0.5, gain=20.0).x_s, first) and not np.array_equal(first, second)


def test_extremes_and_empty(backend):
    x = np.full((1, 3), 3, np.uint8)
    logits = np.array([[-3e38, 3e38, 0.0]], np.float32)
    leaped = fb.tau_leap_step(x, logits, 1e300, gain=3e38, rng=RNG)  # infinite rates are clamped; 0 births nothing
    assert leaped.x_s.tolist() == [[3, 255, 255]] and leaped.overshoot.tolist() == [2]
    leaped = fb.tau_leap_step(x, logits, 0.0, gain=3e38, rng=RNG)  # infinity times 0 births nothing
    assert leaped.x_s.tolist() == [[3, 3, 3]] and leaped.overshoot.tolist() == [0]
    for shape in ((0, 3), (3, 0)):
        got = fb.tau_leap_step(np.empty(shape, np.uint8), np.empty(shape, np.float32), 0.5, rng=RNG)
        assert got.x_s.shape == got.model_input.shape == shape and got.overshoot.tolist() == [0] * shape[0]
