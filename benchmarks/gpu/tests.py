"""The check phase: tests/backends/test_gpu.py in processes of their own, one for every op and backend.

First what decides whether an op is right (`BITS`); what torch makes of it, which takes longest to compile, and what is
built from several ops come afterwards, in other processes (`REST`).
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from gpu import ROOT
from gpu.children import follow

FILE = ROOT / "tests" / "backends" / "test_gpu.py"
BACKENDS = ("cuda", "triton")
BITS = ("graph", "ranks", "flags", "stream", "product")  # "product" takes what is left of the time
REST = ("first", "compiled", "reduce_overhead", "opcheck")  # "first" before others of its process
DECISIVE = ("graph", "ranks", "product")  # an op that fails them is not timed
ALL = "all"  # the op of a test that is of no single one
# Many such processes run at once.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
Result = dict[str, Any]


def asked(ops: Iterable[str], backends: Iterable[str], tests: Iterable[str]) -> list[list[str]]:
    """The tests of a process each, which takes an op on a backend. Triton's kernels cannot run first in a capture."""
    tests = list(tests)
    return [
        [f"test_{test}[{op}-{backend}]" for test in tests if (test, backend) != ("first", "triton")]
        for op in ops
        for backend in backends
    ]


def of_several(backends: Iterable[str]) -> list[list[str]]:
    """The tests of more than one op, a process a kind and backend."""
    from support.gpu_checks import SAMPLERS
    from support.process_calls import PROCESSES

    made = []
    for backend in backends:
        made.append([f"test_philox_known_answers[{backend}]", f"test_losses[{backend}]"])
        made[-1] += [f"test_sample[{options}-{backend}]" for options in SAMPLERS]
        made.append([f"test_process[{name}-{backend}]" for name in PROCESSES])
    return made


def run(tests: list[str], seconds: float, heard: Callable[[Result], None], **more: str) -> None:
    """One process of tests, started again where one of them lost the device. Each is told of once, whatever happens."""
    end, open_tests, begun = time.monotonic() + seconds, list(tests), [""]

    def over(result: Result) -> None:
        if result["test"] in open_tests:
            open_tests.remove(result["test"])
            heard(result)

    def told(facts: Result) -> None:
        if "begun" in facts:
            begun[0] = facts["begun"]
        elif "test" in facts:
            over(facts)
        else:
            for test in list(open_tests):
                over({"test": test, "outcome": "failed", "seconds": 0.0, "text": facts["text"]})

    while open_tests:
        left, before, begun[0] = end - time.monotonic(), len(open_tests), ""
        if left < 1:
            break
        budget = {"FASTBLACKOUT_TEST_SECONDS": f"{max(left - 20, 5):.0f}"}
        command = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "gpu.lines", "-W", "default"]
        command += [f"{FILE}::{test}" for test in open_tests]
        ended, said = follow(command, left, told, **(budget | ONE_THREAD | more))
        if begun[0] in open_tests:
            text = f"its process: {ended}: {' / '.join(said[-3:])}"
            over({"test": begun[0], "outcome": "failed", "seconds": 0.0, "text": text})
        if len(open_tests) == before:  # it did not come to a test
            for test in list(open_tests):
                text = f"it was not run: {ended}: {' / '.join(said[-3:])}"
                over({"test": test, "outcome": "failed", "seconds": 0.0, "text": text})
    for test in list(open_tests):
        over({"test": test, "outcome": "not run", "seconds": 0.0, "text": "the time was over"})


def check(groups: list[list[str]], seconds: float, heard: Callable[[Result], None], **more: str) -> None:
    """All processes, twice as many at once as there are cores, within the time."""
    end, lock = time.monotonic() + seconds, threading.Lock()
    at_once = max(1, min(len(groups), 2 * (os.cpu_count() or 1)))
    rounds = -(-len(groups) // at_once)

    def told(result: Result) -> None:
        with lock:
            heard(result)

    def one(number: int) -> None:
        last_of_its_round = time.monotonic() + seconds / rounds
        run(groups[number], min(last_of_its_round, end) - time.monotonic(), told, **more)

    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        list(pool.map(one, range(len(groups))))


def subject(test: str) -> tuple[str, str, str]:
    """(kind, op or ALL, backend) of a test's name."""
    name, _, rest = test.partition("[")
    op, _, backend = rest.rstrip("]").rpartition("-")
    kind = name.removeprefix("test_")
    return kind, op if kind in (*BITS, *REST) else ALL, backend


def passed(tests: dict[str, Result], op: str, backend: str) -> bool:
    """Whether what is timed gives the right bits: the product ran, and nothing that decides failed."""
    mine = {subject(name)[0]: result for name, result in tests.items() if subject(name)[1:] == (op, backend)}
    ran = mine.get("product", {}).get("cases", 0) > 0
    return ran and not any(mine.get(kind, {}).get("outcome") == "failed" for kind in DECISIVE)
