"""Times an op beside its peers: the same work, in turns, in one run."""

from __future__ import annotations

import ctypes
import datetime
import gc
import itertools
import json
import mmap
import os
import platform
import re
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch

import fastblackout as fb
from cases import peers
from fastblackout.backends import available

# A timing repeats shorter calls for WINDOW, so that each finds the caches its own, or for SHARE of the case's longest
# call, so that neighbours that are busy for a while slow them alike. Many short rounds rather than few long ones: their
# median differs less from run to run. A case has MOST_ROUNDS rounds, fewer where they would take longer than BUDGET,
# but at least LEAST_ROUNDS.
WINDOW, SHARE = 20e-3, 0.1
MOST_ROUNDS, LEAST_ROUNDS, BUDGET = (31, 3), (5, 2), (5.0, 1.0)  # full, --quick
OURS = "fastblackout"
Call = Callable[[int], Any]  # takes the ordinal of the call, so that no call need repeat the one before


@dataclass
class Case:
    """What is kept of a case from visit to visit."""

    about: dict[str, Any]  # the start of its rows
    rounds: int
    repeats: dict[str, int]  # of the calls of a timing, by who makes them
    ordinal: Iterator[int]
    cold: set[str]  # who makes one call more before each timing
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        ours = self.seconds[OURS]
        about = self.about | {"rounds": len(ours), "ours_seconds": statistics.median(ours)}
        rows = []
        for name, theirs in self.seconds.items():
            if name != OURS:
                ratios = [other / own for other, own in zip(theirs, ours, strict=True)]
                found = {"peer_seconds": statistics.median(theirs), "ratio": statistics.median(ratios)}
                rows.append({**about, "peer": name, **found, "ratio_low": min(ratios), "ratio_high": max(ratios)})
        return rows or [{**about, "peer": None}]


class Harness:
    """Collects what the cases of a session find, and by `note` what else was found."""

    def __init__(self, quick: bool = False) -> None:
        self.most_rounds, self.least_rounds, self.budget = (pair[quick] for pair in (MOST_ROUNDS, LEAST_ROUNDS, BUDGET))
        self.quick = quick
        self._cases: dict[tuple[Any, ...], Case] = {}
        self.notes: dict[str, list[dict[str, Any]]] = {}
        self.failed_peers: dict[str, str] = {}
        self._load = os.getloadavg()[0]
        self.settled = settle_allocator()

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [row for case in self._cases.values() for row in case.rows()]

    def measure(
        self,
        benchmark: Any,
        case: str,
        elements: int,
        ours: Call,
        others: Mapping[str, Call],
        check: Callable[[], None],
        *,
        isa: str | None = None,
        threads: int = 1,
        shares: Mapping[str, float] | None = None,
        op: str = "",
        visit: tuple[int, int] = (0, 1),
    ) -> None:
        """Runs `check`, then times `ours` and `others` in turns, warmed up, for the medians.

        elements: what one call works on. check: raises when ours is wrong; nothing is timed then.
        shares: for others whose call does more or less than that work, how many times it; their time is divided by it.
        visit: (v, n) makes the v-th of n equal parts of the rounds; the check is made on the first.
        The ratio is the median of the rounds' own ratios: a machine that slows down for a while slows both. One thread
        is timed by the processor time of the process, which other work does not add to; more, by the clock.
        """
        calls, now = {OURS: ours, **others}, time.process_time if threads == 1 else time.perf_counter
        key = op, case, isa, threads
        kept = self._cases.pop(key, None)  # and back once its new rounds are whole: a case that fails leaves no time
        with warnings.catch_warnings(), fb.use_backend("cpu", isa=isa, threads=threads):
            warnings.simplefilter("ignore")  # the peers' warnings are not ours to judge
            if kept is None:
                check()
            map_libraries()
            if kept is None:
                about = {"op": op, "case": case, "isa": isa or available.load("_cpu").isa(), "threads": threads}
                kept = self._plan(about | {"elements": elements}, calls, now)
            else:
                for call in calls.values():
                    call(next(kept.ordinal))  # may compile

            def clock(name: str) -> None:
                call, times, ordinal = calls[name], kept.repeats[name], kept.ordinal
                if name in kept.cold:
                    call(next(ordinal))
                start = now()
                for _ in range(times):
                    call(next(ordinal))
                seconds = (now() - start) / times / (shares or {}).get(name, 1)
                kept.seconds.setdefault(name, []).append(seconds)

            def clock_others() -> None:
                for name in others:
                    clock(name)

            done, rounds = (kept.rounds * v // visit[1] for v in (visit[0], visit[0] + 1))
            gc.collect()
            gc.disable()
            try:
                # pytest-benchmark times ours; its set-up before every round is the round of the others.
                benchmark.pedantic(clock, args=(OURS,), setup=clock_others, rounds=rounds - done)
            finally:
                gc.enable()
        self._cases[key] = kept
        benchmark.extra_info |= {"case": case, "elements": elements, "calls per round": kept.repeats[OURS]}
        benchmark.extra_info |= {f"times {row['peer']}": row["ratio"] for row in kept.rows() if row["peer"]}

    def _plan(self, about: dict[str, Any], calls: Mapping[str, Call], now: Callable[[], float]) -> Case:
        ordinal = itertools.count()
        first = {name: _warm(call, ordinal, now) for name, call in calls.items()}
        window = max(WINDOW, SHARE * max(first.values()))
        repeats = {name: max(1, round(window / once)) for name, once in first.items()}
        one_round = sum(times * first[name] for name, times in repeats.items())
        rounds = min(self.most_rounds, max(self.least_rounds, int(self.budget / one_round)))
        # What follows the calls of another is cold: its memory may have gone back to the host.
        return Case(about, rounds, repeats, ordinal, {name for name, once in first.items() if once < 1.0})

    def note(self, kind: str, **found: Any) -> None:
        """Keeps a finding that is no time beside a peer's: kind "ceilings" or "memory"."""
        self.notes.setdefault(kind, []).append(found)

    def results(self) -> dict[str, Any]:
        """What the session found, and on what."""
        names = (OURS, "torch", "numpy", *peers.OPTIONAL)
        return {
            "date": datetime.datetime.now().isoformat(" ", "minutes"),
            "machine": {
                "cpu": _cpu_model(),
                "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                "isa": available.load("_cpu").isa(),
                "system": platform.system(),
                "load": [round(self._load, 1), round(os.getloadavg()[0], 1)],
            },
            "quick": self.quick,
            "rounds": self.most_rounds,
            "window_seconds": WINDOW,
            "settled_allocator": self.settled,
            "versions": {"python": platform.python_version()} | {n: v for n in names if (v := _version(n)) is not None},
            "absent": {**peers.absent(), **self.failed_peers},
            "rows": self.rows,
            **self.notes,
        }

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.results(), indent=1) + "\n")


def settle_allocator() -> bool:
    """Puts glibc's malloc in the state it reaches by itself once a network has freed its large tensors.

    Blocks up to 32 MB then come from the heap and stay mapped. Before that every large temporary is mapped and faulted
    in anew, page by page: eager code with its many temporaries then takes up to three times as long, and what a case
    finds would depend on the cases before it. False where malloc is not glibc's.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    trim_threshold, mmap_threshold = -1, -3  # M_* of malloc.h
    mallopt = ctypes.CDLL(None).mallopt
    return mallopt(mmap_threshold, 32 << 20) == 1 and mallopt(trim_threshold, 64 << 20) == 1


def map_libraries() -> None:
    """Reads every page of the loaded libraries but CUDA's: before each case, as systems take pages back.

    A load whose mask is empty never faults its page in, and on AMD's processors it takes hundreds of clocks where that
    page is not mapped. torch's log1p has one with AVX-512, for the result of -0: in a process where nothing else was
    read nearby, softplus takes four times as long. Nothing to do where there is no /proc.
    """
    maps = Path("/proc/self/maps")
    lines = [line.split(maxsplit=5) for line in maps.read_text().splitlines()] if maps.exists() else []
    for at, rights, *_, path in lines:
        library = rights[0] == "r" and re.search(r"\.so[.0-9]*$", path)
        if library and not re.match("lib(cu|nv|nccl|(torch|c10)_cuda)", Path(path).name):
            start, end = (int(address, 16) for address in at.split("-"))
            np.frombuffer((ctypes.c_uint8 * (end - start)).from_address(start), np.uint8)[:: mmap.PAGESIZE].max()


def same_as_reference(call: Callable[[slice, str], Any], rows: int = 2) -> None:
    """Asserts that ours on the whole batch equals the NumPy reference on its first rows, to the bit.

    call(part, backend): the results, an array or a tuple of them, of the op on rows `part` of its input.
    """
    whole, part = call(slice(None), "auto"), call(slice(rows), "reference")
    pairs = zip(whole, part, strict=True) if isinstance(whole, tuple) else [(whole, part)]
    for ours, reference in pairs:
        if ours is not None:
            bits = [value[:rows].contiguous().view(torch.uint8) for value in (ours, reference)]
            assert torch.equal(*bits), "ours differs from the reference: not timed"


def as_reference(ours: Callable[..., Any]) -> Callable[[], None]:
    """The check of same_as_reference for ours(ordinal, part, backend)."""
    return lambda: same_as_reference(lambda part, backend: ours(0, part, backend))


def _warm(call: Call, ordinal: Iterator[int], now: Callable[[], float]) -> float:
    """Seconds of a second call: the first may compile."""
    call(next(ordinal))
    start = now()
    call(next(ordinal))
    return now() - start


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return fb.__version__ if package == OURS else None


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
