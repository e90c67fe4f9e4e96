"""fb.binomial, for the tests of every op."""

from __future__ import annotations

import torch

import fastblackout as fb
from support.draw_values import COUNTS, Arguments, Shape, by_cupy, some_counts, some_units
from support.known_values import KEY, between, spread, whole
from support.maker import Maker

FACTORS = {"counts": COUNTS, "max_count": (1, 20, 255, 10**6, 2**53), "pair": (0, 1)}
WRONG = (("count", -1, "counts"), ("p", 1.5, "probability"))
REGISTERS = 120
CASES = {
    "binomial": lambda: fb.binomial(whole(300, 6), spread(7, 0.0, 1e-3, 0.3, 0.5, 0.97, 1.0), rng=KEY),
    "binomial of large counts": lambda: fb.binomial(whole(2**53 - 1, 6), spread(7, 1e-15, 0.3, 0.97), rng=KEY),
    "binomial of pairs": lambda: fb.binomial(whole(300, 6), fb.Prob(1.0 - 2.0**-40, 2.0**-40), rng=KEY),
    "binomial, float32": lambda: fb.binomial(whole(300, 6), between(0, 1, 7, "float32"), rng=KEY),
}
PEERS = {"torch.binomial": lambda v: torch.binomial(v["peer_count"], v["p"]), **by_cupy("binomial", "count", "p")}


def arguments(m: Maker) -> Arguments:
    pair = m.case.get("pair")
    p = m.uniform(0.0, 1.0, (0.0, 1.0, 0.5, 1e-6, 1 - 2.0**-8), torch.float64 if pair else None)
    p.view(-1)[7::11] = 1e-7
    return {"count": m.counts(), "p": p} | ({"q": 1 - p} if pair else {})


def right(x, reals):
    return {"count": x, "prob": 0.5}


def law(x, reals):
    return {"x": x, "count": x, "prob": 0.5}


def inputs(shape: Shape, made: torch.Generator, most: int = 255, dtype: torch.dtype = torch.uint8) -> Arguments:
    count = some_counts(shape, made, most, dtype)
    return {"count": count, "p": some_units(shape, made), "peer_count": count.float()}


TIMED = {
    "binomial, counts to 255": inputs,
    "binomial, counts to 10^4": lambda shape, made: inputs(shape, made, 10**4, torch.int32),
}
