"""Arrays of whole numbers from .npy, .npz and idx files that may be damaged, or lie about what they hold.

What a header promises is checked against the size of the file before memory is taken for it, and nothing is inflated
beyond the promise. Pickled objects are never loaded.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ..ground.values import check_memory

INFLATES = 1032  # one byte of a deflate stream becomes at most so many: 258 for every 2 bits
_CHUNK = 1 << 20
_MOST_OF_FLOATS = np.float32(1 << 24)  # which has every whole number up to here
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # what np.savez and np.savez_compressed write


def read_npy(file: Path, booleans: bool = False) -> NDArray[Any]:
    """The array of a .npy file as integers, or booleans where they are asked for. ValueError for any other file."""
    kind = ".npy file of a plain array"
    with _readable(file, kind), file.open("rb") as stream:
        return _read_npy(str(file), stream, os.fstat(stream.fileno()).st_size, booleans)


class Npz:
    """The arrays of a .npz file by their names, each read when it is asked for; use as a context manager.

    Raises ValueError when the file is not one, or the array asked for is damaged or not of whole numbers.
    """

    _KIND = ".npz file of plain arrays"

    def __init__(self, file: Path) -> None:
        self.file = file
        with _readable(file, self._KIND):
            self._archive = zipfile.ZipFile(file)
        self._members = {name.removesuffix(".npy"): name for name in self._archive.namelist() if name.endswith(".npy")}

    def __enter__(self) -> Npz:
        return self

    def __exit__(self, *exception: object) -> None:
        self._archive.close()

    @property
    def names(self) -> list[str]:
        """The arrays there are."""
        return list(self._members)

    def listed(self) -> str:
        """What the file holds, for a message."""
        shown = [*self._members, *(name for name in self._archive.namelist() if not name.endswith(".npy"))]
        return ", ".join(name if name.isprintable() else ascii(name) for name in shown[:10]) or "none"

    def get(self, name: str) -> NDArray[Any] | None:
        """The array of that name, or None."""
        if name not in self._members:
            return None
        info = self._archive.getinfo(self._members[name])
        with _readable(self.file, self._KIND):
            if info.compress_type not in _METHODS:
                raise ValueError(f"{name}: must be stored or deflated, got compression {info.compress_type}")
            held = min(info.compress_size, self.file.stat().st_size)
            most = held if info.compress_type == zipfile.ZIP_STORED else held * INFLATES
            with self._archive.open(info) as stream:
                return _read_npy(f"{self.file}: {name}", stream, min(most, info.file_size))


def read_idx(file: Path) -> NDArray[np.uint8]:
    """An idx file of bytes (0, 0, 8, ndim, big-endian sizes, data), plain or .gz. ValueError when it is not one."""
    packed = file.suffix == ".gz"
    opened: Any = gzip.open if packed else open
    with _readable(file, "idx file of bytes"), opened(file, "rb") as stream:
        head = stream.read(4)
        if len(head) < 4 or head[:3] != b"\0\0\x08":
            raise ValueError("it must begin with the bytes 0, 0, 8 and the number of dimensions")
        sizes = stream.read(4 * head[3])
        if len(sizes) < 4 * head[3]:
            raise ValueError("it ends before its data")
        most = file.stat().st_size * (INFLATES if packed else 1)
        return _fill(stream, struct.unpack(f">{head[3]}I", sizes), np.dtype(np.uint8), most)


class Unfit(ValueError):
    """The file is whole, but not what is needed; its message is shown as it is."""


@contextmanager
def _readable(file: Path, kind: str) -> Iterator[None]:
    try:
        yield
    except Unfit:
        raise
    except Exception as error:  # reading a damaged file may fail in any way
        reason = (str(error) or type(error).__name__).splitlines()[0][:300]  # the message may quote the file at length
        raise ValueError(f"load: {file}: not a readable {kind}: {reason}") from None


def _read_npy(where: str, stream: IO[bytes], most: int, booleans: bool = False) -> NDArray[Any]:
    """most: bytes that the stream can hold."""
    version = npy.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise ValueError(f"its version must be 1.0 or 2.0, got {'.'.join(map(str, version))}")
    shape, by_columns, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(stream)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    if dtype.kind not in ("b" if booleans else "iuf"):
        raise Unfit(f"load: {where}: must hold {'booleans' if booleans else 'integer counts'}, got dtype {dtype}")
    array = _fill(stream, shape[::-1] if by_columns else shape, dtype, most - stream.tell())
    return whole(where, array.T if by_columns else array)


def whole(where: str, array: NDArray[Any]) -> NDArray[Any]:
    """An array of integers as it is, one of floats that are whole numbers as int32; ValueError for other floats."""
    if array.dtype.kind != "f":
        return array
    check_memory(f"load: {where}", array.size * 4)
    made = np.empty(array.shape, np.int32)
    rows, into = np.atleast_1d(array, made)  # views
    step = max(1, _CHUNK * len(rows) // max(rows.size, 1))
    for first in range(0, len(rows), step):  # in parts, whose copies are small
        part = rows[first : first + step]
        right = (abs(part) <= _MOST_OF_FLOATS) & (part == np.rint(part))
        if not right.all():
            raise Unfit(f"load: {where}: floats must be whole numbers of at most 2^24, got {part[~right][0]}")
        into[first : first + step] = part
    return made


def _fill(stream: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], most: int) -> NDArray[Any]:
    """The array that makes up the rest of a stream, which can hold `most` bytes."""
    if min(shape, default=0) < 0:
        raise ValueError(f"its shape must be at least 0, got {shape}")
    size = math.prod(shape) * dtype.itemsize
    if size > most:
        raise ValueError(f"it must hold {size} bytes of data, got {most} at most")
    check_memory("its data", size)
    array = np.empty(shape, dtype)
    flat: Any = array.reshape(-1).view(np.uint8)
    left = memoryview(flat)
    while len(left):
        count = stream.readinto(left[:_CHUNK])  # type: ignore[attr-defined]
        if not count:
            raise ValueError(f"it must hold {size} bytes of data, got {size - len(left)}")
        left = left[count:]
    if stream.read(1):
        raise ValueError(f"it must hold {size} bytes of data, got more")
    return array
