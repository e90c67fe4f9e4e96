"""The groups of .h5ad files and .zarr stores, opened, and made anew.

h5py and zarr have the same groups and arrays, but for how an array is made. anndata reads and writes what they hold.
"""

from __future__ import annotations

import importlib
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from ..atomic_files import naming
from ..ground.extras import lacking
from ..ground.process import signals_wait
from .array_files import INFLATES

_LEAST_BOUND = 1 << 28  # bytes that a file of any size may promise
SUFFIXES = H5AD, ZARR = ".h5ad", ".zarr"


def check_stored(op: str, argument: str, path: Path, others: str = "") -> None:
    """ValueError unless a .h5ad file or a .zarr store is there. others: what the argument may be beside them."""
    if path.suffix not in SUFFIXES or not (path.is_file() if path.suffix == H5AD else path.is_dir()):
        there = "" if path.exists() else ", which does not exist"
        raise ValueError(f"{op}: {argument}: must be {others}a .h5ad file or a .zarr store, got {path}{there}")


def elements() -> Any:
    """The module of anndata that has read_elem and write_elem."""
    try:
        return importlib.import_module("anndata.io")
    except ImportError:  # before anndata 0.11
        return importlib.import_module("anndata.experimental")


def import_zarr(where: str) -> Any:
    """The module. ValueError, which names how to get it, where it is not installed."""
    try:
        return importlib.import_module("zarr")
    except ImportError:
        raise lacking(where, "zarr") from None


@contextmanager
def opened(where: str, path: Path) -> Iterator[Any]:
    """The root group of a file or store, which holds all its values itself. where: the op and the argument, for errors.

    ValueError where it would read other files, or promises arrays far beyond its size.
    """
    if path.suffix == H5AD:
        import h5py

        with h5py.File(path, "r") as file:
            _check_sizes(_arrays_of_h5ad(file), path.stat().st_size)
            yield file
    else:
        files = [
            entry for folder, names, others in os.walk(path) for entry in map(Path(folder).joinpath, names + others)
        ]
        for entry in files:
            if entry.is_symlink() or not (entry.is_file() or entry.is_dir()):
                raise ValueError(f"{where}: a store must hold plain files alone, got {entry}")
        group = import_zarr(where).open_group(str(path), mode="r")
        _check_sizes(_arrays_of_zarr(group), sum(entry.stat().st_size for entry in files))
        yield group


def _arrays_of_h5ad(file: Any) -> Iterator[Any]:
    """ValueError where one of them lies elsewhere, or has two names."""
    import h5py

    left = [file]
    while left:
        group = left.pop()
        for name in group:
            linked = not isinstance(group.get(name, getlink=True), h5py.HardLink)
            each = None if linked else group[name]
            if each is None or h5py.h5o.get_info(each.id).rc > 1:
                raise ValueError(f"it must have no links, got {name!r}")
            if isinstance(each, h5py.Group):
                left.append(each)
            elif isinstance(each, h5py.Dataset):
                if each.external or each.is_virtual:
                    raise ValueError(f"it must hold its arrays itself, got {name!r} of other files")
                yield each


def _arrays_of_zarr(group: Any) -> Iterator[Any]:
    left = [group]
    while left:
        group = left.pop()
        yield from (array for _, array in group.arrays())
        left += [each for _, each in group.groups()]


def _check_sizes(arrays: Iterator[Any], held: int) -> None:
    """ValueError where arrays, or a chunk of one, would take far more memory than `held` bytes can make."""
    most, total = max(_LEAST_BOUND, held * INFLATES), 0
    for array in arrays:
        total += math.prod(array.shape or ()) * array.dtype.itemsize
        if (size := max(total, math.prod(array.chunks or ()) * array.dtype.itemsize)) > most:
            raise ValueError(f"its {held} bytes must hold at most {most} bytes of arrays, got {size}")


class NewGroup:
    """The root group of a new file or store, which is written within `writing` alone. target: its name in errors."""

    def __init__(self, root: Any, target: Path, file: _Kept | None = None) -> None:
        self._root, self._target, self._file = root, target, file

    @contextmanager
    def writing(self) -> Iterator[Any]:
        """The group of h5py or zarr. When the block ends, a disk that is full raises OSError."""
        with naming(self._target):
            try:
                with signals_wait():
                    yield self._root
            except Exception:  # HDF5's, of what the disk did not take
                self._check()
                raise
            self._check()

    def _check(self) -> None:
        if self._file is not None and self._file.error is not None:
            raise self._file.error


@contextmanager
def made(where: str, path: Path, target: Path) -> Iterator[NewGroup]:
    """A new file or store at `path`, which becomes `target`."""
    if path.suffix == ZARR:
        zarr = import_zarr(where)
        # All releases of zarr read its second format.
        how = {"zarr_format": 2} if hasattr(zarr.Group, "create_array") else {}
        with naming(target):
            group = zarr.open_group(str(path), mode="w", **how)
        yield NewGroup(group, target)
        return
    import h5py

    with naming(target):
        file = path.open("x+b", buffering=0)
    with file:
        kept, root = _Kept(file), None
        try:
            with signals_wait():
                root = h5py.File(kept, "w")
            yield NewGroup(root, target, kept)
        finally:
            if root is not None:
                with NewGroup(root, target, kept).writing():
                    root.close()


class _Kept:
    """A file for HDF5 to write to. It keeps the first error, of a full disk, and from then on all that is written, in
    memory.

    HDF5 ends the process when it has a file that it can neither write nor close, or in which it does not find again
    what it has written. For the first reason `signals_wait` keeps the exceptions of signals from it, too.
    """

    def __init__(self, file: FileIO) -> None:
        self._file, self._at = file, 0
        self._beyond: list[tuple[int, bytes]] = []  # what is not in the file, and where it belongs; the last one counts
        self.error: OSError | None = None

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        ends = [self._file.seek(0, os.SEEK_END), *(start + len(content) for start, content in self._beyond)]
        self._at = place + (0 if whence == os.SEEK_SET else max(ends))
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, content: memoryview) -> int:
        left = content
        while left and self.error is None:
            with self._keeping():
                left = left[os.pwrite(self._file.fileno(), left, self._at + len(content) - len(left)) :]
        if left:
            self._beyond.append((self._at, bytes(content)))
        return len(content)

    def read(self, size: int) -> bytes:
        found = bytearray(os.pread(self._file.fileno(), size, self._at).ljust(size, b"\0"))
        for start, content in self._beyond:
            first, last = max(start, self._at), min(start + len(content), self._at + size)
            if first < last:
                found[first - self._at : last - self._at] = content[first - start : last - start]
        return bytes(found)

    def truncate(self, size: int) -> int:
        with self._keeping():
            self._file.truncate(size)
        return size

    def flush(self) -> None:
        """What is written is with the system already."""

    @contextmanager
    def _keeping(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self.error = self.error or error
