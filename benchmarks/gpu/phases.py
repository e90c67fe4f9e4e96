"""What each phase does. All that uses the card runs in processes of its own (children.py)."""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from gpu import ROOT, tests
from gpu.built import Built
from gpu.children import FOLDER, environment, in_turn
from gpu.clock import Clock
from gpu.results import Store, machine

BUILD = (sys.executable, "setup.py", "-q", "build_ext", "--inplace")
BITS_SECONDS = 240.0  # at most, until every op has been checked
JAX_SECONDS = 20.0  # in a call
METRICS = (
    "gpu__time_duration.sum",
    "sm__throughput.avg.pct_of_peak_sustained_elapsed",
    "dram__throughput.avg.pct_of_peak_sustained_elapsed",
    "sm__warps_active.avg.pct_of_peak_sustained_active",
    "smsp__inst_executed.sum",
    "l1tex__data_bank_conflicts_pipe_lsu_mem_shared.sum",
)


class Run:
    def __init__(self, store: Store, left: Callable[[], float], ops: str = "", dry: bool = False) -> None:
        """left(): seconds. ops: separated by commas, all where it is empty."""
        self.store, self.results, self.left, self.dry = store, store.results, left, dry
        self.only = [op for op in ops.split(",") if op]
        self.backends = ("cpu",) if dry else tests.BACKENDS
        self.options = ["--dry"] if dry else []
        self.more = tests.ONE_THREAD | {"FASTBLACKOUT_GPU": "dry"} if dry else {}
        self.least = 30.0  # seconds that a build has at least
        self.known = False  # whether the results come from this machine

    def order(self, phases: Sequence[str]) -> list[tuple[str, Callable[[], None]]]:
        """What is wanted most comes first: the timings between the two parts of the checks."""
        every = [("build", self.build), ("check", self.check_bits), ("train", self.train), ("time", self.time)]
        every += [("check", self.check_rest), ("profile", self.profile), ("jax", self.jax)]
        return [(name, phase) for name, phase in every if name in phases]

    def ops(self) -> list[str]:
        from support.op_table import OPS

        return [op for op in OPS if not self.only or op in self.only]

    def fail(self, text: str) -> None:
        if text not in self.results["errors"]:
            self.results["errors"].append(text)
        print(f"FAILED: {text}"[:400], flush=True)

    def build(self) -> None:
        """With CUDA, and where that fails without: the reference and Triton can still be checked."""
        built = Built(self.store.work.parent)  # whatever the card
        if built.take():
            return
        for cuda in ("1", "0"):
            limit = max(self.least, 0.6 * self.left())
            chosen = os.environ | {"FASTBLACKOUT_CUDA": cuda}
            try:
                done = subprocess.run(BUILD, cwd=ROOT, env=chosen, capture_output=True, text=True, timeout=limit)
            except subprocess.TimeoutExpired:
                self.fail(f"build: FASTBLACKOUT_CUDA={cuda}: it took more than {limit:.0f} s")
                continue
            self.store.log("build.log", f"FASTBLACKOUT_CUDA={cuda}\n{done.stdout}{done.stderr}")
            if done.returncode == 0:
                if cuda == "1":
                    built.keep()
                return
            lines = (done.stdout + done.stderr).strip().splitlines() or ["without a word"]
            line = next((line for line in lines if "error" in line.lower()), lines[-1])
            self.fail(f"build: FASTBLACKOUT_CUDA={cuda}: {line}")

    def ready(self) -> bool:
        """Whether there are kernels to look at; sees to it once that the results come from this machine."""
        from fastblackout.backends import available  # after the build

        if not self.known:
            self.store.on(machine(self.dry))
            self.known = True
        built = available.load("_cpu")
        if isinstance(built, str):
            self.fail(f"build: {built}")
        return not isinstance(built, str)

    def _check(self, groups: list[list[str]], seconds: float) -> None:
        """The tests that have not passed yet."""
        known = self.results["tests"]
        done = {name for name, result in known.items() if result["outcome"] in ("passed", "skipped")}
        groups = [[test for test in group if test not in done] for group in groups]

        def heard(result: tests.Result) -> None:
            name = result["test"]
            known[name] = {key: value for key, value in result.items() if key != "test"}
            known[name]["text"] = result["text"][-400:]
            print(f"{result['outcome']} {name} {result['seconds']:.1f} s", flush=True)
            self.store.log("tests.log", f"{result['outcome']} {name} {result['seconds']:.1f} s {result['text']}")
            self.store.keep()

        tests.check([group for group in groups if group], seconds, heard, **self.more)

    def check_bits(self) -> None:
        if not self.ready():
            return
        groups = tests.asked(self.ops(), self.backends, tests.BITS)
        self._check(groups, min(BITS_SECONDS, 0.7 * self.left()))

    def check_rest(self) -> None:
        if not self.ready():
            return
        groups = tests.asked(self.ops(), self.backends, tests.REST)
        self._check(groups + ([] if self.only else tests.of_several(self.backends)), self.left())

    def time(self) -> None:
        if self.ready():
            from gpu.timing import Timing

            with Clock() as clock:
                Timing(self, clock).all()

    def _parts(self, name: str, module: str, parts: Sequence[str], limit: Callable[[], float], **more: str) -> None:
        """Those without a result, the ones that failed before last. limit(): seconds that one may take."""
        kept = [found for found in self.results[name] if "error" not in found]
        failed = {found["part"] for found in self.results[name] if "error" in found}
        done, self.results[name] = {found["part"] for found in kept}, kept
        asked = sorted((part for part in parts if part not in done), key=failed.__contains__)
        with Clock() as clock:

            def heard(facts: dict[str, Any]) -> None:
                kept.append({**facts, "clock": clock.between(*facts["when"])})
                print(f"{name}: {facts['part']}: done", flush=True)
                self.store.keep()

            def lost(part: str, how: str) -> None:
                if min(limit(), self.left()) > 1:  # else it was the time of all that ended
                    kept.append({"part": part, "error": how})

            in_turn(module, asked, self.options, lambda _: min(limit(), self.left()), heard, lost, **more, **self.more)
        known = {found["part"] for found in kept}
        self.results["dropped"] += [f"{name}: {part}" for part in asked if part not in known]

    def train(self) -> None:
        if self.ready():
            from gpu.train import LIMIT, PARTS

            self._parts("train", "gpu.train", PARTS, lambda: math.inf if self.dry else LIMIT)

    def jax(self) -> None:
        if importlib.util.find_spec("jax") is None:
            self.results["dropped"].append("jax: it is not installed")
        elif self.ready():
            from gpu.jax_calls import PARTS

            end = math.inf if self.dry else time.monotonic() + JAX_SECONDS
            memory = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
            self._parts("jax", "gpu.jax_calls", PARTS, lambda: end - time.monotonic(), **memory)

    def profile(self) -> None:
        if not self.ready():
            return
        known = {found["part"] for found in self.results["profile"] if "error" not in found}
        self._parts("profile", "gpu.profile", self.ops(), self.left)
        for op in self.ops() if not self.dry and shutil.which("ncu") is not None else ():
            if self.left() > 20 and op not in known:
                self._counters(op)

    def _counters(self, op: str) -> None:
        """What Nsight Compute counts, at the clocks that the timings have."""
        command = ["ncu", "--clock-control", "none", "--csv", "--metrics", ",".join(METRICS), "--launch-count", "12"]
        command += [sys.executable, "-m", "gpu.profile", op, "--bare"]
        try:
            done = subprocess.run(
                command, cwd=FOLDER, env=environment(), capture_output=True, text=True, timeout=min(60.0, self.left())
            )
            self.store.log("profile.txt", f"{op}\n{done.stdout[-60_000:]}{done.stderr[-2000:]}")
        except subprocess.TimeoutExpired:
            self.store.log("profile.txt", f"{op}: ncu took too long")
