"""The profile phase: torch's profiler lists the kernels of a call of every op. train.py uses it for a training step.

python -m gpu.profile OP,OP [--dry] [--bare]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

import fastblackout as fb
from gpu.children import tell
from gpu.times import LARGE, TINY
from gpu.work import CASES, Case

CALLS = 5
Ran = list[tuple[str, float, float]]  # the name of a kernel, and when it began and ended, in microseconds


def ran(call: Callable[[int], Any], device: torch.device) -> Ran:
    """All kernels that run in CALLS calls; on the CPU, torch's operations."""
    on_gpu = device.type == "cuda"
    kind = ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU
    with profile(activities=[kind], acc_events=True) as seen:  # without which torch 2.11 warns of cycles to come
        for i in range(CALLS):
            call(i)
        if on_gpu:
            torch.cuda.synchronize()
    where, results = DeviceType.CUDA if on_gpu else DeviceType.CPU, seen.profiler.kineto_results
    return [  # as they were recorded: seen.events() makes a tree of them, which takes long
        (event.name(), event.start_ns() / 1e3, (event.start_ns() + event.duration_ns()) / 1e3)
        for event in results.events()
        if event.device_type() == where and event.duration_ns() > 0
    ]


def longest(found: Ran, most: int) -> list[dict[str, Any]]:
    """Name, launches a call and microseconds a launch of the kernels that take longest."""
    times: dict[str, list[float]] = {}
    for name, start, end in found:
        times.setdefault(name if len(name) <= 120 else name[:117] + "...", []).append(end - start)
    rows = [{"kernel": name, "launches": len(t) / CALLS, "us": sum(t) / len(t)} for name, t in times.items()]
    return sorted(rows, key=lambda row: -row["us"] * row["launches"])[:most]


def of_steps(step: Callable[[], Any], device: torch.device) -> dict[str, Any]:
    """What the card does in a step: its longest kernels, the share of the time in which one runs, and the gaps."""
    found = ran(lambda _: step(), device)
    gaps, busy, until = [], 0.0, float("-inf")
    for start, end in sorted((start, end) for _, start, end in found):
        if start > until > float("-inf"):
            gaps.append(start - until)
        busy += max(end - max(start, until), 0.0)
        until = max(until, end)
    made = {"kernels": longest(found, 25), "busy": busy / (busy + sum(gaps)), "gaps": len(gaps) / CALLS}
    return made | {"us_of_gaps": sum(gaps) / CALLS, "us_of_longest_gap": max(gaps, default=0.0)}


def kernels(
    case: Case, shape: tuple[int, ...], backend: str, device: torch.device, bare: bool = False
) -> list[dict[str, Any]]:
    """The kernels of a call; bare: the calls alone, for another profiler that looks on."""
    inputs = case.make(shape, torch.Generator(device).manual_seed(1))
    keys = [fb.Philox(1, call=i).tensor(device) for i in range(CALLS)]
    case.ours(inputs, keys[0], backend)
    return [] if bare else longest(ran(lambda i: case.ours(inputs, keys[i], backend), device), 12)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops", help="separated by commas")
    parser.add_argument("--dry", action="store_true", help="on the CPU, at a tiny size")
    parser.add_argument("--bare", action="store_true", help="one call each of the CUDA kernels and no profiler")
    asked = parser.parse_args(arguments)
    device, shape = (torch.device("cpu"), TINY[0]) if asked.dry else (torch.device("cuda", 0), LARGE)
    backends = ["cpu"] if asked.dry else ["cuda"] if asked.bare else ["cuda", "triton"]
    for op in asked.ops.split(","):
        tell(begun=op)
        start, cases = time.time(), []
        for case in CASES:
            for backend in backends if case.op == op else ():
                found = kernels(case, shape, backend, device, asked.bare)
                cases.append({"case": case.name, "by": backend, "shape": shape, "kernels": found})
        tell(part=op, cases=cases, when=[start, time.time()])


if __name__ == "__main__":
    main()
