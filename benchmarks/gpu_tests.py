"""Runs tests/test_gpu.py on the card for gpu.py: a process for every op and backend, and what they reported."""

from __future__ import annotations

import concurrent.futures
import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
BACKENDS = ("cuda", "triton")
OTHER = "sample"  # the tests that are of no single op
DECISIVE = ("test_product", "test_graph", "test_ranks")  # an op that fails them is not timed


def check(op: str, backend: str, seconds: float) -> dict[str, Any]:
    """The tests of an op on the card in a process of their own, which is ended when it hangs."""
    failed: dict[str, Any] = {"op": op, "backend": backend, "done": 0, "of": 0}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": path,
        "FASTBLACKOUT_TEST_SECONDS": f"{seconds:.0f}",
    }
    words = f"{op} and {backend}" if op != OTHER else f"(test_sample or test_philox or test_process) and {backend}"
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", "-k", words]
        command += [str(ROOT / "tests" / "test_gpu.py")]
        try:
            done = subprocess.run(
                command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 60, env=environment
            )
        except subprocess.TimeoutExpired:
            return failed | {"failures": [f"its process did not end in {seconds + 60:.0f} s"]}
        if not report.exists():
            lines = (done.stdout + done.stderr).strip().splitlines() or ["without a word"]
            return failed | {"failures": [f"its process ended with status {done.returncode}: {lines[-1]}"[:500]]}
        return failed | outcome(report.read_text())


def outcome(junit: str) -> dict[str, Any]:
    """{"done", "of", "failures"} of a report of pytest. A test that says how many cases it had counts as those."""
    done = of = 0
    failures = []
    for test in ElementTree.fromstring(junit).iter("testcase"):
        said = {p.get("name"): int(p.get("value", 0)) for p in test.iter("property")}
        done += said.get("cases", 0 if test.find("skipped") is not None else 1)
        of += said.get("of", 1)
        wrong = [part for kind in ("failure", "error", "skipped") for part in test.iter(kind)]
        failures += [f"{test.get('name')}: {part.get('message')} {(part.text or '')[-300:]}"[:600] for part in wrong]
    return {"done": done, "of": of, "failures": failures}


def check_all(seconds: float) -> list[dict[str, Any]]:
    from op_table import OPS

    pairs = [(op, backend) for op in (*OPS, OTHER) for backend in BACKENDS]
    at_once = max(2, min(len(pairs), os.cpu_count() or 2))
    each = seconds / math.ceil(len(pairs) / at_once)
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(lambda pair: check(pair[0], pair[1], each), pairs))


def passed(checks: list[dict[str, Any]], op: str, backend: str) -> bool:
    """Whether what is timed gives the right bits."""
    of_this = [c for c in checks if (c["op"], c["backend"]) == (op, backend) and c["done"]]
    return bool(of_this) and not any(text.startswith(DECISIVE) for c in of_this for text in c["failures"])
