"""The CUDA kernels as nvcc compiles them, PTX, in place of those that the SIMT shim compiled from source.

`ptx_of` is the text of a file of csrc/cuda, by the flags of the package's build; `replace` has the shim run all of
them as compiled, translated by tests/ptx. Both are kept in build/ptx.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import re
import runpy
import struct
import subprocess
from collections.abc import Iterable
from pathlib import Path
from unittest import mock

import pytest

from ptx.build import Library, load
from support import ROOT, today

ALL = os.environ.get("FASTBLACKOUT_PTX") == "all"  # of nights: all that a day has a part of
PINNED = "13.0"  # the release of nvcc with which these tests must pass; with others they are told, but fail nothing
ARCHITECTURES = ("80", "90")
CACHE = ROOT / "build/ptx"
SOURCES = sorted(path.stem for path in (ROOT / "csrc/cuda").glob("*.cu"))


@functools.cache
def build() -> dict:
    """What setup.py defines: flags, and how nvcc is found."""
    with mock.patch("setuptools.setup"):
        return runpy.run_path(str(ROOT / "setup.py"))


@functools.cache
def nvcc() -> tuple[str, str]:
    """(nvcc, its release); LookupError where there is none."""
    found, why = build()["find_nvcc"]("auto")
    if found is None:
        raise LookupError(why)
    return found, build()["nvcc_release"](found)


def needs_nvcc() -> list[pytest.MarkDecorator]:
    """The marks of tests that need nvcc; one release of it makes a failure count."""
    try:
        release, why_not = nvcc()[1], ""
    except LookupError as error:
        release, why_not = PINNED, str(error)
    return [
        pytest.mark.slow,
        pytest.mark.skipif(why_not != "", reason=why_not),
        pytest.mark.xfail(release != PINNED, reason=f"nvcc {release}; {PINNED} must pass", strict=False),
    ]


@functools.cache
def _sources_hash() -> str:
    files = sorted(
        path for folder in ("cuda", "include") for path in (ROOT / "csrc" / folder).rglob("*") if path.is_file()
    )
    texts = [build()["NVCC_FLAGS"], nvcc()[1], build()["streams_header"](), *(path.read_text() for path in files)]
    return hashlib.sha256("\0".join(texts).encode()).hexdigest()[:32]


@functools.cache
def ptx_of(source: str, architecture: str, fmad: bool = False, lines: bool = True) -> str:
    """fmad: with products and sums fused, which the package's flags forbid; lines: with the lines of the source."""
    name = hashlib.sha256(f"{_sources_hash()} {source} {architecture} {fmad} {lines}".encode()).hexdigest()[:32]
    path = CACHE / f"{source}-{name}.ptx"
    if not path.exists():
        header = CACHE / "include/fastblackout/streams.h"
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text(build()["streams_header"]())
        flags = build()["NVCC_FLAGS"].replace("-fmad=false", f"-fmad={'true' if fmad else 'false'}").split()
        flags += ["-lineinfo"] * lines + [f"-I{CACHE}/include"]
        command = [nvcc()[0], *flags, f"-arch=compute_{architecture}", "-ptx"]
        made = path.with_suffix(".part")
        command += [f"csrc/cuda/{source}.cu", "-o", str(made)]
        subprocess.run(command, cwd=ROOT, env={**os.environ, "LD_PRELOAD": ""}, check=True)  # a sanitizer ends nvcc
        made.rename(path)
    return path.read_text()


def library(text: str) -> Library:
    return load(text, ROOT / "csrc/simt", CACHE, build()["CXX"])


def common_name(mangled: str) -> str:
    """Of g++'s mangled name of a kernel and of nvcc's the same: nvcc names the file with the unnamed namespace, and
    for g++ kernels are static."""
    out, at = "", 0
    while match := re.compile(r"L?(\d+)(?=_?[A-Za-z])").search(mangled, at):
        begin, end = match.end(), match.end() + int(match[1])
        word = mangled[begin:end]
        out += mangled[at : match.start()] + (f"<{'unnamed' if word.startswith('_GLOBAL__N_') else word}>")
        at = end
    return out + mangled[at:]


def _symbols(path: str) -> dict[str, list[int]]:
    """{mangled name: places} of the functions in a 64-bit ELF file, local ones too."""
    raw = Path(path).read_bytes()
    (sections,), (size, count) = struct.unpack_from("<Q", raw, 40), struct.unpack_from("<HH", raw, 58)
    headers = [struct.unpack_from("<IIQQQQIIQQ", raw, sections + size * i) for i in range(count)]
    found: dict[str, list[int]] = {}
    for _, kind, _, _, offset, length, link, *_ in headers:
        if kind == 2:  # a table of symbols
            names = headers[link][4]
            for at in range(offset, offset + length, 24):
                name, info, _, _, value = struct.unpack_from("<IBBHQ", raw, at)
                if info & 15 == 2:
                    text = raw[names + name : raw.index(b"\0", names + name)].decode()
                    found.setdefault(text, []).append(value)
    return found


@functools.cache
def _kernels_of_the_shim() -> dict[str, int]:
    """{common name: address}"""
    from fastblackout import _simt

    symbols = _symbols(_simt.__file__)
    known = ctypes.cast(ctypes.CDLL(_simt.__file__).PyInit__simt, ctypes.c_void_p).value or 0
    base = known - symbols["PyInit__simt"][0]
    return {common_name(name): base + places[0] for name, places in symbols.items() if len(places) == 1}


def of_today(values: Iterable[str], number: int) -> list[str]:
    """So many of them, which change from day to day."""
    return today.of_today(list(values), number, whole=ALL)


@functools.cache
def libraries(architecture: str) -> dict[str, Library]:
    """By source."""
    return {source: library(ptx_of(source, architecture)) for source in SOURCES}


def replace(architecture: str) -> None:
    """Has the shim run the PTX of every kernel."""
    for made in libraries(architecture).values():
        replace_by(made)


def replace_if_asked() -> None:
    """By FASTBLACKOUT_PTX_KERNELS=90: the shim runs what nvcc makes of its kernels for sm_90."""
    if "FASTBLACKOUT_PTX_KERNELS" in os.environ:
        replace(os.environ["FASTBLACKOUT_PTX_KERNELS"])


def replace_by(made: Library) -> None:
    from fastblackout import _simt

    for name, entry in made.entries.items():
        _simt.replace(_kernels_of_the_shim()[common_name(name)], name, made.address(name), made.shared, entry.sizes)


def launches() -> dict[str, int]:
    """How often each kernel was launched."""
    from fastblackout import _simt

    return _simt.replaced()


def set_up(architecture: str, approximations: int, poison: int, races: bool) -> None:
    """How approximate instructions err, what registers hold before they are written, and whether a race is an error."""
    for made in libraries(architecture).values():
        made.settings.approximations, made.settings.poison = approximations, poison
        made.find_races(races)


def sanitizer() -> dict[str, str]:
    """The environment of a process that checks every access to global memory; empty without AddressSanitizer."""
    found = [
        subprocess.run(["gcc", f"-print-file-name=lib{name}.so"], capture_output=True, text=True).stdout.strip()
        for name in ("asan", "stdc++")
    ]
    if not all(Path(each).is_absolute() for each in found):
        return {}
    # Python and torch keep memory until the end. A stack of calls for each allocation would take most of the time.
    return {"LD_PRELOAD": " ".join(found), "ASAN_OPTIONS": "detect_leaks=0:malloc_context_size=0:quarantine_size_mb=8"}
