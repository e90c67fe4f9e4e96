"""Times an op on a device beside the same work in torch; what is timed is first checked against the CPU.

timing.py runs it in a process for all ops: python -m gpu.times OP,OP --kind plain|compiled [--seconds S] [--dry]
Tells a row of every case, size and peer once it is timed, and ends where a CUDA error has cost it the device.
"""

from __future__ import annotations

import argparse
import functools
import json
import math
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor

import fastblackout as fb
from gpu.children import LOST, is_lost, tell
from gpu.work import CASES, UNCAPTURED, Case, Inputs, eager_loss, loss_of, own
from support.product import poison, same

LARGE, SMALL = (256, 1, 512, 512), (256, 3, 32, 32)  # 64 Mpx, and a batch of CIFAR-10
TINY = ((4, 1, 8, 8),)  # of a dry run
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
    # thread_local: the thread of a trainer may make its next batch meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
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
    """Tells rows: dicts with case, shape, by, when, and call_seconds and graph_seconds, or an error."""

    def __init__(
        self, device: torch.device, backends: Sequence[str], left: Callable[[], float], told: Callable[..., None],
        done: Collection[Sequence[Any]] = (), quick: bool = False,
    ) -> None:  # fmt: skip
        """left(): seconds. told(**row). done: (case, shape, by) of the rows that there are. quick: no time is spent."""
        self.device, self.backends, self.left, self.told = device, backends, left, told
        self.done = {(case, tuple(shape), by) for case, shape, by in done}
        self.clock = functools.partial(clock, least=0.0, budget=0.0) if quick else clock
        self.cache = 0 if device.type == "cpu" else torch.cuda.get_device_properties(device).L2_cache_size

    def case(self, case: Case, shape: tuple[int, ...], kind: str) -> None:
        """The case at a size by all that there is no row of yet."""
        named = ["torch.compile"] if kind == "compiled" else [*self.backends, *case.peers]
        wanted = [by for by in named if (case.name, shape, by) not in self.done]
        if not wanted or (kind == "compiled" and case.compiled is None):
            return
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's own
                self._case(case, shape, kind, wanted)
        except Exception as error:  # of the inputs: memory, most likely
            for by in wanted:
                self._add(case, shape, by, error=error)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _case(self, case: Case, shape: tuple[int, ...], kind: str, wanted: list[str]) -> None:
        if self.left() < NEEDS[kind]:
            return self._drop(case, shape, wanted)
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
        for number, by in enumerate(wanted):
            if self.left() < NEEDS["plain"]:
                return self._drop(case, shape, wanted[number:])
            self.told(begun=[case.name, list(shape), by])
            try:
                size = verify(case, sets[0], keys[0], by) if by in self.backends else None
                self._time(case, shape, by, calls[by], len(sets), size)
            except Exception as error:  # the others still have their turn
                self._add(case, shape, by, error=error)

    def _time(
        self, case: Case, shape: tuple[int, ...], by: str, call: Callable[[int], Any], sets: int, size: int | None
    ) -> None:
        begun = time.time()
        seconds = self.clock(call, self.device)
        row: dict[str, Any] = {"bytes": size, "sets": sets, "call_seconds": seconds, "graph_seconds": None}
        if self.device.type == "cuda" and seconds < 5e-3 and by not in UNCAPTURED:
            try:
                row["graph_seconds"] = self.clock(replayed(call, sets), self.device) / sets
            except Exception as error:  # the peer cannot be captured
                row["no_graph"] = f"{type(error).__name__}: {error}"[:200]
        self._add(case, shape, by, when=[begun, time.time()], **row)
        if is_lost(row.get("no_graph", "")):
            sys.exit(LOST)

    def _add(self, case: Case, shape: tuple[int, ...], by: str, error: Exception | None = None, **facts: Any) -> None:
        row = {"case": case.name, "op": case.op, "shape": list(shape), "elements": math.prod(shape), "by": by, **facts}
        if error is not None:
            row["error"] = f"{type(error).__name__}: {error}"[:300]
        self.told(**row)
        if error is not None and is_lost(str(error)):
            sys.exit(LOST)

    def _drop(self, case: Case, shape: tuple[int, ...], wanted: list[str]) -> None:
        self.told(dropped=f"{case.name} {'x'.join(map(str, shape))}: {', '.join(wanted)}")


def ceilings(device: torch.device) -> dict[str, float]:
    """What the card can do at most."""
    from gpu.ceilings import copying, issuing

    def seconds(call: Callable[[int], Any]) -> float:
        return clock(call, device)

    return {"copy_gigabytes_s": copying(device, seconds), "issue_giga_s": issuing(device, seconds)}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops", help="ops, separated by commas, or ceilings")
    parser.add_argument("--kind", choices=tuple(NEEDS), default="plain")
    parser.add_argument("--seconds", type=float, default=math.inf)
    parser.add_argument("--backends", type=json.loads, default={}, help="of fastblackout, a list for each op")
    parser.add_argument("--done", type=json.loads, default=[], help="[case, shape, by] of the rows that there are")
    parser.add_argument("--dry", action="store_true", help="on the CPU, at a tiny size, without spending time")
    asked, start = parser.parse_args(arguments), time.monotonic()
    device = torch.device("cpu") if asked.dry else torch.device("cuda", 0)
    if asked.ops == "ceilings":
        tell(ceilings={} if asked.dry else ceilings(device))
        return
    for op in asked.ops.split(","):
        backends = asked.backends.get(op, [])
        times = Times(
            device, backends, lambda: asked.seconds - (time.monotonic() - start), tell, asked.done, quick=asked.dry
        )
        for shape in TINY if asked.dry else (LARGE, SMALL):
            for case in CASES:
                if case.op == op:
                    times.case(case, shape, asked.kind)


if __name__ == "__main__":
    main()
