"""Times between the steps of a schedule: floats in [0, 1] for Schedule.survival and Schedule.bridge."""

from fractions import Fraction

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.schedule.schedule import Schedule

SCHEDULES = [Schedule.logit(1000), Schedule.cosine(64), Schedule.linear(7), Schedule.logit(1, 3.0)]
TIMES = np.array([0.0, 1e-300, 2.0**-20, 1 / 3, 0.37, 0.5, 1 - 2.0**-53, 1.0])


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_p_and_q_are_linear_between_two_steps(schedule):
    p, q = schedule.survival(TIMES)
    for u, *found in zip(TIMES, p, q, strict=True):
        place = Fraction(u * schedule.steps)  # rounded once, as a float is
        k = min(int(place), schedule.steps - 1)
        for side, table in zip(found, (schedule.p, schedule.q), strict=True):
            exact = Fraction(table[k]) * (1 - (place - k)) + Fraction(table[k + 1]) * (place - k)
            assert abs(Fraction(side) - exact) <= exact * Fraction(4, 2**53)
    assert p[0] == 1 and q[0] == 0 and p[-1] == schedule.p[-1] and q[-1] == schedule.q[-1]


@pytest.mark.parametrize("schedule", [Schedule.cosine(64), Schedule.logit(128)], ids=repr)
def test_a_step_lies_at_its_share_of_the_steps(schedule):
    k = np.arange(schedule.steps + 1)
    for found, known in zip(schedule.survival(k / schedule.steps), schedule.survival(k), strict=True):
        assert (found == known).all()
    t, s = k[1:], k[1:] // 2
    for found, known in zip(
        schedule.bridge(t / schedule.steps, s / schedule.steps), schedule.bridge(t, s), strict=True
    ):
        assert (found == known).all()


def test_a_time_is_found_in_any_library():
    schedule, times = Schedule.logit(50), TIMES.reshape(2, 4)
    known = schedule.survival(times)
    for given in (torch.tensor(times), torch.tensor(times).expand(3, 2, 4)[0]):
        for found, exact in zip(schedule.survival(given), known, strict=True):
            assert found.dtype == torch.float64 and (found.numpy() == exact).all()
    assert schedule.survival(0.37) == fb.Prob(*(float(side[1, 0]) for side in known))
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


def test_drawn_times_go_into_an_op():
    schedule, x_0 = Schedule.cosine(), torch.full((64, 500), 200, dtype=torch.uint8)
    u = schedule.draw_continuous(64, fb.Philox(3), like=x_0)
    x_t = fb.thin(x_0, schedule.survival(u), rng=fb.Philox(4)).x_t
    share = x_t.double().mean(1) / 200
    # 64 means of 100,000 trials: each is within 6 standard deviations, false alarm 1.3e-7.
    assert ((share - schedule.survival(u).p).abs() < 6 * 0.5 / 100_000**0.5).all()


def test_a_traced_time_is_clamped():
    schedule = Schedule.cosine(10)
    traced = torch.compile(lambda u: schedule.survival(u), backend="eager", fullgraph=True)
    found = traced(torch.tensor([-1.0, 0.25, 2.0, torch.nan], dtype=torch.float64))
    assert torch.equal(found.p[:3], schedule.survival(torch.tensor([0.0, 0.25, 1.0])).p) and found.p[3] == 1
    step = torch.compile(lambda t, s: schedule.bridge(t, s), backend="eager", fullgraph=True)
    assert step(torch.tensor([0.5]), torch.tensor([0.75])) == (0.0, 1.0)  # back to the same time


@pytest.mark.parametrize(
    "call, error, text",
    [
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
    ],
)
def test_errors(call, error, text):
    with pytest.raises(error, match=text):
        call(Schedule.linear(10))
