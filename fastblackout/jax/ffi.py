"""Calls of the CPU's kernels by XLA's foreign function interface (FFI): what JAX compiles calls them without Python.

csrc/bindings/xla.cpp has the functions that XLA calls; layout.py says how their arguments are laid out.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from ..backends import available

switched_off = ""  # for tests: why calls are not to go this way


@functools.cache
def _refused() -> str:
    """Registers the kernels with JAX; why it cannot be, or ""."""
    cpu = available.load("_cpu")
    if isinstance(cpu, str):
        return cpu
    try:
        for op, handler in cpu.xla_handlers().items():
            _interface().register_ffi_target(f"fastblackout_{op}", handler, platform="cpu")
    except Exception as error:  # of another version of the interface, in whatever this version of JAX raises
        return f"JAX refuses the kernels: {' '.join(str(error).split())}"
    return ""


def _interface() -> Any:
    """Of JAX, for this interface: it has moved with JAX 0.5."""
    try:
        return importlib.import_module("jax.ffi")
    except ImportError:
        return importlib.import_module("jax.extend.ffi")


def described() -> str:
    """Which way calls go, for `fastblackout info`."""
    why = why_not()
    on_cpu = f"through jax.pure_callback: {why}" if why else "by XLA's FFI; from a GPU through jax.pure_callback"
    return f"JAX {jax.__version__} calls the cpu kernels {on_cpu}"


def why_not() -> str:
    """Why calls go through jax.pure_callback instead; "" where they do not."""
    return switched_off or _refused()


def ffi_call(op: str, operands: Sequence[Any], attributes: Mapping[str, Any], results: Sequence[Any]) -> list[Any]:
    """The results of a kernel, of these shapes and dtypes."""
    call = _interface().ffi_call(f"fastblackout_{op}", tuple(results), vmap_method="expand_dims")
    return list(call(*operands, **attributes, result_rank=np.int64(len(results[0].shape))))
