"""Processes that tell what they do as they do it: one JSON object a line, after an @.

A kernel that hangs cannot be stopped from Python, and after a CUDA error a process can do nothing more on the device:
so tests and timings run in processes of their own, which are ended and started again.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from gpu import ROOT

FOLDER = ROOT / "benchmarks"  # where children run, so that `python -m gpu.times` finds its module
MARK = "@"
LOST = 3  # the status of a process that ends itself because the device is lost to it
# What a CUDA error is known by, in the words of torch, Triton and fastblackout's kernels.
_CUDA_ERROR = re.compile(
    r"CUDA (driver )?error|: CUDA: |illegal memory access|misaligned address|launch failure|device-side assert"
)


def is_lost(text: str) -> bool:
    """Whether an error may have left the process without its device."""
    return _CUDA_ERROR.search(text) is not None


def tell(**facts: Any) -> None:
    """In a child: to the parent, at once."""
    print(MARK + json.dumps(facts), flush=True)


def environment(**more: str) -> dict[str, str]:
    """The modules of this process."""
    modules = {"PYTHONUNBUFFERED": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    return {**os.environ, **modules, **more}


_running: dict[int, subprocess.Popen[str]] = {}


def end_all() -> None:
    """Ends the processes that are still running, with theirs."""
    for child in list(_running.values()):
        _end(child)


def _end(child: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)


def follow(
    command: list[str], seconds: float, heard: Callable[[dict[str, Any]], float | None], **more: str
) -> tuple[str | None, list[str]]:
    """Runs a child to its end, or ends it after so many seconds; `heard` gets what it tells, and may return how many
    seconds there are from then on.

    Returns (None, or how it ended if not of itself, what else it printed: the last 40 lines).
    """
    given: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "errors": "replace"}
    command, given["env"] = [sys.executable, "-W", "default", *command], environment(**more)
    child = subprocess.Popen(command, cwd=FOLDER, start_new_session=True, **given)
    _running[child.pid] = child
    late: list[float] = []

    def end_after(seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, lambda: (late.append(seconds), _end(child)))
        timer.daemon = True
        timer.start()
        return timer

    timer = end_after(seconds)
    said: list[str] = []
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(MARK):
            if (more_seconds := heard(json.loads(line[len(MARK) :]))) is not None:
                timer.cancel()
                timer = end_after(more_seconds)
        elif line.strip():
            said = [*said[-39:], line.rstrip()]
    child.stdout.close()
    status = child.wait()
    timer.cancel()
    del _running[child.pid]
    if late:
        return f"it did not end in {late[0]:.0f} s", said
    return (None if status == 0 else f"it ended with status {status}"), said


def in_turn(
    module: str, parts: list[str], options: list[str], seconds: Callable[[str], float],
    heard: Callable[[dict[str, Any]], None], lost: Callable[[str, str], None], **more: str,
) -> None:  # fmt: skip
    """Runs a module on parts, separated by commas, in one process; it tells which part has begun.

    seconds: how many a part has from now on. Where the process ends early, or a part takes longer, lost(part, how) is
    called and the parts that are left have a process again.
    """
    while parts and seconds(parts[0]) > 1:
        begun = [""]

        def told(facts: dict[str, Any], begun: list[str] = begun) -> float | None:
            if "begun" not in facts:
                heard(facts)
                return None
            begun[0] = facts["begun"]
            return seconds(begun[0])

        ended, said = follow(["-m", module, ",".join(parts), *options], seconds(parts[0]), told, **more)
        if ended is None:
            return
        at = parts.index(begun[0]) if begun[0] in parts else 0
        lost(parts[at], f"{ended}: {' / '.join(said[-3:])}")
        parts = parts[at + 1 :]
