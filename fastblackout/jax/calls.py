"""Calls from traced code: by XLA's foreign function interface (FFI), else back in Python by jax.pure_callback.

What JAX compiles calls the kernels by FFI without Python. csrc/bindings/xla.cpp has the functions that XLA calls on the
CPU, xla_device.cpp those for a GPU; layout.py says how their arguments are laid out.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import COUNTS
from ..backends import available, select
from ..backends.float_mode import default_floats
from ..call.arguments import COPIED


def callback(run: Callable[..., Any], given: dict[str, Any], results: Any, ndim: int) -> Any:
    """run(**given) on the host, on NumPy arrays. ndim: of the first of them, without the axes that vmap adds."""
    names = list(given)
    made_as = jax.tree.map(lambda like: jax.ShapeDtypeStruct(like.shape, readable_dtype(like.dtype)), results)

    @default_floats
    def host(*values: Any) -> Any:
        arrays = [np.asarray(value) for value in values]
        added = arrays[0].shape[: arrays[0].ndim - ndim]
        if not added:
            return _as(made_as, run(**dict(zip(names, arrays, strict=True))))
        slices = [run(**{n: a[at] for n, a in zip(names, arrays, strict=True)}) for at in np.ndindex(added)]
        stack = lambda like, *parts: np.stack(parts).reshape(*added, *like.shape)  # noqa: E731
        return _as(made_as, jax.tree.map(stack, made_as, *slices))

    readable = [value.astype(readable_dtype(value.dtype)) for value in given.values()]
    made = jax.pure_callback(host, made_as, *readable, vmap_method="broadcast_all")
    return jax.tree.map(lambda part, like: part.astype(like.dtype), made, results)


def _as(results: Any, made: Any) -> Any:
    return jax.tree.map(lambda like, part: np.asarray(part, like.dtype), results, made)


def parted(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Those that JAX traces, and the others."""
    traced = {name: value for name, value in values.items() if isinstance(value, jax.Array)}
    return traced, {name: value for name, value in values.items() if name not in traced}


def check_counts(op: str, argument: str, counts: Any) -> None:
    """TypeError for a dtype that counts do not have: results come in it, and bfloat16 does not hold them."""
    known = (*COUNTS, *COPIED)
    if counts.dtype.name not in known:
        raise TypeError(f"{op}: {argument}: dtype must be one of {', '.join(known)}, got {counts.dtype.name}")


def readable_dtype(dtype: Any) -> Any:
    """The dtype itself, or for bfloat16, which NumPy has not, float32."""
    return np.dtype(np.float32) if dtype == jnp.bfloat16 else dtype


def whole_dtype() -> Any:
    return jax.dtypes.canonicalize_dtype(np.int64)


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
