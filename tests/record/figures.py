"""Figures of what lies between a caller and a kernel: how much code, how much of it a call runs, and how long it takes.

Files are those that git knows, and lines all of theirs.
"""

from __future__ import annotations

import ast
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fastblackout as fb
from support import ROOT
from support.draws import DRAWS
from support.op_posterior import NAMES
from support.source_tree import imports, modules

SHARED = 6  # lines, without those that are empty
HEADS = {"mean", "implicit", *NAMES.split(", ")}
GROUPS = {"LAWS", "HEADS", "FAMILIES"}


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, check=True, capture_output=True, text=True)
    kinds = (".py", ".cpp", ".h", ".cu", ".cuh", ".inc")
    return [ROOT / name for name in listed.stdout.splitlines() if name.endswith(kinds)]


def lines_of(*patterns: str) -> int:
    return sum(len(path.read_text().splitlines()) for path in tracked(*patterns))


def naming(word: str, *folders: str) -> int:
    return sum(word in path.read_text() for path in tracked(*folders))


def run_by(call: Callable[[], Any]) -> tuple[int, int]:
    """(Python calls, files) of the third call."""
    found: list[str] = []
    call(), call()
    sys.setprofile(lambda frame, event, _: found.append(frame.f_code.co_filename) if event == "call" else None)
    call()
    sys.setprofile(None)
    found = [name for name in found if name != __file__]
    return len(found), len(set(found))


def asked_for_heads() -> int:
    """Comparisons with the name of a head, or with a group of them, and calls of head_of, outside of heads/."""
    found = 0
    for name, (_, tree) in modules().items():
        if ".heads" in name:
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                found += getattr(node.func, "id", "") == "head_of"
            elif isinstance(node, ast.Compare):
                texts = {each.value for each in node.comparators if isinstance(each, ast.Constant)}
                names = {each.id for each in node.comparators if isinstance(each, ast.Name)}
                found += bool(texts & HEADS or names & GROUPS)
    return found


def circles() -> list[set[str]]:
    """Groups of modules that import one another, for types too."""
    edges = imports(for_types=True)

    def reached(start: str) -> set[str]:
        seen, left = set[str](), [start]
        while left:
            for other in edges.get(left.pop(), set()) - seen:
                seen.add(other)
                left.append(other)
        return seen

    reach = {name: reached(name) for name in modules()}
    groups = {frozenset(other for other in reach[name] if name in reach[other]) for name in reach}
    return [set(group) for group in groups if len(group) > 1]


def shared_places() -> int:
    """Pairs of places in Python that have SHARED or more lines in a row in common, imports and comments apart; a longer
    run is one pair."""
    seen: dict[tuple[str, ...], list[tuple[Path, int]]] = {}
    for path in tracked("fastblackout", "kernels"):
        lines = [line.strip() for line in path.read_text().splitlines()]
        lines = [line for line in lines if line and not re.match(r"(from|import) |#", line)]
        for at in range(len(lines) - SHARED + 1):
            seen.setdefault(tuple(lines[at : at + SHARED]), []).append((path, at))
    pairs = {(a, b) for places in seen.values() for n, a in enumerate(places) for b in places[:n]}
    return sum(((a[0], a[1] - 1), (b[0], b[1] - 1)) not in pairs for a, b in pairs)


def microseconds(call: Callable[[], Any], rounds: int = 40, each: int = 500) -> str:
    """Of a call: the median of rounds, and their quartiles."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        for _ in range(each):
            call()
        taken.append((time.perf_counter() - start) / each * 1e6)
    low, middle, high = statistics.quantiles(taken, n=4)
    return f"{middle:.2f} ({low:.2f} to {high:.2f}, least {min(taken):.2f})"


def timed() -> Iterator[tuple[str, Callable[[], Any]]]:
    x, rng = np.arange(32, dtype=np.uint8).reshape(4, 8), fb.Philox(1)
    logits = np.linspace(-1, 1, 32, dtype=np.float32).reshape(4, 8)
    for library, of in (("NumPy", np.array), ("torch", torch.from_numpy)):
        counts, floats = of(x), of(logits)
        yield f"thin, {library}", lambda counts=counts: fb.thin(counts, 0.5, rng=rng)
        yield f"birth_loss, {library}", lambda f=floats, counts=counts: fb.birth_loss(f, counts, 1.0)
        yield (
            f"posterior_step, {library}",
            lambda f=floats, counts=counts: fb.posterior_step(counts, (f, f), 0.5, family="beta-binomial", rng=rng),
        )


def print_figures() -> None:
    torch.set_num_threads(1)
    calls = list(timed())
    print("Python calls and files of a call:")
    for name, call in calls:
        print(f"  {name}: {' / '.join(map(str, run_by(call)))}")
    print(
        "lines of call, ops/per_element* and bindings:",
        lines_of("fastblackout/call", "fastblackout/ops/per_element*", "csrc/bindings"),
    )
    print("lines of fastblackout, kernels and csrc:", lines_of("fastblackout", "kernels", "csrc"))
    print("files that name an element-wise draw, of the product / of tests and benchmarks:")
    for op in DRAWS:
        print(
            f"  {op}: {naming(op, 'fastblackout', 'kernels', 'csrc', 'setup.py')} / {naming(op, 'tests', 'benchmarks')}"
        )
    print("questions for a head's name:", asked_for_heads())
    print("import circles:", len(circles()), *(sorted(circle) for circle in circles()))
    readers = [re.findall(r"^class (\w+Reader)\b", path.read_text(), re.M) for path in tracked("csrc/bindings")]
    print("C++ readers:", *sum(readers, []))
    print(f"pairs of places that share {SHARED} lines or more:", shared_places())
    print("microseconds of a call on (4, 8):")
    for name, call in calls:
        print(f"  {name}: {microseconds(call)}")
