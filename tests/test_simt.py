"""The CUDA kernels, run on the CPU by csrc/simt, equal the CPU kernels to the bit, in whatever order threads run."""

import numpy as np
import pytest
import torch
from helpers import bits, chi_square_counts, first_difference, lay, pairwise

import fastblackout as fb
from fastblackout.backends import cuda

try:
    from fastblackout import _simt
except ImportError:
    _simt = None

SHAPES = [(1, 1), (2, 7), (3, 31), (2, 1, 28, 28), (3, 3, 32, 32), (1, 3, 257, 129), (1, 20000)]
SEEDS = [0, 1, 16, 2**63, 2**64 - 1]
SCHEDULES = ["forward", "reverse", "random"]
LAYOUTS = ["contiguous", "channels_last", "transposed", "sliced", "expanded"]
COUNTS = ["uint8", "int16", "int32", "int64"]
FLOATS = ["float32", "bfloat16", "float16", "float64"]
PROBS = [0.3, 0.9, 1e-3, 0.5, 1.0, 0.0, 1e-12, 0.999]


@pytest.fixture(autouse=True)
def built():
    _simt.configure("forward", 0, 1)


def key_tensor(rng):
    seed = rng.seed - 2**64 if rng.seed >= 2**63 else rng.seed
    return torch.tensor([seed, rng.first_sample, rng.call], dtype=torch.int64)


def new_flag():
    return torch.zeros(1, dtype=torch.int32)


def column(values, samples, dtype=torch.float64):
    return torch.tensor([values[b % len(values)] for b in range(samples)], dtype=dtype)


def laid(array, how, dtype=None):
    if how == "expanded":
        axis = int(np.argmax(array.shape))
        tensor = torch.from_numpy(array.take([0], axis)).expand(array.shape)
    else:
        tensor = torch.from_numpy(lay(array, how))
    return tensor.to(torch.bfloat16) if dtype == "bfloat16" else tensor


def output(shape, dtype, how):
    how = "contiguous" if how == "expanded" else how
    kind = np.dtype("int16" if dtype == "bfloat16" else dtype)
    tensor = torch.from_numpy(lay(np.full(shape, 7, kind), how))
    return tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor


def check(name, got, want):
    assert bits(got) == bits(want), f"{name}: {first_difference(got, want)}"


def numbers(shape, dtype, seed, low, high):
    generator = np.random.default_rng(seed)
    values = generator.uniform(low, high, shape)
    return values.astype("float32" if dtype == "bfloat16" else dtype)


CASES = pairwise(
    shape=SHAPES,
    key=SEEDS,
    schedule=SCHEDULES,
    layout=LAYOUTS,
    counts=COUNTS,
    floats=FLOATS,
    max_count=[255, 200, 15, 1000],
)


def prepared(case, fill):
    """(x, rng, probabilities, center, scale) of a case; uint8 takes max_count 255 where 1000 does not fit."""
    if case["counts"] == "uint8" and case["max_count"] > 255:
        case = case | {"max_count": 255}
    _simt.configure(case["schedule"], 5, 2)
    samples = case["shape"][0]
    x = np.random.default_rng(fill).integers(0, case["max_count"] + 1, case["shape"]).astype(case["counts"])
    p = column(PROBS[fill % len(PROBS) :] + PROBS[: fill % len(PROBS)], samples)
    rng = fb.Philox(case["key"], 2**32 - 1000, 2**32 - 1)
    float32 = {"dtype": torch.float32}
    return (
        case,
        laid(x, case["layout"]),
        rng,
        p,
        column([3.0, -0.5], samples, **float32),
        column([0.01, 2.0], samples, **float32),
    )


@pytest.mark.parametrize("case", range(len(CASES)))
def test_thin_equals_the_cpu(case):
    case, x, rng, p, center, scale = prepared(CASES[case], case)
    alive = fb.Prob(p, 1 - p)
    want = fb.thin(
        x,
        alive,
        rng=rng,
        max_count=case["max_count"],
        center=center,
        scale=scale,
        input_dtype=case["floats"],
        backend="cpu",
    )
    x_t, births = (output(x.shape, case["counts"], case["layout"]) for _ in range(2))
    made, flag = output(x.shape, case["floats"], case["layout"]), new_flag()
    cuda.thin(x, p, 1 - p, key_tensor(rng), case["max_count"], center, scale, x_t, births, made, flag, module=_simt)
    check("x_t", x_t, want.x_t)
    check("births", births, want.births)
    check("model_input", made, want.model_input)
    assert flag.item() == 0


@pytest.mark.parametrize("case", range(len(CASES)))
def test_bridge_equals_the_cpu(case):
    case, x, rng, p, center, scale = prepared(CASES[case], case)
    attrition = case["schedule"] != "forward"
    samples, floats = len(x), case["floats"]
    network = laid(numbers(x.shape, floats, case["key"], -6.0, 6.0), case["layout"], floats)
    given = {"births": laid(numbers(x.shape, floats, 3, 0.0, 40.0), case["layout"], floats)} if case["key"] == 1 else {}
    gain, sigma = column([1.0, 30.0, 7.3], samples, torch.float32), column([0.05, 0.6], samples)
    stochastic = case["layout"] != "sliced"
    want = fb.bridge_step(
        x, None if given else network, fb.Prob(p, 1 - p), **given, rng=rng, max_count=case["max_count"], gain=gain,
        rounding="stochastic" if stochastic else "nearest", attrition=fb.Prob(sigma, 1 - sigma) if attrition else 0.0,
        center=center, scale=scale, input_dtype=floats, backend="cpu",
    )  # fmt: skip
    x_s, made, flag = (
        output(x.shape, case["counts"], case["layout"]),
        output(x.shape, floats, case["layout"]),
        new_flag(),
    )
    sigmas = (sigma, 1 - sigma) if attrition else (None, None)
    cuda.bridge(
        x, None if given else network, given.get("births"), p, 1 - p, *sigmas, key_tensor(rng), case["max_count"], gain,
        stochastic, center, scale, x_s, made, flag, module=_simt,
    )  # fmt: skip
    check("x_s", x_s, want.x_s)
    check("model_input", made, want.model_input)
    assert flag.item() == 0


@pytest.mark.parametrize("case", range(len(CASES)))
def test_tau_leap_equals_the_cpu(case):
    case, x, rng, p, center, scale = prepared(CASES[case], case)
    floats, gain = case["floats"], column([1.0, 30.0, 7.3], len(x), torch.float32)
    network = laid(numbers(x.shape, floats, case["key"], -6.0, 6.0), case["layout"], floats)
    factor = 3 * p
    want = fb.tau_leap_step(
        x, network, factor, rng=rng, max_count=case["max_count"], gain=gain, center=center, scale=scale,
        input_dtype=floats, backend="cpu",
    )  # fmt: skip
    x_s, made, flag = (
        output(x.shape, case["counts"], case["layout"]),
        output(x.shape, floats, case["layout"]),
        new_flag(),
    )
    overshoot = torch.zeros(len(x), dtype=torch.int64)
    cuda.tau_leap(
        x,
        network,
        None,
        factor,
        key_tensor(rng),
        case["max_count"],
        gain,
        center,
        scale,
        x_s,
        made,
        overshoot,
        flag,
        module=_simt,
    )
    check("x_s", x_s, want.x_s)
    check("model_input", made, want.model_input)
    check("overshoot", overshoot, want.overshoot)
    assert flag.item() == 0


@pytest.mark.parametrize("case", range(len(CASES)))
def test_birth_loss_and_gradient_equal_the_cpu(case):
    case, births, _, weight, _, _ = prepared(CASES[case], case)
    floats, gain = case["floats"], column([1.0, 0.25, 7.3], len(births), torch.float32)
    logits = laid(numbers(births.shape, floats, case["key"], -40.0, 40.0), case["layout"], floats).requires_grad_()
    want = fb.birth_loss(logits, births, weight, gain=gain, backend="cpu")
    upstream = column([1.0, -2.5], len(births), torch.float32)
    (slope,) = torch.autograd.grad(want, logits, upstream)
    loss, grad, flag = torch.full((len(births),), 7.0), output(births.shape, floats, case["layout"]), new_flag()
    cuda.birth_loss(logits.detach(), births, weight, gain, loss, flag, module=_simt)
    cuda.birth_loss_grad(logits.detach(), births, upstream.double() * weight, gain, grad, flag, module=_simt)
    check("loss", loss, want.detach())
    check("gradient", grad, slope)
    assert flag.item() == 0


@pytest.mark.parametrize("case", range(len(CASES)))
def test_element_draws_equal_the_cpu(case):
    case, count, rng, _, _, _ = prepared(CASES[case], case)
    floats = case["floats"]
    p = laid(numbers(count.shape, floats, 1, 0.0, 1.0), case["layout"], floats)
    want = fb.binomial(count, p, rng=rng, backend="cpu")
    out, flag = torch.empty_like(want), new_flag()
    cuda.binomial(count, p, None, key_tensor(rng), out, flag, module=_simt)
    check("binomial", out, want)
    rate = laid(numbers(count.shape, floats, 2, 0.0, 300.0), case["layout"], floats)
    want = fb.poisson(rate, rng=rng, backend="cpu")
    out = torch.empty_like(want)
    cuda.poisson(rate, key_tensor(rng), out, flag, module=_simt)
    check("poisson", out, want)
    assert flag.item() == 0


def test_large_counts_and_pairs():
    rng, flag = fb.Philox(16), new_flag()
    count = torch.tensor([[2**53, 2**31, 10**6, 0]] * 3, dtype=torch.int64)
    p = torch.tensor([[0.5, 1e-9, 1.0 - 1e-12, 0.3]] * 3, dtype=torch.float64)
    want = fb.binomial(count, fb.Prob(p, 1 - p), rng=rng, backend="cpu")
    out = torch.empty_like(count)
    cuda.binomial(count, p, 1 - p, key_tensor(rng), out, flag, module=_simt)
    check("binomial", out, want)
    assert flag.item() == 0


def test_ties_and_window_misses_are_drawn_again():
    """2 million draws at p = 1/2: some 2,700 meet a threshold and some 100 leave the window; all equal the CPU's."""
    x, p, rng, flag = torch.full((1, 2**21), 255, dtype=torch.uint8), column([0.5], 1), fb.Philox(3), new_flag()
    out = torch.empty_like(x)
    one, zero = torch.ones(1), torch.zeros(1)
    cuda.thin(x, p, 1 - p, key_tensor(rng), 255, zero, one, out, None, None, flag, module=_simt)
    check("x_t", out, fb.thin(x, fb.Prob(p, 1 - p), rng=rng, outputs="x_t", backend="cpu").x_t)


def test_in_place():
    x, p, rng, flag = (
        torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8),
        column([0.4, 0.8], 2),
        fb.Philox(9),
        new_flag(),
    )
    want = fb.thin(x, fb.Prob(p, 1 - p), rng=rng, backend="cpu").x_t
    cuda.thin(x, p, 1 - p, key_tensor(rng), 255, torch.zeros(2), torch.ones(2), x, None, None, flag, module=_simt)
    check("x_t", x, want)


def test_law():
    """An independent oracle: chi-square against scipy; with this seed fixed it cannot fail by chance."""
    from scipy import stats

    x, p, flag = torch.full((1, 200000), 100, dtype=torch.uint8), column([0.3], 1), new_flag()
    out = torch.empty_like(x)
    cuda.thin(
        x, p, 1 - p, key_tensor(fb.Philox(11)), 255, torch.zeros(1), torch.ones(1), out, None, None, flag, module=_simt
    )
    seen = np.bincount(out.numpy().ravel(), minlength=101)
    assert chi_square_counts(seen, stats.binom(100, 0.3).pmf(np.arange(101)) * x.numel()) > 1e-4
