"""Valid calls of processes and schedules raise no FloatingPointError and warn of nothing, whatever np.errstate says.

Under `strict` NumPy raises where it would be silent, and warnings are errors, so that a call that returns has passed.
tests/ops/test_contract.py asks the ops so.
"""

import numpy as np
import pytest

import fastblackout as fb
from support import process_calls

KEY = fb.Philox(1)
strict = np.errstate(all="raise")


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e-300])
@pytest.mark.parametrize("name", process_calls.PROCESSES)
@strict
def test_every_method_of_the_processes(name, scale):
    process = process_calls.PROCESSES[name]
    given = process_calls.arguments(process)
    given |= {"s": given["s"] * scale, "t": given["t"] * scale}
    for what, call in process_calls.calls(process, given, KEY).items():
        try:
            call()
        except ValueError:
            assert scale < 1, what  # where the x_t of `given` has no probability so soon
    process.stationary(), process.evaluation(50.0), process.transition_matrix(np.array([1e-300, 700.0, 1e5]))


@strict
def test_processes_of_extreme_rates():
    fb.Ehrenfest(199).transition_matrix(40.0)
    fb.Ehrenfest(2000, 1e-3, 1.0).stationary()
    fb.RandomWalk(50).transition_matrix(1e3)
    fb.ImmigrationDeath(1e-3, 300).stationary()
    fb.MarkovProcess(np.array([[-1e-300, 1e-300], [1e-310, -1e-310]])).transition_matrix(1.0)


@strict
def test_schedules():
    for schedule in (
        fb.Schedule.logit(100, 700.0),
        fb.Schedule.cosine(100),
        fb.Schedule.from_survival([1.0, 0.5, 1e-310, 0.0]),
        fb.Schedule.from_survival([1.0, 1 - 1e-16, 0.5, 1e-300]),
    ):
        k = np.arange(1, schedule.steps + 1)
        schedule.bridge(k, k - 1), schedule.bridge_with_attrition(k, k - 1, 1e-310), schedule.t
        for form in ("bridge-mean", "rate"):
            schedule.leap(k, k - 1, form)
        for name in ("likelihood", "finite-time", "instantaneous", "energy", "uniform"):
            schedule.weight(name, k)
