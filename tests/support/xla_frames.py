"""Call frames of XLA's foreign function interface, made up in memory, with which tests call the handlers of _simt."""

import ctypes
from ctypes import POINTER, Structure, addressof, c_char_p, c_int, c_int64, c_size_t, c_void_p, pointer

import numpy as np

CONTEXT, STREAM, REFUSED = 0xC0FFEE, 0x57EA4, 0xBAD
POISON = 0xA5  # of memory that a handler is given
TYPES = {"int32": 4, "int64": 5, "uint8": 6, "uint32": 8, "float32": 11, "float64": 12}


class Version(Structure):
    _fields_ = [("size", c_size_t), ("extensions", c_void_p), ("major", c_int), ("minor", c_int)]


class Error(Structure):
    _fields_ = [("size", c_size_t), ("extensions", c_void_p), ("message", c_char_p), ("code", c_int)]


class Stream(Structure):
    _fields_ = [("size", c_size_t), ("extensions", c_void_p), ("context", c_void_p), ("stream", c_void_p)]


CREATE_ERROR = ctypes.CFUNCTYPE(c_void_p, POINTER(Error))
GET_STREAM = ctypes.CFUNCTYPE(c_void_p, POINTER(Stream))
OTHER = ctypes.CFUNCTYPE(c_void_p, c_void_p)


class Api(Structure):
    _fields_ = [
        ("size", c_size_t), ("extensions", c_void_p), ("version", Version), ("internal", c_void_p),
        ("create_error", CREATE_ERROR), ("before", OTHER * 3), ("get_stream", GET_STREAM), ("after", OTHER * 13),
    ]  # fmt: skip


class Buffer(Structure):
    _fields_ = [
        ("size", c_size_t), ("extensions", c_void_p), ("type", c_int), ("data", c_void_p), ("rank", c_int64),
        ("sizes", POINTER(c_int64)),
    ]  # fmt: skip


class Text(Structure):
    _fields_ = [("data", c_char_p), ("size", c_size_t)]


class Scalar(Structure):
    _fields_ = [("type", c_int), ("data", c_void_p)]


class List(Structure):  # of arguments, or of results
    _fields_ = [
        ("size", c_size_t), ("extensions", c_void_p), ("count", c_int64), ("kinds", POINTER(c_int)),
        ("each", POINTER(c_void_p)),
    ]  # fmt: skip


class Attributes(Structure):
    _fields_ = [*List._fields_[:4], ("names", POINTER(c_void_p)), List._fields_[4]]


class Frame(Structure):
    _fields_ = [
        ("size", c_size_t), ("extensions", c_void_p), ("api", POINTER(Api)), ("context", c_void_p), ("stage", c_int),
        ("arguments", List), ("results", List), ("attributes", Attributes), ("future", c_void_p),
    ]  # fmt: skip


class Metadata(Structure):
    _fields_ = [("size", c_size_t), ("version", Version), ("traits", ctypes.c_uint32)]


class Extension(Structure):
    _fields_ = [("size", c_size_t), ("kind", c_int), ("next", c_void_p), ("metadata", POINTER(Metadata))]


class Xla:
    """What a handler may ask of XLA: a stream, which it may be refused, and an error to return."""

    def __init__(self, refuses=False):
        self.refuses, self.streams, self.error, self.others = refuses, [], None, 0
        self.api = Api(
            size=ctypes.sizeof(Api), create_error=CREATE_ERROR(self._error), get_stream=GET_STREAM(self._get)
        )
        other = self._other = OTHER(self._called)
        for table in (self.api.before, self.api.after):
            table[:] = [other] * len(table)

    def _error(self, given):
        self.error = given.contents.message.decode(), given.contents.code
        return REFUSED + 1

    def _get(self, given):
        asked = given.contents
        self.streams.append((asked.size, asked.extensions, asked.context))
        asked.stream = STREAM
        return REFUSED if self.refuses else None

    def _called(self, _):
        self.others += 1

    def call(self, handler, arguments, results, attributes, extensions=None):
        """What the handler returns; results are written."""
        frame, kept = Frame(size=ctypes.sizeof(Frame), context=CONTEXT, stage=3, extensions=extensions), []
        frame.api = pointer(self.api)
        frame.arguments, frame.results = (_list(arrays, kept) for arrays in (arguments, results))
        frame.attributes = _attributes(attributes, kept)
        get = ctypes.pythonapi.PyCapsule_GetPointer
        get.restype, get.argtypes = c_void_p, [ctypes.py_object, c_char_p]
        return ctypes.CFUNCTYPE(c_void_p, c_void_p)(get(handler, None))(addressof(frame))


def _list(arrays, kept):
    pointers = []
    for array in arrays:
        assert array.flags.c_contiguous
        sizes = (c_int64 * max(array.ndim, 1))(*array.shape)
        buffer = Buffer(ctypes.sizeof(Buffer), None, TYPES[array.dtype.name], array.ctypes.data, array.ndim, sizes)
        kept += [sizes, buffer]
        pointers.append(addressof(buffer))
    kinds, each = (c_int * len(arrays))(*[1] * len(arrays)), (c_void_p * len(arrays))(*pointers)
    kept += [kinds, each]
    return List(ctypes.sizeof(List), None, len(arrays), kinds, each)


def _attributes(given, kept):
    names, types, values = [], [], []
    for name, value in sorted(given.items()):
        if isinstance(value, str):
            held = Text(value.encode(), len(value))
        else:
            number = c_int64(value)
            kept.append(number)
            held = Scalar(TYPES["int64"], addressof(number))
        text = Text(name.encode(), len(name))
        kept += [text, held]
        names.append(addressof(text))
        types.append(4 if isinstance(value, str) else 3)
        values.append(addressof(held))
    count = len(names)
    arrays = (c_int * count)(*types), (c_void_p * count)(*names), (c_void_p * count)(*values)
    kept += arrays
    return Attributes(ctypes.sizeof(Attributes), None, count, *arrays)


def metadata():
    """(extension by which XLA asks for the version, what is answered there)"""
    answer = Metadata(size=ctypes.sizeof(Metadata))
    return Extension(24, 1, None, pointer(answer)), answer


def poisoned(shape, dtype):
    array = np.empty(shape, dtype)
    array.view(np.uint8).fill(POISON)
    return array
