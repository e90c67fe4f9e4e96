"""How many clocks one warp takes through machine code by the code's own schedule: nothing is run.

Since sm_70 every instruction carries what its schedule needs: how many clocks the next one waits at least (its stall),
and six barriers, which an instruction of unknown duration (a load, a conversion) sets and a later one waits for. How
long such an instruction takes is not in the code: LATENCY says what is assumed.
"""

from __future__ import annotations

import functools
import re
import tempfile
from typing import NamedTuple

from support import sass

# Clocks from issue to result, by the first part of the name: 30 for shared memory is what an H100 was measured to take
# (Luo et al., "Benchmarking and dissecting the Nvidia Hopper GPU architecture", 2024); the others are rounded upwards.
LATENCY = {"LDS": 30, "DADD": 40, "DMUL": 40, "DFMA": 40, "DSETP": 40}
OTHERS = 25
READ = 10  # until a store has read its registers


class Line(NamedTuple):
    kind: str  # "label" or "instruction", as in sass.Lines
    text: str
    stall: int = 0
    writes: int = 7  # the barrier that its result opens; 7: none
    reads: int = 7  # the barrier that opens when its registers are read
    waits: int = 0  # a bit for each barrier it waits for


def _line(text: str, code: int) -> Line:
    control = code >> 41
    return Line("instruction", text, control & 15, control >> 5 & 7, control >> 8 & 7, control >> 11 & 63)


def coded(text: str, part: str) -> list[Line]:
    """The kernel whose mangled name holds `part`, of what nvdisasm -hex printed."""
    found: list[Line] = []
    inside, pending = False, ""
    for line in text.splitlines():
        if match := re.match(r"\s*\.section\s+(\S+?),", line):
            inside = ".text." in match[1] and part in match[1]
        elif not inside:
            continue
        elif match := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            pending = match[1].strip()
        elif match := re.match(r"\s*/\* 0x([0-9a-f]{16}) \*/", line):
            found.append(_line(pending, int(match[1], 16)))
        elif match := re.match(r"\s*([.$\w]+):$", line):
            found.append(Line("label", match[1]))
    return found


@functools.cache
def _disassembly(cubin: bytes) -> str:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        return sass.said(sass.tool("nvdisasm"), "-c", "-hex", file.name)


@functools.cache
def kernel(path: str, architecture: str, part: str) -> list[Line]:
    for cubin in sass.cubins(path, architecture):
        if part.encode() in cubin:
            return coded(_disassembly(cubin), part)
    raise LookupError(f"no kernel {part} for {architecture}")


def function(lines: list[Line], part: str) -> list[Line]:
    """The function whose mangled name holds `part`, of those a kernel calls."""
    starts = [at for at, line in enumerate(lines) if line.kind == "label" and line.text.startswith("$")]
    for at, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        if part in lines[at].text:
            return lines[at + 1 : end]
    raise LookupError(f"no function {part}")


def loops(lines: list[Line]) -> list[list[Line]]:
    """The innermost loops."""
    found = sass.loops([(line.kind, line.text) for line in lines])
    return [
        lines[first:end]
        for first, end in found
        if not any(first <= f and e <= end and (f, e) != (first, end) for f, e in found)
    ]


class Warp:
    """A warp that issues instruction after instruction, alone on its multiprocessor; branches are not followed."""

    def __init__(self) -> None:
        self.now, self.open = 0, [0] * 6

    def issue(self, line: Line) -> None:
        self.now = max([self.now, *(at for barrier, at in enumerate(self.open) if line.waits >> barrier & 1)])
        name = re.sub(r"^@!?U?P\w+ ", "", line.text).split(" ")[0].split(".")[0]
        if line.writes < 6:
            self.open[line.writes] = max(self.open[line.writes], self.now + LATENCY.get(name, OTHERS))
        if line.reads < 6:
            self.open[line.reads] = max(self.open[line.reads], self.now + READ)
        self.now += max(line.stall, 1)

    def run(self, lines: list[Line]) -> int:
        """Clocks that these take, after what came before."""
        start = self.now
        for line in lines:
            if line.kind == "instruction":
                self.issue(line)
        return self.now - start


def clocks(lines: list[Line], loop: bool = False) -> int:
    """Of straight code; or of one round of a loop that has run before."""
    warp = Warp()
    if loop:
        warp.run(lines)
    return warp.run(lines)
