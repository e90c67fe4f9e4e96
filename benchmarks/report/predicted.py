"""The table of what the CUDA kernels should reach on an H100 (gpu/predicted.py): python -m report.predicted [--write]

Run in benchmarks/. Prints a Markdown table; --write also puts it into docs/performance.md.
"""

from __future__ import annotations

import re
import sys

from fastblackout.backends import available
from gpu.predicted import H100, HALF_RATE, LANES, LAUNCHES, SERVED, counted, seconds
from report.tables import ROOT, grid
from support import cuda_counts

PAGE = ROOT / "docs" / "performance.md"
BLOCK = re.compile(r"(<!-- gpu predicted -->\n).*?(<!-- end -->)", re.DOTALL)


def rows(module: str) -> list[tuple[str, ...]]:
    """(work, kernel, registers, instructions, those at half rate, wavefronts, bytes, G/s by issue, by half rate, by
    shared memory, by memory, predicted G/s)"""
    instructions, made = counted(module, H100.architecture), []
    issued = {name: found.issued for name, found in instructions.items()}
    for work, launches in LAUNCHES.items():
        for launch in launches:
            registers = cuda_counts.registers(module, H100.architecture, launch.kernel)
            counts, waves = instructions[launch.kernel], launch.wavefronts
            slots = counts.all, counts.half_rate * LANES / HALF_RATE, waves * LANES / SERVED
            times = [*(slot / H100.issue for slot in slots), launch.bytes / H100.bandwidth]
            rates = (f"{1e-9 / time:.0f}" if time else "" for time in (*times, max(times)))
            numbers = f"{counts.all:.1f}", f"{counts.half_rate:.1f}", f"{waves:.1f}" if waves else "", str(launch.bytes)
            made.append((work, launch.kernel, str(registers), *numbers, *rates))
        if len(launches) > 1:
            both = 1e-9 / seconds(launches, issued, H100.issue, H100.bandwidth)
            moved = str(sum(launch.bytes for launch in launches))
            made.append((work, "all launches", *("",) * 4, moved, *("",) * 4, f"{both:.0f}"))
    return made


def main(arguments: list[str]) -> int:
    module = available.load("_cuda")
    if isinstance(module, str) or module.__file__ is None:
        print(f"report.predicted: no CUDA kernels to look at: {module}", file=sys.stderr)
        return 1
    counts = ("registers", "instructions an element", "at half rate", "wavefronts of 32 elements", "bytes an element")
    bounds = ("by issue", "by half rate", "by shared memory", "by memory", "predicted")
    numbers = (*counts, *(f"{what}, G/s" for what in bounds))
    table = grid([("work", "kernel", *numbers), *rows(module.__file__)], "|".join(numbers))
    table = f"As nvcc {available.build_facts()['cuda_release']} compiles them for {H100.architecture}:\n\n{table}"
    print(table)
    if "--write" in arguments:
        PAGE.write_text(BLOCK.sub(lambda match: f"{match[1]}\n{table}\n\n{match[2]}", PAGE.read_text()))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
