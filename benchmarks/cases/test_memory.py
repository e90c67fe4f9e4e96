"""The memory each op and its peers need beyond their inputs: what memory.py finds, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastblackout
from cases.harness import Harness
from cases.memory import FROM_LOGITS, STATES

BENCHMARKS = Path(__file__).resolve().parents[1]


def test_memory(harness: Harness) -> None:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("it needs Linux: /proc/self/clear_refs")
    path = os.pathsep.join([str(Path(fastblackout.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "cases.memory"]
    done = subprocess.run(command, cwd=BENCHMARKS, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    for row in found:
        # x_t alone is a byte an element: a mark far below that was not taken while the call ran. Linux counts resident
        # pages a processor at a time, and what is read may lack some.
        assert row["bytes"] >= row["elements"] / 2, row
        if row["case"] == FROM_LOGITS and row["who"] == "fastblackout":
            # the states drawn and their matrices; a copy of the logits would be 4 STATES bytes an element
            assert row["bytes"] < row["elements"] * STATES, row
        harness.note("memory", **row)
    assert {row["who"] for row in found} > {"fastblackout"}
