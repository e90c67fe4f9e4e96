"""fb.normal, for the tests of every op."""

from __future__ import annotations

import math

import torch

import fastblackout as fb
from support.draw_values import FLOATS, Arguments, Shape, other, some_units
from support.known_values import KEY, between, spread
from support.maker import Maker

FACTORS = {"counts": ("int64",), "max_count": (1,), "others": FLOATS}
WRONG = tuple(("mean", value, "gain") for value in (math.nan, -math.inf))
WRONG += tuple(("std", value, "gain") for value in (-1.0, math.inf, math.nan, -1e-45))
REGISTERS = 48
CASES = {
    "normal": lambda: fb.normal(between(-1, 1, 10), spread(11, 0.0, 1.0, 1e3), rng=KEY),
    "normal, float32": lambda: fb.normal(between(-1, 1, 10, "float32"), 2.0, rng=KEY),
}
PEERS = {"torch.normal": lambda v: torch.normal(v["mean"], v["std"])}


def arguments(m: Maker) -> Arguments:
    """Sums that are next to 0, results too large for float16 and subnormal ones."""
    most = 6e4 if m.floats == torch.float16 else 1e30
    return {
        "mean": m.uniform(-5.0, 5.0, (0.0, -0.0, most, -most, 1e-7)),
        "std": m.uniform(0.0, 3.0, (1.0, 1.0, 6e4, 0.0, 1e-7), other(m)),
    }


def right(x, reals):
    return {"mean": reals, "std": 0.5}


def inputs(shape: Shape, made: torch.Generator) -> Arguments:
    return {"mean": some_units(shape, made), "std": some_units(shape, made)}


TIMED = {"normal, float32": inputs}
