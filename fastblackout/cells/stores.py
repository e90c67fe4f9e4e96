"""Counts of cells in an .h5ad file or a zarr store, read and written by blocks of cells.

h5py and zarr have the same groups and arrays, but for how an array is made. anndata reads and writes obs and var.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..atomic_files import atomic_path
from ..call.annotated import listed, new_of
from ..data.cells import import_anndata
from ..ground.extras import lacking
from .blocks import Stored, check_shape, runs
from .rows import Ints

SUFFIXES = H5AD, ZARR = ".h5ad", ".zarr"
_CHUNK = 1 << 17  # values in a chunk of what is written
_READ = 1 << 20  # values of a CSC matrix that are read at once


class Store:
    """The cells of a file or store, of `shape`; described: an AnnData of them without counts, as new ones are made."""

    def __init__(self, op: str, path: Path, layer: str | None) -> None:
        self.op, self.path, self._files = op, path, contextlib.ExitStack()
        if path.suffix not in (H5AD, ZARR) or not (path.is_file() if path.suffix == H5AD else path.is_dir()):
            there = "" if path.exists() else ", which does not exist"
            raise ValueError(f"{op}: adata: must be an AnnData, a .h5ad file or a .zarr store, got {path}{there}")
        module = import_anndata(op, "adata")
        try:
            group = self._files.enter_context(_opened(f"{op}: adata", path, "r"))
            obs, var = (_io().read_elem(group[name]) for name in ("obs", "var"))
            self._counts = self._find(group, layer)
            self.encoding = str(self._counts.attrs.get("encoding-type", ""))
        except Exception as error:  # a damaged file may fail in any way
            self._fail(error)
        self.described = new_of(module.AnnData(obs=obs, var=var), None)
        self.shape = check_shape(op, (len(obs), len(var)))
        if self.encoding not in ("array", "csr_matrix", "csc_matrix"):
            rule = "counts must be an array or a matrix in CSR or CSC format, as anndata 0.7 and later write them"
            self._fail(ValueError(f"{op}: adata: {rule}, got {self.encoding or 'others'} in {path}"))

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.close()

    def _find(self, group: Any, layer: str | None) -> Any:
        layers = group["layers"] if "layers" in group else {}
        if layer is not None:
            if layer not in layers:
                raise ValueError(f"{self.op}: layer: must be one of {listed(layers)}, got {layer!r}")
            return layers[layer]
        if "X" not in group or group["X"].attrs.get("encoding-type") == "null":
            there = f" (its layers: {listed(layers)})" if len(layers) else ""
            raise ValueError(f"{self.op}: adata: must have counts in X, got {self.path} without X{there}")
        return group["X"]

    def _fail(self, error: Exception) -> NoReturn:
        self._files.close()
        if str(error).startswith(f"{self.op}: "):
            raise error
        reason = (str(error) or type(error).__name__).splitlines()[0][:300]
        raise ValueError(f"{self.op}: {self.path}: not a readable file of an AnnData: {reason}") from None

    def blocks(self, chunk_size: int | None) -> Iterator[Any]:
        """The rows of all cells in their order, chunk_size at a time: arrays, or Stored."""
        read = {"array": self._dense, "csr_matrix": self._csr, "csc_matrix": self._csc}[self.encoding]
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
            yield self._counts[cells]

    def _csr(self, chunk_size: int | None) -> Iterator[Any]:
        data, genes, ends = self._arrays()
        for cells in runs(ends, chunk_size):
            part = slice(int(ends[cells.start]), int(ends[cells.stop]))
            yield self._stored(data[part], genes[part], ends[cells.start : cells.stop + 1] - part.start)

    def _csc(self, chunk_size: int | None) -> Iterator[Any]:
        """By way of a temporary file, in which the counts of one block of cells stand after those of another."""
        data, cells, starts = self._arrays()
        size = data.shape[0]
        reads = [slice(start, min(start + _READ, size)) for start in range(0, size, _READ)]
        per_cell = np.zeros(self.shape[0], np.int64)
        for part in reads:
            per_cell += np.bincount(cells[part], minlength=len(per_cell))
        ends = np.concatenate(([0], np.cumsum(per_cell)))
        blocks = list(runs(ends, chunk_size))
        firsts = np.array([block.start for block in blocks], np.int64)
        entry = np.dtype([("cell", np.uint32), ("gene", np.uint32), ("count", data.dtype)])
        to = ends[firsts]
        with tempfile.TemporaryFile() as file:
            for part in reads:
                entries = np.empty(part.stop - part.start, entry)
                entries["cell"], entries["count"] = cells[part], data[part]
                entries["gene"] = np.searchsorted(starts, np.arange(part.start, part.stop), "right") - 1
                of = np.searchsorted(firsts, entries["cell"], "right") - 1
                entries, numbers = entries[np.argsort(of, kind="stable")], np.bincount(of, minlength=len(blocks))
                for block in np.flatnonzero(numbers):
                    own, entries = np.split(entries, [numbers[block]])
                    file.seek(to[block] * entry.itemsize)
                    file.write(own.tobytes())
                    to[block] += len(own)
            for block in blocks:
                own_ends = ends[block.start : block.stop + 1] - ends[block.start]
                file.seek(ends[block.start] * entry.itemsize)
                entries = np.frombuffer(file.read(int(own_ends[-1]) * entry.itemsize), entry)
                entries = entries[np.argsort(entries["cell"], kind="stable")]
                yield self._stored(entries["count"], entries["gene"], own_ends)

    def _arrays(self) -> tuple[Any, Any, Ints]:
        """The arrays of a sparse matrix, of which the last, a number for each cell or gene, is read."""
        data, indices, ends = (self._counts[name] for name in ("data", "indices", "indptr"))
        ends = np.asarray(ends[:]).astype(np.int64)
        size = self.shape[0] if self.encoding == "csr_matrix" else self.shape[1]
        right = len(ends) == size + 1 and ends[0] == 0 and (np.diff(ends) >= 0).all()
        if not right or not data.shape == indices.shape == (ends[-1],):
            raise ValueError("its indptr does not fit")
        return data, indices, ends

    def _stored(self, data: Any, genes: Any, ends: Ints) -> Stored:
        """In canonical order."""
        from scipy.sparse import csr_matrix

        if len(genes) and not 0 <= genes.min() <= genes.max() < self.shape[1]:
            raise ValueError("it has an index of no gene")
        rows = csr_matrix((data, genes, ends), shape=(len(ends) - 1, self.shape[1]))
        rows.sum_duplicates()
        return Stored(rows.data, rows.indices, np.diff(rows.indptr).astype(np.int64))

    def filters(self, path: Path) -> dict[str, Any]:
        """How arrays in a new file are compressed: as in this one."""
        if self.path.suffix == path.suffix == H5AD:
            like = self._counts if self.encoding == "array" else self._counts["data"]
            return {"compression": like.compression, "compression_opts": like.compression_opts}
        return {}

    @contextlib.contextmanager
    def writing(self, path: Path) -> Iterator[Callable[[Any], None]]:
        """A function that takes the new counts of all cells, block by block; then they are a file or store, else none."""
        how, dense = self.filters(path), self.encoding == "array"
        with atomic_path(path) as made, _opened(f"{self.op}: out", made, "w") as group:
            _io().write_elem(group, "/", self.described)
            ends = [np.zeros(1, np.int64)]
            if dense:
                arrays = {"X": _array(group, "X", self._counts.dtype, (0, self.shape[1]), how)}
                arrays["X"].attrs.update({"encoding-type": "array", "encoding-version": "0.2.0"})
            else:
                x = group.create_group("X")
                x.attrs.update({"encoding-type": "csr_matrix", "encoding-version": "0.1.0"})
                x.attrs["shape"] = self.shape
                kinds = {"data": self._counts["data"].dtype, "indices": np.int32, "indptr": np.int64}
                arrays = {name: _array(x, name, dtype, (0,), how) for name, dtype in kinds.items()}

            def add(rows: Any) -> None:
                if dense:
                    _append(arrays["X"], rows)
                    return
                _append(arrays["data"], rows.data)
                _append(arrays["indices"], rows.genes)
                ends.append(ends[-1][-1] + np.cumsum(rows.per_cell))

            yield add
            if not dense:
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


@contextlib.contextmanager
def _opened(where: str, path: Path, mode: str) -> Iterator[Any]:
    """The root group of a file or store, whose suffix tells which it is."""
    if path.suffix == H5AD:
        import h5py

        with h5py.File(path, mode) as file:
            yield file
        return
    try:
        import zarr
    except ImportError:
        raise lacking(where, "zarr") from None
    # All releases of zarr read its second format.
    how = {"zarr_format": 2} if mode == "w" and hasattr(zarr.Group, "create_array") else {}
    yield zarr.open_group(str(path), mode=mode, **how)


def _io() -> Any:
    """The module of anndata that has read_elem and write_elem."""
    try:
        return importlib.import_module("anndata.io")
    except ImportError:  # before anndata 0.11
        return importlib.import_module("anndata.experimental")
