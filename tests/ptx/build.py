"""A PTX module as a shared library of C++, compiled once: it is kept under the hash of what it is made of."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import re
import subprocess
import tempfile
from pathlib import Path

from .parse import parse
from .write import Entry, write

# Signed integers wrap, as those of a GPU do; products and sums are rounded one by one. -Og compiles twice as fast as
# -O1.
_FLAGS = (
    "-std=c++17 -Og -fPIC -shared -fvisibility=hidden -ffp-contract=off -fwrapv -fno-strict-aliasing "
    "-fno-trapping-math -fno-math-errno"
)
_HERE = Path(__file__).parent


class Settings(ctypes.Structure):
    """Those of runtime.h."""

    _fields_ = [("approximations", ctypes.c_int32), ("poison", ctypes.c_uint64)]


class Library:
    """The kernels of a module: entries by name, the address of each, settings, bytes of static shared memory."""

    def __init__(self, path: Path) -> None:
        facts = json.loads(path.with_suffix(".json").read_text())
        self.entries = {entry["name"]: Entry(**entry) for entry in facts["entries"]}
        self.shared: int = facts["shared"]
        self._library = ctypes.CDLL(str(path))
        self._library.ptx_settings.restype = ctypes.POINTER(Settings)
        self.settings: Settings = self._library.ptx_settings().contents

    def address(self, name: str) -> int:
        return ctypes.cast(getattr(self._library, self.entries[name].symbol), ctypes.c_void_p).value or 0


def load(text: str, machine: Path, cache: Path, cxx: str = "g++") -> Library:
    """The library of a module's text; machine: the folder of machine.h; cache: where libraries are kept."""
    text = re.sub(r"(?m)^(//|\.version|\.target).*", "", text)  # says nothing of what is computed
    sources = [*sorted(_HERE.glob("[!t]*.py")), *sorted(_HERE.glob("*.h")), machine / "machine.h"]
    made_of = [text, cxx, _FLAGS, *(source.read_text() for source in sources)]
    path = cache / (hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:32] + ".so")
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        code, entries, shared = write(parse(text))
        path.with_suffix(".json").write_text(json.dumps({"entries": [vars(e) for e in entries], "shared": shared}))
        with tempfile.TemporaryDirectory(
            dir=cache
        ) as folder:  # so that an unfinished file is never taken for a library
            source, made = Path(folder, "module.cpp"), Path(folder, "module.so")
            source.write_text(code)
            subprocess.run(
                [cxx, *_FLAGS.split(), f"-I{_HERE}", f"-I{machine}", str(source), "-o", str(made), "-ldl"], check=True
            )
            os.replace(made, path)
    return Library(path)
