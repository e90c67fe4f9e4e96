"""Builds the native modules with one ninja file: fastblackout._cpu always, fastblackout._cuda when nvcc is there.

FASTBLACKOUT_CUDA=auto (default): build _cuda when nvcc is found.  0: never.  1: always, an error without nvcc.
pypi: always, with nvcc from the packages nvidia-cuda-nvcc and nvidia-cuda-cccl.
FASTBLACKOUT_CUDA_ARCHITECTURES=80,90: build _cuda for these; default: for the GPUs of this machine, else for all.
FASTBLACKOUT_SIMT=1: also build _simt, the CUDA kernels run on the CPU, for the tests.
FASTBLACKOUT_EMULATE=avx512: compile the code for AVX-512 in plain C++, for tests on processors with AVX2 alone (g++).
FASTBLACKOUT_SANITIZE=address,undefined or thread: compile the C++ modules with those sanitizers (.ci/sanitize).
csrc never includes torch, so neither its version nor its presence matters here; Python's headers are included by
csrc/bindings alone, so a build for another Python in the same folder compiles nothing else again.
"""

from __future__ import annotations

import ast
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import setuptools
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
PYTHON = SUFFIX.split(".")[1]  # as cpython-311-x86_64-linux-gnu
# -fno-tree-ter, -fno-schedule-insns2: g++ leaves chains of steps that take turns (wide.inc, draw_search.inc) in
# the order they are written in.
CXX_FLAGS = (
    "-std=c++17 -O3 -fPIC -fvisibility=hidden -ffp-contract=off -fno-trapping-math -fno-math-errno "
    "-fno-tree-ter -fno-schedule-insns2 -pthread -Wall -Wextra -Wno-psabi -Icsrc -Icsrc/include"
)
NVCC_FLAGS = "-std=c++17 -O3 -fmad=false -cudart static -Xcompiler -fPIC,-fvisibility=hidden -Icsrc -Icsrc/include"
ARCHITECTURES = ("80", "90", "100", "120")
# What takes longest to compile comes first, so that no core is idle at the end.
CPU_SOURCES = [f"csrc/bindings/{name}.cpp" for name in ("cpu", "quick", "xla")]
CPU_SOURCES += ["csrc/cpu/support/view.cpp", "csrc/cpu/support/draw.cpp"]
CUDA_SOURCES = ["csrc/cuda/bridge.cu", "csrc/cuda/thin.cu", "csrc/bindings/cuda.cpp"]
CUDA_SOURCES += ["csrc/bindings/quick_device.cpp", "csrc/bindings/xla_device.cpp"]
SIMT_SOURCES = ["csrc/bindings/simt.cpp", "csrc/simt/simt.cpp", "csrc/simt/fiber.cpp", "csrc/simt/selftest.cu"]
SIMT_SOURCES += ["csrc/simt/buckets.cu", "csrc/simt/fast.cu", "csrc/simt/kept.cu", "csrc/simt/replaced.cpp"]
SIMT_SOURCES += ["csrc/bindings/quick_device.cpp", "csrc/bindings/xla_device.cpp"]


def fail(message: str) -> None:
    sys.exit(f"fastblackout: {message}")


def find_compiler() -> str:
    """Comes first, so that whoever lacks it, or Python's headers, hears of that before pip fetches torch."""
    named = os.environ.get("CXX")
    cxx = named or ("g++" if shutil.which("g++") else "c++")
    needs = "it is compiled from source, which needs"
    if shutil.which(shlex.split(cxx)[0]) is None:
        fail(f"{needs} a C++17 compiler, but no {named or 'g++ or c++'} is on PATH: install g++, or set CXX")
    if not Path(sysconfig.get_path("include"), "Python.h").exists():
        fail(f"{needs} Python.h: install Python's headers (Debian and Ubuntu: python3-dev)")
    return cxx


def find_nvcc(wish: str) -> tuple[str | None, str]:
    """(nvcc, why not): why is empty when nvcc was found."""
    if wish == "0":
        return None, "FASTBLACKOUT_CUDA=0 when it was built"
    if wish == "pypi":
        import nvidia  # namespace package of the wheels named in build_backend/backend.py

        for folder in nvidia.__path__:
            for nvcc in sorted(Path(folder).glob("*/bin/nvcc")):
                nvcc.chmod(nvcc.stat().st_mode | 0o111)
                return str(nvcc), ""
        fail(
            "FASTBLACKOUT_CUDA=pypi, but nvidia-cuda-nvcc holds no nvcc: pip install nvidia-cuda-nvcc nvidia-cuda-cccl"
        )
    homes = [os.environ[name] for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)] + ["/usr/local/cuda"]
    found = shutil.which("nvcc") or next((n for n in (shutil.which("nvcc", path=f"{h}/bin") for h in homes) if n), None)
    if found is None and wish == "1":
        fail("FASTBLACKOUT_CUDA=1, but no nvcc is on PATH, in CUDA_HOME or in /usr/local/cuda; =pypi brings one")
    return found, "" if found else "no nvcc on PATH, in CUDA_HOME or in /usr/local/cuda when it was built"


def of_cards(known: list[str]) -> set[str]:
    """Of these architectures the newest that each GPU here runs, as the driver's nvidia-smi has them; no GPU: none."""
    smi = shutil.which("nvidia-smi")
    command = [smi, "--query-gpu=compute_cap", "--format=csv,noheader"]
    text = subprocess.run(command, capture_output=True, text=True).stdout if smi else ""
    cards = [int(major + minor) for major, minor in re.findall(r"^(\d+)\.(\d)$", text, re.MULTILINE)]
    return {max(older, key=int) for card in cards if (older := [code for code in known if int(code) <= card])}


def wanted_architectures(nvcc: str) -> list[str]:
    """Architectures that this nvcc knows: the ones wished for, else the ones of the GPUs here, else all."""
    text = subprocess.run([nvcc, "--list-gpu-code"], capture_output=True, text=True, check=True).stdout
    known = [code for code in ARCHITECTURES if code in re.findall(r"sm_(\d+)", text)]
    wish = os.environ.get("FASTBLACKOUT_CUDA_ARCHITECTURES", "")
    wanted = {code.strip() for code in wish.split(",")} if wish else of_cards(known) or set(known)
    if not wanted <= set(known):
        fail(f"FASTBLACKOUT_CUDA_ARCHITECTURES must be some of {','.join(known)}, got {wish!r}")
    return sorted(wanted, key=int)


def nvcc_release(nvcc: str) -> str | None:
    """As "13.0": a driver has to know the runtime of that version, which is part of the module."""
    found = re.search(r"release (\d+\.\d+)", subprocess.run([nvcc, "--version"], capture_output=True, text=True).stdout)
    return found[1] if found else None


def ninja_file(build: Path, nvcc: str | None, architectures: list[str]) -> str:
    cxx = CXX
    if EMULATE:
        cxx += " -DFB_EMULATED_AVX512"
    if SANITIZE:
        cxx += f" -fsanitize={SANITIZE} -fno-sanitize-recover=all -fno-omit-frame-pointer -g1"
    streams = f"-I{build}/include"
    shared = "-bundle -undefined dynamic_lookup" if sys.platform == "darwin" else "-shared"
    lines = [
        f"builddir = {build}",
        "rule cxx",
        f"  command = {cxx} {CXX_FLAGS} {streams} $more -MMD -MF $out.d -c $in -o $out",
        "  depfile = $out.d\n  deps = gcc",
        "rule bind",  # bindings do little and are the slowest to compile
        f"  command = {cxx} {CXX_FLAGS} {streams} -O1 -MMD -MF $out.d -c $in -o $out",
        "  depfile = $out.d\n  deps = gcc",
        "rule link",
        f"  command = {cxx} {shared} -pthread $in -o $out",
    ]

    def module(name: str, sources: list[str], link: str, cu: str = "nvcc") -> None:
        objects = []
        for source in dict.fromkeys(sources):
            binds = "/bindings/" in source
            objects.append(f"{build / PYTHON if binds else build}/{name}/{source}.o")
            rule = cu if source.endswith(".cu") else "bind" if binds else "cxx"
            lines.append(f"build {objects[-1]}: {rule} {source}\n  description = compile {source}")
            if SANITIZE == "thread" and source == "csrc/simt/simt.cpp":  # its own turns are no races: csrc/simt/fiber.h
                lines.append("  more = -fno-sanitize=thread -DFASTBLACKOUT_TSAN")
            if "address" in SANITIZE and source == "csrc/cpu/support/draw.cpp":  # with it g++ takes minutes longer
                lines.append("  more = -fno-sanitize-address-use-after-scope")
        lines.append(f"build {build}/{PYTHON}/{name}{SUFFIX}: {link} {' '.join(objects)}")

    def sources_of(folder: str, pattern: str) -> list[str]:
        return sorted(str(p.relative_to(ROOT)) for p in (ROOT / "csrc" / folder).glob(pattern))

    if nvcc:
        codes = " ".join(f"-gencode arch=compute_{a},code=sm_{a}" for a in architectures)
        codes += f" -gencode arch=compute_{architectures[0]},code=compute_{architectures[0]}"
        lines += [
            "rule nvcc",
            f"  command = {nvcc} {NVCC_FLAGS} {streams} {codes} -MMD -MF $out.d -c $in -o $out",
            "  depfile = $out.d\n  deps = gcc",
            "rule nvlink",
            f"  command = {nvcc} -shared -cudart static -Xlinker --exclude-libs,ALL $in -o $out",
        ]
        module("_cuda", CUDA_SOURCES + sources_of("cuda", "*.cu"), "nvlink")
    module("_cpu", CPU_SOURCES + sources_of("cpu", "**/*.cpp"), "link")
    if SIMT:
        flags = f"{CXX_FLAGS} {streams} -DFASTBLACKOUT_SIMT -Wno-unknown-pragmas"
        lines += [
            "rule simt",
            f"  command = {cxx} {flags} -MMD -MF $out.d -x c++ -c $in -o $out",
            "  depfile = $out.d\n  deps = gcc",
        ]
        module("_simt", SIMT_SOURCES + sources_of("cuda", "*.cu"), "link", "simt")
    return "\n".join(lines) + "\n"


def streams_header() -> str:
    """The streams of the Philox counter for C++, from fastblackout/reference/philox.py."""
    tree = ast.parse((ROOT / "fastblackout/reference/philox.py").read_text())
    table = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Stream")
    entries = [ast.unparse(node) for node in table.body if isinstance(node, ast.Assign)]
    return "\n".join(
        [
            "// Written by setup.py from fastblackout/reference/philox.py, which says what a stream is.",
            "#pragma once\n",
            "#include <stdint.h>\n",
            "namespace fastblackout {",
            f"enum Stream : uint32_t {{ {', '.join(entries)} }};",
            "}\n",
        ]
    )


def write_changed(path: Path, text: str) -> None:
    """An unchanged file keeps its time, so that nothing is compiled again for it."""
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


class NinjaBuild(build_ext):
    """Runs ninja once, then puts each module where setuptools wants it (wheel, editable or in place)."""

    def run(self) -> None:
        try:
            import ninja
            import pybind11
        except ImportError as missing:
            fail(f"the build needs {missing.name}: pip install pybind11 ninja, or leave out --no-build-isolation")
        # A fixed folder: setuptools' own is new each time, and an unchanged reinstall should compile nothing.
        kinds = [sysconfig.get_platform(), *filter(None, [SANITIZE.replace(",", "-"), EMULATE])]
        build = Path("build") / "-".join(["ninja", *kinds])
        write_changed(ROOT / build / "include/fastblackout/streams.h", streams_header())
        file = build / PYTHON / "build.ninja"
        write_changed(ROOT / file, ninja_file(build, NVCC, CODES))
        # pip's isolated environment has a new path each time: as an environment variable it does not reach the command
        # lines, so nothing is compiled again for it.
        include = os.pathsep.join([pybind11.get_include(), sysconfig.get_path("include")])
        environment = dict(os.environ, CPLUS_INCLUDE_PATH=include)
        command = [str(Path(ninja.BIN_DIR) / "ninja"), "-f", str(file)]
        if subprocess.run(command, cwd=ROOT, env=environment).returncode != 0:
            hint = "; FASTBLACKOUT_CUDA=0 builds without CUDA" if NVCC else ""
            fail(f"compiling failed, see the messages above{hint}")
        self.build_folder = ROOT / build / PYTHON
        places = {Path(self.get_ext_fullpath(e.name)).parent for e in self.extensions} | {ROOT / "fastblackout"}
        for place in places:  # an earlier build's module must not slip into this one
            for name in {"_cuda", "_simt"} - set(MODULES):
                for stale in place.glob(f"{name}*.so"):
                    stale.unlink()
        super().run()
        target = Path(self.get_ext_fullpath("fastblackout._cpu")).parent / "_build.json"
        target.write_text(json.dumps(BUILD_FACTS, indent=1) + "\n")

    def build_extension(self, ext: Extension) -> None:
        target = Path(self.get_ext_fullpath(ext.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(self.build_folder / f"{ext.name.split('.')[-1]}{SUFFIX}", target)

    def get_outputs(self) -> list[str]:
        return [*super().get_outputs(), str(Path(self.get_ext_fullpath("fastblackout._cpu")).parent / "_build.json")]


if int(setuptools.__version__.split(".")[0]) < 77:  # an older one misreads the licence in pyproject.toml
    needs = "pip install 'setuptools>=77', or leave out --no-build-isolation"
    fail(f"the build needs setuptools 77 or newer, this is {setuptools.__version__}: {needs}")
CXX = find_compiler()
WISH = os.environ.get("FASTBLACKOUT_CUDA", "auto")
if WISH not in ("auto", "0", "1", "pypi"):
    fail(f"FASTBLACKOUT_CUDA must be auto, 0, 1 or pypi, got {WISH!r}")
BUILDING = any(word.startswith(("build", "bdist", "develop", "install", "editable")) for word in sys.argv[1:])
NVCC, WHY_NOT = find_nvcc(WISH) if BUILDING else (None, "")
CODES = wanted_architectures(NVCC) if NVCC else []
BUILD_FACTS = {
    "sources": runpy.run_path(str(ROOT / "fastblackout/backends/available.py"))["sources_digest"](ROOT),
    "cuda_architectures": [f"sm_{code}" for code in CODES],
    "cuda_release": nvcc_release(NVCC) if NVCC else None,
    "why_no_cuda": WHY_NOT,
}
SIMT = os.environ.get("FASTBLACKOUT_SIMT", "0")
if SIMT not in ("0", "1"):
    fail(f"FASTBLACKOUT_SIMT must be 0 or 1, got {SIMT!r}")
SIMT = SIMT == "1"
SANITIZE = os.environ.get("FASTBLACKOUT_SANITIZE", "")
EMULATE = os.environ.get("FASTBLACKOUT_EMULATE", "")
if EMULATE not in ("", "avx512"):
    fail(f"FASTBLACKOUT_EMULATE must be avx512 or empty, got {EMULATE!r}")
MODULES = ["_cpu", *(["_cuda"] if NVCC else []), *(["_simt"] if SIMT else [])]

setup(
    ext_modules=[Extension(f"fastblackout.{name}", sources=[]) for name in MODULES],
    cmdclass={"build_ext": NinjaBuild},
)
