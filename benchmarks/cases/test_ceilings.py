"""What this machine does at most: random bytes a second, and bytes a second of memcpy."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from cases.harness import Harness
from cases.workloads import ISAS

SOURCE = Path(__file__).resolve().with_name("ceilings.cpp")
ROOT = SOURCE.parents[2]
FLAGS = {"scalar": ["-fno-tree-vectorize"], "avx2": ["-mavx2"], "avx512": ["-mavx512f"]}


@pytest.mark.parametrize("isa", ISAS)
def test_ceilings(harness: Harness, tmp_path: Path, isa: str) -> None:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("c++")
    if compiler is None:
        pytest.skip("no C++ compiler: install g++")
    program = str(tmp_path / "ceilings")
    command = [compiler, "-std=c++17", "-O3", *FLAGS[isa], "-Icsrc/include", str(SOURCE), "-o", program]
    subprocess.run(command, cwd=ROOT, check=True)
    copies = ["copies"] if isa == ISAS[-1] else []
    done = subprocess.run([program, *copies], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, "its words are not Philox's: nothing is timed"
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert lines[0][0].endswith(isa)
    for name, bytes_a_second in lines:
        harness.note("ceilings", name=name, bytes_per_second=float(bytes_a_second))
