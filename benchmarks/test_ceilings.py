"""What this machine does at most: random bytes a second, and bytes a second of memcpy."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import Harness

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("benchmarks/ceilings.cpp", "csrc/cpu/draw.cpp", "csrc/cpu/isa.cpp")
FLAGS = "-std=c++17 -O3 -ffp-contract=off -fno-trapping-math -fno-math-errno -Icsrc -Icsrc/include"  # as setup.py's


def test_ceilings(harness: Harness, tmp_path: Path) -> None:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler: install g++")
    program = tmp_path / "ceilings"
    subprocess.run([compiler, *FLAGS.split(), *SOURCES, "-o", str(program)], cwd=ROOT, check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, "an instruction set makes other words than the scalar code: nothing is timed"
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) >= 4
    for name, bytes_a_second in lines:
        harness.note("ceilings", name=name, bytes_per_second=float(bytes_a_second))
