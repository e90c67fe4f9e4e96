"""Instructions an element of the CUDA kernels, counted in fastblackout._cuda: what test_cuda_build.py holds to budgets,
and benchmarks/ makes ceilings and predictions of. Building the thresholds of a piece of 65,536 elements is left out.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import sass


def _draws(body: list[str]) -> bool:
    """Two blocks of Philox: ten rounds of two wide products each."""
    return sum("IMAD.WIDE.U32" in text for text in body) >= 36


def _moves(body: list[str]) -> bool:
    return any(re.search(r"\b(?:LDG|STG|LD\.E|ST\.E)\b", text) for text in body)


def _shuffles(body: list[str]) -> bool:
    return any("SHFL" in text for text in body)


class Counted(NamedTuple):
    part: str  # of the mangled name
    elements: int  # what a thread makes at a time
    trips: sass.Trips
    tiles: bool  # a thread makes many tiles: the loop over them counts; else the whole kernel


KERNELS = {
    # uint8 to uint8: eight elements are drawn at a time
    "thin_shared": Counted("thin_sharedILb1E", 16, lambda body: 2 if _draws(body) else None, True),
    # and four loaded or stored at a time
    "bridge_shared": Counted(
        "bridge_sharedILb0E", 16, lambda body: 2 if _draws(body) else 4 if _moves(body) else None, True
    ),
    # a warp sums 1,024 elements: a lane 8 times 4, then shuffles
    "loss_kernel": Counted(
        "loss_kernel", 32, lambda body: None if not _moves(body) else 1 if _shuffles(body) else 8, False
    ),
    "loss_grad": Counted("loss_grad", 4, lambda body: 1 if _moves(body) else None, False),
}


def instructions(path: str, architecture: str, name: str) -> float:
    """An element's, at most: see sass.Paths."""
    part, elements, trips, tiles = KERNELS[name]
    paths = sass.Paths(sass.kernel(path, architecture, part), trips)
    if not tiles:
        return paths.usual() / elements
    return paths.usual(*paths.loop(lambda body: _draws(body) and not any("BAR." in text for text in body))) / elements


def registers(path: str, architecture: str, name: str) -> int:
    found = sass.resources(path)[architecture]
    return next(found[kernel].registers for kernel in found if KERNELS[name].part in kernel)
