"""Dictionaries of integer arrays and lists from pickle files, read without the pickle machine.

Unpickling calls what a file names, and NumPy's own pickles change a dtype from inside (`dtype.__setstate__`), after
which raw bytes pass for objects. Here the few opcodes that such a dictionary needs are carried out one by one, the
names a file may use stand for records that keep what they are given, and an array is made from its bytes only when
its dtype, its shape and their number agree.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

_INTEGERS = frozenset(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))
_DIMENSIONS = 4
_MARK = object()
_NAMES = {
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("numpy.core.multiarray", "_reconstruct"): "array",
    ("numpy._core.multiarray", "_reconstruct"): "array",
    ("_codecs", "encode"): "encode",  # how Python 3 writes bytes in the protocols of Python 2
}


class Refused(ValueError):
    """What a file asks for or holds is not what such a dictionary needs."""


@dataclass
class _Name:
    """One of the names a file may use."""

    means: str


@dataclass
class _Dtype:
    code: str
    order: str = ""

    def build(self, state: Any) -> None:
        order = _text(state[1]) if isinstance(state, tuple) and len(state) == 8 else ""
        if order not in ("|", "<", ">") or state[0] != 3 or state[2:] != (None, None, None, -1, -1, 0):
            raise Refused("its dtype must be a plain integer, got one with fields or flags")
        self.order = order


@dataclass
class _Array:
    value: NDArray[Any] | None = None

    def build(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) != 5 or state[0] != 1:
            raise Refused("it holds an array without a shape, a dtype and bytes")
        _, shape, dtype, by_columns, raw = state
        if not isinstance(shape, tuple) or len(shape) > _DIMENSIONS:  # to multiply millions of sizes would take hours
            raise Refused(f"the shape of an array must be a tuple of at most {_DIMENSIONS} integers")
        if not all(type(size) is int and size >= 0 for size in shape):
            raise Refused("the shape of an array must be integers of at least 0")
        if not isinstance(dtype, _Dtype) or not isinstance(raw, bytes):
            raise Refused("an array must have a dtype of integers, and bytes")
        kind = np.dtype(dtype.order + dtype.code)
        needed = math.prod(shape) * kind.itemsize
        if len(raw) != needed:
            raise Refused(f"an array of shape {shape} and dtype {kind} must have {needed} bytes, got {len(raw)}")
        self.value = np.frombuffer(raw, kind).reshape(shape, order="F" if by_columns else "C")


def read_dictionary(content: bytes) -> dict[str, Any]:
    """The dictionary that a pickle of any protocol up to 4 holds, its keys as text.

    Its values: arrays as NumPy arrays, read-only; integers, bytes, text, None, lists and tuples of them. Raises
    ValueError for anything else.
    """
    machine = _Machine()
    try:
        end = 0
        for opcode, argument, place in pickletools.genops(content):
            machine.step(opcode.name, argument)
            end = (place or 0) + 1
        (top,) = machine.stack
    except Refused:
        raise
    except Exception as error:  # a damaged file may break a step in any way
        raise Refused(f"it is damaged: {str(error) or type(error).__name__}") from None
    if end != len(content):
        raise Refused(f"it goes on for {len(content) - end} bytes after its end")
    if not isinstance(top, dict):
        raise Refused(f"it must hold a dictionary, got {type(top).__name__.strip('_')}")
    return {_text(key): _given(value) for key, value in top.items()}


def _given(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if isinstance(value, (_Name, _Dtype)):
        raise Refused("it holds a name that is no value")
    return value


class _Machine:
    def __init__(self) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _IGNORED:
            return
        if name in _NUMBERS or name in _TEXTS:
            stack.append(argument)
        elif name in _OLD_BYTES:  # pickletools gives the bytes of Python 2 as text
            stack.append(argument.encode("latin-1"))
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name]())
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name == "GLOBAL":
            stack.append(_named(*argument.split(" ")))
        elif name == "STACK_GLOBAL":
            what, module = stack.pop(), stack.pop()
            stack.append(_named(module, what))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(self.since_mark()))
        elif name == "LIST":
            stack.append(self.since_mark())
        elif name == "DICT":
            stack.append(_pairs(self.since_mark()))
        elif name == "APPEND":
            _add(stack, [stack.pop()])
        elif name == "APPENDS":
            _add(stack, self.since_mark())
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set(stack, [key, value])
        elif name == "SETITEMS":
            _set(stack, self.since_mark())
        elif name == "REDUCE":
            arguments, called = stack.pop(), stack.pop()
            stack.append(_called(called, arguments))
        elif name == "BUILD":
            state, built = stack.pop(), stack[-1]
            if not isinstance(built, (_Dtype, _Array)):
                raise Refused("it gives a state to something other than an array or a dtype")
            built.build(state)
        else:
            raise Refused(f"it uses {name}, which is refused")

    def since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise Refused("it is damaged: no mark")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items


_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})
_NUMBERS = frozenset({"BININT", "BININT1", "BININT2", "INT", "LONG1"})
_TEXTS = frozenset({"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"})
_OLD_BYTES = frozenset({"STRING", "BINSTRING", "SHORT_BINSTRING"})
_CONSTANTS: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "MARK": lambda: _MARK,
}


def _named(module: Any, name: Any) -> _Name:
    module, name = _text(module), _text(name)
    if (module, name) not in _NAMES:
        raise Refused(f"it asks for {f'{module}.{name}'[:80]!r}, which is refused")
    return _Name(_NAMES[module, name])


def _called(called: Any, arguments: Any) -> Any:
    means = called.means if isinstance(called, _Name) else ""
    if means == "dtype" and len(arguments) in (1, 3):
        code = _text(arguments[0])
        if code not in _INTEGERS:
            raise Refused(f"the dtype of an array must be one of {', '.join(sorted(_INTEGERS))}, got {code[:80]!r}")
        return _Dtype(code)
    if means == "array" and arguments[0] == _Name("ndarray"):
        return _Array()
    if means == "encode" and isinstance(arguments[0], str) and arguments[1:] == ("latin1",):
        return arguments[0].encode("latin-1")
    raise Refused("it calls something that makes no array of integers")


def _pairs(items: list[Any]) -> dict[Any, Any]:
    # Hashing a deeply nested tuple may overflow C's stack.
    if not all(isinstance(key, (str, bytes)) for key in items[::2]):
        raise Refused("the keys of a dictionary must be text")
    return dict(zip(items[::2], items[1::2], strict=True))


def _add(stack: list[Any], items: list[Any]) -> None:
    if type(stack[-1]) is not list:
        raise Refused("it appends to something other than a list")
    stack[-1].extend(items)


def _set(stack: list[Any], items: list[Any]) -> None:
    if type(stack[-1]) is not dict:
        raise Refused("it sets an item of something other than a dictionary")
    stack[-1].update(_pairs(items))


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("ascii")
    if not isinstance(value, str):
        raise Refused("it must have text where a name belongs")
    return value
