"""A call without a key draws its seed after all checks: one that is refused leaves torch's generator as it was.

Here of what draws by ops: processes, schedules and distributions. tests/ops/test_contract.py asks the ops so.
"""

import copy
import pickle

import numpy as np
import pytest
import torch

import fastblackout as fb
from fastblackout.call.keys import late_key, resolve_rng
from fastblackout.philox import Seed, undrawn

HALF, REAL = np.full((2, 3), 0.5), np.ones((2, 3))
COUNT = np.array([[0, 1, 2], [3, 4, 5]], np.uint8)
OVER = COUNT.copy()
OVER[..., -1] = 200
PROCESSES = [fb.Uniform(6), fb.Absorbing(6), fb.PureDeath(5), fb.Ehrenfest(5), fb.Redraw(np.full(6, 1 / 6))]
TIMES = {"a time": 0.5, "times": np.array([0.5, 0.75])}
BACKENDS = ["cpu", "reference"]


@pytest.fixture(params=["numpy", "torch"])
def given(request):
    """What makes arguments arrays of a library."""

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
        with pytest.raises(ValueError, match="^(?!.*shape)"):
            draw(right | wrong)
        assert torch.equal(torch.get_rng_state(), after), wrong.keys()


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
    monkeypatch.setattr("fastblackout.processes.matrices.lookup.ENTRIES", 1)
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

    def fail(*_, **__):
        raise RuntimeError("no seed")

    class Refusing:
        pass

    for counts in (COUNT, torch.from_numpy(COUNT)):
        with pytest.raises(TypeError, match="thin: generator: must be a torch.Generator"):
            fb.thin(counts, 0.5, generator=Refusing())
    monkeypatch.setattr(torch.Tensor, "random_", fail)
    for backend in BACKENDS:
        with pytest.raises(RuntimeError, match="no seed"):
            fb.poisson(REAL, backend=backend)


def test_a_seed_is_drawn_once_and_goes_with_copies():
    key = late_key(None, None, "x")
    assert isinstance(undrawn(key), Seed)
    copied = pickle.loads(pickle.dumps(copy.deepcopy(key)))
    assert copied == fb.Philox(key.seed) and undrawn(key) is undrawn(copied) is None
