"""Schedule against mpmath, its algebra, its libraries and its errors; times between steps, of batches and of runs."""

import json
import math
import pickle
import subprocess
import sys
from fractions import Fraction

import mpmath
import numpy as np
import pytest
import torch

from fastblackout.heads import HEADS, head_named
from fastblackout.philox import Philox
from fastblackout.probability import Prob
from fastblackout.reference.philox import philox4x32
from fastblackout.schedule.schedule import Schedule
from fastblackout.schedule.times import GRIDS

UNIT = 2.0**-53
SCHEDULES = [Schedule.logit(), Schedule.cosine(40), Schedule.linear(9)]
TIMES = np.array([0.0, 1e-300, 2.0**-20, 1 / 3, 0.37, 0.5, 1 - 2.0**-53, 1.0])
of_schedules = pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)


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


@of_schedules
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


@of_schedules
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


def test_weight_and_leap_at_p_0():
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
    with pytest.raises(ValueError, match="read-only"):
        schedule.p[3] = 0.5
    assert schedule.bridge(2, 1).q == pytest.approx(1e-20 / 0.3, rel=1e-15) and schedule.bridge(2, 1).p == 1.0
    assert Schedule.from_survival(torch.tensor([1.0, 0.5, 0.1], dtype=torch.float64)).q.tolist() == [0.0, 0.5, 0.9]
    for one in (schedule, Schedule.logit(50, 10.0), Schedule.cosine(7), Schedule.linear(3)):
        again = Schedule.from_dict(json.loads(json.dumps(one.to_dict())))
        assert again == one and hash(again) == hash(one) and again.name == one.name
        assert (again.p == one.p).all() and (again.q == one.q).all()
        one.survival(torch.tensor([1]))  # tables on a device do not travel
        assert pickle.loads(pickle.dumps(one)) == one
    assert Schedule.logit(50) != Schedule.logit(51) and Schedule.linear(2) != 3


# --- times between steps


@pytest.mark.parametrize("schedule", [*SCHEDULES, Schedule.logit(1, 3.0)], ids=repr)
def test_p_and_q_are_linear_between_two_steps(schedule):
    p, q = schedule.survival(TIMES)
    for u, *found in zip(TIMES, p, q, strict=True):
        place = Fraction(u * schedule.steps)  # rounded once, as a float is
        k = min(int(place), schedule.steps - 1)
        for side, table in zip(found, (schedule.p, schedule.q), strict=True):
            exact = Fraction(table[k]) * (1 - (place - k)) + Fraction(table[k + 1]) * (place - k)
            assert abs(Fraction(side) - exact) <= exact * Fraction(4, 2**53)
    assert p[0] == 1 and q[0] == 0 and p[-1] == schedule.p[-1] and q[-1] == schedule.q[-1]


def test_a_time_is_found_in_any_library():
    schedule, times = Schedule.logit(50), TIMES.reshape(2, 4)
    known = schedule.survival(times)
    for given in (torch.tensor(times), torch.tensor(times).expand(3, 2, 4)[0]):
        for found, exact in zip(schedule.survival(given), known, strict=True):
            assert found.dtype == torch.float64 and (found.numpy() == exact).all()
    assert schedule.survival(0.37) == Prob(*(float(side[1, 0]) for side in known))
    assert all(type(side) is float for side in schedule.survival(np.float32(0.5)))
    # A float32 is the number that it is, and not the decimal it was written as.
    single = torch.tensor([0.37], dtype=torch.float32)
    assert schedule.survival(single).p == schedule.survival(float(single)).p != schedule.survival(0.37).p
    later = schedule.bridge(torch.tensor([0.5, 0.9]), 0.25)
    assert later.p.tolist() == [schedule.bridge(float(np.float32(u)), 0.25).p for u in (0.5, 0.9)]


def test_a_time_gives_the_law_of_the_process():
    # Deaths of [0, s] and of [s, t] one after the other have the law of [0, t], and the bridge is their inverse.
    schedule, u = Schedule.cosine(20), np.linspace(0.03, 1, 41)
    (p_s, q_s), (p_t, q_t) = schedule.survival(u / 2), schedule.survival(u)
    birth = schedule.bridge(u, u / 2)
    np.testing.assert_allclose(p_t + q_t * birth.p, p_s, rtol=1e-14)
    np.testing.assert_allclose(q_t * birth.q, q_s, rtol=1e-14)
    assert schedule.bridge(0.7, 0.0) == (1.0, 0.0)


def test_a_traced_time_is_clamped():
    schedule = Schedule.cosine(10)
    traced = torch.compile(lambda u: schedule.survival(u), backend="eager", fullgraph=True)
    found = traced(torch.tensor([-1.0, 0.25, 2.0, torch.nan], dtype=torch.float64))
    assert torch.equal(found.p[:3], schedule.survival(torch.tensor([0.0, 0.25, 1.0])).p) and found.p[3] == 1
    step = torch.compile(lambda t, s: schedule.bridge(t, s), backend="eager", fullgraph=True)
    assert step(torch.tensor([0.5]), torch.tensor([0.75])) == (0.0, 1.0)  # back to the same time


# --- times of batches and of runs


@pytest.mark.parametrize("batch", [1, 3, 64, 1500])
def test_draw_matches_fractions(batch):
    # The definition in rational numbers: k = 1 + floor(steps frac(U + g / G)), whatever ranks draw it.
    schedule, rng = Schedule.linear(37), Philox(2**64 - 3, call=9)
    for stream, method in ((15, schedule.draw), (16, schedule.draw_continuous)):
        low, high, _, _ = (int(w) for w in philox4x32(0, 0, 9, stream << 24, *rng.key))
        u = [(Fraction(high << 32 | low, 2**64) + Fraction(g, batch)) % 1 for g in range(batch)]
        drawn = method(batch, rng, like=np.empty(0))
        if batch > 1:
            ranks = ((0, batch // 3), (batch // 3, batch - batch // 3))
            parts = [method(b, rng.at(first_sample=f), global_batch=batch).numpy() for f, b in ranks if b]
            assert np.array_equal(np.concatenate(parts), drawn)
        if stream == 15:
            assert drawn.dtype == np.int64 and drawn.tolist() == [1 + math.floor(37 * value) for value in u]
        else:
            np.testing.assert_allclose(drawn, [float(value) for value in u], rtol=0, atol=1e-15)
            assert (drawn > 0).all() and (drawn < 1).all()


def test_early_times_by_their_definition():
    # Rows whose g + call is odd take the j-th of 1,000 places along the grid "early"; doubles suffice to find the k.
    schedule, power = Schedule.cosine(400), 1 / np.log2(256)
    place = np.cos(np.pi / 2 * ((2 * np.arange(1000) + 1) / 2000) ** power) ** 2
    nearest = np.maximum(np.abs(schedule.p - place[:, None]).argmin(axis=1), 1)
    for call in (4, 5):
        even = schedule.draw(64, Philox(7, call=call)).numpy()
        drawn = schedule.draw(64, Philox(7, call=call), times="early", max_count=255).numpy()
        moved = (np.arange(64) + call) % 2 == 1
        assert (drawn[~moved] == even[~moved]).all()
        assert (drawn[moved] == nearest[(2 * even[moved] - 1) * 1000 // 800]).all()
        parts = [
            schedule.draw(b, Philox(7, first_sample=f, call=call), global_batch=64, times="early", max_count=255)
            for f, b in ((0, 31), (31, 33))
        ]
        assert torch.equal(torch.cat(parts), torch.from_numpy(drawn))


def test_draw_without_key():
    schedule = Schedule.linear(10**6)
    torch.manual_seed(4)
    first = schedule.draw(4)
    torch.manual_seed(4)
    assert torch.equal(schedule.draw(4), first) and not torch.equal(schedule.draw(4), first)


@of_schedules
def test_grid(schedule):
    for steps in range(1, schedule.steps + 1, max(1, schedule.steps // 15)):
        for kind in GRIDS:
            grid = schedule.grid(steps, kind, 255)
            assert grid.dtype == np.int64 and grid.shape == (steps + 1,)
            assert grid[0] == schedule.steps and grid[-1] == 0 and (np.diff(grid) < 0).all()
    for kind in GRIDS:
        assert (schedule.grid(schedule.steps, kind, 16) == np.arange(schedule.steps, -1, -1)).all()


def test_grid_values():
    schedule = Schedule.logit()
    assert schedule.grid(4, "index").tolist() == [1000, 750, 500, 250, 0]
    assert schedule.grid(3, "index").tolist() == [1000, 667, 333, 0]
    grid = schedule.grid(20, "cosine")[1:-1]
    target = np.cos(np.pi / 2 * np.arange(19, 0, -1) / 20) ** 2
    best = np.abs(schedule.p[None, :] - target[:, None]).min(axis=1)
    np.testing.assert_allclose(np.abs(schedule.p[grid] - target), best, atol=1e-15)
    assert (Schedule.cosine(100).grid(10) == np.arange(100, -1, -10)).all()
    for of in (schedule, Schedule.cosine(1000)):
        for max_count in (1, 16, 255, 65535):
            grid = of.grid(10, "early", max_count)[1:-1]
            target = np.cos(np.pi / 2 * (np.arange(9, 0, -1) / 10) ** (1 / np.log2(max_count + 1))) ** 2
            best = np.abs(of.p[None, :] - target[:, None]).min(axis=1)
            np.testing.assert_allclose(np.abs(of.p[grid] - target), best, atol=1e-14)
    assert (schedule.grid(10, "early", 1) == schedule.grid(10)).all()


def test_what_heads_choose_for_a_run():
    for head in HEADS:
        assert head_named(head).grid == ("cosine" if head == "mean" else "early")
        wanted = "draw" if head in ("mean", "implicit") else "mean"
        last_step = head_named(head).last_step
        assert last_step((3, 32, 32), 255) == last_step((1, 28, 28), 65535) == wanted
        assert last_step((1, 8, 8), 16) == last_step((30, 1, 1), 1000) == "draw"


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
        (lambda s: s.survival(3.0), ValueError, r"Schedule.survival: k: a float is a time in \[0, 1\], .* got 3.0"),
        (lambda s: s.survival(float("nan")), ValueError, "Schedule.survival: k: a float is a time .* got nan"),
        (lambda s: s.survival(np.array([0.5, -0.1])), ValueError, "Schedule.survival: k: a float .* got -0.1"),
        (lambda s: s.survival(torch.tensor([7.0])), ValueError, "Schedule.survival: k: a float is a time .* got 7.0"),
        (lambda s: s.survival([0.5]), TypeError, r"Schedule.survival: k: must be an int or integer array, got \[0.5\]"),
        (lambda s: s.bridge(0.5, 0.5), ValueError, "Schedule.bridge: k_s: must be below k_t, got k_s = 0.5, k_t = 0.5"),
        (lambda s: s.bridge(5, 0.5), TypeError, "Schedule.bridge: k_t: must be a time, a float, .* got 5"),
        (lambda s: s.bridge(0.5, 0), TypeError, "Schedule.bridge: k_s: must be a time, a float, .* got 0"),
        (lambda s: s.bridge(np.ones(2), np.zeros(3)), ValueError, r"shapes must broadcast, got \(2,\) and \(3,\)"),
        (lambda s: s.weight("likelihood", 0.5), TypeError, "Schedule.weight: k: must be an int or integer array"),
        (lambda s: s.draw(4, Philox(first_sample=4)), ValueError, r"draw: global_batch: must be at least .* got 4"),
        (lambda s: s.draw(0), ValueError, r"Schedule.draw: batch: must be in 1\.\.4294967295, got 0"),
        (lambda s: s.draw(2.0), TypeError, "Schedule.draw: batch: must be an integer, got 2.0"),
        (lambda s: s.draw(4, times="late"), ValueError, "draw: times: must be one of uniform, early, got 'late'"),
        (lambda s: s.draw(4, times="early"), TypeError, "Schedule.draw: max_count: must be an integer, got None"),
        (lambda s: s.draw_continuous(2, like="cpu"), TypeError, "like: must be a NumPy array or .* got str"),
        (lambda s: s.grid(10, "early", 0), ValueError, r"^Schedule.grid: max_count: must be in 1\.\..*, got 0$"),
        (lambda s: s.grid(10, "early"), TypeError, "^Schedule.grid: max_count: must be an integer, got None$"),
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
