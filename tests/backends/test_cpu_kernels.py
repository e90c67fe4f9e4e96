"""The CPU's kernels beside the reference, to the bit, where the cases of test_product.py seldom lead.

Draws by tables that are kept, samples of few elements, ties, losses with numbers of each element. The vector
instruction sets decide draws of elements in float32. There they are compared with the scalar set, which takes every
draw in double precision, in millions of draws.
"""

import itertools

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.reference.philox import Stream, philox4x32
from support.arrays import bits, first_difference
from support.helpers import BACKENDS, ISAS, by_day, using

LAST = fb.Philox(2**63 + 5, first_sample=2**32 - 2600, call=3)  # the last samples that a key has


def as_reference(call, about="", threads=None):
    """Every instruction set gives the bits of the reference."""
    with using("reference"):
        expected = call()
    for name in BACKENDS[1:]:
        with using(name, threads):
            drawn = call()
        assert bits(drawn) == bits(expected), (about, name, first_difference(drawn, expected))


X = np.random.default_rng(0).integers(0, 256, (9, 3, 70, 70), dtype=np.uint8)
HALF = X.astype(np.float32) / 510
SPREAD = {  # over threads
    "thin": lambda: fb.thin(X, 0.4, rng=LAST).model_input,
    "bridge_step": lambda: fb.bridge_step(X, births=255.0 - X, step=0.3, attrition=0.1, gain=0.5, rng=LAST).x_s,
    "tau_leap_step": lambda: fb.tau_leap_step(X, births=HALF, step=0.3, rng=LAST).x_s,
    "binomial": lambda: fb.binomial(X, HALF, rng=LAST),
    "poisson": lambda: fb.poisson(HALF, rng=LAST),
    "birth_loss": lambda: fb.birth_loss(HALF, X, np.linspace(-1.5, 700, 9)),
}


@pytest.mark.parametrize("op", SPREAD)
def test_threads_do_not_change_a_bit(op):
    for threads in (2, 3, 7):
        as_reference(SPREAD[op], threads=threads)


@pytest.mark.parametrize("gain", [1.0, 0.0, 1e-30, 3e38])
def test_extreme_logits_and_gains(gain):
    """Of whole vectors and what is left of one, by table and by draws of elements."""
    logits = np.resize(np.float32([-3e38, -1e4, -87.5, -86.5, 0.0, 20.0, 300.0, 3e38]), (3, 1029))
    x = np.random.default_rng(1).integers(0, 201, logits.shape)
    p = np.array([1e-12, 0.93, 5e-324])
    for most in (200, 100_000):
        given = {"gain": gain, "max_count": most, "center": 1e38, "rng": LAST}
        as_reference(lambda: fb.bridge_step(x, logits, fb.Prob(p, 1 - p), **given).model_input)  # noqa: B023
        as_reference(lambda: fb.tau_leap_step(x, logits, 1e9 * p, **given).x_s)  # noqa: B023
    if gain > 0:
        as_reference(lambda: fb.birth_loss(np.clip(logits, -1e30, 1e30), x, np.array([0.0, 1e30, -1.5]), gain=gain))


@pytest.mark.parametrize("max_count", [1, 2, 15, 16, 17, 31, 47, 100, 127, 128, 200, 239, 240, 254])
def test_every_declared_limit_with_many_probabilities(max_count):
    """What a kernel keeps of one probability must not show in the next: several in one call, by one thread."""
    x_0 = np.random.default_rng(max_count).integers(0, max_count + 1, (24, 700)).astype(np.uint8)
    alive = np.concatenate([np.linspace(0.02, 0.98, 12), np.geomspace(1e-6, 0.5, 12)])
    alive = alive[[*range(0, 24, 2), *range(1, 24, 2)]]
    given = {"rng": fb.Philox(2**63 + 1, first_sample=5), "max_count": max_count, "outputs": "x_t"}
    as_reference(lambda: fb.thin(x_0, alive, **given).x_t, threads=1)


def test_what_is_kept_of_one_key_does_not_show_in_the_next():
    """A thread keeps rounds of Philox that samples share; then come more elements, another seed, call or op."""
    x_0 = np.random.default_rng(4).integers(0, 256, (2, 70_000), dtype=np.uint8)
    draws = [(5, 3, 100), (5, 3, 1_000), (5, 3, 5_000), (6, 3, 5_000), (5, 3, 65_536), (5, 3, 70_000)]
    draws += [(5 + 2**32, 3, 65_000), (5, 4, 65_000), (5, 3, 100)]  # seed, call, elements
    p = np.array([0.3, 0.6])
    ops = (
        lambda x, key: fb.thin(x, p, rng=key, outputs="x_t").x_t,
        lambda x, key: fb.bridge_step(x, births=255.0 - x, step=p, attrition=0.2, rng=key, outputs="x_s").x_s,
    )
    for op, (seed, call, elements) in itertools.product(ops, draws):
        x, key = x_0[:, :elements], fb.Philox(seed, call=call)
        as_reference(lambda: op(x, key), (seed, call, elements), threads=1)  # noqa: B023


@pytest.mark.parametrize("p", [1.5e-6, 3e-5, 0.03, 0.1, 0.135, 0.2, 0.5, 0.9, 0.97])
def test_what_the_quick_searches_miss(p):
    """Enough counts for uniforms on both sides of the windows of AVX-512, some hundred, and for ties, some thousand."""
    x_0 = np.random.default_rng(8).integers(0, 256, 1_000_000, dtype=np.uint8)[None]
    as_reference(lambda: fb.thin(x_0, p, rng=fb.Philox(3), outputs="x_t").x_t)


def tying_births(shape, seed=1):
    """Whose fraction is, where float32 holds it, the first 32 bits that it is rounded with, and a half more."""
    blocks = -(-shape[1] // 4)
    sample, block = np.divmod(np.arange(shape[0] * blocks), blocks)
    words = np.stack(philox4x32(block, sample, 0, Stream.ROUNDING.word(), seed, 0), axis=1)
    words = words.reshape(shape[0], -1)[:, : shape[1]]
    assert (words < 2**23).sum() > 10
    return np.where(words < 2**23, (words + 0.5) / 2**32, 0.25).astype(np.float32)


def large_births(shape):
    random = np.random.default_rng(0)
    births = random.choice([0.0, 0.5, 1.5, 254.5, 255.5, 3000.5, 2.0**22 + 0.5, 2.0**31, 1e15], shape)
    births[:, 1100:2000] = random.choice(2.0**24 + np.array([-2.0, -1.0, 0.0, 2.0, 4.0]), (shape[0], 900))  # whole
    births[:, 2048:5000] = np.minimum(births[:, 2048:5000], 2.0**24 - 1)
    return births.astype(np.float32)


@pytest.mark.parametrize("rounding", ["stochastic", "nearest"])
@pytest.mark.parametrize("most", [254, 500, 2**24 + 3, 2**53])
@pytest.mark.parametrize("births", [tying_births, large_births])
def test_rounded_births(births, most, rounding):
    """Births that float32 no longer holds, and ties. With step 1 all births take place."""
    x = np.zeros((2, 6000), np.int64)
    x[:, ::7] = most - np.arange(x[:, ::7].size).reshape(x[:, ::7].shape) % min(most, 2**24 + 2)
    given = {"births": births(x.shape), "rng": fb.Philox(1), "max_count": most, "rounding": rounding}
    as_reference(lambda: fb.bridge_step(x, step=1.0, outputs="x_s", **given).x_s)


SHAPES = [(2600,), (1025, 1), (700, 3), (205, 5), (300, 8), (110, 12)]
SHAPES += [(40, 31), (53, 47), (10, 248), (9, 511), (6, 512), (300, 2, 5)]


def draws_of_few(shape, strided):
    random = np.random.default_rng(list(shape))

    def lay(values):
        if not strided:
            return values
        room = np.zeros((*shape[:-1], 2 * shape[-1] + 1), values.dtype)
        room[..., ::2][..., : shape[-1]] = values
        return room[..., ::2][..., : shape[-1]]

    counts, prob = lay(random.integers(0, 3000, shape)), lay(random.random(shape))
    pixels = lay((counts % 256).astype(np.uint8))
    each = {"alive": np.linspace(1, 0, len(counts)), "center": np.arange(len(counts)), "max_count": 500, "rng": LAST}
    step = {"step": 0.3, "max_count": 3500, "rng": LAST, "outputs": ("x_s",)}
    some, more = (lay(random.gamma(0.7, 4.0, shape) + 1e-3) for _ in range(2))
    return {
        "binomial": lambda: fb.binomial(counts, prob, rng=LAST),
        "binomial, one p": lambda: fb.binomial(counts, 0.3, rng=LAST),
        "thin": lambda: fb.thin(pixels, 0.7, rng=LAST, outputs=("births",)).births,
        "thin, some above 255": lambda: fb.thin(counts // 6, 0.3, max_count=500, rng=LAST, scale=0.5).model_input,
        "thin, each": lambda: fb.thin(pixels, np.linspace(0, 1, len(pixels)), rng=LAST).x_t,
        "thin, each, some above 255": lambda: fb.thin(counts // 6, **each).model_input,
        "bridge_step": lambda: fb.bridge_step(pixels, some, 0.6, rng=LAST, gain=30.0, outputs=("x_s",)).x_s,
        "bridge_step, some above 255": lambda: fb.bridge_step(counts, births=50 * some, attrition=0.1, **step).x_s,
        "poisson": lambda: fb.poisson(some * 5, rng=LAST),
        "normal": lambda: fb.normal(some, 2.0, rng=LAST),
        "gamma": lambda: fb.gamma(some, scale=more, rng=LAST),
        "beta": lambda: fb.beta(some, more, rng=LAST),
        "beta_binomial": lambda: fb.beta_binomial(counts, some, more, rng=LAST),
        "negative_binomial": lambda: fb.negative_binomial(some, mean=3 * more, rng=LAST),
    }


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("shape", SHAPES)
def test_samples_of_few_elements(shape, strided):
    """The kernels draw them together."""
    for name, draw in draws_of_few(shape, strided).items():
        as_reference(draw, name)


@pytest.mark.parametrize("shape", by_day([(60_000,), (20_000, 3), (7_500, 8), (2_500, 24)], (20_000, 3), (2_500, 24)))
def test_ties_of_the_table_draw(shape):
    """Of so many uniforms some dozens begin with the 16 bits of a threshold."""
    counts = np.random.default_rng(5).integers(0, 256, shape, np.uint8)
    for p in (0.03, 0.37):
        as_reference(lambda: fb.thin(counts, p, rng=fb.Philox(1, first_sample=2**32 - 60_000)).x_t)  # noqa: B023


@pytest.mark.parametrize("most", [127, 400])
def test_ties_of_samples_of_few_elements(most):
    """Of uniforms and thresholds, some hundred in so many draws; and of rounding's first 32 bits, made on purpose."""
    counts = np.random.default_rng(most).integers(0, most + 1, (20_000, 3), np.int32)
    given = {"births": tying_births(counts.shape), "attrition": 0.8, "max_count": 2 * most, "outputs": ("x_s",)}
    as_reference(lambda: fb.thin(counts, 0.37, rng=fb.Philox(1), max_count=most).x_t, threads=1)
    as_reference(lambda: fb.bridge_step(counts, step=1.0, rng=fb.Philox(1), **given).x_s, threads=1)


@pytest.mark.parametrize("shape", [(3, 2500), (900, 3), (2000,)])
@pytest.mark.parametrize("zeros", [0.2, 0.3, 0.9, 0.999, 1.0])
def test_counts_of_zero_are_left_out(shape, zeros):
    random = np.random.default_rng([*shape, int(1000 * zeros)])
    counts = random.integers(1, 3000, shape) * (random.random(shape) >= zeros)
    prob = random.random(shape)
    as_reference(lambda: fb.binomial(counts, prob, rng=LAST.at(first_sample=5)))


@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_a_wrong_value_is_told_with_its_sample(backend):
    """Of samples of few elements, which are drawn together."""
    half, ones = np.full((700, 3), 0.5), np.ones((700, 3), np.int64)
    prob, std = half.copy(), np.broadcast_to(np.where(np.arange(600) == 550, np.nan, 1.0)[:, None], (600, 3))
    prob[512, 2] = 2.0
    for wrong in (prob, fb.Prob(half, 0.5 + 0.1 * (prob > 1))):
        with using(backend), pytest.raises(ValueError, match=r"binomial: prob: .*sample 512, element 2"):
            fb.binomial(ones, wrong, rng=fb.Philox(1))
    with using(backend), pytest.raises(ValueError, match=r"normal: std: .*sample 550, element 0"):
        fb.normal(np.zeros((600, 3)), std, rng=fb.Philox(1))


# birth_loss with numbers of each element

LOSSES = [(3, 2500), (2, 3, 40, 30), (4, 1, 5), (70, 7)]
DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
BORN = [torch.uint8, torch.float32, torch.int64]


def numbers_of(shape, random):
    """What stands beside logits: of each element, feature or sample, in several dtypes; equal numbers and 0, too."""
    each = torch.from_numpy(random.normal(0, 2, shape))
    feature = torch.from_numpy(random.random((1, shape[1], *[1] * (len(shape) - 2)))) + 1e-3
    sample = each.flatten(1)[:, :1].reshape(-1, *[1] * (len(shape) - 1))
    some = each.clone()
    some[0], some[-1, ..., 0] = 0.0, 1e-300
    weights = [each, each.float(), feature.half(), sample.expand(shape), torch.full(shape, -3), some]
    gains = [1.0, 0.3, each.abs() + 1e-6, (each.abs() + 1e-3).bfloat16(), feature, torch.full(shape, 7)]
    return list(itertools.product(weights, gains))


def losses_of(shape, dtype, born, seed):
    random = np.random.default_rng(seed)
    logits = torch.from_numpy(random.normal(0, 9, shape)).to(dtype)
    if dtype is torch.float32:
        logits.view(-1)[0] = 2.9e38  # where AVX-512's exponent of a float gives up
    births = torch.from_numpy(random.integers(0, 99, shape)).to(born)
    return [(logits, births, weight, gain) for weight, gain in numbers_of(shape, random)]


def graded(logits, births, weight, gain, upstream):
    leaf = logits.clone().requires_grad_()
    loss = fb.birth_loss(leaf, births, weight, gain=gain)
    loss.backward(upstream)
    return np.concatenate([value.flatten().view(torch.uint8).numpy() for value in (loss.detach(), leaf.grad)])


@pytest.mark.parametrize("number", range(len(LOSSES) * len(DTYPES)))
def test_bits_of_the_reference(number):
    """The pairs of weights and gains go round with the shapes and dtypes, so that each comes once."""
    index, kind = divmod(number, len(DTYPES))
    shape, born = LOSSES[index], BORN[number % len(BORN)]
    for at, values in enumerate(losses_of(shape, DTYPES[kind], born, number)[number :: len(LOSSES) * len(DTYPES)]):
        upstream = torch.linspace(-1, 2, shape[0]) if at % 2 else torch.ones(shape[0])
        as_reference(lambda: graded(*values, upstream), at, threads=1 + at % 2)  # noqa: B023


WRONG = {
    "gain: must be finite and above 0, got 0": ("gain", 0.0),
    "gain: must be finite and above 0, got nan": ("gain", np.nan),
    "weight: must be finite, got nan": ("weight", np.nan),
    "weight: must be finite, got -inf": ("weight", -np.inf),
    "logits: must be finite in float32, got nan": ("logits", np.nan),
    "births: must be finite and at least 0, got -2": ("births", -2.0),
}


@pytest.mark.parametrize("text", WRONG)
@pytest.mark.parametrize("name", BACKENDS[1:])
def test_the_first_wrong_number_is_named(name, text):
    argument, value = WRONG[text]
    random = np.random.default_rng(0)
    given = {each: random.random((3, 2100)).astype(np.float32) + 0.1 for each in ("logits", "births", "weight", "gain")}
    given[argument][1, 2050] = given[argument][2, 3] = value
    with using(name), pytest.raises(ValueError) as caught:
        fb.birth_loss(**given)
    assert str(caught.value) == f"birth_loss: {text} at sample 1, element 2050"


# Draws of elements that vectors decide in float32

VECTORS = [name for name in ISAS if name != "scalar"]
MANY = (3, 100_003)


def as_scalar(isa, draw):
    drawn = []
    for name in ("scalar", isa):
        with fb.use_backend("cpu", isa=name):
            drawn.append(draw())
    np.testing.assert_array_equal(drawn[1], drawn[0])


def counts_and_probabilities(case):
    rng = np.random.default_rng(17)
    u = rng.random(MANY)
    if case == "to 10,000":
        return rng.integers(0, 10_001, MANY), u
    if case == "small":
        return rng.integers(0, 60, MANY), u
    if case == "mean near 10":
        n = rng.integers(20, 400, MANY)
        return n, np.minimum((9 + 8 * u) / n, 0.5)
    if case == "variance about 2^20":
        n = rng.integers(1 << 20, 1 << 23, MANY)
        return n, u
    n = rng.integers(1 << 20, (1 << 53) + 1, MANY)  # rare events of many
    return n, np.minimum(np.exp(14 * u) / n, 0.5)


@pytest.mark.parametrize("case", ["to 10,000", "small", "mean near 10", "variance about 2^20", "rare"])
@pytest.mark.parametrize("isa", VECTORS)
def test_binomial_bits(isa, case):
    n, p = counts_and_probabilities(case)
    for key, prob in enumerate((p, 1 - p, fb.Prob(1 - p, p))):
        as_scalar(isa, lambda prob=prob, key=key: fb.binomial(n, prob, rng=fb.Philox(key)))


@pytest.mark.parametrize("low, high", [(0, 10), (9, 20), (0, 50), (1e3, 1e6), (1e6, 1.1e6)])
@pytest.mark.parametrize("isa", VECTORS)
def test_poisson_bits(isa, low, high):
    rate = np.random.default_rng(18).uniform(low, high, MANY)
    as_scalar(isa, lambda: fb.poisson(rate, rng=fb.Philox(5)))


# How the two arrays of a head are spread, the middle of the second, offset, step, max_count: all of a head's range,
# tiny and large shapes, steps of half the births, counts beyond a byte, and beyond what float32 takes.
STEPS = {
    "images": (2.0, 1.5, 0.0, -0.1, 0.2, 255),
    "late": (2.0, 1.5, 0.0, -2.3, 0.5, 255),
    "tiny shapes": (8.0, 3.0, -5.0, -8.0, 0.999, 255),
    "large shapes": (0.5, 0.5, 6.0, -0.7, 1.0, 255),
    "whole range": (30.0, 20.0, 0.0, -25.0, 1.0, 10_000),
    "many counts": (1.0, 1.0, 2.0, -1e-3, 0.3, 1 << 21),
}


@pytest.mark.parametrize("case", STEPS)
@pytest.mark.parametrize("family", ["beta-binomial", "negative-binomial"])
@pytest.mark.parametrize("isa", VECTORS)
def test_bits_of_steps_whose_probabilities_are_made_in_float32(isa, family, case):
    spread_0, spread_1, middle, offset, step, most = STEPS[case]
    rng = np.random.default_rng(19)
    head = rng.normal(0, spread_0, MANY).astype(np.float32), rng.normal(middle, spread_1, MANY).astype(np.float32)
    x_t = np.floor((most + 1) * rng.random(MANY) ** 4).astype(np.int32) * (rng.random(MANY) < 0.6)
    law = {"family": family, "offset": offset, "max_count": most, "rng": fb.Philox(6)}
    as_scalar(isa, lambda: fb.posterior_step(x_t, head, step, **law).x_s)


# (head_0, head_1, offset) of all elements of a law, and (seed, sample, element) of draws that hang on a bound.
WIDE, NARROW = ("beta-binomial", 0.0, 3.0, -0.7), ("beta-binomial", 0.5, 1.5, -0.1)
BOOSTED, COUNTS = ("beta-binomial", -0.5, -1.0, -0.7), ("negative-binomial", 0.5, 1.0, -0.7)
CLOSE = {
    "slack of a gamma trial": {
        NARROW: [(3, 7, 547), (41, 29, 1542), (57, 32, 1986), (94, 55, 1907)],
        BOOSTED: [(48, 32, 1013)],
        COUNTS: [(0, 5, 752), (56, 38, 1801), (79, 26, 1939), (86, 9, 2006)],
    },
    "doubt of a gamma draw": {
        WIDE: [(0, 19, 351), (0, 53, 1985), (9, 23, 378), (9, 51, 603), (12, 55, 382)],
        NARROW: [(3, 40, 303), (5, 1, 808), (9, 21, 1856), (9, 39, 396), (12, 6, 738)],
    },
}


@pytest.mark.parametrize("bound", CLOSE)
@pytest.mark.parametrize("isa", VECTORS)
def test_draws_that_only_a_bound_keeps_from_a_wrong_count(isa, bound):
    """Each of these draws had another count than the scalar set's, with AVX2 and with AVX-512, once a bound of
    csrc/cpu/per_isa/gamma_fast.inc was 0: the slack by which a float32 trial must clear its level, or the doubt of a
    gamma draw. They were found by such builds, which drew 4 to 17 million counts of each law, a seed after the other
    and 64 samples of 2,048 elements a seed, and kept the elements that differed: one of 3 million with the slack at 0,
    one of 0.3 million with the doubt."""
    for (family, *head, offset), draws in CLOSE[bound].items():
        for seed, sample, element in draws:
            arrays = [np.full((1, element + 1), number, np.float32) for number in head]
            law = {"family": family, "offset": offset, "max_count": 255}
            key = fb.Philox(seed).at(first_sample=sample)
            x_t = np.zeros((1, element + 1), np.uint8)
            as_scalar(isa, lambda: fb.posterior_step(x_t, arrays, 1.0, rng=key, **law).x_s[0, element])  # noqa: B023
