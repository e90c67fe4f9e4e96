"""Calls of the ops that torch may trace, their inputs, and arguments of the ops that torch has registered."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

import fastblackout as fb
from fastblackout.call import torch_registry  # noqa: F401  (registers torch.ops.fastblackout)
from support import product, torch_states
from support.draws import DRAWS
from support.op_table import OPS

# torch's own tracing looks at the .grad of tensors that are no leaves.
WARNINGS = pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")
KEYS = [
    fb.Philox(0),
    fb.Philox(2**63 + 5, first_sample=3, call=7),
    fb.Philox(2**64 - 1, first_sample=2**32 - 64, call=2**32 - 1),
    fb.Philox(1),
]


def inputs(batch=4, shape=(2, 3, 5), seed=0, dtype=torch.uint8):
    random = np.random.default_rng(seed)
    x = torch.from_numpy(random.integers(0, 200, (batch, *shape))).to(dtype)
    logits = torch.from_numpy(random.normal(0, 3, (batch, *shape)).astype(np.float32))
    p = torch.from_numpy(random.random(batch))
    return x, logits, fb.Prob(p, 1.0 - p)


def numbers(batch, value, dtype=torch.float32):
    return torch.linspace(value / 2, value, batch).to(dtype)


def thin(x, logits, p, q, key):
    center = p.float()[:, None, None, None] * 100.0
    return fb.thin(x, fb.Prob(p, q), rng=key, center=center, scale=0.5, outputs=("x_t", "model_input"))


def bridge(x, logits, p, q, key):
    return fb.bridge_step(x, logits, fb.Prob(p, q), rng=key, gain=20.0, attrition=0.1, input_dtype=torch.bfloat16)


def bridge_births(x, logits, p, q, key):
    return fb.bridge_step(x, births=x, step=fb.Prob(p, q), rng=key, rounding="nearest", outputs=("x_s",))


def tau_leap(x, logits, p, q, key):
    return fb.tau_leap_step(x, logits, fb.Prob(p, q), rng=key, gain=p * 40.0, center=1.5)


def law_step(x, logits, p, q, key):
    law = {"family": "beta-binomial", "offset": p - 2, "center": 1.5, "input_dtype": torch.bfloat16}
    return fb.posterior_step(x, (logits, 0.5 * logits), fb.Prob(p, q), rng=key, **law)


def draws(x, logits, p, q, key):
    """Every element-wise draw, of an element each and of numbers that broadcast, in another dtype."""
    reals, column = logits.tanh(), p.bfloat16()[:, None, None, None]
    each = [(getattr(fb, op), draw.right) for op, draw in DRAWS.items()]
    return tuple(op(**right(x, given), rng=key) for op, right in each for given in (reals, column))


def composed(x, logits, p, q, key):
    probs = torch.stack([logits.exp(), logits.exp() + 1], -1)
    parts = torch.stack(fb.split(x, (0.25, 0.75), logits.exp(), rng=key))
    return fb.Thinned(fb.multinomial(x, probs, rng=key), fb.skellam(logits.exp(), 3.0, rng=key), parts)


def between(x, logits, p, q, key):
    ends = x.int() - 90, (logits * 30).round()
    return fb.Thinned(*(fb.count_bridge(*ends, p, slack=slack, rng=key) for slack in (0.0, 3.0)))


def loss(x, logits, p, q, key):
    return fb.Thinned(fb.birth_loss(logits, x, p.float()[:, None, None, None], gain=3.0))


def energy(x, logits, p, q, key):
    draws = torch.stack([logits, 0.5 * logits])
    return fb.Thinned(fb.energy_loss(draws, x, x // 2, p.float()[:, None, None, None], offset=p - 2))


def posterior(x, logits, p, q, key):
    law = {"family": "beta-binomial", "offset": p - 2}
    return fb.Thinned(fb.posterior_loss((logits, 0.5 * logits), x, x // 8, p.float()[:, None, None, None], **law))


CALLS = [thin, bridge, bridge_births, tau_leap, law_step, draws, loss, energy, posterior]
TRACED = [*CALLS, between, *torch_states.CALLS]
IDS = [f"{call.__module__.rpartition('_')[2]}-{call.__name__}" for call in TRACED]


def given(call, batch=4, shape=None, seed=0):
    """The arguments of one of TRACED before its key."""
    if call in torch_states.CALLS:
        return torch_states.inputs(batch, shape or (2, 3, 7), seed)
    x, logits, (p, q) = inputs(batch, shape or (2, 3, 5), seed)
    return x, logits, p, q


class _Recorder(TorchDispatchMode):
    """What reaches the registered ops of calls that torch sees."""

    def __init__(self):
        super().__init__()
        self.calls = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func.namespace == "fastblackout":
            self.calls.append((func._opname, args))
        return func(*args, **(kwargs or {}))


def registered():
    """(name, arguments) of every registered op, for two cases of each row of the table, of a law for each of its forms:
    dtypes, layouts and options differ from case to case."""
    made = []
    for op, row in OPS.items():
        factors = product.factors(op)
        for at in range(len(factors.get("components", (0, 1)))):
            case = {name: values[at % len(values)] for name, values in factors.items()}
            case |= {"shape": ((2, 2, 3, 5), (3, 7))[at % 2], "max_count": min(case["max_count"], 20)}
            a = product.moved(product.arguments(op, case), "cpu", case["layout"], row.images)
            with _Recorder() as recorder:
                product.called(op, a, KEYS[1].tensor(), ("auto", "reference")[at % 2])
            made += recorder.calls
    return [
        (name, [each.detach() if isinstance(each, torch.Tensor) else each for each in given])
        if name.endswith("_backward")
        else (name, given)
        for name, given in made
    ]
