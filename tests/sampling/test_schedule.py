"""Schedule against mpmath, its algebra, its libraries and its errors."""

import json
import math
import pickle
import subprocess
import sys

import mpmath
import numpy as np
import pytest
import torch

from fastblackout.probability import Prob
from fastblackout.schedule.schedule import Schedule

UNIT = 2.0**-53


def exact_logit(steps, t_end, k):
    """(p, q, t) of mpmath, 60 digits."""
    if k == 0:
        return mpmath.mpf(1), mpmath.mpf(0), mpmath.mpf(0)
    end = mpmath.log(mpmath.expm1(mpmath.mpf(t_end)))
    level = end * (steps + 1 - 2 * k) / (steps - 1)
    return 1 / (1 + mpmath.exp(-level)), 1 / (1 + mpmath.exp(level)), mpmath.log1p(mpmath.exp(-level))


@pytest.fixture(autouse=True)
def _digits():
    with mpmath.workdps(60):
        yield


def relative(value, exact):
    return 0.0 if exact == value else float(abs((mpmath.mpf(float(value)) - exact) / exact))


@pytest.mark.parametrize("steps, t_end", [(1000, 15.0), (500, 10.0), (2, 1.0), (37, 700.0)])
def test_logit_is_rounded_once(steps, t_end):
    schedule = Schedule.logit(steps, t_end)
    for k in range(steps + 1):
        p, q, t = exact_logit(steps, t_end, k)
        # Half a unit in the last place: the float64 nearest to the exact value, bit for bit.
        assert schedule.p[k] == float(p) and schedule.q[k] == float(q)
        assert relative(schedule.t[k], t) < 4 * UNIT  # t is the logarithm of the rounded pair


def test_reference_grid_figures():
    schedule = Schedule.logit(steps=1000, t_end=15.0)
    assert schedule.steps == 1000 and schedule.p.shape == schedule.q.shape == schedule.t.shape == (1001,)
    assert schedule.t[1] == pytest.approx(3.06e-7, rel=1e-3) and schedule.t[500] == pytest.approx(0.686, rel=1e-3)
    assert schedule.t[1000] == 15.0 and schedule.t[0] == 0.0
    assert (schedule.p[1:] == schedule.q[:0:-1]).all()  # the grid is symmetric in logit
    with pytest.raises(ValueError, match="read-only"):
        schedule.p[3] = 0.5


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_cosine_and_linear_are_rounded_once(steps):
    cosine, linear = Schedule.cosine(steps), Schedule.linear(steps)
    for k in range(steps):
        angle = mpmath.pi * k / (2 * steps)
        assert cosine.p[k] == float(mpmath.cos(angle) ** 2) and cosine.q[k] == float(mpmath.sin(angle) ** 2)
        assert linear.p[k] == float(1 - mpmath.mpf(k) / steps) and linear.q[k] == float(mpmath.mpf(k) / steps)
    for schedule in (cosine, linear):
        assert (schedule.p[-1], schedule.q[-1], schedule.t[-1]) == (0.0, 1.0, math.inf)


def test_single_step():
    schedule = Schedule.logit(1, 3.0)
    assert schedule.p.tolist() == [1.0, float(mpmath.exp(-3))]
    assert schedule.bridge(1, 0) == Prob(1.0, 0.0) and schedule.weight("likelihood", 1) == 1.0
    assert schedule.grid(1).tolist() == [1, 0]


# The pairs are rounded once and neighbours differ by 3% in odds, which magnifies a rounding about 60 times.
# Measured over all steps: bridge p 6.3e-15, q 1.9e-16; each weight and the leap's rate 6.3e-15; t 1.9e-16; bridges over
# ten steps and more 4.6e-16.
def test_bridge_leap_and_weights_against_mpmath():
    schedule = Schedule.logit()
    exact = [exact_logit(1000, 15.0, k) for k in range(1001)]
    k = np.arange(1, 1001)
    step = schedule.bridge(k, k - 1)
    rate = schedule.leap(k, k - 1, "rate")
    assert (schedule.leap(k, k - 1) == step.p).all()
    for n in k.tolist():
        (p_s, q_s, t_s), (p_t, q_t, t_t) = exact[n - 1], exact[n]
        birth, i = (p_s - p_t) / q_t, n - 1
        assert relative(step.p[i], birth) < 1e-14 and relative(step.q[i], q_s / q_t) < 1e-15
        assert relative(rate[i], (t_t - t_s) * p_t / q_t) < 1e-14
        assert relative(schedule.weight("finite-time", n), p_s - p_t) < 1e-14
        assert relative(schedule.weight("instantaneous", n), (t_t - t_s) * p_t) < 1e-14
        if n > 1:
            assert relative(schedule.weight("likelihood", n), birth) < 1e-14
    assert schedule.weight("likelihood", 1) == schedule.weight("likelihood", 2)


def test_long_bridges_against_mpmath():
    schedule = Schedule.logit()
    for k_t, k_s in ((1000, 1), (1000, 500), (500, 1), (700, 300), (3, 1), (1000, 0)):
        (p_s, q_s, _), (p_t, q_t, _) = exact_logit(1000, 15.0, k_s), exact_logit(1000, 15.0, k_t)
        step = schedule.bridge(k_t, k_s)
        # (3, 1) spans two steps only, which magnifies the rounding of q_t - q_s; the long ones stay below 1e-15.
        assert relative(step.p, (p_s - p_t) / q_t) < (2e-15 if k_t == 3 else 1e-15)
        assert relative(step.q, q_s / q_t) < 1e-15


@pytest.mark.parametrize("schedule", [Schedule.logit(), Schedule.cosine(40), Schedule.linear(9)], ids=repr)
def test_bridges_compose(schedule):
    # The counts still missing survive every step: the product of the q equals the q of one long bridge.
    grid = schedule.grid(min(9, schedule.steps))
    for end in range(2, len(grid)):
        product = math.prod(schedule.bridge(int(t), int(s)).q for t, s in zip(grid[:end], grid[1:end], strict=False))
        assert product == pytest.approx(schedule.bridge(int(grid[0]), int(grid[end - 1])).q, rel=1e-14)
    last = schedule.bridge(np.arange(1, schedule.steps + 1), 0)
    assert (last.p == 1.0).all() and (last.q == 0.0).all()
    k = np.arange(1, schedule.steps + 1)
    step = schedule.bridge(k, k - 1)
    assert (np.abs(step.p + step.q - 1) < 3e-16).all() and (step.p > 0).all() and (step.p <= 1).all()


@pytest.mark.parametrize("schedule", [Schedule.logit(), Schedule.cosine(40), Schedule.linear(9)], ids=repr)
@pytest.mark.parametrize("sigma", [0.0, 0.01, 0.5, 1.0])
def test_attrition_keeps_marginals(schedule, sigma):
    k = np.arange(1, schedule.steps + 1)
    for k_s in (k - 1, k // 2):
        beta, capped = schedule.bridge_with_attrition(k, k_s, sigma)
        (p_s, q_s), (p_t, q_t) = schedule.survival(k_s), schedule.survival(k)
        for pair in (beta, capped):
            assert (np.abs(pair.p + pair.q - 1) < 1e-15).all()
            assert ((pair.p >= 0) & (pair.p <= 1) & (pair.q >= 0) & (pair.q <= 1)).all()
        np.testing.assert_allclose(p_t * capped.q + q_t * beta.p, p_s, rtol=1e-14)
        np.testing.assert_allclose(p_t * capped.p + q_t * beta.q, q_s, rtol=1e-14, atol=1e-16)
        assert (capped.p <= sigma).all() and (capped.p[q_s == 0] == 0).all()
        assert (capped.p[q_s >= p_t] == sigma).all()  # no clamp is needed there
    plain = schedule.bridge(k, k - 1)
    none, zero = schedule.bridge_with_attrition(k, k - 1, 0.0)
    assert (none.p == plain.p).all() and (none.q == plain.q).all() and (zero.p == 0).all()


def test_paper_weights_agree_and_leap_at_p_0():
    # THEORY: the two weights agree within about 1.5% on the reference grid (k = 1 starts from t = 0).
    schedule, k = Schedule.logit(), np.arange(2, 1001)
    ratio = schedule.weight("instantaneous", k) / schedule.weight("finite-time", k)
    assert ratio.min() > 0.985 and ratio.max() < 1.0  # measured 0.98506 to 1 - 5e-9
    black = Schedule.cosine(10)
    assert black.leap(10, 5, "rate") == 0.0 and black.weight("instantaneous", 10) == 0.0
    assert black.leap(10, 5) == black.bridge(10, 5).p == black.p[5]


def test_libraries_follow_k():
    schedule = Schedule.logit(20)
    k = np.array([[3, 20], [7, 1]])
    expected = schedule.bridge(k, 0 * k), schedule.survival(k), schedule.weight("likelihood", k)
    for dtype in (torch.int64, torch.int32, torch.uint8):
        tensor = torch.tensor(k, dtype=dtype)
        result = schedule.bridge(tensor, 0 * k), schedule.survival(tensor), schedule.weight("likelihood", tensor)
        for a, b in zip((*expected[0], *expected[1], expected[2]), (*result[0], *result[1], result[2]), strict=True):
            assert isinstance(b, torch.Tensor) and b.dtype == torch.float64 and (b.numpy() == a).all()
    t, s = torch.tensor([20, 9]), torch.tensor([9, 3])
    for sigma in (0.25, torch.tensor([0.25, 0.25], dtype=torch.float64)):
        tensors = schedule.bridge_with_attrition(t, s, sigma)
        for a, b in zip(tensors, schedule.bridge_with_attrition(t.numpy(), s.numpy(), 0.25), strict=True):
            assert (a.p.numpy() == b.p).all() and (a.q.numpy() == b.q).all()
    assert (schedule.leap(t, s, "rate").numpy() == schedule.leap(t.numpy(), s.numpy(), "rate")).all()
    plain = schedule.leap(20, 9), schedule.survival(np.int64(3)).p, schedule.weight("likelihood", 2)
    assert all(type(value) is float for value in plain)


def test_from_survival_and_dict():
    p = np.array([1.0, 1.0, 0.7, 0.25, 0.0])
    q = np.array([0.0, 1e-20, 0.3, 0.75, 1.0])
    schedule = Schedule.from_survival(Prob(p, q))
    assert schedule.name == "survival" and schedule.t[1] == 1e-20
    assert schedule.bridge(2, 1).q == pytest.approx(1e-20 / 0.3, rel=1e-15) and schedule.bridge(2, 1).p == 1.0
    assert Schedule.from_survival(torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64)).q.tolist() == [0.0, 0.5, 0.9]
    for one in (schedule, Schedule.logit(50, 10.0), Schedule.cosine(7), Schedule.linear(3)):
        again = Schedule.from_dict(json.loads(json.dumps(one.to_dict())))
        assert again == one and hash(again) == hash(one) and again.name == one.name
        assert (again.p == one.p).all() and (again.q == one.q).all()
        one.survival(torch.tensor([1]))  # tables on a device do not travel
        assert pickle.loads(pickle.dumps(one)) == one
    assert Schedule.logit(50) != Schedule.logit(51) and Schedule.linear(2) != 3


@pytest.mark.parametrize(
    "call, error, text",
    [
        (lambda s: Schedule.logit(0), ValueError, r"Schedule.logit: steps: must be in 1\.\.2147483647, got 0"),
        (lambda s: Schedule.cosine(2.0), TypeError, "Schedule.cosine: steps: must be an integer, got 2.0"),
        (lambda s: Schedule.logit(9, 0.0), ValueError, "t_end: must be above log 2 and at most 700, got 0.0"),
        (lambda s: Schedule.logit(9, math.nan), ValueError, "Schedule.logit: t_end: .* got nan"),
        (lambda s: Schedule.logit(9, "15"), TypeError, "Schedule.logit: t_end: must be a float, got '15'"),
        (lambda s: s.survival(11), ValueError, r"Schedule.survival: k: must be in 0\.\.10, got 11"),
        (lambda s: s.survival(np.array([0, -1])), ValueError, r"Schedule.survival: k: must be in 0\.\.10, got -1"),
        (lambda s: s.survival(torch.tensor([11])), ValueError, r"Schedule.survival: k: must be in 0\.\.10, got 11"),
        (lambda s: s.survival(True), TypeError, "Schedule.survival: k: must be an int or integer array, got True"),
        (lambda s: s.leap(torch.ones(1), 0), TypeError, "Schedule.leap: k_t: .* got a tensor of torch.float32"),
        (lambda s: s.weight("likelihood", 0), ValueError, r"Schedule.weight: k: must be in 1\.\.10, got 0"),
        (lambda s: s.weight("snr", 1), ValueError, "Schedule.weight: name: must be one of .* got 'snr'"),
        (lambda s: s.bridge(0, 0), ValueError, r"Schedule.bridge: k_t: must be in 1\.\.10, got 0"),
        (lambda s: s.bridge(5, 5), ValueError, "Schedule.bridge: k_s: must be below k_t, got k_s = 5, k_t = 5"),
        (lambda s: s.bridge(np.array([5, 2]), 3), ValueError, "Schedule.bridge: k_s: .* got k_s = 3, k_t = 2"),
        (lambda s: s.leap(5, 4, "mean"), ValueError, "Schedule.leap: form: must be one of .* got 'mean'"),
        (lambda s: s.bridge_with_attrition(5, 4, 1.5), ValueError, r"sigma: must be in \[0, 1\], got 1.5"),
        (lambda s: s.bridge_with_attrition(5, 4, np.float32(0.5)), TypeError, "sigma: must be a float or a float64"),
        (lambda s: s.grid(11), ValueError, r"Schedule.grid: steps: must be in 1\.\.10, got 11"),
        (lambda s: s.grid(0), ValueError, r"Schedule.grid: steps: must be in 1\.\.10, got 0"),
        (lambda s: s.grid(5, "linear"), ValueError, "Schedule.grid: kind: must be one of .* got 'linear'"),
        (lambda s: Schedule.from_survival(np.array([0.9, 0.5])), ValueError, r"from_survival: p: p\[0\] must be 1"),
        (lambda s: Schedule.from_survival(np.array([1.0, 0.5, 0.5])), ValueError, r"strictly, got p\[1\] = 0.5"),
        (lambda s: Schedule.from_survival(np.array([1.0, -0.5])), ValueError, r"from_survival: p: must be in \[0, 1\]"),
        (lambda s: Schedule.from_survival(np.array([1.0])), ValueError, r"shape must be \(steps \+ 1,\)"),
        (lambda s: Schedule.from_survival(np.array([1, 0.5], np.float32)), TypeError, "p: float64 is needed"),
        (lambda s: Schedule.from_dict({"name": "sigmoid"}), ValueError, "Schedule.from_dict: name: .* got 'sigmoid'"),
        (lambda s: Schedule.from_dict({"name": "linear"}), ValueError, "Schedule.from_dict: linear: keys must be"),
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call(Schedule.linear(10))


def test_numpy_only_without_torch(tmp_path):
    # torch hidden: the schedule imports, computes and draws with NumPy alone.
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "from fastblackout.schedule import Schedule; from fastblackout.philox import Philox\n"
        "s = Schedule.logit(); print(type(s.draw(4, Philox(1))).__name__, type(s.draw(4)).__name__, s.bridge(5, 0).p)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout.split() == ["ndarray", "ndarray", "1.0"], done.stderr
