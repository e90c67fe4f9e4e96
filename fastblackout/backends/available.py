"""The compiled modules: loaded at first use, and why one is absent."""

from __future__ import annotations

import ctypes
import functools
import importlib
import importlib.machinery
import importlib.util
import json
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from .preference import OPS, PREFERENCE

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
    triton = _triton_module()
    return triton if isinstance(triton, str) else _no_kernel(triton, op)


def _no_kernel(module: ModuleType, op: str) -> str | None:
    return None if hasattr(module, op) else f"it has no kernel for {op}, only for {', '.join(_ops_of(module))}"


def _ops_of(module: ModuleType) -> list[str]:
    return [op for op in OPS if hasattr(module, op)]


@functools.cache
def _triton_module() -> ModuleType | str:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed; pip install triton"
    try:
        return importlib.import_module("fastblackout.backends.triton")
    except ImportError as error:
        return f"fastblackout.backends.triton does not load: {error}"


def triton_interprets() -> bool:
    """Whether Triton kernels run on CPU tensors: its interpreter is on, which triton reads when it is imported."""
    return os.environ.get("TRITON_INTERPRET", "") in ("1", "true", "on", "yes", "y")


def capabilities() -> dict[str, dict[str, Any]]:
    """Every backend: {"available": bool, "detail": what it is or why it is absent, "ops": names}.

    Looks at the CUDA driver through torch where torch is installed; nothing else of CUDA is touched. What "auto" takes
    for an op on a device: `preferences`.
    """
    names = list(OPS)
    report: dict[str, dict[str, Any]] = {
        "reference": {"available": True, "detail": "NumPy, the readable twin of every kernel", "ops": names}
    }
    cpu = load("_cpu")
    if isinstance(cpu, str):
        report["cpu"] = {"available": False, "detail": cpu, "ops": []}
    else:
        sets = [f"{name} (emulated)" if cpu.emulated(name) else name for name in cpu.isas()]
        detail = f"C++, {cpu.isa()} chosen of {', '.join(sets)}"
        report["cpu"] = {"available": True, "detail": detail, "ops": names}
    report["cuda"], report["triton"] = _cuda_report(), _triton_report()
    return report


def preferences() -> list[tuple[str, tuple[str, ...], str, str]]:
    """What backend="auto" takes: (device, ops, backend or "none", why), ops of one rule together. Where it depends on
    the size: "triton below 4096 elements, else cuda"."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for device, rules in PREFERENCE.items():
        for op, rule in rules.items():
            large, small = (
                next((name for name in rule.tried(elements) if name == "cpu" or absent(name, op) is None), "none")
                for elements in (rule.below, max(rule.below - 1, 0))
            )
            taken = large if small == large else f"{small} below {rule.below} elements, else {large}"
            groups.setdefault((device, taken, rule.why), []).append(op)
    return [(device, tuple(ops), backend, why) for (device, backend, why), ops in groups.items()]


def _device() -> str | None:
    """The name of torch's CUDA device, if it sees one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _on_device(built: str, ops: list[str], elsewhere: bool = False) -> dict[str, Any]:
    try:
        name = _device()
    except ImportError:
        return {"available": False, "detail": f"{built}, but torch is not installed", "ops": ops}
    if name is None and not elsewhere:
        return {"available": False, "detail": f"{built}, but torch sees no CUDA device", "ops": ops}
    return {"available": True, "detail": built if name is None else f"{built}; {name}", "ops": ops}


def _cuda_report() -> dict[str, Any]:
    cuda = load("_cuda")
    if isinstance(cuda, str):
        return {"available": False, "detail": cuda, "ops": []}
    return _on_device(f"CUDA C++ for {', '.join(build_facts().get('cuda_architectures', []))}", _ops_of(cuda))


def _triton_report() -> dict[str, Any]:
    module = _triton_module()
    if isinstance(module, str):
        return {"available": False, "detail": module, "ops": []}
    interprets = triton_interprets()
    built = f"Triton {sys.modules['triton'].__version__}{', interpreted on the CPU' if interprets else ''}"
    return _on_device(built, _ops_of(module), elsewhere=interprets)
