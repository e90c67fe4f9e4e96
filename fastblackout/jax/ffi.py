"""Calls of the kernels by XLA's foreign function interface (FFI): what JAX compiles calls them without Python.

csrc/bindings/xla.cpp has the functions that XLA calls on the CPU, xla_device.cpp those for a GPU; layout.py says how
their arguments are laid out.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..backends import available, select

switched_off = ""  # for tests: why calls are not to go this way


# By platform of JAX the module with its kernels, and the platform's name for XLA.
PLATFORMS = {"cpu": ("_cpu", "cpu"), "cuda": ("_cuda", "CUDA")}


@functools.cache
def _refused(module: str, platform: str) -> str:
    """Registers a module's kernels with JAX; why it cannot be, or ""."""
    loaded = available.load(module)
    if isinstance(loaded, str):
        return loaded
    try:
        for op, handler in loaded.xla_handlers().items():
            _interface().register_ffi_target(_target(module, op), handler, platform=platform)
    except Exception as error:  # of another version of the interface, in whatever this version of JAX raises
        return f"JAX refuses the kernels: {' '.join(str(error).split())}"
    return ""


def _target(module: str, op: str) -> str:
    """What compiled programs call a kernel."""
    return f"fastblackout{module}_{op}"


def _interface() -> Any:
    """Of JAX, for this interface: it has moved with JAX 0.5."""
    try:
        return importlib.import_module("jax.ffi")
    except ImportError:
        return importlib.import_module("jax.extend.ffi")


def described() -> str:
    """Which way calls go, for `fastblackout info`."""
    cpu, cuda = (switched_off or _refused(*each) for each in PLATFORMS.values())
    on_cpu = f"through jax.pure_callback: {cpu}" if cpu else "by XLA's FFI"
    absent = isinstance(available.load(PLATFORMS["cuda"][0]), str)  # `info` has told why
    why = ", as the cuda backend is absent" if absent else f": {cuda}"
    on_gpu = f"from a GPU through jax.pure_callback{why}" if cuda else "on a GPU the cuda kernels, too"
    return f"JAX {jax.__version__} calls the cpu kernels {on_cpu}" + f"; {on_gpu}" * (not cpu)


def modules() -> dict[str, str]:
    """By platform of JAX the module whose kernels compiled programs call there, not through jax.pure_callback."""
    if switched_off:
        return {}
    known = PLATFORMS.items() if select.asked("auto") == "auto" else [("cpu", PLATFORMS["cpu"])]
    return {platform: each[0] for platform, each in known if not _refused(*each)}


def ffi_call(
    module: str, op: str, operands: Sequence[Any], attributes: Mapping[str, Any], results: Sequence[Any]
) -> list[Any]:
    """The results of a kernel, of these shapes and dtypes."""
    call = _interface().ffi_call(_target(module, op), tuple(results), vmap_method="expand_dims")
    return list(call(*operands, **attributes, result_rank=np.int64(len(results[0].shape))))
