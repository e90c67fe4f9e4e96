"""The product of ops and factors (product.py) by compiled GPU kernels, as a program that is asked for an op a line:

    python -m support.ptx_product KERNELS EVERY OFFSET SCHEDULES

with KERNELS = 90 those that nvcc makes of the CUDA kernels for sm_90, or triton, those that Triton makes of its own. It
answers with a line of JSON each. It compares every EVERYth case from OFFSET on, by one of the three schedules of the
shim's threads, which take turns, or with SCHEDULES = 3 by all of them. How approximate instructions err, and what
registers hold before they are written, change from case to case. In every second run of a case of CUDA a race between
threads is a failure too. AddressSanitizer, where it is preloaded, has every access to global memory checked.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import warnings
from typing import Any

import torch

from support import product

SCHEDULES = ("forward", "reverse", "random")
APPROXIMATIONS = (0, 1, -1, 2)


def compiled_by(kernels: str) -> Any:
    """The module that has compiled kernels run."""
    return importlib.import_module(f"support.ptx_{'triton' if kernels == 'triton' else 'kernels'}")


def seconds_used() -> float:
    """Processor time of this process, and of the compilers that it has started."""
    return sum(os.times()[:4])


def run(op: str, kernels: str, every: int, offset: int, schedules: int, always_races: bool = False) -> dict[str, Any]:
    """{"op", "cases", "seconds", "launches": of each kernel, "failures"}"""
    from fastblackout import _simt

    compiled = compiled_by(kernels)
    start, done, failures = seconds_used(), 0, []
    cases = list(enumerate(product.cases(op, "cover")))
    for number, case in cases[offset % len(cases) :: every]:
        a = product.arguments(op, case, number)
        expected = product.public(op, a, case["key"], "reference")
        for turn in range(schedules):
            schedule = SCHEDULES[(number + turn) % 3]
            err = APPROXIMATIONS[(number // 3 + turn) % 4]
            races = kernels != "triton" and (always_races or (done + turn) % 2 == 0)
            compiled.set_up(kernels, err, 0x9E3779B97F4A7C15 * (number + 1) % 2**64, races)
            backend = f"simt-{schedule}"
            functions = product.kernels_of(backend)  # which sets the schedule
            if kernels == "triton":
                backend, functions = kernels, product.kernels_of(kernels)
            if races:
                _simt.configure(schedule, 5, 1)  # as the race finder needs
            try:
                product.check(backend, functions, "cpu", op, case, a, expected)
            except Exception as error:  # reported with the case; the other cases still run
                failures.append(
                    f"{number} {schedule}, approximations {err}, {case}: {type(error).__name__}: {error}"[:1000]
                )
        done += 1
        if len(failures) >= 5:
            break
    launches = {name: count for name, count in compiled.launches().items() if count}
    seconds = round(seconds_used() - start, 1)
    return {"op": op, "cases": done, "seconds": seconds, "launches": launches, "failures": failures}


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # NumPy's, of the overflows that GPUs do not mention
    how = sys.argv[1], *map(int, sys.argv[2:5])
    compiled_by(how[0]).replace(how[0])
    for line in sys.stdin:
        print(json.dumps(run(line.strip(), *how)), flush=True)
