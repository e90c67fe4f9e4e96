"""The time phase: times.py in one process for all ops, and in another where one lost the device."""

from __future__ import annotations

import importlib.util
import itertools
import json
from typing import Any

from gpu import tests
from gpu.aims import instructions
from gpu.children import LOST, follow
from gpu.clock import Clock
from gpu.work import CASES

COMMAND = ("-m", "gpu.times")
REST_SECONDS = 120.0  # kept for the checks that come after the timings
LEAST = 15.0  # seconds: a process of less comes to nothing
TRIES = 6  # processes that an op may cost: each has one case less to time


class Timing:
    def __init__(self, run: Any, clock: Clock) -> None:
        """run: phases.Run, whose results get the rows."""
        self.run, self.clock, self.results = run, clock, run.results
        self.kept = 0.0 if run.dry else REST_SECONDS
        self.begun: list[Any] = []  # case, shape and peer that are being timed
        self.results["rows"] = [row for row in self.results["rows"] if "error" not in row]  # these have another try
        self.results["absent"] = []
        if importlib.util.find_spec("cupy") is None:
            self.results["absent"] = ["CuPy is not installed: pip install cupy-cuda13x, or 12x by torch.version.cuda"]

    def all(self) -> None:
        """The most important ops first, and torch.compile, which takes longest to get ready, last."""
        if not self.results["ceilings"]:
            ended, said = self._process(["ceilings"], 60.0)
            if ended is not None:
                self.results["ceilings"] = {"error": f"{ended}: {' / '.join(said[-2:])}"}
            self.results["instructions"] = instructions(self.results["machine"]["capability"])
        for kind in ("plain", "compiled"):
            ops = dict.fromkeys(c.op for c in CASES if kind == "plain" or c.compiled is not None)
            self.ops([op for op in ops if op in self.run.ops()], kind)

    def ops(self, ops: list[str], kind: str) -> None:
        """Ops in one process. Where one of them costs it the device, or its life, the others have another."""
        right = {op: [by for by in self.run.backends if tests.passed(self.results["tests"], op, by)] for op in ops}
        for op, by in itertools.product(ops, self.run.backends):
            if by not in right[op] and kind == "plain":
                self._wrong(op, [], by, "its checks did not pass")
        tries = dict.fromkeys(ops, TRIES)
        while ops:
            seconds = self.run.left() - self.kept
            if seconds < LEAST:
                self.results["dropped"].append(f"{', '.join(ops)}: all of kind {kind}")
                return
            done = [[row["case"], row["shape"], row["by"]] for row in self.results["rows"]]
            options = ["--kind", kind, "--seconds", f"{seconds - 10:.0f}", "--backends", json.dumps(right)]
            ended, said = self._process([",".join(ops), *options, "--done", json.dumps(done)], seconds)
            if ended is None:
                return
            if self.begun:
                self._wrong(*self.begun, f"its process: {ended}: {' / '.join(said[-2:])}")
            elif f"status {LOST}" not in ended:  # else its last row has the error
                self.run.fail(f"time: {ops[0]}: {ended}: {' / '.join(said[-3:])}")
                return
            failed = self.results["rows"][-1]["op"]
            tries[failed] -= 1
            ops = [op for op in ops[ops.index(failed) :] if tries[op]]

    def _wrong(self, case: str, shape: list[int], by: str, error: str) -> None:
        """case: its name, or an op of which no case is timed."""
        op = next((one.op for one in CASES if one.name == case), case)
        facts = {"case": case, "op": op, "shape": shape, "elements": 0, "by": by, "error": error}
        self.results["rows"].append(facts)

    def _process(self, arguments: list[str], seconds: float) -> tuple[str | None, list[str]]:
        self.begun = []
        return follow([*COMMAND, *arguments, *self.run.options], seconds, self._heard, **self.run.more)

    def _heard(self, facts: dict[str, Any]) -> None:
        self.begun = facts.get("begun", [])
        if "dropped" in facts:
            self.results["dropped"].append(facts["dropped"])
        elif "ceilings" in facts:
            self.results["ceilings"] = facts["ceilings"]
        elif "case" in facts:
            if "when" in facts:
                facts["clock"] = self.clock.between(*facts["when"])
            self.results["rows"].append(facts)
            shape, found = "x".join(map(str, facts["shape"])), facts.get("error") or f"{facts['call_seconds']:.4g} s"
            print(f"{facts['case']}, {shape}, {facts['by']}: {found}"[:200], flush=True)
            self.run.store.keep()
