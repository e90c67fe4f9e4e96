"""The birth loss in NumPy: value and gradient against float64 formulas, the order of its sums, and its edges."""

import numpy as np
import pytest
from scipy import special

from fastblackout.reference.birth_loss import birth_loss, birth_loss_grad, sum_sample


def problem(batch=5, n=3000, seed=0, scale=6.0):
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, scale, (batch, n)).astype(np.float32)
    births = rng.integers(0, 256, (batch, n)).astype(np.uint8)
    return logits, births, rng.uniform(0.1, 3, batch), rng.uniform(0.01, 60, batch)


def log_softplus(x):
    return np.where(x < -30, x, np.log(np.logaddexp(0, np.maximum(x, -30))))


def loss_truth(logits, births, weight, gain):
    x, g = logits.astype(np.float64), gain.astype(np.float32).astype(np.float64)[:, None]
    element = g * np.logaddexp(0, x) - births * (np.log(g) + log_softplus(x))
    return weight * element.sum(axis=1)


def grad_truth(logits, births, coefficient, gain):
    x = logits.astype(np.float64)
    ratio = np.where(x < -700, 1.0, special.expit(x) / np.logaddexp(0, np.maximum(x, -700)))
    return coefficient[:, None] * (gain[:, None] * special.expit(x) - births * ratio)


# 1,023 / 1,024 / 1,025 lie around one chunk, 3,072 is CIFAR-10, 1 and 0 are the smallest
@pytest.mark.parametrize("n", [1, 7, 1023, 1024, 1025, 3072, 10_000])
def test_loss_against_float64(n):
    logits, births, weight, gain = problem(n=n, seed=n)
    got = birth_loss(logits, births, weight, gain)
    assert got.dtype == np.float32 and got.shape == (5,)
    x = logits.astype(np.float64)
    # 8 ulp an element and 10 levels of the tree, relative to the sum of magnitudes
    logs = np.abs(np.log(gain))[:, None] + np.abs(log_softplus(x))
    size = weight * (gain[:, None] * np.logaddexp(0, x) + births * logs).sum(1)
    assert np.all(np.abs(got - loss_truth(logits, births, weight, gain)) <= 18 * 2.0**-24 * size)


def test_empty_sample_costs_nothing():
    none = np.empty((3, 0), np.float32)
    np.testing.assert_array_equal(birth_loss(none, none, np.ones(3), np.ones(3)), np.zeros(3, np.float32))
    assert birth_loss_grad(none, none, np.ones(3), np.ones(3)).shape == (3, 0)


def test_sum_order_is_the_written_one():
    """Chunks of 1,024, halving tree in float32, chunk sums ascending in float64: an independent loop, to the bit."""
    v = np.random.default_rng(1).normal(0, 1e3, (2, 2500)).astype(np.float32)
    for row, got in zip(v, sum_sample(v), strict=True):
        total = 0.0
        for start in range(0, 2500, 1024):
            chunk = [np.float32(x) for x in row[start : start + 1024]]
            chunk += [np.float32(0)] * (1024 - len(chunk))
            h = 512
            while h >= 1:
                for i in range(h):
                    chunk[i] = chunk[i] + chunk[i + h]
                h //= 2
            total += float(chunk[0])
        assert total == got


def test_gradient_against_formula_and_finite_differences():
    logits, births, coefficient, gain = problem(n=400)
    got = birth_loss_grad(logits, births, coefficient, gain)
    truth = grad_truth(logits, births, coefficient, gain)
    size = coefficient[:, None] * (gain[:, None] * special.expit(logits) + births)
    assert np.all(np.abs(got - truth) <= 8 * 2.0**-24 * size)
    # the formula itself is the derivative of the float64 loss
    step = 1e-5
    x = logits.astype(np.float64)

    def element(z):
        return gain[:, None] * np.logaddexp(0, z) - births * np.log(gain[:, None] * np.logaddexp(0, z))

    inside = np.abs(x) < 15  # the difference quotient loses its digits further out
    slope = coefficient[:, None] * (element(x + step) - element(x - step)) / (2 * step)
    np.testing.assert_allclose(truth[inside], slope[inside], rtol=1e-5, atol=1e-4)


def test_gradient_is_zero_where_births_equal_y():
    logits = np.zeros((1, 1), np.float32)
    gain = np.array([3.0 / np.log(2.0)])  # y = 3
    grad = birth_loss_grad(logits, np.full((1, 1), 3), np.ones(1), gain)
    assert abs(grad[0, 0]) < 1e-6


@pytest.mark.parametrize("logit", [1e4, -1e4, 3e38, -3e38, 0.0, -87.5, 88.0])
@pytest.mark.parametrize("births", [0, 1, 255])
def test_extreme_logits_stay_finite(logit, births):
    x, k = np.full((1, 1), logit, np.float32), np.full((1, 1), births, np.int64)
    one = np.ones(1)
    grad = birth_loss_grad(x, k, one, one)[0, 0]
    assert np.isfinite(grad)
    np.testing.assert_allclose(grad, grad_truth(x, k, one, one)[0, 0], rtol=1e-6, atol=1e-30)
    if births * abs(logit) < 3e38:  # beyond, the loss itself exceeds float32
        loss = birth_loss(x, k, one, one)[0]
        np.testing.assert_allclose(loss, loss_truth(x, k, one, one)[0], rtol=1e-6, atol=1e-30)


def test_births_zero_never_gives_nan():
    x = np.array([[-3e38, -1e4, -200, 0, 200, 1e4]], np.float32)
    zero = np.zeros_like(x)
    for gain in (1e-6, 1.0, 64.0):
        assert np.isfinite(birth_loss(x, zero, np.ones(1), np.array([gain]))).all()
        assert np.isfinite(birth_loss_grad(x, zero, np.ones(1), np.array([gain]))).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_logit_dtypes(dtype):
    """float16 logits are exact in float32; float64 ones are rounded on load; the gradient takes their dtype."""
    logits, births, weight, gain = problem(n=2000, scale=3.0)
    logits = logits.astype(dtype)
    loss = birth_loss(logits, births, weight, gain)
    np.testing.assert_array_equal(loss, birth_loss(logits.astype(np.float32), births, weight, gain))
    grad = birth_loss_grad(logits, births, weight, gain)
    assert grad.dtype == dtype
    wide = birth_loss_grad(logits.astype(np.float32), births, weight, gain)
    np.testing.assert_array_equal(grad, wide.astype(dtype))


def test_births_dtype_and_shape_do_not_matter():
    logits, births, weight, gain = problem(batch=4, n=3 * 32 * 32)
    base = birth_loss(logits, births, weight, gain)
    for dtype in (np.int16, np.int64, np.float32):
        np.testing.assert_array_equal(birth_loss(logits, births.astype(dtype), weight, gain), base)
    image = (4, 3, 32, 32)
    np.testing.assert_array_equal(birth_loss(logits.reshape(image), births.reshape(image), weight, gain), base)
    assert birth_loss_grad(logits.reshape(image), births.reshape(image), weight, gain).shape == image
