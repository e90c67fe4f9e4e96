"""Times every op on a device beside the same work in torch; what is timed is first checked against the CPU."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from gpu_work import CASES, UNCAPTURED, Case, Inputs, eager_loss, loss_of, own
from product import poison, same
from torch import Tensor

import fastblackout as fb

LARGE, SMALL = (256, 1, 512, 512), (256, 3, 32, 32)  # 64 Mpx, and a batch of CIFAR-10
NEEDS = {"plain": 6.0, "compiled": 45.0}  # seconds that must be left to start a timing


def clock(call: Callable[[int], Any], device: torch.device, least: float = 5e-3, budget: float = 0.4) -> float:
    """Median seconds of a call, by CUDA events around runs of `least` seconds; two warm-ups."""

    def lap(times: int) -> float:
        if device.type == "cpu":
            start = time.perf_counter()
            for i in range(times):
                call(i)
            return (time.perf_counter() - start) / times
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for i in range(times):
            call(i)
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3 / times

    lap(1)
    once = max(lap(1), 1e-7)
    times = min(200, max(1, math.ceil(least / once)))
    rounds = min(25, max(3, int(budget / (once * times))))
    return statistics.median(lap(times) for _ in range(rounds))


def replayed(call: Callable[[int], Any], sets: int) -> Callable[[int], Any]:
    """One CUDA graph of a call on each input set: no work on the host between them."""
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for i in range(sets):
            call(i)
    return lambda _: graph.replay()


def verify(case: Case, inputs: Inputs, key: fb.Philox, backend: str) -> int:
    """The last rows of the batch against the CPU; bytes that ours must move."""

    def made(given: Inputs, rng: fb.Philox) -> list[Tensor]:
        return [
            value for value in case.ours(given, rng, backend if given is own_inputs else "cpu") if value is not None
        ]

    own_inputs = own(inputs)
    part = {name: value[-2:].cpu() for name, value in own_inputs.items()}
    for value in made(own_inputs, key):
        poison(value)  # memory that the next call is likely to get
    got, rows = made(own_inputs, key), len(next(iter(part.values())))
    expected = made(part, key.at(first_sample=len(next(iter(own_inputs.values()))) - rows))
    for number, (value, wanted) in enumerate(zip(got, expected, strict=True)):
        same(f"output {number}", value[-rows:], wanted)
    return case.reads * sum(value.nbytes for value in own_inputs.values()) + sum(value.nbytes for value in got)


class Times:
    """Rows of the table: dicts with case, shape, by, and call_seconds and graph_seconds, or an error."""

    def __init__(
        self, device: torch.device, backends: Sequence[str], passed: Callable[[str, str], bool],
        left: Callable[[], float], keep: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        """passed(op, backend): whether the checks did. left(): seconds. keep(): called after every row."""
        self.device, self.backends, self.passed, self.left, self.keep = device, backends, passed, left, keep
        self.rows: list[dict[str, Any]] = []
        self.dropped: list[str] = []
        self.cache = 0 if device.type == "cpu" else torch.cuda.get_device_properties(device).L2_cache_size

    def all(self, shapes: Sequence[tuple[int, ...]] = (LARGE, SMALL), compiled: bool = True) -> None:
        """Large inputs before small ones, and torch.compile, which takes longest to get ready, last."""
        kinds = ("plain", "compiled") if compiled else ("plain",)
        for kind, shape, case in itertools.product(kinds, shapes, CASES):
            if kind == "plain" or case.compiled is not None:
                self.one(case, shape, kind)

    def one(self, case: Case, shape: tuple[int, ...], kind: str) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's own
                self._one(case, shape, kind)
        except Exception as error:  # of the inputs: memory, most likely
            self._add(case, shape, "inputs", error=error)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _one(self, case: Case, shape: tuple[int, ...], kind: str) -> None:
        if self.left() < NEEDS[kind]:
            return self._drop(case, shape, f"all of kind {kind}")
        made = torch.Generator(self.device).manual_seed(1)
        sets = [case.make(shape, made)]
        moved = sum(value.nbytes for value in own(sets[0]).values())
        # Enough input sets that none is in the second-level cache when its turn comes.
        sets += [case.make(shape, made) for _ in range(min(64, max(1, math.ceil(4 * self.cache / moved))))]
        keys = [fb.Philox(1, call=i) for i in range(len(sets))]
        there = [key.tensor(self.device) for key in keys]
        calls: dict[str, Callable[[int], Any]] = {}

        def on_sets(function: Callable[[Inputs], Any], i: int) -> Any:
            return function(sets[i % len(sets)])

        def ours(backend: str, i: int) -> Any:
            return case.ours(sets[i % len(sets)], there[i % len(sets)], backend)

        if kind == "compiled" and case.compiled is not None:
            step = torch.compile(case.compiled, dynamic=False)
            if case.compiled is loss_of:
                step = functools.partial(eager_loss, function=step)
            calls["torch.compile"] = functools.partial(on_sets, step)
        else:
            calls |= {backend: functools.partial(ours, backend) for backend in self.backends}
            calls |= {name: functools.partial(on_sets, peer) for name, peer in case.peers.items()}
        for by, call in calls.items():
            if self.left() < NEEDS["plain"]:
                self._drop(case, shape, by)
                continue
            try:
                size = None
                if by in self.backends:
                    if not self.passed(case.op, by):
                        raise AssertionError("its checks did not pass")
                    size = verify(case, sets[0], keys[0], by)
                self._time(case, shape, by, call, len(sets), size)
            except Exception as error:  # the others still have their turn
                self._add(case, shape, by, error=error)

    def _time(
        self, case: Case, shape: tuple[int, ...], by: str, call: Callable[[int], Any], sets: int, size: int | None
    ) -> None:
        seconds = clock(call, self.device)
        row: dict[str, Any] = {"bytes": size, "sets": sets, "call_seconds": seconds, "graph_seconds": None}
        if self.device.type == "cuda" and seconds < 5e-3 and by not in UNCAPTURED:
            try:
                row["graph_seconds"] = clock(replayed(call, sets), self.device) / sets
            except Exception as error:  # the peer cannot be captured
                row["no_graph"] = f"{type(error).__name__}: {error}"[:200]
        self._add(case, shape, by, **row)

    def _add(self, case: Case, shape: tuple[int, ...], by: str, error: Exception | None = None, **facts: Any) -> None:
        row = {"case": case.name, "op": case.op, "shape": list(shape), "elements": math.prod(shape), "by": by, **facts}
        if error is not None:
            row["error"] = f"{type(error).__name__}: {error}"[:300]
        self.rows.append(row)
        self.keep()

    def _drop(self, case: Case, shape: tuple[int, ...], what: str) -> None:
        self.dropped.append(f"{case.name} {'x'.join(map(str, shape))}: {what}")
