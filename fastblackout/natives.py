"""The compiled modules: loaded at first use, and why one is absent."""

from __future__ import annotations

import functools
import importlib
import importlib.machinery
import json
from pathlib import Path
from types import ModuleType
from typing import Any

_HERE = Path(__file__).parent


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


@functools.cache
def load(name: str) -> ModuleType | str:
    """The module fastblackout.<name>, or one line saying why it is absent."""
    if name == "_cpu" and (hint := source_tree_hint()) is not None:
        return hint
    if name == "_cuda" and not _built("_cuda"):
        why = build_facts().get("why_no_cuda") or source_tree_hint() or "it was not built"
        return f"{why}; FASTBLACKOUT_CUDA=1 (or =pypi, which brings nvcc) pip install builds it"
    try:
        return importlib.import_module(f"fastblackout.{name}")
    except ImportError as error:
        return f"fastblackout.{name} does not load: {error}"


@functools.cache
def build_facts() -> dict[str, Any]:
    """What setup.py wrote down about this build."""
    path = _HERE / "_build.json"
    return json.loads(path.read_text()) if path.exists() else {}


def capabilities() -> dict[str, dict[str, Any]]:
    """Every backend: {"available": bool, "detail": what it is or why it is absent, "ops": names}.

    Looks at the CUDA driver through torch where torch is installed; nothing else of CUDA is touched.
    """
    from . import ops

    names = [name for name in ops.__all__ if name != "binomial_log_prob"]
    report: dict[str, dict[str, Any]] = {
        "reference": {"available": True, "detail": "NumPy, the readable twin of every kernel", "ops": names}
    }
    cpu = load("_cpu")
    if isinstance(cpu, str):
        report["cpu"] = {"available": False, "detail": cpu, "ops": []}
    else:
        detail = f"C++, {cpu.isa()} chosen of {', '.join(cpu.isas())}"
        report["cpu"] = {"available": True, "detail": detail, "ops": names}
    report["cuda"] = _cuda_report()
    report["triton"] = {"available": False, "detail": "this version has no Triton kernels", "ops": []}
    return report


def _cuda_report() -> dict[str, Any]:
    cuda = load("_cuda")
    if isinstance(cuda, str):
        return {"available": False, "detail": cuda, "ops": []}
    built = f"CUDA C++ for {', '.join(build_facts().get('cuda_architectures', []))}"
    try:
        import torch
    except ImportError:
        return {"available": False, "detail": f"{built}, but torch is not installed", "ops": list(cuda.ops())}
    if not torch.cuda.is_available():
        return {"available": False, "detail": f"{built}, but torch sees no CUDA device", "ops": list(cuda.ops())}
    return {"available": True, "detail": f"{built}; {torch.cuda.get_device_name()}", "ops": list(cuda.ops())}
