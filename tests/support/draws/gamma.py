"""fb.gamma, for the tests of every op."""

from __future__ import annotations

import math

import torch

import fastblackout as fb
from support.draw_values import SHAPE_FACTORS, Arguments, Shape, other, shapes, some_shapes
from support.known_values import KEY, spread
from support.known_values import shapes as known_shapes
from support.maker import Maker

FACTORS = SHAPE_FACTORS
WRONG = (("shape", math.nan, "gain"), ("shape", 0.0, "gain"), ("scale", -1.0, "gain"))
REGISTERS = 96
CASES = {"gamma": lambda: fb.gamma(known_shapes(12), scale=spread(13, 0.0, 1.0, 1e3), rng=KEY)}
PEERS = {"torch": lambda v: torch._standard_gamma(v["shape"])}


def arguments(m: Maker) -> Arguments:
    """Results too large for float16, subnormal ones and 0."""
    return {"shape": shapes(m, m.floats), "scale": m.uniform(0.0, 3.0, (1.0, 1.0, 6e4, 0.0, 1e-7), other(m))}


def right(x, reals):
    return {"shape": reals + 3, "scale": 0.5}


def law(x, reals):
    return {"x": x, "shape": reals + 3, "scale": 2.0}


def inputs(shape: Shape, made: torch.Generator) -> Arguments:
    column = torch.ones((shape[0], *(1 for _ in shape[1:])), device=made.device)
    return {"shape": some_shapes(shape, made), "scale": column}


TIMED = {"gamma, shapes 0.1 to 10": inputs}
