"""fb.hypergeometric, for the tests of every op."""

from __future__ import annotations

import torch

import fastblackout as fb
from support.draw_values import COUNTS, Arguments, Shape, by_cupy, other, some_counts, some_units
from support.known_values import KEY, whole
from support.maker import Maker

FACTORS = {"counts": COUNTS, "max_count": (1, 20, 255, 10**6, 2**52), "others": COUNTS}
WRONG = (("good", -1, "counts"), ("bad", -1, "counts"), ("draws", 10**6, "counts"))
REGISTERS = 168
CASES = {
    "hypergeometric": lambda: fb.hypergeometric(whole(40, 19), bad=whole(900, 18) + 20, draws=whole(20, 17), rng=KEY)
}
PEERS = by_cupy("hypergeometric", "good", "bad", "draws")


def arguments(m: Maker) -> Arguments:
    """Up to 2^53 balls; among the draws none, all, and all but few."""
    kind = other(m, "int64")
    holds = {torch.float32: 2**24, torch.float64: 2**53}.get(kind) or torch.iinfo(kind).max
    good, most = m.counts(), min(m.max_count, holds)
    bad = torch.randint(0, most + 1, m.shape, generator=m.random)
    bad.view(-1)[1::5], bad.view(-1)[2::7] = most, 0
    balls = good.long() + bad
    draws = torch.randint(0, 2**62, m.shape, generator=m.random) % (balls + 1)
    draws.view(-1)[4::9], draws.view(-1)[5::9] = balls.view(-1)[4::9], (balls.view(-1)[5::9] - 3).clamp(min=0)
    return {"good": good, "bad": bad.to(kind), "draws": draws.clamp(max=holds).to(kind)}


def right(x, reals):
    return {"good": x, "bad": x + 9, "draws": 5}


def law(x, reals):
    return {"x": x, "good": x, "bad": x, "draws": x}


def inputs(shape: Shape, made: torch.Generator) -> Arguments:
    """Up to 1,000 good and as many bad balls. A uniform share of them is drawn."""
    good, bad = (some_counts(shape, made, 1000, torch.int32) for _ in range(2))
    return {"good": good, "bad": bad, "draws": (some_units(shape, made) * (good + bad)).int()}


TIMED = {"hypergeometric, to 1000 balls of a kind": inputs}
