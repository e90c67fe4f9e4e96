"""Machine code for NVIDIA GPUs as cuobjdump and nvdisasm show it: registers, kernels, loops, instructions on a path.

Both tools come with triton. What is counted in which kernel: cuda_counts.py; Triton's kernels: triton_aot_worker.py.
"""

from __future__ import annotations

import functools
import importlib.util
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

Lines = list[tuple[str, str]]  # ("label" | "instruction", text)


@functools.cache
def tool(name: str) -> str:
    spec = importlib.util.find_spec("triton")
    if spec is None or spec.origin is None:
        raise LookupError(f"{name} comes with triton, which is not installed")
    found = sorted(Path(spec.origin).parent.rglob(name))
    if not found:
        raise LookupError(f"triton holds no {name}")
    return str(found[0])


def said(*command: str, cwd: str | None = None) -> str:
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=True).stdout


class Resources(NamedTuple):
    registers: int
    stack: int
    shared: int
    local: int


@functools.cache
def resources(path: str) -> dict[str, dict[str, Resources]]:
    """{"sm_90": {mangled name: resources}} of a module or cubin."""
    found: dict[str, dict[str, Resources]] = {}
    architecture = kernel = ""
    for line in said(tool("cuobjdump"), "-res-usage", path).splitlines():
        if match := re.search(r"arch = (sm_\d+)", line):
            architecture = match[1]
        elif match := re.search(r"Function (\S+):", line):
            kernel = match[1]
        elif match := re.search(r"REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)", line):
            found.setdefault(architecture, {})[kernel] = Resources(*map(int, match.groups()))
    return found


def module_memory(path: str, architecture: str) -> list[int]:
    """Bytes of a device's memory that each cubin of a module for an architecture takes for as long as it is loaded."""
    inside, found = False, []
    for line in said(tool("cuobjdump"), "-res-usage", path).splitlines():
        if match := re.search(r"arch = (sm_\d+)", line):
            inside = match[1] == architecture
        elif inside and (match := re.search(r"\bGLOBAL:(\d+)", line)):
            found.append(int(match[1]))
    return found


def kernels(text: str) -> dict[str, Lines]:
    """{mangled name: its code} of what nvdisasm printed."""
    found: dict[str, Lines] = {}
    lines: Lines = []
    for line in text.splitlines():
        if match := re.match(r"\s*\.section\s+(?:\.text\.)?(\S+?),", line):
            lines = found.setdefault(match[1], []) if ".text." in line else []
        elif match := re.match(r"\s*/\*[0-9a-f]{4,}\*/\s+(.*?);", line):
            lines.append(("instruction", match[1].strip()))
        elif match := re.match(r"\s*([.$\w]+):$", line):
            lines.append(("label", match[1]))
    return found


def disassembled(cubin: str) -> dict[str, Lines]:
    return kernels(said(tool("nvdisasm"), "-c", cubin))


@functools.cache
def cubins(path: str, architecture: str) -> tuple[bytes, ...]:
    """What a module has for an architecture, as sm_90: one of each source file."""
    with tempfile.TemporaryDirectory() as folder:
        said(tool("cuobjdump"), "-xelf", architecture, path, cwd=folder)
        return tuple(cubin.read_bytes() for cubin in sorted(Path(folder).glob("*.cubin")))


@functools.cache
def _kernels_of(cubin: bytes) -> dict[str, Lines]:
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        Path(file.name).write_bytes(cubin)
        return disassembled(file.name)


def kernel(path: str, architecture: str, part: str) -> Lines:
    """The code of the kernel whose mangled name holds `part`. Only cubins that name it are disassembled."""
    for cubin in cubins(path, architecture):
        if part.encode() in cubin:
            for name, lines in _kernels_of(cubin).items():
                if part in name:
                    return lines
    raise LookupError(f"no kernel {part} for {architecture}")


def count(lines: Iterable[tuple[str, str]]) -> int:
    return sum(kind == "instruction" for kind, _ in lines)


def spills(lines: Lines) -> list[str]:
    return [text for kind, text in lines if kind == "instruction" and re.search(r"\b(?:LDL|STL)\b", text)]


def functions(lines: Lines) -> dict[str, list[str]]:
    """{mangled name, empty for the kernel itself: instructions} of a kernel and the functions it calls."""
    found: dict[str, list[str]] = {"": []}
    name = ""
    for kind, text in lines:
        if kind == "instruction":
            found[name].append(text)
        elif text.startswith("$"):
            name = text
            found[name] = []
    return found


def accesses(instructions: Iterable[str]) -> dict[str, list[int]]:
    """{"load": bits, "store": bits} of each access to global memory, or by a generic address."""
    found: dict[str, list[int]] = {"load": [], "store": []}
    for text in instructions:
        if match := re.search(r"\b(LD|ST)G?\.E((?:\.\w+)*)", text):
            width = re.search(r"\.[US]?(8|16|64|128)\b", match[2])
            found["load" if match[1] == "LD" else "store"].append(int(width[1]) if width else 32)
    return found


def _target(text: str) -> str:
    """The label that a branch or a call names, or an empty one."""
    match = re.search(r"`\(([.$\w]+)\)", text)
    return match[1] if match else ""


def loops(lines: Lines) -> list[tuple[int, int]]:
    """[(first, end)] of every loop in the text: from the label of a branch back to the branch."""
    labels: dict[str, int] = {}
    found = []
    for at, (kind, text) in enumerate(lines):
        if kind == "label":
            labels[text] = at
        elif re.search(r"\bBRA\b", text) and (target := _target(text)) in labels:
            found.append((labels[target], at + 1))
    return found


def longest_loop(lines: Lines) -> int:
    """Instructions of the longest loop without the loops inside: every forward branch is taken to fall through."""
    found = sorted((count(lines[slice(*loop)]), *loop) for loop in loops(lines))
    if not found or found[-1][0] <= 1:
        return 0
    length, start, end = found[-1]
    covered = start
    for s, e in sorted((s, e) for _, s, e in found[:-1] if start <= s and e <= end):
        length -= count(lines[max(s, covered) : e])
        covered = max(covered, e)
    return length


Trips = Callable[[list[str]], "int | None"]  # instructions of a loop: how often it runs; None: hardly ever
Cost = tuple[float, int]  # (rare cases, instructions, or minus them): the least is the usual way
_NEVER: Cost = (float("inf"), 0)
_JUMP = re.compile(r"\bBRA\b|\bCALL\.\S+ `\(\.L_")  # sm_80 jumps by calls too where warps meet again


class Paths:
    """Instructions a thread issues on its usual way through a kernel: of all ways the longest of those with the fewest
    calls and loops of None trips, which are the rare cases. Where the dtype decides, that is the dearest dtype; a
    function that cannot be gone around counts with its own usual way. But for the rare cases, no more are issued.
    Only instructions of which `counts` says yes are counted. shortest: the shortest of these ways, for a warp that
    leaves to others all it can.
    """

    def __init__(
        self, lines: Lines, trips: Trips, counts: Callable[[str], bool] = lambda text: True, shortest: bool = False
    ) -> None:
        self.lines, self.trips, self.counts, self.sign = lines, trips, counts, 1 if shortest else -1
        self.labels = {text: at for at, (kind, text) in enumerate(lines) if kind == "label"}
        self.following = [self._following(at) for at in range(len(lines))]

    def _following(self, at: int) -> list[int]:
        kind, text = self.lines[at]
        after = [at + 1] if at + 1 < len(self.lines) else []
        if kind == "label" or "BRA.DIV" in text:  # which branches where a warp has come apart
            return after
        sometimes = text.startswith("@") or re.search(r"\bBRA(?:\.\w+)* !?U?P\d", text) is not None
        if re.search(_JUMP, text):
            target = self.labels.get(_target(text))
            return ([] if target is None else [target]) + (after if sometimes else [])
        return after if sometimes or not re.search(r"\b(?:EXIT|RET|BRX|BPT)\b", text) else []

    def _walk(self, entry: int, inside: set[int] | None) -> tuple[list[int], dict[int, set[int]]]:
        """(lines reached from entry, those behind others first; {header: lines of its loop})."""
        open_lines, order = {entry}, []
        seen, before = {entry}, {}  # type: tuple[set[int], dict[int, list[int]]]
        backward, stack = [], [(entry, iter(self.following[entry]))]
        while stack:
            at, rest = stack[-1]
            for to in rest:
                if inside is not None and to not in inside:
                    continue
                before.setdefault(to, []).append(at)
                if to in open_lines:
                    backward.append((at, to))
                elif to not in seen:
                    seen.add(to)
                    open_lines.add(to)
                    stack.append((to, iter(self.following[to])))
                    break
            else:
                open_lines.discard(at)
                order.append(at)
                stack.pop()
        found: dict[int, set[int]] = {}
        for last, header in backward:
            body, todo = found.setdefault(header, {header}), [last]
            while todo:
                at = todo.pop()
                if at not in body:
                    body.add(at)
                    todo += before.get(at, [])
        return order, found

    def _text(self, body: set[int]) -> list[str]:
        return [self.lines[at][1] for at in sorted(body) if self.lines[at][0] == "instruction"]

    def loop(self, holds: Callable[[list[str]], bool]) -> tuple[int, set[int]]:
        """(header, lines) of the largest loop whose instructions `holds` says yes to."""
        found = [(len(body), header) for header, body in self._walk(0, None)[1].items() if holds(self._text(body))]
        header = max(found)[1]
        return header, self._walk(0, None)[1][header]

    def usual(self, entry: int = 0, inside: set[int] | None = None) -> int:
        """Instructions from line `entry` to the end of its kernel or function; or once round the loop `inside`."""
        return self.sign * self._cost(entry, inside)[1]

    def _cost(self, entry: int, inside: set[int] | None) -> Cost:
        order, bodies = self._walk(entry, inside)
        place, done = {at: n for n, at in enumerate(order)}, {}
        for at in order:
            ways = [done[to] for to in self.following[at] if place.get(to, len(order)) < place[at]]
            if inside is not None and entry in self.following[at]:
                ways.append((0, 0))
            leaves = self.sign > 0 and re.search(r"^@.*\bEXIT\b", self.lines[at][1]) is not None
            if inside is None and (leaves or not self.following[at]):
                ways.append((0, 0))
            done[at] = self._with(at, min(ways, default=_NEVER), bodies.get(at) if at != entry else None)
        return done[entry]

    def _with(self, at: int, rest: Cost, body: set[int] | None) -> Cost:
        """The cost from a line on, all rounds of the loop it heads included."""
        kind, text = self.lines[at]
        rare, instructions = rest[0], rest[1] + self.sign * (kind == "instruction" and self.counts(text))
        if body is not None:
            times, once = self.trips(self._text(body)), self._cost(at, body)
            rare += 1 if times is None else 0 if times == 1 else once[0]
            instructions += ((times or 1) - 1) * once[1]
        if re.search(r"\bCALL\b", text) and not re.search(_JUMP, text):
            function = self.labels.get(_target(text))
            rare, instructions = rare + 1, instructions + (0 if function is None else self._cost(function, None)[1])
        return rare, instructions
