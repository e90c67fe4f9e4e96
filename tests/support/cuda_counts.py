"""Instructions an element of the CUDA kernels, counted in fastblackout._cuda: what test_cuda_build.py holds to budgets,
and benchmarks/ makes ceilings and predictions of. Building the thresholds of a piece of 65,536 elements is left out.
Dtypes that go by a call are rare cases to sass.Paths: of the others it takes the dearest.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from support import sass


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
    warps: int = 1  # of so many, one does what only one has to do


KERNELS = {
    # uint8 to uint8: eight elements are drawn at a time
    "thin_shared": Counted("thin_sharedILb1E", 16, lambda body: 2 if _draws(body) else None, True),
    # of uint8 counts; N of four made at a time, four model inputs in float32 stored
    "bridge_shared": Counted(
        "bridge_sharedILb0E", 16, lambda body: 2 if _draws(body) else 4 if _moves(body) else None, True
    ),
    # four warps sum 1,024 elements, a lane 2 times 4; one adds what they found, and may make the gain's logarithm
    "loss_kernel": Counted(
        "loss_kernel", 8, lambda body: 2 if _moves(body) and not _shuffles(body) else None, False, 4
    ),
    "loss_grad": Counted("loss_grad", 8, lambda body: 2 if _moves(body) else None, False),
}


# Turns, called wavefronts, in which shared memory serves a warp's two look-ups of a draw, one in the upper and one in
# the lower buckets, for counts and uniforms drawn evenly: tests/backends/test_cuda_tables.py simulates them.
LOOK_UPS = 6.7


class Access(NamedTuple):
    code: str  # as nvdisasm begins it
    of_tile: int  # how many a warp makes for a tile
    wavefronts: int  # each


# What else a warp reads and writes in shared memory for a tile of 512 elements, 16 of each lane. Lanes 16 bytes apart
# take four wavefronts, whether they move 4, 8 or 16 bytes each; all lanes at one place take one.
TILE = {
    "thin_shared": (
        Access("LDS", 4, 4),  # the counts, four at a time
        Access("STS", 4, 4),  # and what is drawn
        Access("LDS.64", 3, 1),  # addresses
        Access("LDS.128", 6, 1),  # Philox's keys, and words of its counter
        Access("LDS.128", 1, 4),  # draws
        Access("STS.128", 1, 4),  # counts
    )
}


def wavefronts(name: str) -> float:
    """Of 32 elements, a warp's one."""
    return LOOK_UPS + sum(access.of_tile * access.wavefronts for access in TILE[name]) / KERNELS[name].elements


def shared_accesses(path: str, architecture: str, name: str, code: str) -> int:
    """How many a warp makes for a tile, look-ups too, of those that nvdisasm begins with `code`."""
    part, _, trips, *_ = KERNELS[name]

    def counts(text: str) -> bool:
        return re.match(rf"(?:@!?U?P\w+ )?{code} ", text) is not None

    paths = sass.Paths(sass.kernel(path, architecture, part), trips, counts)
    return paths.usual(*paths.loop(_over_tiles))


def _over_tiles(body: list[str]) -> bool:
    return _draws(body) and not any("BAR." in text for text in body)


def _over_elements(body: list[str]) -> bool:
    return _moves(body) and not _shuffles(body)


# Of these a multiprocessor takes 64 lanes a clock, half of what it issues, by the CUDA programming guide (throughput of
# native arithmetic instructions): integer additions, logic, shifts, compares, minima, byte permutes, conversions.
_HALF_RATE = re.compile(r"(?:@!?U?P\w+ )?(?:V?IADD3?|LEA|P?LOP3|SHF|(?:V?I|F)MNMX|[IF]SETP|F?SEL|PRMT|I2FP)\b")


def at_half_rate(text: str) -> bool:
    return _HALF_RATE.match(text) is not None


def instructions(path: str, architecture: str, name: str, counts: Callable[[str], bool] = lambda text: True) -> float:
    """An element's, at most, of those that `counts` says yes to: see sass.Paths."""
    part, elements, trips, tiles, warps = KERNELS[name]
    code = sass.kernel(path, architecture, part)
    paths = sass.Paths(code, trips, counts)
    if tiles:
        return paths.usual(*paths.loop(_over_tiles)) / elements
    if warps == 1:
        return paths.usual() / elements
    least, (header, body) = sass.Paths(code, trips, counts, shortest=True), paths.loop(_over_elements)
    rounds = trips([code[at][1] for at in sorted(body)]) or 1
    others = least.usual() + rounds * (paths.usual(header, body) - least.usual(header, body))
    return (paths.usual() + (warps - 1) * others) / warps / elements


def loop_accesses(path: str, architecture: str, name: str) -> dict[str, list[int]]:
    """What sass.accesses finds in the loop over tiles, over rows of a chunk or over quads."""
    part, _, trips, tiles, _ = KERNELS[name]
    paths = sass.Paths(sass.kernel(path, architecture, part), trips)
    body = paths.loop(_over_tiles if tiles else _over_elements)[1]
    return sass.accesses(paths.lines[at][1] for at in body if paths.lines[at][0] == "instruction")


def registers(path: str, architecture: str, name: str) -> int:
    found = sass.resources(path)[architecture]
    return next(found[kernel].registers for kernel in found if KERNELS[name].part in kernel)
