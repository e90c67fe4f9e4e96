"""The compiled modules: loaded at first use, and why one is absent."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.machinery
import importlib.util
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

_HERE = Path(__file__).parents[1]


def _built(name: str) -> bool:
    return any((_HERE / f"{name}{suffix}").exists() for suffix in importlib.machinery.EXTENSION_SUFFIXES)


def source_tree_hint() -> str | None:
    """What to do when this is a source tree nothing was compiled in; None when the kernels are here."""
    if _built("_cpu"):
        return None
    return (
        f"fastblackout was imported from {_HERE}, which holds no compiled kernels: leave that folder to use an "
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

    A CUDA runtime is part of the module, whichever torch was built with. A driver runs those of its own major version
    and of older ones.
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
    if name == "_cpu" and (hint := source_tree_hint()) is not None:
        return hint
    if name == "_cuda" and not _built("_cuda"):
        why = build_facts().get("why_no_cuda") or source_tree_hint() or "it was not built"
        return f"{why}; to build it: FASTBLACKOUT_CUDA=1 pip install . (=pypi brings nvcc)"
    if name == "_cuda" and (old := _old_driver()) is not None:
        return old
    try:
        return importlib.import_module(f"fastblackout.{name}")
    except ImportError as error:
        return f"fastblackout.{name} does not load: {error}"


@functools.cache
def build_facts() -> dict[str, Any]:
    """What setup.py wrote down about this build."""
    path = _HERE / "_build.json"
    return json.loads(path.read_text()) if path.exists() else {}


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
