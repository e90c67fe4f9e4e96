"""Takes out of Triton's interpreter what it computes again and again, or computes and throws away.

That is more than half of the time of small kernels. What a kernel computes is not touched: its operations run as ever,
one by one, on NumPy arrays. For processes that interpret (TRITON_INTERPRET=1): `quicken` before the first launch.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import triton.language as tl
from triton.runtime import interpreter


def quicken() -> None:
    builder = interpreter.interpreter_builder
    # Every integer + - * is done once more in int64 and compared with the range of its type, to be asserted only when
    # debugging.
    assert not getattr(builder.options, "debug", False)
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)
    interpreter._patch_lang = _once(interpreter._patch_lang)
    # Types are made anew for every operand of every operation.
    builder.get_block_ty = _block_type
    tl.block_type.with_element_ty = lambda self, element: _block_type(element, self.shape)
    interpreter._get_np_dtype = _numpy_types(interpreter._get_np_dtype)


def _once(patch: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """patch puts the interpreter's functions in the place of triton.language's: at a launch, and again at every call
    from a kernel of a function of its own. Where they are in place already nothing is left to do."""

    @functools.cache
    def languages(function: Any) -> list[Any]:
        return [m for m in function.__globals__.values() if inspect.ismodule(m) and m in (tl, tl.core)]

    def patched(function: Any) -> Any:
        if any(tl.core.is_builtin(module.load) for module in languages(function)):
            return patch(function)
        return interpreter._LangPatchScope()  # of no changes, none to take back

    return patched


@functools.cache
def _made(element: tl.dtype, shape: tuple[int, ...]) -> tl.block_type:
    return tl.block_type(element, list(shape))


def _block_type(element: tl.dtype, shape: Any) -> tl.block_type:
    return tl.block_type(element, shape) if element.is_ptr() else _made(element, tuple(shape))


def _numpy_types(of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    known = functools.cache(of)
    return lambda dtype: of(dtype) if dtype.scalar.is_ptr() else known(dtype.scalar)
