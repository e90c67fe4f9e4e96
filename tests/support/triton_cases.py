"""Cases of the Triton kernels in the interpreter: a pairwise cover, tensors in layouts, outputs in poisoned memory."""

import numpy as np
import torch

from fastblackout.reference.portfloat import round_to_bfloat16
from support import arrays, helpers

LAYOUTS = ("contiguous", "channels_last", "transposed", "sliced", "inner", "expanded")
COUNTS = ["uint8", "int16", "int32"]
FLOATS = ["float32", "bfloat16", "float16"]
SHAPES = [(), (1,), (7,), (31,), (3, 0, 2), (2, 1, 28, 28), (3, 3, 32, 32), (3, 2, 1, 5, 2)]
PROBS = (0.37, 0.0, 1.0, 0.5, 1e-12, 1 - 1e-12, 5e-324, 0.93, 1e-3)
LOGITS = (-6e4, -1e4, -87.5, -86.5, 0.0, 20.0, 300.0, 6e4)


def cases(seed, shapes=SHAPES, **factors):
    for number, case in enumerate(helpers.pairwise(seed, shape=shapes, layout=LAYOUTS, **factors)):
        key = helpers.KEYS[number % len(helpers.KEYS)]
        yield {**case, "key": key, "random": np.random.default_rng([seed, number])}


def counts(case, dtype, high):
    high = min(high, np.iinfo(dtype).max)
    values = np.asarray(case["random"].integers(0, high + 1, case["shape"]))
    values.ravel()[::5] = high
    values.ravel()[3::7] = 0
    return arrays.as_library(arrays.lay(values.astype(dtype), case["layout"]), "torch")


def floats(case, dtype, scale=3.0, extremes=(), positive=False):
    values = np.asarray(case["random"].normal(0.0, scale, case["shape"]), np.float32)
    values = np.abs(values) if positive else values
    values.ravel()[: len(extremes)] = extremes[: values.size]
    bits = round_to_bfloat16(values) if dtype == "bfloat16" else values.astype(dtype)
    return arrays.as_library(arrays.lay(bits, case["layout"]), "torch", dtype)


def per_sample(case, choices, dtype=torch.float64):
    batch = case["shape"][0] if case["shape"] else 1
    start = int(case["random"].integers(len(choices)))
    return torch.tensor([choices[(start + row) % len(choices)] for row in range(batch)], dtype=dtype)


def flag():
    return torch.zeros(1, dtype=torch.int32)


def check(outputs, expected, flags, wanted_flags=0):
    """outputs: {name: Poisoned}."""
    for name, made in outputs.items():
        got, want = arrays.bits(made.value), arrays.bits(getattr(expected, name))
        assert got == want, f"{name}: {arrays.first_difference(made.value, getattr(expected, name))}"
        made.check()
    assert int(flags) == wanted_flags, f"flag {int(flags)}"


def made(case, **dtypes):
    asked = case.get("outputs", tuple(dtypes))
    return {n: arrays.Poisoned(case["shape"], d, case["layout"], "torch") for n, d in dtypes.items() if n in asked}


def value(outputs, name):
    return outputs[name].value if name in outputs else None


def results(**values):
    return type("Values", (), values)
