"""The speeds aimed for, and how a run stands beside them."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Any, NamedTuple

SHARE_OF_64 = "1/64 of a call on 64"
WHOLE_TRAINING, WHOLE_SAMPLING = "the whole training step", "the whole sampling step"


ISAS = ("scalar", "avx2", "avx512")


class Target(NamedTuple):
    """case, peer: patterns (fnmatch) of the rows it judges. isa: of the rows, default the machine's best.

    kind: "ratio", at least `wanted` times the peer; "overhead", at most `wanted` microseconds beyond the peer's time,
    which is the time of the work alone; "share", at most `wanted` of the peer's time.
    """

    case: str
    peer: str
    wanted: float
    kind: str = "ratio"
    isa: str | None = None


TARGETS = (
    Target("thin, x_t", "torch.binomial", 80, isa="avx512"),
    Target("thin, x_t", "numpy Generator", 100, isa="avx512"),
    Target("thin, x_t, Blackout grid", "torch.binomial", 100, isa="avx512"),
    Target("thin, three outputs, Blackout grid", "authors' noisifier", 1500, isa="avx512"),
    Target("thin, three outputs, Blackout grid", "eager torch.binomial", 45, isa="avx512"),
    Target("thin, three outputs", "eager torch.binomial", 45, isa="avx512"),
    Target("thin, x_t, 1,024 images", "fastblackout, 1 thread", 1.85, isa="avx512"),
    Target("bridge, 20 steps, nearest, 512x3x32x32", "scipy round trip", 20, isa="avx512"),
    Target("bridge, 20 steps, nearest, 512x3x32x32", "eager torch.binomial", 18, isa="avx512"),
    Target("binomial, counts to 10,000", "torch.binomial", 5, isa="avx512"),
    Target("binomial, counts to 10,000", "numpy Generator", 7, isa="avx512"),
    Target("poisson, rates 0..50", "torch.poisson", 4, isa="avx512"),
    Target("poisson, rates 0..50", "mkl_random, default (inexact)", 1, isa="avx512"),
    Target("birth_loss + gradient, 256x3x32x32", "eager torch", 5, isa="avx512"),
    Target("birth_loss + gradient, 256x3x32x32", "torch.compile", 2.5, isa="avx512"),
    Target("thin, x_t", "torch.binomial", 12, isa="avx2"),
    Target("thin, x_t, one p", "torch.binomial", 35, isa="avx2"),
    Target("bridge, 20 steps, nearest, 512x3x32x32", "scipy round trip", 10, isa="avx2"),
    Target("bridge, 20 steps, nearest, 512x3x32x32", "eager torch.binomial", 9, isa="avx2"),
    Target("binomial, counts to 10,000", "torch.binomial", 2.5, isa="avx2"),
    Target("binomial, counts to 10,000", "numpy Generator", 3.5, isa="avx2"),
    Target("poisson, rates 0..50", "torch.poisson", 2, isa="avx2"),
    Target("birth_loss + gradient, 256x3x32x32", "eager torch", 2.5, isa="avx2"),
    Target("birth_loss + gradient, 256x3x32x32", "torch.compile", 1.25, isa="avx2"),
    Target("categorical, *", "torch.multinomial", 20),
    Target("categorical, *", "*argmax", 20),
    Target("1,000 P(t) of 256 states*", "scipy.linalg.expm*", 30),
    Target("thin, x_t, one 28x28 image", SHARE_OF_64, 8, "overhead"),
    Target("thin, three outputs, one 28x28 image", SHARE_OF_64, 15, "overhead"),
    Target("birth_loss + gradient, one 28x28 image", SHARE_OF_64, 25, "overhead"),
    Target("noising and loss of a training step, 128x1x28x28", WHOLE_TRAINING, 0.01, "share"),
    Target("reverse step of a sampling step, 64x1x28x28", WHOLE_SAMPLING, 0.01, "share"),
)
# What the README shows: (case, peer).
SHORT = (
    ("thin, x_t", "torch.binomial"),
    ("bridge, 20 steps, nearest, 512x3x32x32", "eager torch.binomial"),
    ("birth_loss + gradient, 256x3x32x32", "torch.compile"),
    ("binomial, counts to 10,000", "torch.binomial"),
    ("categorical, 1,000 matrices", "torch.multinomial"),
)
WORDS = {
    "ratio": ("{:.3g}x", "at least {:g}x"),
    "overhead": ("{:.3g} us", "at most {:g} us"),
    "share": ("{:.2%}", "at most {:.0%}"),
}


def value_of(target: Target, row: dict[str, Any]) -> float:
    if target.kind == "overhead":
        return 1e6 * (row["ours_seconds"] - row["peer_seconds"])
    return 1 / row["ratio"] if target.kind == "share" else row["ratio"]


def met(target: Target, value: float) -> bool:
    return value >= target.wanted if target.kind == "ratio" else value <= target.wanted


def matching(target: Target, results: dict[str, Any]) -> list[dict[str, Any]]:
    isa = target.isa or results["machine"]["isa"]
    rows = (row for row in results["rows"] if row["isa"] == isa and row["peer"])
    return [row for row in rows if fnmatchcase(row["case"], target.case) and fnmatchcase(row["peer"], target.peer)]


def table(results: dict[str, Any]) -> list[tuple[str, ...]]:
    """A row of cells for every target within the machine's instruction sets and case that bears on it, the heading
    first."""
    cells: list[tuple[str, ...]] = [("work", "ISA", "beside", "aim", "found", "met")]
    best = results["machine"]["isa"]
    for target in TARGETS:
        isa = target.isa or best
        if ISAS.index(isa) > ISAS.index(best):
            continue
        found, wanted = WORDS[target.kind]
        aim = wanted.format(target.wanted)
        rows = matching(target, results)
        for row in rows:
            value = value_of(target, row)
            verdict = "yes" if met(target, value) else "**no**"
            cells.append((row["case"], isa, row["peer"], aim, found.format(value), verdict))
        if not rows:
            cells.append((target.case.strip("*, "), isa, target.peer.strip("*"), aim, "not measured", ""))
    return cells
