"""Calls of the ops from traced code, back in Python by jax.pure_callback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from ..arrays import COUNTS
from ..backends.float_mode import default_floats
from ..call.copied_counts import COPIED


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
