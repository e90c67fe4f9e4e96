"""thin and the reverse steps: which draw a count takes, rounding, room, attrition, extremes, and memory in place.

Their laws are in tests/battery, their bits in test_known_answers.py, and all that holds of any op in test_contract.py.
"""

import numpy as np
import pytest
import torch
from scipy import special, stats

import fastblackout as fb
from fastblackout.backends.select import cpu_module
from fastblackout.reference import binomial, common
from fastblackout.reference.philox import Stream, philox4x32
from support.arrays import same
from support.helpers import chi_square, chi_square_counts

RNG = fb.Philox(seed=11, first_sample=2, call=3)
FALSE_ALARM = 1e-6  # of each chi-square, seeds fixed; 20 of them
LAW = {"family": "beta-binomial"}


def state(shape=(4, 3, 8, 8), dtype=np.uint8):
    random = np.random.default_rng(1)
    return random.integers(0, 200, shape).astype(dtype), random.normal(1, 2, shape).astype(np.float32)


def test_outputs_of_thin(backend):
    """One draw, as counts, as births and as the next input."""
    x, _ = state()
    how = {"rng": RNG, "center": 255 * np.array([0.1, 0.5, 0.9, 0.3]), "scale": np.array([0.5, 1.0, 2.0, 1 / 127.5])}
    thinned = fb.thin(x, [0.1, 0.5, 0.9, 0.3], **how)
    x_t, births, value = thinned
    assert (x_t.astype(int) + births == x).all() and (x_t > 0).any() and (x_t < x).any()
    c, s = (how[name].astype(np.float32)[:, None, None, None] for name in ("center", "scale"))
    assert np.array_equal(value, (x_t.astype(np.float32) - c) * s)
    for name in thinned._fields:
        only = fb.thin(x, [0.1, 0.5, 0.9, 0.3], **how, outputs=(name,))
        assert [getattr(only, other) is not None for other in thinned._fields] == [o == name for o in thinned._fields]
        assert np.array_equal(getattr(only, name), getattr(thinned, name))


@pytest.mark.parametrize("asked", ["float32", "float64", "float16", "bfloat16"])
def test_names_of_input_dtypes(asked):
    x, dtype = torch.from_numpy(state()[0]), getattr(torch, asked)
    exact = fb.thin(x, 0.4, rng=RNG, center=100.3, scale=0.37).model_input
    for name in (asked, dtype) if asked == "bfloat16" else (asked, dtype, np.dtype(asked), getattr(np, asked)):
        got = fb.thin(x, 0.4, rng=RNG, center=100.3, scale=0.37, input_dtype=name).model_input
        assert got.dtype == dtype and torch.equal(got, exact.to(dtype))


@pytest.mark.parametrize("isa, instruction", [("avx512", "vbmi"), ("avx2", "gathers")])
@pytest.mark.parametrize("max_count, elements", [(255, 3072), (255, 700), (255, 50), (15, 3072), (15, 700)])
def test_processors_draw_the_same(max_count, elements, isa, instruction):
    """VBMI2 and fast gathers are not everywhere: every number of levels, with and without an end, by both ways."""
    x = torch.randint(0, max_count + 1, (24, elements), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    p = torch.logspace(-7, np.log10(0.5), len(x), dtype=torch.float64)
    native = cpu_module("test")
    if isa not in native.isas():
        pytest.skip(f"needs {isa}")
    expected = fb.thin(x, p, rng=RNG, max_count=max_count, backend="reference")
    use = getattr(native, f"use_{instruction}")
    had = use(False)
    try:
        for way in (False, had or isa == "avx2"):
            use(way)
            with fb.use_backend("cpu", isa=isa):
                for got, right in zip(fb.thin(x, p, rng=RNG, max_count=max_count), expected, strict=True):
                    assert torch.equal(got, right)
    finally:
        use(had)


@pytest.mark.parametrize("max_count", [255, 1000])
@pytest.mark.parametrize("order", ["C", "F", "step"])
def test_thin_in_place(order, max_count, backend):
    x = state(dtype=np.int16)[0]
    if order == "step":
        x = np.repeat(x, 2, axis=-1)[..., ::2]
    x = x.copy(order="F") if order == "F" else x
    expected = fb.thin(x.copy(), 0.4, rng=RNG, max_count=max_count)
    births, value = np.empty(x.shape, np.int16), np.empty(x.shape, np.float32)
    fb.thin(x, 0.4, rng=RNG, max_count=max_count, out=fb.Thinned(x, births, value))
    same(fb.Thinned(x, births, value), expected)


STEPS = {
    "thin": lambda x, logits, **how: fb.thin(x, 0.4, rng=RNG, **how),
    "bridge_step": lambda x, logits, **how: fb.bridge_step(x, logits, 0.4, gain=20.0, attrition=0.1, rng=RNG, **how),
    "tau_leap_step": lambda x, logits, **how: fb.tau_leap_step(x, logits, 0.4, gain=20.0, rng=RNG, **how),
    "posterior_step": lambda x, logits, **how: fb.posterior_step(x, (logits, -logits), 0.4, rng=RNG, **LAW, **how),
}


RESULTS = {"thin": fb.Thinned, "tau_leap_step": fb.Leaped}


@pytest.mark.parametrize("op", STEPS)
def test_outputs_lie_as_the_counts_do(op):
    x, logits = state()
    plain = STEPS[op](x, logits)
    assert type(plain) is RESULTS.get(op, fb.Stepped)
    last, net = torch.from_numpy(x).to(memory_format=torch.channels_last), torch.from_numpy(logits).requires_grad_()
    made = STEPS[op](last, net)
    assert all(v.stride() == last.stride() and not v.requires_grad for v in made if v.ndim > 1)
    same(type(made)(*(v.numpy() for v in made)), plain)
    fortran = STEPS[op](np.asfortranarray(x), logits)
    assert fortran[0].flags.f_contiguous
    same(fortran, plain)


@pytest.mark.parametrize("op", [op for op in STEPS if op != "thin"])
def test_a_step_in_place(op, backend):
    x, logits = state()
    expected = STEPS[op](x.copy(), logits)
    value = np.full(x.shape, np.nan, np.float32)
    got = STEPS[op](x, logits, out=type(expected)(x, value))
    assert got.x_s is x and got.model_input is value
    same(got, expected)


def test_an_unaligned_output_is_refused():
    out = np.zeros(25, np.uint8)[1:].view(np.int32).reshape(2, 3)
    assert not out.flags.aligned
    with pytest.raises(ValueError, match="thin: out.x_t: must be aligned to its elements, got address"):
        fb.thin(np.full((2, 3), 7, np.int32), 0.5, max_count=7, out=fb.Thinned(x_t=out))
    assert not out.any()


def test_both_tails_of_a_pair(backend):
    """q = 1e-9 is lost in a float32 p and kept by the pair: 2e9 deaths in expectation 2, not 0 or 4."""
    x = np.full((1, 200_000), 2_000_000_000, np.int64)
    births = fb.thin(x, fb.Prob(1.0 - 1e-9, 1e-9), rng=RNG, max_count=1 << 31, outputs="births").births
    assert chi_square(births, stats.poisson(2.0), 0, 15) > FALSE_ALARM


def test_each_count_chooses_its_draw(backend):
    """One of at most 255 the table's, a larger one the element draw: neither max_count nor its neighbours matter."""
    x_0, p = np.random.default_rng(1).integers(250, 262, (2, 400)), np.array([0.3, 0.8])

    def thinned(counts, most):
        return fb.thin(counts, p, rng=RNG, max_count=most, outputs="x_t").x_t

    drawn, large = thinned(x_0, 1000), x_0 > 255
    assert 300 < large.sum() < 500 and (thinned(x_0, 261) == drawn).all()
    assert (thinned(np.where(large, 0, x_0), 255)[~large] == drawn[~large]).all()
    wide = (np.broadcast_to(side[:, None], x_0.shape) for side in (p, 1 - p))
    alone = binomial.binomial(np.where(large, x_0, 0), *wide, RNG, Stream.THIN_ELEMENT)
    assert (alone[large] == drawn[large]).all()


def test_births_all_arrive_when_certain(backend):
    x, births = np.array([[0, 250, 255, 10]], np.uint8), np.array([[7.0, 7.0, 7.0, 3e38]])
    for rounding in ("stochastic", "nearest"):
        stepped = fb.bridge_step(x, births=births, step=1.0, rng=RNG, center=5.0, scale=2.0, rounding=rounding)
        assert stepped.x_s.tolist() == [[7, 255, 255, 255]] and stepped.x_s.dtype == np.uint8
        assert stepped.model_input.tolist() == [[4.0, 500.0, 500.0, 500.0]]
    assert np.array_equal(fb.bridge_step(x, births=births, step=0.0, rng=RNG).x_s, x)
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
    ends = np.array([[-3e38, 3e38, -88.0, 88.0]], np.float32)
    assert fb.bridge_step(x[:1, :4] + 3, ends, 1.0, gain=3e38, rng=RNG).x_s.tolist() == [[3, 255, 3, 255]]
    assert fb.bridge_step(x[:1, :4] + 3, ends, 1.0, gain=0.0, rng=RNG).x_s.tolist() == [[3, 3, 3, 3]]


def test_rounding_words_and_ties():
    """y = V / 2^48 and its neighbour: a tie of the top 32 bits, decided by the low 16; nearest rounds ties up."""
    size, key = 11, fb.Philox(6, first_sample=3, call=1)
    words = [[int(w) for w in philox4x32(i // 4, 3, 1, Stream.ROUNDING.word(), 6, 0)][i % 4] for i in range(size)]
    low = [int(philox4x32(i, 3, 1, Stream.ROUNDING_REFINE.word(), 6, 0)[0]) & 0xFFFF for i in range(size)]
    v = np.array([high << 16 | rest for high, rest in zip(words, low, strict=True)], dtype=np.int64)
    for step in (0, 1):
        assert (common.round_births(((v + step) / 2.0**48)[None], 255, key, True) == step).all()
    y = np.array([[0.49999997, 0.5, 1.5, 2.5, 254.5, 300.0]])
    assert common.round_births(y, 255, key, False).tolist() == [[0, 1, 2, 3, 255, 255]]


@pytest.mark.parametrize("n, dtype, max_count", [(60, np.uint8, 255), (700, np.int32, 1000)])
@pytest.mark.parametrize("sigma", [0.0, 0.3])
def test_reverse_keeps_the_marginals(n, dtype, max_count, sigma):
    """x_t ~ Bin(n, p_t), births n - x_t: x_s ~ Bin(n, p_s), with attrition too when step is raised to match."""
    schedule = fb.Schedule.logit(steps=1000)
    k_t, k_s, how = 500, 490, {"rng": RNG, "max_count": max_count}
    thinned = fb.thin(np.full((1, 200_000), n, dtype), schedule.survival(k_t), **how)
    step, death = schedule.bridge_with_attrition(k_t, k_s, sigma) if sigma else (schedule.bridge(k_t, k_s), 0.0)
    x_s = fb.bridge_step(thinned.x_t, births=thinned.births, step=step, attrition=death, **how).x_s
    assert bool((x_s < thinned.x_t).any()) == (sigma > 0)
    assert chi_square(x_s, stats.binom(n, float(schedule.survival(k_s).p))) > FALSE_ALARM


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
    x, logits = np.full((1, 3), 3, np.uint8), np.array([[-3e38, 3e38, 0.0]], np.float32)
    leaped = fb.tau_leap_step(x, logits, 1e300, gain=3e38, rng=RNG)  # infinite rates are clamped; 0 births nothing
    assert leaped.x_s.tolist() == [[3, 255, 255]] and leaped.overshoot.tolist() == [2]
    leaped = fb.tau_leap_step(x, logits, 0.0, gain=3e38, rng=RNG)  # infinity times 0 births nothing
    assert leaped.x_s.tolist() == [[3, 3, 3]] and leaped.overshoot.tolist() == [0]


def test_a_leap_takes_what_schedules_give():
    x, logits = state()
    expected = fb.tau_leap_step(x, logits, 0.25, gain=9.0, rng=RNG)
    same(fb.tau_leap_step(x, logits, fb.Prob(0.25, 0.75), gain=9.0, rng=RNG), expected)
    schedule = fb.Schedule.logit(steps=50)
    for form in ("bridge-mean", "rate"):
        leaped = fb.tau_leap_step(x, logits, schedule.leap(40, 20, form=form), gain=9.0, rng=RNG)
        assert (leaped.x_s >= x).all() and (leaped.x_s > x).any()


def posterior_births(head, room, q, draws, most=255):
    o_1, o_2, offset = head
    x_t = np.full((1, draws), most - room, np.uint8 if most == 255 else np.int64)
    arrays = [np.full((1, draws), each, np.float32) for each in (o_1, o_2)]
    made = fb.posterior_step(x_t, arrays, q, offset=offset, rng=RNG, max_count=most, outputs=("x_s",), **LAW)
    return made.x_s[0].astype(np.int64) - (most - room)


def test_limits_of_posterior_step(backend):
    """No room, steps of 0 and 1, heads with a shape below what the gamma draw takes, and the largest counts."""
    for o_1 in (-3e38, -705.0, -1.0, 2.0, 705.0, 3e38):
        for o_2 in (-3e38, 0.0, 3e38):
            for q in (0.0, 5e-324, 0.4, 1 - 2.0**-53, 1.0):
                births = posterior_births((o_1, o_2, 0.0), 9, q, draws=40)
                assert births.min() >= 0 and births.max() <= 9
                if o_1 < -9 or q < 1e-9:
                    assert (births == 0).all()
                elif o_1 > 9 and q > 1 - 1e-9:
                    assert (births == 9).all()
                assert (posterior_births((o_1, o_2, 0.0), 0, q, draws=40) == 0).all()
    births = posterior_births((0.0, 0.0, 0.0), 2**53, 0.5, draws=100, most=2**53)
    assert births.min() >= 0 and births.max() <= 2**52 * 1.001 and np.unique(births).size > 90
    far = posterior_births((3e38, 1.0, -3e38), 255, 1.0, draws=200)  # the sum is 0
    assert 60 < far.mean() < 195


def test_nothing_cancels_next_to_all_births():
    """R = 2^53: deaths by f have Pr(j) = Gamma(j + b) Gamma(a + b) / (j! Gamma(a) Gamma(b)) R^-b, and those
    by the step, whose 1 - q is 1e-16, are Poisson(0.9)."""
    room, draws, j = 2**53, 100_000, np.arange(150)
    a, b = (special.expit(side * float(np.float32(4.6))) for side in (1, -1))
    log_p = special.gammaln(j + b) - special.gammaln(j + 1) - special.gammaln(b) - b * np.log(room)
    by_f = np.exp(log_p + special.gammaln(a + b) - special.gammaln(a))
    expected = draws * np.convolve(by_f, stats.poisson.pmf(j, room * 1e-16))[:150]
    deaths = room - posterior_births((4.6, -1.0, 0.0), room, fb.Prob(1.0, 1e-16), draws, most=room)
    seen = np.bincount(deaths[deaths < 150], minlength=150)
    rest = draws - seen.sum(), draws - expected.sum()
    assert chi_square_counts(np.append(seen, rest[0]), np.append(expected, rest[1])) > FALSE_ALARM
