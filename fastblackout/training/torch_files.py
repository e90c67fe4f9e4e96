"""What `torch.save` wrote, with its tensors and numbers alone.

torch.load is not called, with weights_only neither: before torch 2.10 it takes the sizes that a file claims on trust
(CVE-2026-24747), any release makes arrays of bytes as large as a file asks for, and NumPy's arrays need functions of
NumPy that a forged dtype crashes.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ..ground.pickles import Call, Machine, Refused

# Enough for a million losses as NumPy pickles them; a file of as many bytes takes a minute and 2.5 GB at most.
_MOST_STEPS = 1 << 25
_MOST_DIMENSIONS, _MOST_SIZE = 16, 1 << 62
_OLD_HEAD = [0x1950A86A20F9469CFC6C, 1001]  # the pickles that a file of before the zip format begins with
_LEFT_OUT = object()  # what NumPy's arrays and numbers are read as
_DTYPES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "ByteStorage": torch.uint8,
    "CharStorage": torch.int8,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
    "ShortStorage": torch.int16,
}


@dataclass
class _Storage:
    """A number of values in the file. read: gives their bytes."""

    dtype: torch.dtype
    count: int
    read: Callable[[], bytes] | None = None
    values: torch.Tensor | None = None

    @property
    def size(self) -> int:
        return self.count * self.dtype.itemsize

    def load(self) -> torch.Tensor:
        """The values, which are read once."""
        if self.values is None:
            assert self.read is not None  # read_torch has seen to it
            try:
                raw = bytearray(self.read())
            except zipfile.BadZipFile as error:
                raise Refused(f"it is damaged: {error}") from None
            self.values = torch.frombuffer(raw, dtype=self.dtype) if raw else torch.empty(0, dtype=self.dtype)
        return self.values


@dataclass(frozen=True)
class Stored:
    """A tensor that lies in a file; `load` gives it, or raises `Refused` where its bytes are not there."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def dtype(self) -> torch.dtype:
        return self.storage.dtype

    def load(self) -> torch.Tensor:
        """The tensor, on the CPU. Tensors of one storage share its memory."""
        return self.storage.load().as_strided(self.shape, self.strides, self.offset)


def read_torch(content: bytes) -> Any:
    """The object in a file of torch.save: dictionaries, lists, tuples, numbers, text, and `Stored` tensors.

    NumPy's arrays and numbers are left out: an object without meaning stands for each. Both formats of torch are read,
    zip archives and what came before. Raises `Refused` for anything else.
    """
    try:
        return (_of_zip if content[:2] == b"PK" else _of_old)(content)
    except Refused:
        raise
    except Exception as error:  # a damaged archive may fail in any way
        raise Refused(f"it is damaged: {str(error)[:200] or type(error).__name__}") from None


def _of_zip(content: bytes) -> Any:
    archive = zipfile.ZipFile(io.BytesIO(content))
    members = archive.infolist()
    names = [member.filename for member in members]
    # torch compresses nothing, so what a member claims to hold must be in the file.
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise Refused("its archive is compressed, which torch.save never does")
    if len(set(names)) < len(names) or sum(max(each.file_size, each.compress_size) for each in members) > len(content):
        raise Refused("members of its archive overlap")
    pickled = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(pickled) != 1:
        raise Refused("its archive holds no data.pkl as torch.save writes it")
    folder = pickled[0].removesuffix("data.pkl")
    if f"{folder}byteorder" in names and archive.read(f"{folder}byteorder") != b"little":
        raise Refused("its numbers are in another order of bytes")
    machine = _Torch()
    top = machine.run(io.BytesIO(archive.read(pickled[0])))
    for key, storage in machine.storages.items():
        member = archive.getinfo(f"{folder}data/{key}")
        if member.file_size != storage.size:
            raise Refused(f"a storage must have {storage.size} bytes, got {member.file_size}")
        storage.read = partial(archive.read, member)
    return top


def _of_old(content: bytes) -> Any:
    """The pickles of two numbers, of facts about the machine, of the object and of keys; then each key's storage."""
    stream, machine = io.BytesIO(content), _Torch()
    if not content.startswith(b"\x80\x02") or [machine.run(stream), machine.run(stream)] != _OLD_HEAD:
        raise Refused("it is neither an archive nor the pickles that torch.save writes")
    about, top, keys = (machine.run(stream) for _ in range(3))
    if not isinstance(about, dict) or about.get("little_endian") is not True:
        raise Refused("its numbers are in another order of bytes")
    if not isinstance(keys, list) or set(map(_key, keys)) != machine.storages.keys() or len(set(keys)) < len(keys):
        raise Refused("its list of storages is another than its tensors have")
    place = stream.tell()
    for storage in map(machine.storages.__getitem__, keys):
        (count,) = struct.unpack("<q", content[place : place + 8])
        begin, place = place + 8, place + 8 + storage.size
        if count != storage.count or place > len(content):
            raise Refused("it ends before its storages do")
        storage.read = memoryview(content)[begin:place].tobytes
    return top


class _Torch(Machine):
    """storages: all that the pickles ask for, by the key of each."""

    def __init__(self) -> None:
        names: dict[tuple[str, str], Any] = {("torch", name): dtype for name, dtype in _DTYPES.items()}
        names["collections", "OrderedDict"] = Call(lambda: {})
        names["torch._utils", "_rebuild_tensor_v2"] = Call(_stored)
        names["torch._utils", "_rebuild_parameter"] = Call(lambda tensor, *more: tensor)
        for core in ("core", "_core"):
            for function in ("_reconstruct", "scalar"):
                names[f"numpy.{core}.multiarray", function] = Call(_left_out)
        names["numpy", "dtype"] = names["_codecs", "encode"] = Call(_left_out)
        names["numpy", "ndarray"] = _LEFT_OUT
        super().__init__(names, _MOST_STEPS)
        self.storages: dict[str, _Storage] = {}

    def build(self, built: Any, state: Any) -> None:
        """A state dict's own attributes, and what NumPy says of its arrays, are passed over."""
        if built is not _LEFT_OUT and not isinstance(built, dict):
            raise Refused("it gives a state to what needs none")

    def stored(self, identity: Any) -> _Storage:
        kind, dtype, key, _, count, *view = identity
        if kind != "storage" or not isinstance(dtype, torch.dtype) or any(part is not None for part in view):
            raise Refused("it asks for something other than a storage of numbers")
        storage = self.storages.setdefault(_key(key), _Storage(dtype, _size(count)))
        if (storage.dtype, storage.count) != (dtype, count):
            raise Refused("it has two storages of one name")
        return storage


def _stored(storage: Any, offset: Any, shape: Any, strides: Any, *more: Any) -> Stored:
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise Refused("it makes a tensor of something other than a storage, a place and a shape")
    if len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
        raise Refused(f"a tensor must have a stride for each of at most {_MOST_DIMENSIONS} dimensions")
    steps = [_size(stride) * (_size(size) - 1) for size, stride in zip(shape, strides, strict=True)]
    if math.prod(shape) >= _MOST_SIZE or 0 not in shape and _size(offset) + sum(steps) >= storage.count:
        raise Refused("a tensor goes beyond its storage")
    return Stored(storage, _size(offset), shape, strides)


def _left_out(*given: Any) -> Any:
    return _LEFT_OUT


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value < _MOST_SIZE:
        raise Refused("the size of a tensor must be an integer of at least 0")
    return value


def _key(value: Any) -> str:
    if not isinstance(value, str):
        raise Refused("the name of a storage must be text")
    return value
