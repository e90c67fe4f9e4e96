"""The profile phase: the kernels of a call of every op, as torch's profiler sees them.

python -m gpu.profile OP,OP [--backends cuda,triton] [--dry] [--bare]
"""

from __future__ import annotations

import argparse
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

import fastblackout as fb
from gpu.children import tell
from gpu.times import LARGE, TINY
from gpu.work import CASES, Case

CALLS = 5


def kernels(
    case: Case, shape: tuple[int, ...], backend: str, device: torch.device, bare: bool = False
) -> list[dict[str, Any]]:
    """Name, launches a call and microseconds a launch of all that ran on the device; on the CPU, of torch's ops.

    bare: the calls alone, for another profiler that looks on.
    """
    inputs = case.make(shape, torch.Generator(device).manual_seed(1))
    keys = [fb.Philox(1, call=i).tensor(device) for i in range(CALLS)]
    case.ours(inputs, keys[0], backend)
    if bare:
        return []
    on_gpu = device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as seen:
        for key in keys:
            case.ours(inputs, key, backend)
        if on_gpu:
            torch.cuda.synchronize()
    rows = []
    for event in seen.key_averages():
        total = event.self_device_time_total if on_gpu else event.self_cpu_time_total
        if total > 0:
            name = event.key if len(event.key) <= 120 else event.key[:117] + "..."
            rows.append({"kernel": name, "launches": event.count / CALLS, "us": total / event.count})
    return sorted(rows, key=lambda row: -row["us"] * row["launches"])[:12]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ops", help="separated by commas")
    parser.add_argument("--backends", default="cuda,triton")
    parser.add_argument("--dry", action="store_true", help="on the CPU, at a tiny size")
    parser.add_argument("--bare", action="store_true", help="one call each and no profiler")
    asked = parser.parse_args(arguments)
    device, shape = (torch.device("cpu"), TINY[0]) if asked.dry else (torch.device("cuda", 0), LARGE)
    for op in asked.ops.split(","):
        tell(begun=op)
        for case in CASES:
            for backend in asked.backends.split(",") if case.op == op else ():
                tell(case=case.name, by=backend, shape=shape, kernels=kernels(case, shape, backend, device, asked.bare))


if __name__ == "__main__":
    main()
