"""Dictionaries of integer arrays and lists from pickle files, read without the pickle machine.

An array is made from its bytes only when its dtype, its shape and their number agree; `ground/pickles.py` gives the
reasons.
"""

from __future__ import annotations

import io
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..ground.pickles import Call, Machine, Refused, text

_INTEGERS = frozenset(f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8))
_DIMENSIONS = 4
_MOST_STEPS = 1 << 20  # a batch of CIFAR-10 takes 60 thousand
_NDARRAY = object()


@dataclass
class _Dtype:
    code: str
    order: str = ""

    def build(self, state: Any) -> None:
        order = text(state[1]) if isinstance(state, tuple) and len(state) == 8 else ""
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


class _Arrays(Machine):
    """size: bytes of the file."""

    def __init__(self, size: int) -> None:
        names = {
            ("numpy", "ndarray"): _NDARRAY,
            ("numpy", "dtype"): Call(_dtype),
            ("_codecs", "encode"): Call(self._encode),  # how Python 3 writes bytes in the protocols of Python 2
        }
        for core in ("core", "_core"):
            names[f"numpy.{core}.multiarray", "_reconstruct"] = Call(_array)
        super().__init__(names, _MOST_STEPS)
        self.room = size

    def build(self, built: Any, state: Any) -> None:
        if not isinstance(built, (_Dtype, _Array)):
            raise Refused("it gives a state to something other than an array or a dtype")
        built.build(state)

    def _encode(self, characters: Any, encoding: Any) -> bytes:
        if not isinstance(characters, str) or encoding != "latin1":
            raise Refused("it encodes something other than text")
        self.room -= len(characters)
        if self.room < 0:  # each text has its place in the file, where it is encoded once
            raise Refused("it encodes more bytes than it has")
        return characters.encode("latin-1")


def read_dictionary(content: bytes) -> dict[str, Any]:
    """The dictionary that a pickle of any protocol up to 4 holds, its keys as text.

    Its values: arrays as NumPy arrays, read-only; numbers, bytes, text, None, lists and tuples of them. Raises
    ValueError for anything else.
    """
    stream = io.BytesIO(content)
    top = _Arrays(len(content)).run(stream)
    if left := len(content) - stream.tell():
        raise Refused(f"it goes on for {left} bytes after its end")
    if not isinstance(top, dict):
        raise Refused(f"it must hold a dictionary, got {type(top).__name__.strip('_')}")
    return {text(key): _given(value) for key, value in top.items()}


def _given(value: Any) -> Any:
    if isinstance(value, _Array):
        return value.value
    if value is _NDARRAY or isinstance(value, (Call, _Dtype)):
        raise Refused("it holds a name that is no value")
    return value


def _dtype(code: Any, *how: Any) -> _Dtype:
    if text(code) not in _INTEGERS:
        rule = f"the dtype of an array must be one of {', '.join(sorted(_INTEGERS))}"
        raise Refused(f"{rule}, got {text(code)[:80]!r}")
    return _Dtype(text(code))


def _array(kind: Any, *how: Any) -> _Array:
    if kind is not _NDARRAY:
        raise Refused("it calls something that makes no array of integers")
    return _Array()
