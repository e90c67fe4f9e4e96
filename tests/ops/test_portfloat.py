"""Portable floats: accuracy against wider arithmetic, edges, and bits frozen by checksum."""

import ast
import zlib

import mpmath
import numpy as np
import pytest
import scipy.special
import torch

from fastblackout.reference import portfloat as pf
from support import ROOT

# Every 499th float32 bit pattern that is finite, both signs: about 8.6 million values, subnormals included.
PATTERNS = np.arange(0, 1 << 32, 499, dtype=np.uint64).astype(np.uint32).view(np.float32)
FINITE = PATTERNS[np.isfinite(PATTERNS)]
# bit patterns put most values at tiny and huge magnitudes; these lie where the functions bend
LOGITS = np.concatenate([np.linspace(-110, 110, 2_000_003), [87, -87, 0.0, -0.0]]).astype(np.float32)


def ulps(value, truth):
    """Error in units in the last place of the float32 nearest to the truth, which is never subnormal here."""
    spacing = np.spacing(np.abs(truth).astype(np.float32)).astype(np.float64)
    return np.max(np.abs(value.astype(np.float64) - truth) / spacing)


def softplus_truth(x):
    x = x.astype(np.float64)
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def sigmoid_truth(x):
    e = np.exp(-np.abs(x.astype(np.float64)))
    return np.where(x > 0, 1.0, e) / (1 + e)


def log_softplus_truth(x):
    x = x.astype(np.float64)
    e = np.exp(-np.abs(x))
    # below exp(x) = 1e-9, log(log1p(e)) = x - e / 2 to 1e-18
    return np.where(
        e < 1e-9, np.where(x < 0, x - e / 2, np.log(np.maximum(x, 1))), np.log(np.maximum(x, 0) + np.log1p(e))
    )


@pytest.mark.parametrize("x", [FINITE, LOGITS], ids=["bit patterns", "logits"])
def test_float32_accuracy(x):
    inside = x[x >= -86.98]
    assert ulps(pf.softplus(inside), softplus_truth(inside)) <= 4.0
    assert ulps(pf.softplus_over_sigmoid(inside), softplus_truth(inside) / sigmoid_truth(inside)) <= 4.0
    low, high = x[x <= -1], x[x > 1]
    with np.errstate(divide="ignore"):  # the truth's unused branch takes log(0)
        assert ulps(pf.log_softplus(low), log_softplus_truth(low)) <= 2.0
        assert ulps(pf.log_softplus(high), log_softplus_truth(high)) <= 4.0
    middle = x[(x > -1) & (x <= 1)]  # log softplus crosses zero at 0.54, so the error is absolute there
    assert np.max(np.abs(pf.log_softplus(middle) - log_softplus_truth(middle))) <= 3 * 2.0**-23


@pytest.mark.parametrize("function", [pf.softplus, pf.log_softplus, pf.softplus_over_sigmoid])
def test_float32_finite_everywhere_and_nan_stays(function):
    values = function(FINITE)
    assert values.dtype == np.float32
    assert np.isfinite(values).all()
    assert np.isnan(function(np.array([np.nan], np.float32)))[0]
    tiny = values[(values != 0) & (np.abs(values) < np.finfo(np.float32).tiny)]
    if function is not pf.log_softplus:  # no subnormal results: flush-to-zero settings change nothing
        assert tiny.size == 0


@pytest.mark.parametrize("function", [pf.softplus, pf.log_softplus, pf.softplus_over_sigmoid])
def test_flushing_subnormals_changes_no_bit(function):
    """torch.set_flush_denormal sets the processor's mode for NumPy too; where unsupported, both calls are equal."""
    small = np.concatenate([PATTERNS[np.abs(PATTERNS) < 1e-30], LOGITS])
    plain = function(small)
    torch.set_flush_denormal(True)
    try:
        flushed = function(small)
    finally:
        torch.set_flush_denormal(False)
    np.testing.assert_array_equal(plain.view(np.uint32), flushed.view(np.uint32))


def test_float32_edges():
    x = np.array([-3e38, -1e4, -86.99, 1e4, 3e38], np.float32)
    np.testing.assert_array_equal(pf.softplus(x), np.array([0, 0, 0, 1e4, 3e38], np.float32))
    np.testing.assert_array_equal(pf.log_softplus(x)[:3], x[:3])
    np.testing.assert_allclose(pf.log_softplus(x)[3:], np.log([1e4, 3e38]), rtol=3e-7)
    np.testing.assert_array_equal(pf.softplus_over_sigmoid(x), np.array([1, 1, 1, 1e4, 3e38], np.float32))
    assert pf.softplus(np.float32([-86.98]))[0] > np.finfo(np.float32).tiny


def wide_ulps(value, truth):
    return float(np.max(np.abs(value.astype(np.longdouble) - truth) / np.spacing(np.abs(truth.astype(np.float64)))))


def test_float64_accuracy():
    rng = np.random.default_rng(1)
    n = 500_000
    for a in (
        np.exp(rng.uniform(-700, 700, n)),
        rng.uniform(0.5, 2, n),
        1 + rng.normal(0, 1, n) * 10.0 ** rng.uniform(-14, -2, n),
    ):
        assert wide_ulps(pf.log(a), np.log(a.astype(np.longdouble))) <= 2
    for a in (-np.exp(rng.uniform(-700, -1e-9, n)), np.exp(rng.uniform(-700, 700, n)), rng.uniform(-0.9, 3, n)):
        assert wide_ulps(pf.log1p(a), np.log1p(a.astype(np.longdouble))) <= 2
    for a in (rng.uniform(-708, 709, n), rng.uniform(-14, 1, n), rng.normal(0, 1e-8, n)):
        assert wide_ulps(pf.exp(a), np.exp(a.astype(np.longdouble))) <= 2
    np.testing.assert_array_equal(pf.exp(np.array([-708.1, -1e300, 709.1, 0.0])), [0, 0, np.inf, 1])
    np.testing.assert_array_equal(pf.log1p(np.array([-5e-17, 0.0, 1e-300])), [-5e-17, 0.0, 1e-300])


def test_stirling_and_deviance_against_40_digits():
    mpmath.mp.dps = 40
    for x in [*range(1, 60), 10**3, 10**9, 2**53]:
        truth = mpmath.loggamma(x) - ((x - mpmath.mpf(1) / 2) * mpmath.log(x) - x + mpmath.log(2 * mpmath.pi) / 2)
        assert abs(pf.stirling_correction(np.array([float(x)]))[0] - truth) < 2e-17
    rng = np.random.default_rng(2)
    for mean in np.exp(rng.uniform(0, 36, 1500)):
        x = max(1.0, np.floor(mean + 6 * rng.normal() * np.sqrt(mean)))
        exact_x, exact_mean = mpmath.mpf(float(x)), mpmath.mpf(float(mean))
        truth = exact_x * mpmath.log(exact_x / exact_mean) - (exact_x - exact_mean)
        got = pf.deviance(np.array([x]), np.array([mean]), np.array([float(exact_x - exact_mean)]))[0]
        assert abs(got - truth) < 1e-14 * max(1, truth)


def test_factorials_against_40_digits():
    """log-gamma, and log and slope of a rising factorial: the bounds that portfloat.h states."""
    mpmath.mp.dps = 40
    rng, unit = np.random.default_rng(3), 2.0**-53
    sizes = [*10.0 ** rng.uniform(-12, 7, 600), *rng.uniform(0, 40, 200), 1e-300, 1.0, 2.0]
    for x in sizes:
        truth, exact = mpmath.loggamma(mpmath.mpf(float(x))), mpmath.mpf(float(x))
        assert abs(pf.log_gamma(np.array([x]))[0] - truth) <= 64 * unit * (1 + x * abs(np.log(x)) + abs(float(truth)))
        for n in (1, int(rng.integers(2, 6)), int(rng.integers(1, 256)), int(10 ** rng.uniform(0, 6))):
            at = np.array([x]), np.array([float(n)])
            total, above, below = (mpmath.mpf(float(part[0])) for part in pf.rising(*at))
            truth = mpmath.loggamma(exact + n) - mpmath.loggamma(exact + 1)
            assert abs(total + mpmath.log(above / below) - truth) <= 5 * unit * n * (1 + np.log(x + n + 9))
            truth = exact * (mpmath.digamma(exact + n) - mpmath.digamma(exact))
            assert abs(pf.rising_slope(*at)[0] / truth - 1) <= 16 * unit
    none, one = np.zeros(3), np.ones(3)
    np.testing.assert_array_equal(pf.rising_slope(np.array([0.0, 1e-9, 3.0]), none), none)
    np.testing.assert_array_equal(pf.rising_slope(none, np.array([1.0, 2.0, 255.0])), one)
    total, above, below = pf.rising(np.array([0.0, 1e-9, 1e5]), one)
    np.testing.assert_array_equal((total, above), (none, below))
    np.testing.assert_array_equal(pf.log_factorial(np.array([0.0, 1.0])), none[:2])
    np.testing.assert_allclose(pf.log_factorial(np.arange(2, 171.0)), scipy.special.gammaln(np.arange(3, 172.0)), 1e-14)


def test_log_one_plus():
    a = np.exp(np.random.default_rng(4).uniform(-700, 700, 500_000))
    assert wide_ulps(pf.log_one_plus(a), np.log1p(a.astype(np.longdouble))) <= 3
    np.testing.assert_array_equal(pf.log_one_plus(np.array([0.0, 1e-300])), [0.0, 1e-300])


def test_bfloat16_rounding_matches_torch():
    every = np.arange(1 << 16, dtype=np.uint16)
    values = pf.from_bfloat16(every)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(pf.round_to_bfloat16(values)[number], every[number])
    assert np.isnan(pf.from_bfloat16(pf.round_to_bfloat16(values[~number]))).all()
    ties = ((np.arange(1 << 16, dtype=np.uint32) << 16) | 0x8000).view(np.float32)
    sample = np.concatenate([ties, PATTERNS[::7]])
    sample = sample[~np.isnan(sample)]
    expected = torch.from_numpy(sample).to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    np.testing.assert_array_equal(pf.round_to_bfloat16(sample), expected)


def test_uniforms_are_exact_and_never_hit_a_bad_end():
    word = np.array([0, 0xFFFFFFFF], np.uint32)
    bits = pf.bits53(word, word)
    np.testing.assert_array_equal(bits, [0, (1 << 53) - 1])
    np.testing.assert_array_equal(pf.uniform_from_zero(bits), [0.0, 1 - 2.0**-53])
    np.testing.assert_array_equal(pf.uniform_to_one(bits), [2.0**-53, 1.0])
    np.testing.assert_array_equal(pf.uniform_centred(bits), [-0.5 + 2.0**-54, 0.5 - 2.0**-54])
    middle = np.array([(1 << 52) - 1, 1 << 52])
    np.testing.assert_array_equal(pf.uniform_centred(middle), [-(2.0**-54), 2.0**-54])
    np.testing.assert_array_equal(pf.floor_to_int(np.array([-1.5, -1.0, -0.1, 0.0, 0.9, 7.0])), [-2, -1, -1, 0, 0, 7])


@pytest.mark.parametrize(
    "name, checksum",
    [
        ("softplus", 0xAD37AB7A),
        ("log_softplus", 0x27829EF7),
        ("softplus_over_sigmoid", 0xDE0C847C),
        ("log", 0xB6A55047),
        ("log1p", 0x5237862B),
        ("exp", 0x4661DBD9),
        ("log_one_plus", 0xBDAC5C05),
        ("log_gamma", 0xAA7F028F),
        ("rising", 0x46B38EBD),
        ("rising_slope", 0x5B9446EB),
    ],
)
def test_bits_are_frozen(name, checksum):
    """A changed bit changes draws and losses that users may have stored: only with a new major version."""
    if name in ("log", "log1p", "exp"):
        exponent = np.arange(-600, 601, dtype=np.float64)
        values = getattr(pf, name)(exponent if name == "exp" else 1.37 * 2.0**exponent)
    elif name in ("log_one_plus", "log_gamma"):
        values = getattr(pf, name)(1.37 * 2.0 ** np.arange(-60, 50))
    elif name.startswith("rising"):
        values = np.array(getattr(pf, name)(1.37 * 2.0 ** np.arange(-60, 20), np.arange(1.0, 81.0)))
    else:
        values = getattr(pf, name)(np.arange(-30_000, 30_001).astype(np.float32) / np.float32(256))
    assert zlib.crc32(values.tobytes()) == checksum


def number(node):
    """The float of a comparison's side that is written as one, -0.1 too; else None."""
    sign = -1.0 if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else 1.0
    node = node.operand if isinstance(node, ast.UnaryOp) else node
    return sign * node.value if isinstance(node, ast.Constant) and isinstance(node.value, float) else None


def test_triton_compares_with_all_digits():
    """Triton 3.6 rounds the Python number of a comparison with float64 to float32: portfloat.exact keeps others."""
    kernels = ROOT / "kernels"
    compared = []
    for file in sorted(kernels.glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Compare):
                numbers = [n for n in map(number, (node.left, *node.comparators)) if n is not None]
                compared += [(f"{file.name}:{node.lineno}", n) for n in numbers]
    assert len(compared) > 40
    # Below float32's normal numbers Triton takes float64.
    assert [(where, n) for where, n in compared if abs(n) >= 2.0**-126 and float(np.float32(n)) != n] == []
