"""Single tests of the Triton kernels of laws in the interpreter: rising factorials, and what wrong values do. See
triton_single.py."""

import importlib
import itertools

import numpy as np
import torch
import triton
import triton.language as tl

import fastblackout as fb
from fastblackout.backends import triton as backend
from fastblackout.reference import portfloat as reference_portfloat
from support import spread_calls
from support.op_posterior import NO_MORE, STEP_CASES, step_arguments
from support.triton_cases import flag

pf = importlib.import_module("fastblackout.kernels.portfloat")
factorials = importlib.import_module("fastblackout.kernels.factorials")


@triton.jit
def _rising(x, n, out, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v, steps = tl.load(x + i), tl.load(n + i)
    total, above, below = factorials.rising(v, steps)
    tl.store(out + 7 * i, pf.log_one_plus(v))
    tl.store(out + 7 * i + 1, factorials.log_gamma(v + 1e-300))
    tl.store(out + 7 * i + 2, factorials.log_factorial(steps - 1.0))
    tl.store(out + 7 * i + 3, total)
    tl.store(out + 7 * i + 4, above)
    tl.store(out + 7 * i + 5, below)
    tl.store(out + 7 * i + 6, factorials.rising_slope(v, steps - 1.0))


def portable_factorials():
    random = np.random.default_rng(8)
    x = np.abs(np.concatenate([random.normal(0, s, 8192) for s in (1, 30, 1e-9, 1e6)]))
    n = np.floor(1 + np.abs(np.concatenate([random.normal(0, s, 8192) for s in (100, 2, 1e9, 1e6)])))
    out = np.empty((x.size, 7))
    _rising[(4,)](torch.from_numpy(x), torch.from_numpy(n), torch.from_numpy(out), BLOCK=8192)
    r = reference_portfloat
    expected = (
        r.log_one_plus(x),
        r.log_gamma(x + 1e-300),
        r.log_factorial(n - 1),
        *r.rising(x, n),
        r.rising_slope(x, n - 1),
    )
    for column, values in enumerate(expected):
        assert (out[:, column].view(np.int64) == values.view(np.int64)).all(), f"factorials, {column}"


def law_flags():
    nan, inf, loss = float("nan"), float("inf"), torch.empty(1)
    zeros = torch.zeros(1, 2)
    for x, logit, born, shift, weight, told in (
        (10, 0.0, 0.0, 0.0, 1.0, 0), (11, 0.0, 0.0, 0.0, 1.0, 1), (-1, nan, 12.0, 0.0, 1.0, 7),
        (10, 0.0, 1.0, 0.0, 1.0, 4), (8, 0.0, 1.5, 0.0, 1.0, 4), (8, 0.0, nan, 0.0, 1.0, 4),
        (10, 0.0, 0.0, inf, 1.0, 16), (10, 0.0, 0.0, 0.0, nan, 16),
    ):  # fmt: skip
        other, births = torch.tensor([[0.0, logit]]), torch.tensor([[1.0, born]])
        for family in (0, 1, 2):
            bits, counts = flag(), torch.tensor([[3, x]])
            given = (
                *(counts, family, zeros, other, *NO_MORE, births),
                *(torch.tensor([weight], dtype=torch.float64), torch.tensor([shift]), 10),
            )
            backend.posterior_loss(*given, loss, bits)
            assert int(bits) == told, (family, x, logit, born, shift, weight)
            grads = torch.empty(1, 2), torch.empty(1, 2), *NO_MORE
            backend.posterior_loss_backward(*given, *grads, bits := flag())
            assert int(bits) == (0 if np.isnan(weight) else told), (family, x, logit, born, shift, weight)


def step_flags():
    for case, family in itertools.product(STEP_CASES, (0, 1, 2)):
        x, head, numbers, expected = step_arguments(*case)
        bits, x_s = flag(), torch.full_like(x, 99)
        backend.posterior_step(x, family, *head, *NO_MORE, *numbers, 10, *torch.ones(2, 1), x_s, None, bits)
        assert int(bits) == expected and x_s.min() >= 0 and x_s.max() <= 10, case


def composed():
    """Ops that are made of others, through the public functions."""
    random = np.random.default_rng(9)
    x, weights = torch.from_numpy(random.integers(0, 90, (3, 20))), torch.from_numpy(random.random((3, 20, 5)))
    calls = (
        lambda **how: fb.split(x, 3, rng=fb.Philox(3, first_sample=1, call=2), **how),
        lambda **how: fb.split(x, (0.25, 0.75), 2.0, rng=fb.Philox(3, first_sample=1, call=2), **how),
        lambda **how: [fb.multinomial(x, weights, rng=fb.Philox(3, first_sample=1, call=2), **how)],
        lambda **how: [fb.skellam(weights, 3.0, rng=fb.Philox(3, first_sample=1, call=2).tensor(), **how)],
    )
    for call in calls:
        assert all(map(torch.equal, call(backend="triton"), call(backend="reference")))


def numbers_within_samples():
    """Gains, weights, steps and largest counts of each element."""
    of = lambda array: torch.from_numpy(np.array(array))  # noqa: E731
    steps, losses = spread_calls.steps(of), spread_calls.losses(of, graded=True)
    with fb.use_backend("triton"):
        made = {**spread_calls.steps(of), **spread_calls.losses(of, graded=True)}
    for name, results in {**steps, **losses}.items():
        for one, other in zip(made[name], results, strict=True):
            assert one is other is None or one.numpy().tobytes() == other.numpy().tobytes(), name


SINGLE = (portable_factorials, law_flags, step_flags, composed, numbers_within_samples)
