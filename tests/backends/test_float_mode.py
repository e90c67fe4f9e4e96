"""Results are the same to the bit where the thread takes subnormal numbers as 0, and it goes on doing so."""

import contextlib
import math

import numpy as np
import pytest
import torch

import fastblackout as fb
from support import process_calls, product, spread_calls
from support.arrays import bits
from support.helpers import BACKENDS, using
from support.op_table import OPS
from support.subprocesses import in_a_process

KEY = fb.Philox(1)
SMALL = 1e-40  # subnormal in float32
X, LOGITS = torch.full((2, 3), 3, dtype=torch.uint8), torch.linspace(-2, 2, 6).view(2, 3)


def flushes():
    """Whether this thread takes subnormal numbers as 0."""
    return float(np.float64(1e-310) * np.float64(1.0)) == 0.0


@contextlib.contextmanager
def flushing():
    assert torch.set_flush_denormal(True)
    try:
        yield
        assert flushes()
    finally:
        torch.set_flush_denormal(False)


@pytest.mark.parametrize("op", OPS)
def test_every_op(op):
    for number, case in enumerate(product.cases(op)):
        if math.prod(case["shape"]) > 50 or number % 4:
            continue
        given = product.arguments(op, case, number)
        for backend in BACKENDS:
            with using(backend):
                wanted = product.public(op, given, case["key"])
                with flushing():
                    made = product.public(op, given, case["key"])
            assert {name: bits(each) for name, each in made.items()} == {
                name: bits(each) for name, each in wanted.items()
            }


@pytest.mark.parametrize("kernels", BACKENDS[1:])
def test_any_number_of_threads(kernels):
    """The results are so small that a third of them are subnormal."""
    shape = np.full((4, 40_000), 0.01, np.float32)
    wanted = bits(fb.gamma(shape, scale=1e-20, rng=KEY))
    for threads in (1, 2, 5):
        with using(kernels, threads), flushing():
            assert bits(fb.gamma(shape, scale=1e-20, rng=KEY)) == wanted


def test_threads_that_begin_then():
    program = """
import numpy as np, torch, fastblackout as fb
torch.set_flush_denormal(True)
with fb.use_backend("cpu", threads=3):
    drawn = fb.gamma(np.full((4, 40_000), 0.01, np.float32), scale=1e-20, rng=fb.Philox(1))
print(drawn.view(np.uint32).sum(dtype=np.uint64))
"""
    wanted = fb.gamma(np.full((4, 40_000), 0.01, np.float32), scale=1e-20, rng=KEY)
    assert int(in_a_process(program)) == wanted.view(np.uint32).sum(dtype=np.uint64)


WIDE = torch.tensor([[1e-310, 2e-310, 0.0]], dtype=torch.float64)
ROWS, EACH = torch.tensor([SMALL, 1.0]), torch.full((2, 3), SMALL)
CALLS = {  # and what they are given, which is made before
    "gain": (lambda x, y: fb.birth_loss(y, x, 1.0, gain=SMALL), X, LOGITS),
    "gains": (lambda x, y, gain: fb.birth_loss(y, x, 1.0, gain=gain), X, LOGITS, ROWS),
    "wide gains": (lambda x, y, gain: fb.birth_loss(y, x, 1.0, gain=gain), X, LOGITS, ROWS.double()),
    "gains of each": (lambda x, y, gain: fb.birth_loss(y, x, 1.0, gain=gain), X, LOGITS, EACH),
    "weights": (lambda x, y, weight: fb.birth_loss(y, x, weight), X, LOGITS, ROWS),
    "scale": (lambda x: fb.thin(x, 0.5, rng=KEY, scale=SMALL).model_input, X),
    "scales": (lambda x, scale: fb.thin(x, 0.5, rng=KEY, scale=scale).model_input, X, EACH),
    "probabilities": (lambda p: fb.binomial(10**9, p, rng=KEY), WIDE),
    "categories": (lambda p: fb.multinomial(9, p, rng=KEY), WIDE[0]),
    "rows": (lambda p: fb.categorical_rows(p, rng=KEY), WIDE),
    "law": (lambda x: fb.gamma_log_prob(x, 0.5, 1e-310), WIDE),
    "redraw": (
        lambda x: fb.Redraw(np.array([1e-310, 1.0])).sample_bridge(x, x + 1, 0.5, 1.0, rng=KEY),
        torch.zeros(1, 4, dtype=torch.int64),
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_numbers_that_users_give(backend, name):
    call, *tensors = CALLS[name]
    for given in (tensors, [tensor.numpy() for tensor in tensors]):
        wanted = bits(call(*given))
        with flushing():
            made = call(*given)
        assert bits(made) == wanted


def test_numbers_that_differ_within_a_sample(backend):
    for of in (np.asarray, lambda value: torch.from_numpy(np.array(value))):
        wanted = spread_calls.steps(of), spread_calls.losses(of)
        with flushing():
            made = spread_calls.steps(of), spread_calls.losses(of)
        for some, others in zip(made, wanted, strict=True):
            assert [[bits(each) for each in one] for one in some.values()] == [
                [bits(each) for each in one] for one in others.values()
            ]


def test_a_refused_call_leaves_the_thread_as_it_was(backend):
    with flushing():
        with pytest.raises(ValueError, match="^birth_loss: gain: must be finite and above 0, got 0.0"):
            fb.birth_loss(LOGITS, X, 1.0, gain=0.0)
        with pytest.raises(ValueError, match="^thin: x_0"):
            fb.thin(X, 0.5, rng=KEY, max_count=2)


@pytest.mark.parametrize("name", ["random walk", "open immigration-death", "any law", "any"])
def test_matrices_of_processes(name):
    process, t = process_calls.PROCESSES[name], np.array([1e-300, 0.5, 700.0])
    wanted = bits(process.transition_matrix(t)), bits(process.stationary())
    with flushing():
        assert (bits(process.transition_matrix(t)), bits(process.stationary())) == wanted
