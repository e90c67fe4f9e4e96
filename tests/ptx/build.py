"""A PTX module as a shared library of C++, compiled once: it is kept under the hash of what it is made of."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from .parse import parse
from .write import Entry, write

# Signed integers wrap, as on a GPU; products and sums are rounded one by one. -Og compiles twice as fast as
# -O1.
_FLAGS = (
    "-std=c++17 -Og -fPIC -shared -fvisibility=hidden -ffp-contract=off -fwrapv -fno-strict-aliasing "
    "-fno-trapping-math -fno-math-errno"
)
_FINDER_FLAGS = "-std=c++17 -O2 -fPIC -shared"
_HERE = Path(__file__).parent


class Settings(ctypes.Structure):
    """The settings of arithmetic.h."""

    _fields_ = [("approximations", ctypes.c_int32), ("poison", ctypes.c_uint64), ("races", ctypes.c_void_p)]


class Library:
    """The kernels of a module: entries by name, the address of each, settings, bytes of static shared memory."""

    def __init__(self, path: Path, finder: Callable[[], int]) -> None:
        facts = json.loads(path.with_suffix(".json").read_text())
        self.entries = {entry["name"]: Entry(**entry) for entry in facts["entries"]}
        self.shared: int = facts["shared"]
        self._finder = finder
        self._library = ctypes.CDLL(str(path))
        self._library.ptx_settings.restype = ctypes.POINTER(Settings)
        self.settings: Settings = self._library.ptx_settings().contents

    def address(self, name: str) -> int:
        return ctypes.cast(getattr(self._library, self.entries[name].symbol), ctypes.c_void_p).value or 0

    def find_races(self, on: bool = True) -> None:
        """Whether a race is an error of a launch (races.cpp), which then must run its blocks one after another."""
        self.settings.races = self._finder() if on else None


class _Compiler(NamedTuple):
    machine: Path
    cache: Path
    cxx: str

    def library(self, flags: str, made_of: list[str], source: Callable[[Path], str]) -> Path:
        """The library of what `source` returns, given the library's path; made_of: what that is made of."""
        headers = [*sorted(_HERE.glob("*.h")), self.machine / "machine.h"]
        hashed = "\0".join([*made_of, self.cxx, flags, *(path.read_text() for path in headers)])
        path = self.cache / (hashlib.sha256(hashed.encode()).hexdigest()[:32] + ".so")
        if not path.exists():
            self.cache.mkdir(parents=True, exist_ok=True)
            # In a folder of its own, so that an unfinished file is never taken for a library.
            with tempfile.TemporaryDirectory(dir=self.cache) as folder:
                program, made = Path(folder, "module.cpp"), Path(folder, "module.so")
                program.write_text(source(path))
                command = [self.cxx, *flags.split(), f"-I{_HERE}", f"-I{self.machine}", str(program), "-o", str(made)]
                subprocess.run([*command, "-ldl"], check=True)
                os.replace(made, path)
        return path

    def finder(self) -> int:
        """The address of the race finder."""
        text = (_HERE / "races.cpp").read_text()
        library = ctypes.CDLL(str(self.library(_FINDER_FLAGS, [text], lambda _: text)))
        library.ptx_races.restype = ctypes.c_void_p
        return library.ptx_races()


def load(text: str, machine: Path, cache: Path, cxx: str = "g++") -> Library:
    """The library of a module's text; machine: the folder of machine.h; cache: where libraries are kept, beside each
    the text."""
    code = re.sub(r"(?m)^(//|\.version|\.target).*", "", text)  # says nothing of what is computed

    def source(path: Path) -> str:
        written, entries, shared = write(parse(code))
        path.with_suffix(".json").write_text(json.dumps({"entries": [vars(e) for e in entries], "shared": shared}))
        path.with_suffix(".ptx").write_text(text)
        return written + _lines(text, path.with_suffix(".ptx").name)

    compiler = _Compiler(machine, cache, cxx)
    programs = [path.read_text() for path in sorted(_HERE.glob("[!t]*.py"))]
    return Library(compiler.library(_FLAGS, [code, *programs], source), compiler.finder)


def _lines(text: str, name: str) -> str:
    """`file` and `sources` of thread.h, these by the lines .loc that nvcc -lineinfo writes."""
    files = {number: "/".join(path.split("/")[-2:]) for number, path in re.findall(r'\.file\s+(\d+)\s+"([^"]*)"', text)}
    places, last = [], ""
    for at, line in enumerate(text.split("\n"), 1):
        if match := re.match(r"\s*\.loc\s+(\d+) (\d+) \d+(?:.*inlined_at (\d+) (\d+))?", line):
            place = f"{files[match[1]]}:{match[2]}"
            if match[3]:
                place += f", inlined at {files[match[3]]}:{match[4]}"
            if place != last:
                places.append(f'{{{at}, "{place}"}}, ')
            last = place
    return (
        f'const char ptx::file[] = "{name}";\nconst ptx::Source ptx::sources[] = {{{"".join(places)}{{0, nullptr}}}};\n'
    )
