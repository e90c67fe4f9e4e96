"""The compiled modules: where they lie, loaded at first use, and why one is absent."""

from __future__ import annotations

import ctypes
import functools
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import threading
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

_HERE = Path(__file__).parents[1]
_lock = threading.Lock()


def sources_digest(root: Path) -> str:
    """A hash of all that the compiled modules of a source tree are made of, and of its version.

    That is csrc/, setup.py with the compilers' options, and reference/philox.py, from which it takes the streams. Where
    these are equal, an installed package's modules are those that the tree itself would have compiled, whatever has
    changed in its other Python files. setup.py calls this and writes the hash into _build.json.
    """
    digest = hashlib.sha256()
    more = ("setup.py", "fastblackout/_version.py", "fastblackout/reference/philox.py")
    sources = [path for path in (root / "csrc").rglob("*.*") if path.suffix in (".h", ".inc", ".cpp", ".cu", ".cuh")]
    for path in [*(root / name for name in more), *sorted(sources)]:
        digest.update(f"{path.relative_to(root).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def _find(folder: Path, name: str) -> ModuleSpec | None:
    return PathFinder.find_spec(f"fastblackout.{name}", [str(folder)])


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "_build.json"
    return json.loads(path.read_text()) if path.exists() else {}


@functools.cache
def _home() -> Path | str:
    """The folder of the compiled modules, or one line saying what to do where there are none that fit.

    They lie beside the package's Python files. Only a source tree has none, where Python takes the package from it
    because it was started there: then the modules of the installed package serve, if they fit.
    """
    if _find(_HERE, "_cpu") is not None:
        return _HERE
    root, why = _HERE.parent, "nor is there an installed package that does"
    if (root / "csrc").is_dir():
        sources, folders = sources_digest(root), [Path(entry, "fastblackout").absolute() for entry in sys.path]
        installed = [folder for folder in folders if _find(folder, "_cpu") is not None]
        fitting = [folder for folder in installed if _facts(folder).get("sources") == sources]
        if fitting:
            return fitting[0]
        if installed:
            why = f"and those in {installed[0]} were compiled from other sources"
    return (
        f"fastblackout was imported from {_HERE}, which holds no compiled kernels, {why}: leave that folder to use an "
        "installed fastblackout, or run `pip install -e .` in it"
    )


# The oldest driver that runs what a CUDA of that major version has built.
_DRIVERS = {11: "450", 12: "525", 13: "580"}


def _driver_supports() -> int:
    """The newest CUDA of the NVIDIA driver, as 1000 major + 10 minor; 0 where there is no driver."""
    version = ctypes.c_int(0)
    try:
        error = ctypes.CDLL("libcuda.so.1").cuDriverGetVersion(ctypes.byref(version))
    except (OSError, AttributeError):
        return 0
    return version.value if error == 0 else 0


def _old_driver() -> str | None:
    """Why the NVIDIA driver cannot run fastblackout._cuda, in one line; None where it can, or where there is none.

    A CUDA runtime is part of the module, whichever torch was built with. A driver runs the runtimes of its own
    major version and of older ones.
    """
    release, supported = build_facts().get("cuda_release"), _driver_supports()
    major = int(release.partition(".")[0]) if release else 0
    if not supported or supported // 1000 >= major:
        return None
    needed = f"driver {_DRIVERS[major]} or newer" if major in _DRIVERS else "a newer driver"
    knows = f"{supported // 1000}.{supported % 1000 // 10}"
    return f"built by CUDA {release}, it needs {needed}, this one supports CUDA {knows}"


@functools.cache
def load(name: str) -> ModuleType | str:
    """The module fastblackout.<name>, or one line saying why it is absent."""
    home = _home()
    if isinstance(home, str):
        return home
    spec = _find(home, name)
    if name == "_cuda" and spec is None:
        why = build_facts().get("why_no_cuda") or "it was not built"
        return f"{why}; to build it, in a clone: FASTBLACKOUT_CUDA=pypi pip install ."
    if name == "_cuda" and (old := _old_driver()) is not None:
        return old
    if spec is None:
        return f"fastblackout.{name} was not built"
    try:
        with _lock:
            return sys.modules.get(spec.name) or _imported(spec)
    except ImportError as error:
        return f"fastblackout.{name} does not load: {error}"


def _imported(spec: ModuleSpec) -> ModuleType:
    """As `import` does it, which would look for the module beside the package's Python files alone."""
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.modules[spec.name] = module
    return module


@functools.cache
def build_facts() -> dict[str, Any]:
    """What setup.py wrote down about this build."""
    home = _home()
    return {} if isinstance(home, str) else _facts(home)


@functools.cache
def absent(backend: str, op: str) -> str | None:
    """Why "cuda" or "triton" cannot run an op, in one line; None where it can. Looks at no device."""
    if backend == "cuda":
        cuda = load("_cuda")
        if isinstance(cuda, str):
            return cuda
        return _no_kernel(cuda, op)
    triton = triton_module()
    return triton if isinstance(triton, str) else _no_kernel(triton, op)


def _no_kernel(module: ModuleType, op: str) -> str | None:
    return None if hasattr(module, op) else f"it has no kernel for {op}"


@functools.cache
def triton_module() -> ModuleType | str:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed; pip install triton"
    try:
        return importlib.import_module("fastblackout.backends.triton")
    except ImportError as error:
        return f"fastblackout.backends.triton does not load: {error}"


def triton_interprets() -> bool:
    """Whether Triton kernels run on CPU tensors: its interpreter is on, which triton reads when it is imported."""
    return os.environ.get("TRITON_INTERPRET", "") in ("1", "true", "on", "yes", "y")
