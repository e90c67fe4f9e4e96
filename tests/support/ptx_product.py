"""The product of ops and factors (product.py) by what nvcc makes of the CUDA kernels, as a program that is asked for
an op a line:

    python -m support.ptx_product ARCHITECTURE EVERY OFFSET SCHEDULES

answers with a line of JSON each. It compares every EVERYth case from OFFSET on, by one of the three schedules of the
shim's threads, which take turns, or with SCHEDULES = 3 by all of them. How approximate instructions err, and what
registers hold before they are written, change from case to case. In every second run of a case a race between threads
is a failure too. AddressSanitizer, where it is preloaded, has every access to global memory checked.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
import warnings
from typing import Any

import torch

from support import product, ptx_kernels

SCHEDULES = ("forward", "reverse", "random")
APPROXIMATIONS = (0, 1, -1, 2)


def run(
    op: str, architecture: str, every: int, offset: int, schedules: int, always_races: bool = False
) -> dict[str, Any]:
    """{"op", "cases", "seconds", "launches": of each kernel, "failures"}"""
    from fastblackout import _simt

    start, done, failures = time.process_time(), 0, []
    for number, case in itertools.islice(enumerate(product.cases(op, "cover")), offset, None, every):
        a = product.arguments(op, case, number)
        expected = product.public(op, a, case["key"], "reference")
        for turn in range(schedules):
            schedule = SCHEDULES[(number + turn) % 3]
            err = APPROXIMATIONS[(number // 3 + turn) % 4]
            races = always_races or (done + turn) % 2 == 0
            ptx_kernels.set_up(architecture, err, 0x9E3779B97F4A7C15 * (number + 1) % 2**64, races)
            kernels = product.kernels_of(f"simt-{schedule}")
            if races:
                _simt.configure(schedule, 5, 1)  # as the race finder needs
            try:
                product.check(f"simt-{schedule}", kernels, "cpu", op, case, a, expected)
            except Exception as error:  # reported with the case; the other cases still run
                failures.append(
                    f"{number} {schedule}, approximations {err}, {case}: {type(error).__name__}: {error}"[:1000]
                )
        done += 1
        if len(failures) >= 5:
            break
    launches = {name: count for name, count in _simt.replaced().items() if count}
    seconds = round(time.process_time() - start, 1)
    return {"op": op, "cases": done, "seconds": seconds, "launches": launches, "failures": failures}


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")  # NumPy's, of the overflows that GPUs do not mention
    how = sys.argv[1], *map(int, sys.argv[2:5])
    ptx_kernels.replace(how[0])
    for line in sys.stdin:
        print(json.dumps(run(line.strip(), *how)), flush=True)
