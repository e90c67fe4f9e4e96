"""fb.poisson, for the tests of every op."""

from __future__ import annotations

import torch

import fastblackout as fb
from support.draw_values import Arguments, Shape, by_cupy, some_units
from support.known_values import KEY, spread
from support.maker import Maker

FACTORS = {"counts": ("int64",), "max_count": (3, 30, 300, 10**4)}
WRONG = (("rate", float("nan"), "probability"), ("rate", -1.0, "probability"), ("rate", float("inf"), "probability"))
REGISTERS = 96
CASES = {
    "poisson": lambda: fb.poisson(spread(8, 0.0, 1e-3, 3.0, 9.99, 10.0, 14.0, 31.0, 1e3, 2.0**52), rng=KEY),
}
PEERS = {"torch.poisson": lambda v: torch.poisson(v["rate"]), **by_cupy("poisson", "rate")}


def arguments(m: Maker) -> Arguments:
    return {"rate": m.uniform(0.0, min(m.max_count, 6e4), (0.0, 10.0, 9.999, 6e4))}


def right(x, reals):
    return {"rate": reals + 2}


def inputs(shape: Shape, made: torch.Generator) -> Arguments:
    return {"rate": 50 * some_units(shape, made)}


TIMED = {"poisson, rates to 50": inputs}
