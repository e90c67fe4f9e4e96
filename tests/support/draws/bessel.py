"""fb.bessel, for the tests of every op."""

from __future__ import annotations

import math

import torch

import fastblackout as fb
from support.draw_values import COUNTS, SHAPE_FACTORS, Arguments, Shape, other, some_counts, some_units
from support.known_values import KEY, spread, whole
from support.maker import Maker

FACTORS = SHAPE_FACTORS | {"counts": COUNTS, "max_count": (1, 20, 255, 2**52)}
WRONG = (("order", -1, "counts"), ("argument", math.nan, "probability"))
REGISTERS = 104
CASES = {"bessel": lambda: fb.bessel(whole(40, 19), spread(18, 0.0, 3.0, 1e3), rng=KEY)}
PEERS = {}


def arguments(m: Maker) -> Arguments:
    kind = other(m)
    extremes = (0.0, 6e4, 1e-3, 4e4, 20.0) if kind == torch.float16 else (0.0, 2.0**40, 1e-200, 1e4, 2.0**50)
    return {"order": m.counts(), "argument": m.uniform(0.0, 200.0, extremes, kind)}


def right(x, reals):
    return {"order": x, "argument": 5.0}


def law(x, reals):
    return {"x": x, "order": x, "argument": reals + 3}


def inputs(shape: Shape, made: torch.Generator) -> Arguments:
    return {"order": some_counts(shape, made), "argument": 50 * some_units(shape, made)}


TIMED = {"bessel, orders to 255, arguments to 50": inputs}
