"""fb.bridge_step as a caller sees it: the exact reverse of thin, rounding, attrition, dtypes, out=, keys."""

import numpy as np
import pytest
import torch
from scipy import stats

import fastblackout as fb
from support.arrays import DLPackOnly, same
from support.helpers import chi_square

RNG = fb.Philox(seed=2**63 + 1, first_sample=5, call=8)
FALSE_ALARM = 1e-6  # of each chi-square, seeds fixed; 24 of them


def state(shape=(4, 3, 8, 8), seed=0):
    random = np.random.default_rng(seed)
    return random.integers(0, 200, shape, dtype=np.uint8), random.normal(1, 2, shape).astype(np.float32)


def test_births_all_arrive_when_certain(backend):
    x = np.array([[0, 250, 255, 10]], np.uint8)
    births = np.array([[7.0, 7.0, 7.0, 3e38]])
    stepped = fb.bridge_step(x, births=births, step=1.0, rng=RNG, center=5.0, scale=2.0)
    assert isinstance(stepped, fb.Stepped)
    assert stepped.x_s.tolist() == [[7, 255, 255, 255]] and stepped.x_s.dtype == np.uint8
    assert stepped.model_input.tolist() == [[4.0, 500.0, 500.0, 500.0]]
    none = fb.bridge_step(x, births=births, step=0.0, rng=RNG)
    assert np.array_equal(none.x_s, x)
    assert (fb.bridge_step(x, births=births, step=0.0, attrition=1.0, rng=RNG).x_s == 0).all()


def test_logits_are_softplus_times_gain(backend):
    x, logits = np.zeros((2, 500), np.uint8), np.linspace(-30, 30, 1000, dtype=np.float32).reshape(2, 500)
    y = 3.0 * np.logaddexp(0, logits.astype(np.float64))
    nearest = fb.bridge_step(x, logits, 1.0, gain=3.0, rounding="nearest", rng=RNG).x_s
    sure = np.abs(y - np.floor(y) - 0.5) > 1e-4
    assert np.array_equal(nearest[sure], np.floor(y + 0.5)[sure])
    stochastic = fb.bridge_step(x, logits, 1.0, gain=3.0, rng=RNG).x_s
    whole = np.floor(y)
    sure = (y - whole > 1e-4) & (y - whole < 1 - 1e-4)
    assert ((stochastic == whole) | (stochastic == whole + 1))[sure].all() and (stochastic != nearest).any()


def test_stochastic_rounding_is_unbiased_and_nearest_is_not(backend):
    """y = 0.3 everywhere: nearest births nothing; stochastic Bernoulli(0.3), within 6 standard errors (2e-9)."""
    x, y = np.zeros((1, 200_000), np.uint8), np.full((1, 200_000), 0.3, np.float32)
    assert (fb.bridge_step(x, births=y, step=1.0, rounding="nearest", rng=RNG).x_s == 0).all()
    mean = fb.bridge_step(x, births=y, step=1.0, rng=RNG).x_s.mean()
    assert abs(mean - 0.3) < 6 * np.sqrt(0.3 * 0.7 / x.size)


@pytest.mark.parametrize("n, dtype, max_count", [(60, np.uint8, 255), (700, np.int32, 1000)])
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_reverse_keeps_the_marginals(n, dtype, max_count, sigma, backend):
    """x_t ~ Bin(n, p_t), births n - x_t: x_s ~ Bin(n, p_s), with attrition too when step is raised to match."""
    schedule = fb.Schedule.logit(steps=1000)
    k_t, k_s = 500, 490
    p_t, p_s = (float(schedule.survival(k).p) for k in (k_t, k_s))
    assert 0.05 < p_t < p_s < 0.95
    x_0 = np.full((1, 200_000), n, dtype)
    thinned = fb.thin(x_0, schedule.survival(k_t), rng=RNG, max_count=max_count)
    step, death = schedule.bridge(k_t, k_s), 0.0
    if sigma:
        step, death = schedule.bridge_with_attrition(k_t, k_s, sigma)
    x_s = fb.bridge_step(
        thinned.x_t, births=thinned.births, step=step, attrition=death, rng=RNG, max_count=max_count
    ).x_s
    assert bool((x_s < thinned.x_t).any()) == (sigma > 0)
    assert chi_square(x_s, stats.binom(n, p_s)) > FALSE_ALARM


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_logits_dtypes(dtype, backend):
    x, logits = (torch.from_numpy(v) for v in state())
    given = logits.to(getattr(torch, dtype))
    expected = fb.bridge_step(x, given.float(), 0.4, gain=20.0, rng=RNG)
    same(fb.bridge_step(x, given, 0.4, gain=20.0, rng=RNG), expected)
    y = given.float().abs()
    expected = fb.bridge_step(x, births=y, step=0.4, rng=RNG)
    same(fb.bridge_step(x, births=given.abs(), step=0.4, rng=RNG), expected, "births")


def test_kinds_of_arrays(backend):
    x, logits = state()
    expected = fb.bridge_step(x, logits, 0.4, gain=20.0, rng=RNG)
    tensor = torch.from_numpy(x).to(memory_format=torch.channels_last)
    got = fb.bridge_step(tensor, torch.from_numpy(logits).requires_grad_(), 0.4, gain=20.0, rng=RNG)
    assert all(v.stride() == tensor.stride() and not v.requires_grad for v in got)
    same(fb.Stepped(*(v.numpy() for v in got)), expected)
    same(fb.bridge_step(DLPackOnly(x), DLPackOnly(logits), 0.4, gain=20.0, rng=RNG), expected)


def test_in_place_and_out(backend):
    x, logits = state()
    expected = fb.bridge_step(x.copy(), logits, 0.4, gain=20.0, attrition=0.1, rng=RNG)
    value = np.full(x.shape, np.nan, np.float32)
    got = fb.bridge_step(x, logits, 0.4, gain=20.0, attrition=0.1, rng=RNG, out=fb.Stepped(x, value))
    assert got.x_s is x and got.model_input is value
    same(got, expected)
    assert fb.bridge_step(x, logits, 0.4, rng=RNG, outputs="model_input").x_s is None


def test_batch_split(backend):
    x, logits = state((6, 7, 3))
    step, sigma, gain = np.linspace(0, 1, 6), np.linspace(0.3, 0, 6), np.linspace(0.1, 50, 6)

    def run(rows):
        rng = RNG.at(first_sample=RNG.first_sample + rows.start)
        return fb.bridge_step(x[rows], logits[rows], step[rows], gain=gain[rows], attrition=sigma[rows], rng=rng)

    whole = run(slice(0, 6))
    for rows in (slice(0, 2), slice(2, 3), slice(3, 6)):
        same(run(rows), fb.Stepped(*(v[rows] for v in whole)))


def test_keys(backend):
    x, logits = (torch.from_numpy(v) for v in state())
    torch.manual_seed(1)
    first, second = (fb.bridge_step(x, logits, 0.5, gain=20.0).x_s for _ in range(2))
    torch.manual_seed(1)
    assert torch.equal(fb.bridge_step(x, logits, 0.5, gain=20.0).x_s, first) and not torch.equal(first, second)
    # The draw of births, of rounding, of deaths and of thin use streams of their own: same key, other numbers.
    full = np.full((1, 10_000), 100, np.uint8)
    born = fb.bridge_step(0 * full, births=full, step=0.5, rng=RNG).x_s
    dead = full - fb.bridge_step(full, births=0 * full, step=0.5, attrition=0.5, rng=RNG).x_s
    thinned = fb.thin(full, 0.5, rng=RNG).x_t
    correlation = np.corrcoef([born[0], dead[0], thinned[0]])[np.triu_indices(3, 1)]
    assert np.abs(correlation).max() < 0.06  # 6 standard errors


def test_empty_and_extremes(backend):
    for shape in ((0, 3), (3, 0)):
        got = fb.bridge_step(np.empty(shape, np.uint8), np.empty(shape, np.float32), 0.5, attrition=0.2, rng=RNG)
        assert all(v.shape == shape for v in got)
    x = np.full((1, 4), 3, np.uint8)
    logits = np.array([[-3e38, 3e38, -88.0, 88.0]], np.float32)
    assert fb.bridge_step(x, logits, 1.0, gain=3e38, rng=RNG).x_s.tolist() == [[3, 255, 3, 255]]
    assert fb.bridge_step(x, logits, 1.0, gain=0.0, rng=RNG).x_s.tolist() == [[3, 3, 3, 3]]
