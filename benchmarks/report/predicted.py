"""The table of what the CUDA kernels should reach on an H100 (gpu/predicted.py): python -m report.predicted [--write]

Run in benchmarks/. Prints a Markdown table; --write also puts it into docs/performance.md.
"""

from __future__ import annotations

import re
import sys

from fastblackout.backends import available
from gpu.predicted import H100, rows
from report.tables import ROOT, grid

PAGE = ROOT / "docs" / "performance.md"
BLOCK = re.compile(r"(<!-- gpu predicted -->\n).*?(<!-- end -->)", re.DOTALL)


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
