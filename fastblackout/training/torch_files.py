"""What `torch.save` wrote: its tensors, numbers and text alone.

torch.load is not called, with weights_only neither: that refuses pickles of protocol 4, before torch 2.10 it takes the
sizes that a file claims on trust (CVE-2026-24747), and in any release it makes what a file asks for, however large.
"""

from __future__ import annotations

import io
import math
import struct
import zipfile
from collections.abc import Callable, Collection
from typing import Any

import torch

from ..ground.pickles import Refused, Unpickled, unpickled

_MOST_DIMENSIONS, _MOST_SIZE = 16, 1 << 62
_OLD_HEAD = [0x1950A86A20F9469CFC6C, 1001]  # the pickles that a file of before the zip format begins with
_TENSOR, _PARAMETER = "torch._utils._rebuild_tensor_v2", "torch._utils._rebuild_parameter"
_DTYPES = {
    "torch.BFloat16Storage": torch.bfloat16,
    "torch.BoolStorage": torch.bool,
    "torch.ByteStorage": torch.uint8,
    "torch.CharStorage": torch.int8,
    "torch.DoubleStorage": torch.float64,
    "torch.FloatStorage": torch.float32,
    "torch.HalfStorage": torch.float16,
    "torch.IntStorage": torch.int32,
    "torch.LongStorage": torch.int64,
    "torch.ShortStorage": torch.int16,
}
_OF_NUMPY = [f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("_reconstruct", "scalar")]
_NAMES = (
    *_DTYPES, _TENSOR, _PARAMETER, "collections.OrderedDict", "_codecs.encode", "numpy.dtype", "numpy.ndarray",
    *_OF_NUMPY,
)  # fmt: skip


class TorchFile:
    """The dictionary in a file of torch.save. keys: all its keys, None where it holds something else.

    Both formats of torch are read, zip archives and what came before. Raises `Refused`.
    """

    def __init__(self, content: bytes, wanted: Collection[str]) -> None:
        """wanted: the keys whose values are read."""
        try:
            read = self._of_zip if content[:2] == b"PK" else self._of_old
            top, self._read_storage = read(content, [*wanted, "little_endian"])
        except Refused:
            raise
        except Exception as error:  # a damaged archive may fail in any way
            raise Refused(f"it is damaged: {str(error)[:200] or type(error).__name__}") from None
        self.keys, self._value, _ = top
        self._storages: dict[str, bytearray] = {}

    def __getitem__(self, key: str) -> Any:
        """A number, text, or a list or dictionary of these. What stands for a tensor in it, `tensor` reads."""
        return self._value[key]

    def tensor(self, value: Any) -> torch.Tensor | None:
        """The tensor that part of a value stands for, or None. Tensors of one storage share its memory."""
        match value:
            case [str(name), [inner, *_], _] if name == _PARAMETER:
                value = inner
        match value:
            case [str(name), [["storage", str(kind), str(key), _, count, *_], offset, [*shape], [*strides], *_], _] if (
                name == _TENSOR and kind in _DTYPES
            ):
                return self._tensor(_DTYPES[kind], key, count, offset, shape, strides)
        return None

    def _tensor(
        self, dtype: torch.dtype, key: str, count: int, offset: int, shape: list[int], strides: list[int]
    ) -> torch.Tensor:
        if not all(type(size) is int and 0 <= size < _MOST_SIZE for size in (count, offset, *shape, *strides)):
            raise Refused("the size of a tensor must be an integer of at least 0")
        if len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
            raise Refused(f"a tensor must have a stride for each of at most {_MOST_DIMENSIONS} dimensions")
        last = offset + sum(stride * (size - 1) for size, stride in zip(shape, strides, strict=True))
        if math.prod(shape) >= _MOST_SIZE or 0 not in shape and last >= count:
            raise Refused("a tensor goes beyond its storage")
        if key not in self._storages:
            try:
                self._storages[key] = bytearray(self._read_storage(key))
            except (KeyError, zipfile.BadZipFile) as error:
                raise Refused(f"it is damaged: {error}") from None
        raw = self._storages[key]
        if len(raw) != count * dtype.itemsize:
            raise Refused(f"a storage must have {count * dtype.itemsize} bytes, got {len(raw)}")
        values = torch.frombuffer(raw, dtype=dtype) if raw else torch.empty(0, dtype=dtype)
        return values.as_strided(shape, strides, offset)

    @staticmethod
    def _of_zip(content: bytes, wanted: Collection[str]) -> tuple[Unpickled, Callable[[str], bytes]]:
        archive = zipfile.ZipFile(io.BytesIO(content))
        members = {member.filename: member for member in archive.infolist()}
        # torch compresses nothing, so what a member claims to hold must be in the file.
        if any(member.compress_type != zipfile.ZIP_STORED for member in members.values()):
            raise Refused("its archive is compressed, which torch.save never does")
        if sum(max(each.file_size, each.compress_size) for each in members.values()) > len(content):
            raise Refused("members of its archive overlap")
        pickled = [name for name in members if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickled) != 1:
            raise Refused("its archive holds no data.pkl as torch.save writes it")
        folder = pickled[0].removesuffix("data.pkl")
        if f"{folder}byteorder" in members and archive.read(f"{folder}byteorder") != b"little":
            raise Refused("its numbers are in another order of bytes")
        (top,), _ = unpickled(archive.read(pickled[0]), _NAMES, wanted)
        return top, lambda key: archive.read(f"{folder}data/{key}")

    @staticmethod
    def _of_old(content: bytes, wanted: Collection[str]) -> tuple[Unpickled, Callable[[str], bytes]]:
        """Pickles of two numbers, of facts about the machine, of the object and of keys; then each key's storage."""
        if not content.startswith(b"\x80\x02"):
            raise Refused("it is neither an archive nor the pickles that torch.save writes")
        (*head, about, top, keys), place = unpickled(content, _NAMES, wanted, count=5)
        if [number.value for number in head] != _OLD_HEAD:
            raise Refused("it is neither an archive nor the pickles that torch.save writes")
        if about.value != {"little_endian": True}:
            raise Refused("its numbers are in another order of bytes")
        sizes = {identity[2]: _DTYPES[identity[1]].itemsize for identity in top.identities}
        places = {}
        for key in keys.value:
            (count,) = struct.unpack("<q", content[place : place + 8])
            places[key] = slice(place + 8, place := place + 8 + max(count, 0) * sizes[key])
        if place > len(content):
            raise Refused("it ends before its storages do")
        return top, lambda key: content[places[key]]
