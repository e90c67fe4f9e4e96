"""Takes out of Triton's interpreter what it computes again and again, or computes and throws away.

That is most of the time of small kernels. What a kernel computes is not touched: its operations run as ever,
one by one, on NumPy arrays. For processes that interpret (TRITON_INTERPRET=1): `quicken` before the first launch.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import math
from collections.abc import Callable
from typing import Any

import triton.language as tl
from triton.runtime import interpreter


def quicken() -> None:
    if not hasattr(interpreter, "interpreter_semantic"):  # Triton 3.2 is built otherwise: it stays slow
        return
    builder, semantic = interpreter.interpreter_builder, type(interpreter.interpreter_semantic)
    # Every integer + - * is done once more in int64 and compared with the range of its type, to be asserted only when
    # debugging.
    assert not getattr(builder.options, "debug", False)
    builder.options = dataclasses.replace(builder.options, sanitize_overflow=False)
    interpreter._patch_lang = _once(interpreter._patch_lang)
    interpreter._patch_attr = _patch_attribute
    # Types, and shapes as constexprs in a tuple with a type of its own, are made anew for every operand and result.
    tl.block_type.with_element_ty = _with_element
    tl.block_type.to_ir = _to_ir(tl.block_type.to_ir)
    tl.tensor.__init__ = _tensor
    interpreter._get_np_dtype = _numpy_types(interpreter._get_np_dtype)
    # So are constants; and operands are broadcast to the shape that they have.
    semantic.binary_op_type_checking_impl = _operands(semantic.binary_op_type_checking_impl)
    semantic.broadcast_impl_value = _unless_one_shape(semantic.broadcast_impl_value)


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


def _patch_attribute(owner: Any, name: str, member: Any, builder: Any, scope: Any) -> None:
    function = getattr(member, "__wrapped__", member)  # without its look whether a kernel calls it

    def called(*args: Any, **kwargs: Any) -> Any:
        kwargs["_semantic"] = interpreter.interpreter_semantic
        return function(*args, **kwargs)

    scope.set_attr(owner, name, called)


def _kept(type: tl.dtype, name: str, make: Callable[[], Any]) -> Any:
    """What is known of a type, as an attribute of it."""
    known = vars(type)
    if name not in known:
        known[name] = make()
    return known[name]


_types: dict[Any, tl.block_type] = {}


def _only(type: tl.dtype) -> tl.dtype:
    """The one object there is of a type of numbers, with the shape that its tensors have."""
    if type.is_block() and not type.element_ty.is_ptr():
        type = _types.setdefault((type.element_ty.name, *type.shape), type)
    shape = type.shape if type.is_block() else ()
    _kept(type, "constants", lambda: (tl.tuple([tl.constexpr(size) for size in shape]), tl.constexpr(math.prod(shape))))
    return type


def _with_element(self: tl.block_type, element: tl.dtype) -> tl.block_type:
    if element.is_ptr():
        return tl.block_type(element, self.shape)
    return _kept(self, "with_" + element.name, lambda: _only(tl.block_type(element, self.shape)))


def _to_ir(to_ir: Callable[..., Any]) -> Callable[..., Any]:
    """The interpreter takes the types of the language."""
    return lambda self, builder: to_ir(self, builder) if self.element_ty.is_ptr() else self


def _tensor(self: tl.tensor, handle: Any, type: tl.dtype) -> None:
    if "constants" not in vars(type):
        type = _only(type)
    self.handle, self.type, self.dtype = handle, type, type.scalar
    self.shape, self.numel = type.constants


def _numpy_types(of: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda dtype: of(dtype) if dtype.is_ptr() else _kept(dtype, "numpy", lambda: of(dtype))


def _operands(convert: Callable[..., Any]) -> Callable[..., Any]:
    def converted(semantic: Any, lhs: Any, rhs: Any, *rules: Any, **named: Any) -> Any:
        left, right = type(lhs) is tl.tensor, type(rhs) is tl.tensor
        if left and right:  # a type of numbers with itself: nothing to convert, but float16 in divisions
            alike = lhs.type is rhs.type and not lhs.dtype.is_ptr() and len(rules) < 4 and "div_or_mod" not in named
            return (lhs, rhs) if alike else convert(semantic, lhs, rhs, *rules, **named)
        if not left and not right:  # where(mask, 8, 0)
            return convert(semantic, lhs, rhs, *rules, **named)
        tensor, number = (lhs, rhs) if left else (rhs, lhs)
        exact = number.hex() if isinstance(number, float) else number
        known = _kept(tensor.type, "numbers", dict)
        at = (left, type(number), exact, rules, *named.items())
        if at in known:
            return (tensor, known[at]) if left else (known[at], tensor)
        made = convert(semantic, lhs, rhs, *rules, **named)
        if made[not left] is tensor and tensor.handle.data.size <= 4096:  # larger ones would fill the memory
            known[at] = made[left]
        return made

    return converted


def _unless_one_shape(broadcast: Callable[..., Any]) -> Callable[..., Any]:
    def made(semantic: Any, lhs: Any, rhs: Any) -> Any:
        alike = lhs.type.is_block() and rhs.type.is_block() and lhs.type.shape.values == rhs.type.shape.values
        return (lhs, rhs) if alike else broadcast(semantic, lhs, rhs)

    return made
