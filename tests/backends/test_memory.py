"""What an op allocates beyond its outputs, and what it says where there is not enough memory."""

import pytest

from support.subprocesses import LEAVE, in_a_process

# Samples of one element: a number for each sample would be one for each element. Each call is in a child process, whose
# peak is its own.
TEMPORARIES = """
import os, resource
import numpy as np
import fastblackout as fb

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

def outputs(made):
    parts = made if isinstance(made, tuple) else (made,)
    return sum(np.asarray(part).nbytes for part in parts if part is not None)

samples, key = 1_000_000, fb.Philox(3)
x, y = np.full(samples, 200, np.uint8), np.ones(samples, np.float32)
if {tensors}:
    import torch
    x, y = torch.from_numpy(x), torch.from_numpy(y)

def call(what, n):
    with fb.use_backend(threads=2):
        return eval(what, globals(), dict(x=x[:n], y=y[:n]))

for what in {calls}:
    if os.fork() == 0:
        call(what, 100_000)  # threads, tables and code are there
        before = peak()
        made = call(what, samples)
        print((peak() - before - outputs(made)) / samples, flush=True)
        os._exit(0)
    os.wait()
"""
CALLS = (
    "fb.thin(x, 0.5, rng=key, center=128.0, scale=1 / 128)",
    "fb.thin(x, fb.Prob(1e-3, 1 - 1e-3), rng=key, max_count=254, center=1, scale=np.float64(0.5))",
    "fb.bridge_step(x, y, 0.5, rng=key, gain=2.0)",
    "fb.bridge_step(x, y, 0.5, rng=key, attrition=0.1)",
    "fb.tau_leap_step(x, y, 0.5, rng=key)",
    "fb.posterior_step(x, (y, y), 0.5, rng=key, family='beta-binomial')",
    "fb.birth_loss(y, x, 0.5, gain=2.0)",
    "fb.thin_log_prob(x, x, 0.5)",
    "fb.bridge_log_prob(x, x, x, 0.5)",
)


@pytest.mark.parametrize("tensors", (False, True))
def test_an_op_allocates_little_beyond_its_outputs(tensors: bool) -> None:
    printed = in_a_process(TEMPORARIES.format(tensors=tensors, calls=CALLS)).split()
    beyond = dict(zip(CALLS, map(float, printed), strict=True))
    assert all(each <= 2.0 for each in beyond.values()), beyond  # bytes an element


# Arrays that are large only by their shapes; what an op would allocate for them is more than there is.
TOO_LARGE = """
import numpy as np
import torch
import fastblackout as fb

def wide(dtype, *shape):
    return torch.zeros(1, dtype=getattr(torch, dtype)).expand(*shape)

key, many, probs = fb.Philox(1), 1 << 31, np.eye(4)
x, y, state = wide("uint8", many), wide("float32", many), wide("int32", many)
leave(1 << 30)
calls = (
    lambda as_kind: fb.birth_loss(*[as_kind(wide("float32", 1 << 40))] * 2, 1.0),
    lambda as_kind: fb.birth_loss(*[as_kind(wide("float32", 1 << 20, 1 << 20))] * 2, 1.0),  # sums of chunks
    lambda as_kind: fb.birth_loss(wide("float32", many).requires_grad_(), y, 1.0),
    lambda as_kind: fb.thin(as_kind(x), 0.5, rng=key),
    lambda as_kind: fb.bridge_step(as_kind(x), as_kind(y), 0.5, rng=key),
    lambda as_kind: fb.tau_leap_step(as_kind(x), as_kind(y), 0.5, rng=key),
    lambda as_kind: fb.posterior_step(as_kind(x), [as_kind(y)] * 2, 0.5, rng=key, family="beta-binomial"),
    lambda as_kind: fb.binomial(as_kind(state), 0.5, rng=key),
    lambda as_kind: fb.poisson(as_kind(y), rng=key),
    lambda as_kind: fb.normal(as_kind(y), as_kind(y), rng=key),
    lambda as_kind: fb.gamma(as_kind(y), 1.0, rng=key),
    lambda as_kind: fb.beta(1.0, as_kind(y), rng=key),
    lambda as_kind: fb.beta_binomial(as_kind(state), 1.0, 1.0, rng=key),
    lambda as_kind: fb.negative_binomial(1.0, as_kind(y), rng=key),
    lambda as_kind: fb.hypergeometric(as_kind(state), 1, 1, rng=key),
    lambda as_kind: fb.bessel(1, as_kind(y), rng=key),
    lambda as_kind: fb.categorical(as_kind(state), probs, rng=key),
    lambda as_kind: fb.categorical_bridge(as_kind(state), as_kind(state), before=probs, after=probs, rng=key),
    lambda as_kind: fb.thin_log_prob(as_kind(x), as_kind(x), 0.5),
)
for number, call in enumerate(calls):
    for as_kind in (lambda tensor: tensor, lambda tensor: tensor.numpy()):
        try:
            call(as_kind)
        except MemoryError:
            continue
        print(number, "has memory")
"""


def test_too_little_memory_is_a_memory_error() -> None:
    assert in_a_process(LEAVE + TOO_LARGE) == ""
