"""fb.negative_binomial, for the tests of every op."""

from __future__ import annotations

import math

import torch

import fastblackout as fb
from support.draw_values import SHAPE_FACTORS, Arguments, Shape, other, shapes, some_shapes, some_units
from support.known_values import KEY, spread
from support.known_values import shapes as known_shapes
from support.maker import Maker

FACTORS = SHAPE_FACTORS
WRONG = (("r", math.inf, "gain"), ("mean", math.nan, "probability"))
REGISTERS = 104
CASES = {
    "negative_binomial": lambda: fb.negative_binomial(known_shapes(17), mean=spread(18, 0.0, 2.0, 1e3), rng=KEY),
}
PEERS = {"torch.poisson": lambda v: torch.poisson(torch._standard_gamma(v["r"]) * (v["mean"] / v["r"]))}


def arguments(m: Maker) -> Arguments:
    mean = m.uniform(0.0, 300.0, (10.0, 6e4, 0.0, 6e4, 3.0, 1e-3), other(m))
    return {"r": shapes(m, m.floats), "mean": mean}


def right(x, reals):
    return {"r": reals + 3, "mean": 0.5}


def law(x, reals):
    return {"x": x, "r": reals + 3, "mean": 2.0}


def inputs(shape: Shape, made: torch.Generator) -> Arguments:
    return {"r": some_shapes(shape, made), "mean": 50 * some_units(shape, made)}


TIMED = {"negative binomial, means to 50": inputs}
