"""fb.beta, for the tests of every op."""

from __future__ import annotations

import math

import torch
from torch import Tensor

import fastblackout as fb
from support.draw_values import SHAPE_FACTORS, Arguments, Shape, pair_of_shapes, some_shapes
from support.known_values import KEY, shapes

FACTORS = SHAPE_FACTORS
WRONG = (("a", -1.0, "gain"), ("b", math.inf, "gain"))
REGISTERS = 96
CASES = {"beta": lambda: fb.beta(shapes(14), shapes(15), rng=KEY)}


def right(x, reals):
    return {"a": reals + 3, "b": 0.5}


def law(x, reals):
    return {"x": x, "a": reals + 3, "b": 2.0}


def inputs(shape: Shape, made: torch.Generator) -> Arguments:
    return {"a": some_shapes(shape, made), "b": some_shapes(shape, made)}


def by_torch(v: dict[str, Tensor]) -> Tensor:
    return torch.distributions.Beta(v["a"], v["b"], validate_args=False).sample()


arguments = pair_of_shapes
PEERS = {"torch.distributions": by_torch}


TIMED = {"beta, shapes 0.1 to 10": inputs}
