"""What each backend can do here, and which of them `backend="auto"` takes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from inspect import isfunction
from types import ModuleType
from typing import TypedDict

from ..backends import available, select
from ..call.declared import DECLARED


class Capability(TypedDict):
    """What a backend can do here."""

    available: bool
    detail: str
    ops: list[str]


def public_ops() -> list[str]:
    """All ops of the package: those with kernels on every backend, and others, such as those that are made of them."""
    package = sys.modules[__package__]
    return [name for name in package.__all__ if isfunction(getattr(package, name)) and name != capabilities.__name__]


def _names() -> list[str]:
    """The public ops that have kernels on every backend."""
    return sorted({op.ranked_as for op in DECLARED.values()})


def _ops_of(module: ModuleType) -> list[str]:
    return [op for op in _names() if hasattr(module, op)]


def capabilities() -> dict[str, Capability]:
    """Tell which backends there are, and which ops they have.

    It looks at the CUDA driver through torch where torch is installed. Nothing else of CUDA is touched. What "auto"
    takes for an op on a device is printed by `fastblackout info`.

    Returns
    -------
    dict of str to dict
        For each backend "available", a bool; "detail", what it is or why it is absent; and "ops", their names.

    Examples
    --------
    >>> fb.capabilities()["reference"]["available"]
    True
    """
    names = _names()
    report: dict[str, Capability] = {
        "reference": {"available": True, "detail": "NumPy, the readable twin of every kernel", "ops": names}
    }
    cpu = available.load("_cpu")
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
    for device in ("cpu", "cuda"):
        for op in _names():
            rule = select.rule(device, op)
            large, small = (_taken(op, rule.tried(n)) for n in (rule.below, max(rule.below - 1, 0)))
            taken = large if small == large else f"{small} below {rule.below} elements, else {large}"
            groups.setdefault((device, taken, rule.why), []).append(op)
    return [(device, tuple(ops), backend, why) for (device, backend, why), ops in groups.items()]


def _taken(op: str, tried: Sequence[str]) -> str:
    return next((name for name in tried if name == "cpu" or available.absent(name, op) is None), "none")


def _device() -> str | None:
    """The name of torch's CUDA device, if it sees one."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else None


def _on_device(built: str, ops: list[str], elsewhere: bool = False) -> Capability:
    try:
        name = _device()
    except ImportError:
        return {"available": False, "detail": f"{built}, but torch is not installed", "ops": ops}
    if name is None and not elsewhere:
        return {"available": False, "detail": f"{built}, but torch sees no CUDA device", "ops": ops}
    return {"available": True, "detail": built if name is None else f"{built}; {name}", "ops": ops}


def _cuda_report() -> Capability:
    cuda = available.load("_cuda")
    if isinstance(cuda, str):
        return {"available": False, "detail": cuda, "ops": []}
    return _on_device(f"CUDA C++ for {', '.join(available.build_facts().get('cuda_architectures', []))}", _ops_of(cuda))


def _triton_report() -> Capability:
    module = available.triton_module()
    if isinstance(module, str):
        return {"available": False, "detail": module, "ops": []}
    interprets = available.triton_interprets()
    built = f"Triton {sys.modules['triton'].__version__}{', interpreted on the CPU' if interprets else ''}"
    return _on_device(built, _ops_of(module), elsewhere=interprets)
