"""fb.beta_binomial, for the tests of every op."""

from __future__ import annotations

import math

import torch

import fastblackout as fb
from support.draw_values import COUNTS, SHAPE_FACTORS, Arguments, Shape, pair_of_shapes, some_counts
from support.draws import beta
from support.known_values import KEY, shapes, whole
from support.maker import Maker

FACTORS = SHAPE_FACTORS | {"counts": COUNTS, "max_count": (1, 20, 255, 10**6, 2**53)}
WRONG = (("n", -1, "counts"), ("a", 0.0, "gain"), ("b", math.nan, "gain"))
REGISTERS = 112
CASES = {"beta_binomial": lambda: fb.beta_binomial(whole(500, 16), shapes(14), shapes(15), rng=KEY)}
PEERS = {"torch.distributions": lambda v: torch.binomial(v["peer_n"], beta.by_torch(v))}


def arguments(m: Maker) -> Arguments:
    return {"n": m.counts(), **pair_of_shapes(m)}


def right(x, reals):
    return {"n": x, "a": reals + 3, "b": 0.5}


def law(x, reals):
    return {"x": x, "count": x, "a": 0.5, "b": 2.0}


def inputs(shape: Shape, made: torch.Generator) -> Arguments:
    n = some_counts(shape, made)
    return {"n": n, **beta.inputs(shape, made), "peer_n": n.float()}


TIMED = {"beta-binomial, counts to 255": inputs}
