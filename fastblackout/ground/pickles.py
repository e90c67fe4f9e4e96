"""Pickle files carried out step by step by a machine of our own, in bounded time and memory.

Unpickling calls what a file names, NumPy's own pickles change a dtype from inside (`dtype.__setstate__`), after which
raw bytes pass for objects, and torch's reader of weights makes what a file asks for, however large. Here the few
opcodes that plain values need are carried out one by one, and the names a file may use stand for what the reader of
such files gives the machine.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

_MARK = object()
_LARGEST_KEY = 1 << 60  # integers below are their own hashes, so that no file can choose many that collide


class Refused(ValueError):
    """What a file asks for or holds is not what its reader needs."""


@dataclass(frozen=True)
class Call:
    """What a name stands for that a file may call."""

    function: Callable[..., Any]


class Machine:
    """Reads pickles of protocols up to 4.

    names: what the names stand for that a file may use, by module and name; a `Call` is called with what the file
    gives. most_steps: how many opcodes there may be in all. What `build` and `stored` do, a subclass says.
    """

    def __init__(self, names: Mapping[tuple[str, str], Any], most_steps: int) -> None:
        self.names, self.most_steps, self.steps = names, most_steps, 0
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def build(self, built: Any, state: Any) -> None:
        """Gives a state to what was built before."""
        raise Refused("it gives a state to what needs none")

    def stored(self, identity: Any) -> Any:
        """What lies outside of the pickle under that identity."""
        raise Refused("it asks for what lies elsewhere")

    def run(self, stream: BinaryIO) -> Any:
        """What the next pickle of a stream holds; the stream is then behind it. Raises `Refused`."""
        self.stack, self.memo = [], {}
        try:
            for opcode, argument, _ in pickletools.genops(stream):
                self.steps += 1
                if self.steps > self.most_steps:
                    raise Refused(f"it takes more than {self.most_steps} steps")
                self._step(opcode.name, argument)
            (top,) = self.stack
        except Refused:
            raise
        except Exception as error:  # a damaged file may break a step in any way
            raise Refused(f"it is damaged: {str(error)[:200] or type(error).__name__}") from None
        return top

    def _step(self, name: str, argument: Any) -> None:
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
            stack.append(self._named(*argument.split(" ")))
        elif name == "STACK_GLOBAL":
            what, module = stack.pop(), stack.pop()
            stack.append(self._named(text(module), text(what)))
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name == "LIST":
            stack.append(self._since_mark())
        elif name == "DICT":
            stack.append(_pairs(self._since_mark()))
        elif name == "APPEND":
            _add(stack, [stack.pop()])
        elif name == "APPENDS":
            items = self._since_mark()
            _add(stack, items)
        elif name == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set(stack, [key, value])
        elif name == "SETITEMS":
            items = self._since_mark()
            _set(stack, items)
        elif name == "REDUCE":
            arguments, called = stack.pop(), stack.pop()
            if not isinstance(called, Call):
                raise Refused("it calls what is no function")
            stack.append(called.function(*arguments))
        elif name == "BUILD":
            state = stack.pop()
            self.build(stack[-1], state)
        elif name == "BINPERSID":
            stack.append(self.stored(stack.pop()))
        else:
            raise Refused(f"it uses {name}, which is refused")

    def _named(self, module: str, name: str) -> Any:
        if (module, name) not in self.names:
            raise Refused(f"it asks for {f'{module}.{name}'[:80]!r}, which is refused")
        return self.names[module, name]

    def _since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not _MARK:
            place -= 1
            if place < 0:
                raise Refused("it is damaged: no mark")
        items = self.stack[place + 1 :]
        del self.stack[place:]
        return items


_IGNORED = frozenset({"PROTO", "FRAME", "STOP"})
_NUMBERS = frozenset({"BININT", "BININT1", "BININT2", "INT", "LONG1", "BINFLOAT"})
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


def text(value: Any) -> str:
    """A name or a code in a file, which Python 2 has as bytes."""
    if isinstance(value, bytes):
        value = value.decode("ascii")
    if not isinstance(value, str):
        raise Refused("it must have text where a name belongs")
    return value


def _pairs(items: list[Any]) -> dict[Any, Any]:
    # Hashing a deeply nested tuple may overflow C's stack.
    if not all(isinstance(key, (str, bytes)) or (type(key) is int and 0 <= key < _LARGEST_KEY) for key in items[::2]):
        raise Refused("the keys of a dictionary must be text or integers")
    return dict(zip(items[::2], items[1::2], strict=True))


def _add(stack: list[Any], items: list[Any]) -> None:
    if type(stack[-1]) is not list:
        raise Refused("it appends to something other than a list")
    stack[-1].extend(items)


def _set(stack: list[Any], items: list[Any]) -> None:
    if type(stack[-1]) is not dict:
        raise Refused("it sets an item of something other than a dictionary")
    stack[-1].update(_pairs(items))
