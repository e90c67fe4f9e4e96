"""The way of a call of traced code: XLA's foreign function interface, or jax.pure_callback where that cannot be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from .callback import callback
from .ffi import modules
from .layout import Layout


def run(
    layout: Layout | None, host: Callable[..., Any], given: dict[str, Any], results: dict[str, Any], ndim: int
) -> dict[str, Any]:
    """The outputs by name. given: the traced arrays. results: the outputs' shapes and dtypes. layout: of the kernel's
    call, if there is one. host, ndim: as `callback` takes them; host gives the outputs by name."""

    def by_callback(given: dict[str, Any]) -> dict[str, Any]:
        return callback(host, given, results, ndim)

    if layout is None or not (known := modules()):
        return by_callback(given)
    by_ffi = {platform: functools.partial(layout.call, module, results) for platform, module in known.items()}
    return jax.lax.platform_dependent(given, **by_ffi, default=by_callback)
