"""Valid calls raise no FloatingPointError and warn of nothing, whatever np.errstate says.

Under `strict` NumPy raises where it would be silent, and warnings are errors, so that a call that returns has passed.
"""

import math

import numpy as np
import pytest
import torch

import fastblackout as fb
from support import process_calls, product, spread_calls
from support.helpers import using
from support.op_table import OPS

KEY = fb.Philox(1)
BACKENDS = "reference", "cpu-scalar"
LIBRARIES = {"numpy": np.asarray, "torch": lambda value: torch.from_numpy(np.array(value))}
GRADED = "birth_loss", "energy_loss", "posterior_loss"  # which op_table.py calls with tensors alone
TINY = 5e-324, 1e-310, 1e-300, 1e-45, 1e-39, 1e-20, -1e-42
strict = np.errstate(all="raise")


def as_numpy(arguments):
    wide = {name: value for name, value in arguments.items() if isinstance(value, torch.Tensor)}
    return arguments | {name: value.numpy() for name, value in wide.items()}


@pytest.mark.parametrize("op", OPS)
@strict
def test_every_op(op):
    for number, case in enumerate(product.cases(op)):
        if math.prod(case["shape"]) > 50 or number % 3:
            continue
        arguments = [product.arguments(op, case, number)]
        if op not in GRADED and "bfloat16" not in case.values():
            arguments.append(as_numpy(arguments[0]))
        for backend in BACKENDS:
            with using(backend):
                for each in arguments:
                    product.called(op, each, case["key"])


@pytest.mark.parametrize("library", LIBRARIES)
@pytest.mark.parametrize("number", TINY)
@strict
def test_numbers_next_to_0(library, number):
    of, x = LIBRARIES[library], np.array([[0, 1, 7, 100], [255, 200, 3, 9]], np.uint8)
    logits = np.array([[-80, -3, 0, 40], [88, -100, 5, 1]], np.float32)
    x, none, logits = of(x), of(np.zeros((2, 4))), of(logits)
    forms = [number, [number] * 2, *(of(np.full(shape, number)) for shape in ((2,), (1, 4), (2, 4)))]
    for backend in BACKENDS:
        with using(backend):
            for at, each in enumerate(forms):
                fb.thin(x, 0.5, rng=KEY, center=each, scale=each, input_dtype="float16")
                fb.birth_loss(logits, x, each)
                fb.birth_loss(None, x, each, expected=logits * logits + 1)
                if number > 0:
                    fb.thin(x, each, rng=KEY)
                    fb.bridge_step(x, logits, each, gain=each, attrition=each, rng=KEY)
                    fb.tau_leap_step(x, logits, each, gain=each, rng=KEY)
                if at < 3:
                    fb.posterior_loss((logits, logits), x, none, each, family="beta-binomial", offset=each)
                    fb.posterior_step(x, logits, 0.5, family="mean", offset=of(np.array([-700.0, -95.0])), rng=KEY)
            if number > 0:
                fb.multinomial(100, of(np.array([number, 0.5, 0.5])), rng=KEY)
                fb.categorical_rows(of(np.array([[number, 0.5, 0.5]])), rng=KEY)


@pytest.mark.parametrize("backend", BACKENDS)
@strict
def test_numbers_that_differ_within_a_sample(backend):
    with using(backend):
        for of in LIBRARIES.values():
            spread_calls.steps(of)
            spread_calls.losses(of)


@pytest.mark.parametrize("weight", [1e-310, 1e-30])
@pytest.mark.parametrize("backend", BACKENDS)
@strict
def test_gradients(backend, weight):
    x, each = torch.full((2, 4), 3, dtype=torch.uint8), torch.full((2, 4), weight, dtype=torch.float64)
    losses = {
        1: [
            lambda y: fb.birth_loss(y, x, weight),
            lambda y: fb.birth_loss(y, x, each),
            lambda y: fb.birth_loss(None, x, weight, expected=y.abs()),
            lambda y: fb.posterior_loss(
                torch.stack([y] * 41, -1), x, x, weight, family="bayes-categorical", max_count=40
            ),
        ],
        2: [
            lambda *head: fb.energy_loss(torch.stack(head), x, x.float(), weight),
            lambda *head: fb.posterior_loss(head, x, x, weight, family="beta-binomial"),
            lambda *head: fb.posterior_loss(head, x, x, weight, family="negative-binomial", offset=-700.0),
        ],
    }
    with using(backend):
        for arrays, calls in losses.items():
            for call in calls:
                for upstream in (1e-45, 1e-45, 1e30):
                    leaves = [torch.linspace(-3, 3, 8).view(2, 4).requires_grad_() for _ in range(arrays)]
                    (call(*leaves) * upstream).sum().backward()


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
