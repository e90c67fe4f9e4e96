"""A call without a key draws its seed after all checks: one that is refused leaves torch's generator as it was."""

import copy
import pickle

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.call.declared import DECLARED
from fastblackout.call.keys import late_key, resolve_rng
from fastblackout.philox import Seed, undrawn
from support import product
from support.gpu_checks import changed, draws_by_key
from support.op_table import OPS, PLAIN

HALF, REAL, LOGITS = np.full((2, 3), 0.5), np.ones((2, 3)), np.zeros((2, 3), np.float32)
COUNT = np.array([[0, 1, 2], [3, 4, 5]], np.uint8)
MATRIX = np.full((6, 6), 1 / 6)
RIGHT, LEFT = np.triu(MATRIX), np.tril(MATRIX)


def one_bad(array, value):
    array = array.copy()
    array[..., -1] = value
    return array


OVER, MINUS, MUCH, NANS = one_bad(COUNT, 200), one_bad(REAL, -1.0), one_bad(HALF, 2.0), one_bad(LOGITS, np.nan)
WRONG = one_bad(MATRIX, -1.0)
STEP = {"x_t": COUNT, "logits": LOGITS, "step": 0.5, "max_count": 9}
LAW = {"x_t": COUNT, "head": (LOGITS, LOGITS), "step": 0.5, "family": "beta-binomial", "max_count": 9}
STATES = {"x_t": COUNT, "head": np.zeros((2, 3, 10), np.float32), "step": 0.5, "family": "categorical", "max_count": 9}
BETWEEN = {"x_t": COUNT, "x_0": COUNT, "before": MATRIX, "after": MATRIX}

# What a row of the table has no form for: arguments that are right, and what of them is to be refused
CALLS = {
    "thin of an alive each": ({"x_0": COUNT, "alive": HALF, "max_count": 9}, [{"alive": MUCH}, {"x_0": OVER}]),
    "bridge_step of births": (STEP | {"logits": None, "births": REAL}, [{"births": MINUS}]),
    "bridge_step of a step each": (STEP | {"step": HALF}, [{"step": MUCH}, {"x_t": OVER}, {"logits": NANS}]),
    "bridge_step of deaths each": (STEP | {"attrition": HALF}, [{"attrition": MUCH}, {"x_t": OVER}]),
    "tau_leap_step of a step each": (STEP | {"step": HALF}, [{"step": MINUS}, {"x_t": OVER}, {"logits": NANS}]),
    "posterior_step of a mean": (LAW | {"head": LOGITS, "family": "mean"}, [{"head": NANS}, {"x_t": OVER}]),
    "posterior_step of states": (STATES, [{"head": np.full((2, 3, 10), np.nan, np.float32)}, {"x_t": OVER}]),
    "split": ({"counts": COUNT, "folds": 2, "overdispersion": REAL}, [{"overdispersion": MINUS}]),
    "multinomial": ({"count": COUNT, "probs": np.ones((2, 3, 4))}, [{"probs": one_bad(np.ones((2, 3, 4)), -1.0)}]),
    "skellam": ({"rate_1": REAL, "rate_2": REAL}, [{"rate_1": MINUS}, {"rate_2": MINUS}]),
    "categorical_bridge of a state": (
        BETWEEN,
        [
            {"x_t": OVER},
            {"x_0": OVER},
            {"before": WRONG},
            {"after": WRONG},
            {"before": RIGHT, "after": RIGHT, "x_t": COUNT[::-1].copy()},
        ],
    ),
    "categorical_rows": ({"weights": HALF}, [{"weights": MINUS}]),
    "categorical_rows of logits": ({"logits": LOGITS}, [{"logits": NANS}]),
}


PROCESSES = [fb.Uniform(6), fb.Absorbing(6), fb.PureDeath(5), fb.Ehrenfest(5), fb.Redraw(np.full(6, 1 / 6))]
TIMES = {"a time": 0.5, "times": np.array([0.5, 0.75])}
BACKENDS = ["cpu", "reference"]


@pytest.fixture(params=["numpy", "torch"])
def given(request):
    """What makes arguments those of a library."""

    def made(value):
        if isinstance(value, tuple):
            return tuple(map(made, value))
        return torch.from_numpy(value) if request.param == "torch" and isinstance(value, np.ndarray) else value

    return made


def check(draw, right, refused):
    """draw(arguments, key): with no key it draws as with the seed that torch's generator gives, or leaves it alone."""
    torch.manual_seed(3)
    seed, after = resolve_rng(None, None, "test"), torch.get_rng_state()
    wanted = draw(right, rng=seed)
    torch.manual_seed(3)
    made = draw(right)
    assert torch.equal(torch.get_rng_state(), after)
    for one, other in zip(made, wanted, strict=True):
        np.testing.assert_array_equal(one, other)
    for wrong in refused:
        with pytest.raises(ValueError, match="^(?!.*shape must)"):
            draw(right | wrong)
        assert torch.equal(torch.get_rng_state(), after), wrong.keys()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("op", [op for op in OPS if draws_by_key(op)])
def test_every_op(op, backend, given):
    a = product.arguments(op, PLAIN | {"shape": (2, 3)})

    def draw(arguments, rng=None):
        arguments = {name: given(v.numpy()) if isinstance(v, torch.Tensor) else v for name, v in arguments.items()}
        return list(product.public(op, arguments, rng, backend).values())

    check(draw, a, [{name: changed(a[name], value)} for name, value, _ in OPS[op].wrong])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", CALLS)
def test_an_op(name, backend, given):
    op = getattr(fb, name.split(" ")[0])
    right, refused = CALLS[name]

    def draw(arguments, **key):
        made = op(**{name: given(value) for name, value in arguments.items()}, backend=backend, **key)
        return [each for each in made if each is not None] if isinstance(made, tuple) else [made]

    check(draw, right, refused)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("time", TIMES)
@pytest.mark.parametrize("process", PROCESSES, ids=lambda process: type(process).__name__)
def test_a_process(process, time, backend, given):
    t, x = TIMES[time], given(COUNT)

    def forward(arguments, **key):
        return [process.sample_forward(given(arguments["x_0"]), given(t), backend=backend, **key)]

    def bridge(arguments, **key):
        return [process.sample_bridge(given(arguments["x_t"]), x, 0.25 * t, t, backend=backend, **key)]

    check(forward, {"x_0": COUNT}, [{"x_0": OVER}])
    check(bridge, {"x_t": COUNT}, [{"x_t": OVER}])


def test_a_process_of_many_matrices(monkeypatch):
    """Parts of the samples are drawn one after another, of which a later one may be wrong."""
    monkeypatch.setattr("fastblackout.processes.draws.ENTRIES", 1)
    t = np.array([0.5, 0.75])
    check(
        lambda arguments, **key: [PROCESSES[3].sample_forward(**arguments, t=t, **key)], {"x_0": COUNT}, [{"x_0": OVER}]
    )


def test_reverse_processes():
    def paths(arguments, **key):
        return [fb.processes.simulate_reverse(fb.Uniform(6), arguments["x_t"], np.full(6, 1 / 6), t=1.0, s=0.5, **key)]

    def reverse(arguments, **key):
        def model(x, t):
            return np.zeros((2, 3, 6))

        return [fb.processes.sample_reverse(fb.Uniform(6), model, (2, 3), [1.0, 0.0], **arguments, **key)]

    def leap(arguments, **key):
        return [fb.processes.tau_leap_reverse(arguments["x_t"], np.zeros((2, 3, 6)), 0.5, **key)]

    check(paths, {"x_t": COUNT}, [{"x_t": OVER}])
    check(reverse, {"start": COUNT}, [{"start": OVER}])
    check(leap, {"x_t": COUNT}, [{"x_t": OVER}])


@pytest.mark.parametrize("method", ["draw", "draw_continuous"])
def test_a_schedule(method):
    draw = getattr(fb.Schedule.cosine(10), method)
    check(lambda arguments, **key: [draw(**arguments, **key)], {"batch": 4}, [{"batch": 0}, {"global_batch": 3}])
    state = torch.get_rng_state()
    with pytest.raises(TypeError, match="like: must be"):
        draw(4, like=[0])
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize(
    "law",
    [
        fb.distributions.Binomial(torch.tensor([9, -1]), 0.5, validate_args=False),
        fb.distributions.Poisson(torch.tensor([1.0, -1.0]), validate_args=False),
        fb.distributions.NegativeBinomial(torch.tensor([1.0, -1.0]), 0.5, validate_args=False),
        fb.distributions.Multinomial(2**60, torch.ones(2), validate_args=False),
        fb.distributions.BetaBinomial(torch.tensor([1.0, -1.0]), 1.0, 9, validate_args=False),
        fb.distributions.Hypergeometric(9, 9, torch.tensor([1, 20]), validate_args=False),
    ],
    ids=lambda law: type(law).__name__,
)
def test_a_distribution(law):
    state = torch.get_rng_state()
    with pytest.raises(ValueError):
        law.sample()
    assert torch.equal(torch.get_rng_state(), state)


def test_an_error_of_the_seed_itself_comes_out(monkeypatch):
    """The seed is drawn inside the kernel's call, with and without the short way."""

    def fail(generator):
        raise RuntimeError("no seed")

    class Refusing:
        pass

    for counts in (COUNT, torch.from_numpy(COUNT)):
        with pytest.raises(TypeError, match="thin: generator: must be a torch.Generator"):
            fb.thin(counts, 0.5, generator=Refusing())
    monkeypatch.setattr("fastblackout.call.keys.fresh_seed", fail)
    for backend in BACKENDS:
        with pytest.raises(RuntimeError, match="no seed"):
            fb.poisson(REAL, backend=backend)


def test_every_op_that_draws_is_here():
    drawing = {op.op for op in DECLARED.values() if op.key is not None}
    assert drawing == {op for op in OPS if draws_by_key(op)}


def test_a_seed_is_drawn_once_and_goes_with_copies():
    key = late_key(None, None, "x")
    assert isinstance(undrawn(key), Seed)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(key)))
    assert copied == fb.Philox(key.seed) and undrawn(key) is undrawn(copied) is None
