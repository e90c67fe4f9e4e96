"""Counts of cells in an .h5ad file or a zarr store, read and written by blocks of cells."""

from __future__ import annotations

import contextlib
import errno
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..atomic_files import naming
from ..call.annotated import listed, new_of
from ..data.cell_files import H5AD, check_stored, elements, made, opened
from ..data.cells import import_anndata
from .blocks import Stored, check_shape, runs
from .rows import Ints

_CHUNK = 1 << 17  # values in a chunk of what is written
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_READ = 1 << 20  # values of a CSC matrix that are read at once


class Store:
    """The cells of a file or store, of `shape`; described: an AnnData of them without counts, as new ones are made.

    folder: where a temporary file may lie.
    """

    def __init__(self, op: str, path: Path, layer: str | None, folder: Path) -> None:
        self.op, self.path, self._folder, self._files = op, path, folder, contextlib.ExitStack()
        check_stored(op, "adata", path, "an AnnData, ")
        module = import_anndata(op, "adata")
        try:
            group = self._files.enter_context(opened(f"{op}: adata", path))
            obs, var = (elements().read_elem(group[name]) for name in ("obs", "var"))
            self.described = new_of(module.AnnData(obs=obs, var=var), None)
            self.described.strings_to_categoricals()  # some strings can be written as categories alone
            self.shape, self.layers = check_shape(op, (len(obs), len(var))), list(group.get("layers", {}))
            self._take(self._find(group, layer))
        except Exception as error:  # a damaged file may fail in any way
            self._fail(error)

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def _find(self, group: Any, layer: str | None) -> Any:
        layers = group.get("layers", {})
        if layer is not None:
            if layer not in layers:
                raise ValueError(f"{self.op}: layer: must be one of {listed(layers)}, got {layer!r}")
            return layers[layer]
        if "X" not in group or group["X"].attrs.get("encoding-type") == "null":
            there = f" (its layers: {listed(layers)})" if len(layers) else ""
            raise ValueError(f"{self.op}: adata: must have counts in X, got {self.path} without X{there}")
        return group["X"]

    def _take(self, counts: Any) -> None:
        """The arrays of the counts. Of a sparse matrix the ends are read: a number for each cell or gene."""
        self._encoding = encoding = str(counts.attrs.get("encoding-type", ""))
        if encoding == "array":
            self._data, right = counts, counts.shape == self.shape
        elif encoding in ("csr_matrix", "csc_matrix"):
            self._data, self._indices = counts["data"], counts["indices"]
            self._ends: Ints = np.asarray(counts["indptr"][:]).astype(np.int64)
            right = len(self._ends) == self.shape[encoding == "csc_matrix"] + 1 and self._ends[0] == 0
            right = right and (np.diff(self._ends) >= 0).all()
            right = right and self._data.shape == self._indices.shape == (self._ends[-1],)
        else:
            rule = "counts must be an array or a matrix in CSR or CSC format, as anndata 0.7 and later write them"
            raise ValueError(f"{self.op}: adata: {rule}, got {encoding or 'others'} in {self.path}")
        if not right:
            raise ValueError(f"{self.op}: adata: its arrays must fit its cells and genes, got others in {self.path}")

    def _fail(self, error: Exception) -> NoReturn:
        self._files.close()
        if isinstance(error, OSError) and error.errno in _FULL:
            with naming(self._folder):  # of the temporary file: reading fills no disk
                raise error
        if isinstance(error, MemoryError) or str(error).startswith(f"{self.op}: "):
            raise error
        reason = (str(error) or type(error).__name__).splitlines()[0][:300]
        raise ValueError(f"{self.op}: adata: must be a file of an AnnData, got {self.path}: {reason}") from None

    def blocks(self, chunk_size: int | None) -> Iterator[Any]:
        """The rows of all cells in their order, chunk_size at a time: arrays, or Stored."""
        read = {"array": self._dense, "csr_matrix": self._csr, "csc_matrix": self._csc}[self._encoding]
        blocks = read(chunk_size)
        while True:
            try:
                block = next(blocks, None)
            except Exception as error:
                self._fail(error)
            if block is None:
                return
            yield block

    def _dense(self, chunk_size: int | None) -> Iterator[Any]:
        ends = np.arange(self.shape[0] + 1) * self.shape[1]
        for cells in runs(ends, chunk_size):
            yield self._data[cells]

    def _csr(self, chunk_size: int | None) -> Iterator[Any]:
        ends = self._ends
        for cells in runs(ends, chunk_size):
            part = slice(int(ends[cells.start]), int(ends[cells.stop]))
            yield self._stored(self._data[part], self._indices[part], ends[cells.start : cells.stop + 1] - part.start)

    def _csc(self, chunk_size: int | None) -> Iterator[Any]:
        """By way of a temporary file, in which the counts of one block of cells stand after those of another."""
        data, cells, size = self._data, self._indices, self._data.shape[0]
        reads = [slice(start, min(start + _READ, size)) for start in range(0, size, _READ)]
        per_cell = np.zeros(self.shape[0], np.int64)
        for part in reads:
            per_cell += np.bincount(cells[part], minlength=len(per_cell))
        ends = np.concatenate(([0], np.cumsum(per_cell)))
        blocks = list(runs(ends, chunk_size))
        firsts = np.array([block.start for block in blocks], np.int64)
        entry = np.dtype([("cell", np.uint32), ("gene", np.uint32), ("count", data.dtype)])
        to = ends[firsts]
        with tempfile.TemporaryFile(dir=self._folder) as file:
            for part in reads:
                entries = np.empty(part.stop - part.start, entry)
                entries["cell"], entries["count"] = cells[part], data[part]
                entries["gene"] = np.searchsorted(self._ends, np.arange(part.start, part.stop), "right") - 1
                of = np.searchsorted(firsts, entries["cell"], "right") - 1
                entries, numbers = entries[np.argsort(of, kind="stable")], np.bincount(of, minlength=len(blocks))
                for number in np.flatnonzero(numbers):
                    own, entries = np.split(entries, [numbers[number]])
                    file.seek(int(to[number]) * entry.itemsize)
                    file.write(own.tobytes())
                    to[number] += len(own)
            for block in blocks:
                own_ends = ends[block.start : block.stop + 1] - ends[block.start]
                file.seek(int(ends[block.start]) * entry.itemsize)
                entries = np.frombuffer(file.read(int(own_ends[-1]) * entry.itemsize), entry)
                entries = entries[np.argsort(entries["cell"], kind="stable")]
                yield self._stored(entries["count"], entries["gene"], own_ends)

    def _stored(self, data: Any, genes: Any, ends: Ints) -> Stored:
        """In canonical order."""
        from scipy.sparse import csr_matrix

        if len(genes) and not 0 <= genes.min() <= genes.max() < self.shape[1]:
            raise IndexError(f"gene {int(genes.max())} of {self.shape[1]}")
        rows = csr_matrix((data, genes, ends), shape=(len(ends) - 1, self.shape[1]))
        rows.sum_duplicates()
        return Stored(rows.data, rows.indices, np.diff(rows.indptr).astype(np.int64))

    @contextlib.contextmanager
    def writing(self, path: Path, target: Path) -> Iterator[Callable[[Any], None]]:
        """A new file or store at `path`, which becomes `target`: a function that takes its counts, block by block."""
        how: dict[str, Any] = {}
        dense = self._encoding == "array"
        if self.path.suffix == target.suffix == H5AD:
            how = {"compression": self._data.compression, "compression_opts": self._data.compression_opts}
        with made(f"{self.op}: out", path, target) as new:
            with new.writing() as group:
                elements().write_elem(group, "/", self.described)
                ends = [np.zeros(1, np.int64)]
                if dense:
                    arrays = {"X": _array(group, "X", self._data.dtype, (0, self.shape[1]), how)}
                    arrays["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
                else:
                    x = group.create_group("X")
                    x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
                    x.attrs["shape"] = self.shape
                    index = np.int32 if self._data.shape[0] < 1 << 31 else np.int64  # one for both, as scipy has them
                    kinds = {"data": self._data.dtype, "indices": index, "indptr": index}
                    arrays = {name: _array(x, name, dtype, (0,), how) for name, dtype in kinds.items()}

            def add(rows: Any) -> None:
                with new.writing():
                    if dense:
                        _append(arrays["X"], rows)
                        return
                    _append(arrays["data"], rows.data.astype(self._data.dtype))
                    _append(arrays["indices"], rows.genes)
                    ends.append(ends[-1][-1] + np.cumsum(rows.per_cell))

            yield add
            if not dense:
                with new.writing():
                    _append(arrays["indptr"], np.concatenate(ends))


def _append(array: Any, rows: Any) -> None:
    before = array.shape[0]
    array.resize((before + rows.shape[0], *array.shape[1:]))
    array[before:] = rows


def _array(group: Any, name: str, dtype: Any, shape: tuple[int, ...], how: dict[str, Any]) -> Any:
    """An empty array that grows along dimension 0."""
    chunks = (max(1, _CHUNK // max(1, *shape[1:], 1)), *(max(1, size) for size in shape[1:]))
    if hasattr(group, "create_array"):  # of zarr 3
        return group.create_array(name, shape=shape, chunks=chunks, dtype=dtype)
    if hasattr(group, "store"):  # of zarr 2
        return group.create_dataset(name, shape=shape, chunks=chunks, dtype=dtype)
    return group.create_dataset(name, shape=shape, maxshape=(None, *shape[1:]), chunks=chunks, dtype=dtype, **how)
