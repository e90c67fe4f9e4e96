"""Times an op beside its peers: the same work, in turns, in one run."""

from __future__ import annotations

import datetime
import itertools
import json
import os
import platform
import statistics
import time
import warnings
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

import peers
import torch

import fastblackout as fb
from fastblackout import natives

ROUNDS = 11
LEAST_SECONDS = 40e-3  # a timing repeats shorter calls for this long, so that each finds the caches its own
OURS = "fastblackout"
Call = Callable[[int], Any]  # takes the ordinal of the call, so that no call need repeat the one before


class Harness:
    """Collects the rows of a session."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.failed_peers: dict[str, str] = {}
        self._load = os.getloadavg()[0]

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
        shares: Mapping[str, int] | None = None,
    ) -> None:
        """Runs `check`, then times `ours` and `others` in turns, one warm-up each, and keeps the medians.

        elements: what one call works on. check: raises when ours is wrong; nothing is timed then.
        shares: for others whose call does several times that work, how many times; their time is divided by it.
        """
        calls = {OURS: ours, **others}
        ordinal = itertools.count()
        seconds: dict[str, list[float]] = {name: [] for name in calls}
        with warnings.catch_warnings(), fb.use_backend("cpu", isa=isa, threads=threads):
            warnings.simplefilter("ignore")  # those of the peers are not ours to judge
            check()
            repeats = {name: _repeats(call, ordinal) for name, call in calls.items()}

            def clock(name: str) -> None:
                call, times = calls[name], repeats[name]
                start = time.perf_counter()
                for _ in range(times):
                    call(next(ordinal))
                seconds[name].append((time.perf_counter() - start) / times)

            def clock_others() -> None:
                for name in others:
                    clock(name)

            # pytest-benchmark times ours; its set-up before every round is the round of the others.
            benchmark.pedantic(clock, args=(OURS,), setup=clock_others, rounds=ROUNDS)
        medians = {name: statistics.median(values) / (shares or {}).get(name, 1) for name, values in seconds.items()}
        benchmark.extra_info |= {"case": case, "elements": elements, "calls per round": repeats[OURS]}
        for name in others:
            benchmark.extra_info[f"times {name}"] = medians[name] / medians[OURS]
            self.rows.append(
                {
                    "case": case,
                    "isa": isa or natives.load("_cpu").isa(),
                    "threads": threads,
                    "elements": elements,
                    "ours_seconds": medians[OURS],
                    "peer": name,
                    "peer_seconds": medians[name],
                    "ratio": medians[name] / medians[OURS],
                }
            )

    def results(self) -> dict[str, Any]:
        """What the session found, and on what."""
        names = (OURS, "torch", "numpy", *peers.OPTIONAL)
        return {
            "date": datetime.date.today().isoformat(),
            "machine": {
                "cpu": _cpu_model(),
                "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
                "isa": natives.load("_cpu").isa(),
                "system": platform.system(),
                "load": [round(self._load, 1), round(os.getloadavg()[0], 1)],
            },
            "rounds": ROUNDS,
            "versions": {"python": platform.python_version()} | {n: v for n in names if (v := _version(n)) is not None},
            "absent": {**peers.absent(), **self.failed_peers},
            "rows": self.rows,
        }

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.results(), indent=1) + "\n")


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


def _repeats(call: Call, ordinal: Any) -> int:
    call(next(ordinal))
    start = time.perf_counter()
    call(next(ordinal))
    return max(1, round(LEAST_SECONDS / (time.perf_counter() - start)))


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
