"""Splits, thinning and downsampling of cells, in memory or from file to file by blocks of cells."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, overload

import numpy as np

from ..atomic_files import atomic_paths, naming
from ..call.elements import DrawKeys
from ..call.foreign import is_annotated, listed, matrix_of, new_of
from ..call.keys import late_key, resolve_rng
from ..call.numbers import MAX_COUNT
from ..data.cell_files import H5AD, SUFFIXES, check_stored, elements, made, opened
from ..data.cells import import_anndata
from ..ground.values import check_integer, real_array, shown
from ..ops.split import LEAST, MOST, RULE, weights_of
from ..philox import Philox
from ..reference.philox import Stream
from .draws import Block, Ints, Stored, check_shape, downsampled, later, parts_of, runs, sums, thinned

if TYPE_CHECKING:
    from anndata import AnnData

    from ..philox import Rng
    from ..typing import Array

    PathLike: TypeAlias = str | os.PathLike[str]


class Memory:
    """The cells of an AnnData."""

    def __init__(self, op: str, data: Any, layer: str | None) -> None:
        self.op, self._data = op, data
        if data.isbacked:
            raise ValueError(f"{op}: adata: must be in memory, or the path of its file, got an AnnData in a file")
        matrix = matrix_of(op, "adata", data, layer)
        self._format, dense = getattr(matrix, "format", None), isinstance(matrix, np.ndarray)
        if not dense and self._format not in ("csr", "csc"):
            rule = "counts must be a NumPy array or a matrix of scipy.sparse in CSR or CSC format"
            raise TypeError(f"{op}: adata: {rule}, got {type(matrix).__name__}")
        if dense:
            self._rows: Any = np.ascontiguousarray(matrix)
        else:
            self._rows = matrix.tocsr()
            if not self._rows.has_canonical_format:
                self._rows = self._rows.copy()
                self._rows.sum_duplicates()
        self.shape, self.layers = check_shape(op, matrix.shape), list(data.layers)

    def blocks(self, chunk_size: int | None) -> Iterator[Any]:
        """The rows of all cells in their order, chunk_size at a time: arrays, or Stored."""
        if self._format is None:
            for cells in runs(np.arange(self.shape[0] + 1) * self.shape[1], chunk_size):
                yield self._rows[cells]
            return
        ends = self._rows.indptr.astype(np.int64)
        for cells in runs(ends, chunk_size):
            part = slice(ends[cells.start], ends[cells.stop])
            per_cell = np.diff(ends[cells.start : cells.stop + 1])
            yield Stored(self._rows.data[part], self._rows.indices[part], per_cell)

    def writing(self) -> _Parts:
        """Where new counts are put, block by block."""
        return _Parts(self._rows)

    def of(self, parts: _Parts) -> Any:
        """A new AnnData with these counts."""
        matrix = parts.matrix()
        return new_of(self._data, matrix if self._format is None else matrix.asformat(self._format))


class _Parts:
    """New counts of cells, which are put block after block where they stay.

    There is room for as many as the old ones were. What is left over is given back: memory that nobody has touched
    costs nothing.
    """

    def __init__(self, like: Any) -> None:
        self._like, self._ends, self._size = like, [np.zeros(1, np.int64)], 0
        if isinstance(like, np.ndarray):
            self._data = np.empty_like(like)
        else:
            self._data, self._genes = np.empty_like(like.data), np.empty_like(like.indices)

    def __call__(self, rows: Any) -> None:
        if isinstance(rows, np.ndarray):
            to = slice(self._size, self._size + len(rows))
            self._data[to] = rows
        else:
            to = slice(self._size, self._size + len(rows.data))
            self._data[to], self._genes[to] = rows.data, rows.genes
            self._ends.append(self._size + np.cumsum(rows.per_cell))
        self._size = to.stop

    def matrix(self) -> Any:
        """All counts, as a matrix like the old one."""
        if isinstance(self._like, np.ndarray):
            return self._data
        for array in (self._data, self._genes):
            array.resize(self._size, refcheck=False)
        made = self._data, self._genes, np.concatenate(self._ends)
        return type(self._like)(made, shape=self._like.shape)


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


_MOST_CELLS = (1 << 32) - 1
# Of a block of cells, which of all cells they are, and the key of the first of them: the counts of each part.
_Draw: TypeAlias = "Callable[[Block, slice, Philox], Sequence[Any]]"


@overload
def split(
    adata: AnnData,
    folds: int | Sequence[float] | Array = 2,
    overdispersion: float | Array | None = None,
    *,
    layer: str | None = None,
    out: None = None,
    chunk_size: int | None = None,
    rng: Rng | int = None,
) -> tuple[AnnData, ...]: ...
@overload
def split(
    adata: PathLike,
    folds: int | Sequence[float] | Array = 2,
    overdispersion: float | Array | None = None,
    *,
    layer: str | None = None,
    out: Sequence[PathLike],
    chunk_size: int | None = None,
    rng: Rng | int = None,
) -> tuple[Path, ...]: ...
def split(
    adata: AnnData | PathLike,
    folds: int | Sequence[float] | Array = 2,
    overdispersion: float | Array | None = None,
    *,
    layer: str | None = None,
    out: Sequence[PathLike] | None = None,
    chunk_size: int | None = None,
    rng: Rng | int = None,
) -> tuple[AnnData, ...] | tuple[Path, ...]:
    """Divide the counts of cells at random into parts that add up to them.

    ::

        Poisson(mean):                   parts ~ Multinomial(counts, e)
        NegativeBinomial(mean, size b):  parts ~ DirichletMultinomial(counts, b e)

    The parts have the law of those of fb.split, which says when they are independent. A file is read by blocks of
    cells, so that it may be larger than memory.

    Parameters
    ----------
    adata : AnnData or path
        Cells with raw counts in X or a layer, dense, CSR or CSC. Or the path of a .h5ad file or a .zarr store of them.
    folds : int or sequence of floats, optional
        How many parts of equal share, or the share of each part.
    overdispersion : number or array, optional
        None for Poisson counts. For negative binomial counts b of variance = mean + mean^2 / b, one number or one for
        each gene.
    layer : str, optional
        The layer that holds the counts. By default X does.
    out : sequence of paths, optional
        Of a file, the new .h5ad files or .zarr stores, one for each part. Of an AnnData None.
    chunk_size : int, optional
        How many cells are in memory at a time. By default they have some 260,000 values. It changes no counts.
    rng : Philox or int or Tensor, optional
        The key of the draw, or its seed. Without one a seed comes from torch's default generator.

    Returns
    -------
    tuple of AnnData or tuple of Path
        One for each part, with its counts in X, in the dtype of `adata`. They are dense, CSR or CSC as it is; of a CSC
        matrix in a file they are CSR. Counts of 0 are not stored. obs and var come along without columns of numbers, as
        with fb.split.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or a count is no whole number. No file is left then.

    Notes
    -----
    A cell's draw depends on `rng`, on its place among the cells and on its own counts alone. So dense, CSR and CSC
    counts, files and blocks of any size give the same parts. They are other draws than those of fb.split, which knows
    no cells in a sparse matrix.

    References
    ----------
    As of fb.split.

    Examples
    --------
    >>> import anndata
    >>> cells = anndata.AnnData(np.array([[10.0, 0.0], [3.0, 1000.0]]))
    >>> train, test = fb.cells.split(cells, rng=1)
    >>> train.X
    array([[  2.,   0.],
           [  2., 506.]])
    """
    op, weights = "split", weights_of(folds)
    paths = _paths(op, adata, out, len(weights))
    with _source(op, adata, layer, paths) as source:
        each = None if overdispersion is None else _of_genes(op, overdispersion, source.shape[1])

        def draw(block: Block, _: slice, rng: Philox) -> list[Any]:
            own = None if each is None else np.broadcast_to(each, source.shape[1:])[block.genes]
            return parts_of(block.counts, block.per_cell, weights, own, DrawKeys(Stream.SPLIT, rng))

        return _made(source, paths, len(weights), chunk_size, rng, draw)


@overload
def thin(
    adata: AnnData,
    alive: float | Array,
    *,
    layer: str | None = None,
    out: None = None,
    chunk_size: int | None = None,
    rng: Rng | int = None,
) -> AnnData: ...
@overload
def thin(
    adata: PathLike,
    alive: float | Array,
    *,
    layer: str | None = None,
    out: PathLike,
    chunk_size: int | None = None,
    rng: Rng | int = None,
) -> Path: ...
def thin(
    adata: AnnData | PathLike,
    alive: float | Array,
    *,
    layer: str | None = None,
    out: PathLike | None = None,
    chunk_size: int | None = None,
    rng: Rng | int = None,
) -> AnnData | Path:
    """Thin the counts of cells: each molecule is kept with a probability.

    ::

        kept ~ Binomial(counts, alive)

    Parameters
    ----------
    adata : AnnData or path
        Cells with raw counts, as in fb.cells.split.
    alive : number or array
        The probability in [0, 1], for all cells or one for each.
    layer : str, optional
        The layer that holds the counts. By default X does.
    out : path, optional
        Of a file, the new .h5ad file or .zarr store. Of an AnnData None.
    chunk_size : int, optional
        How many cells are in memory at a time. By default they have some 260,000 values. It changes no counts.
    rng : Philox or int or Tensor, optional
        The key of the draw, or its seed. Without one a seed comes from torch's default generator.

    Returns
    -------
    AnnData or Path
        The same cells with the counts that are kept in X, as of fb.cells.split.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or a count is no whole number. No file is left then.

    Notes
    -----
    As of fb.cells.split. The total of a cell is random here; fb.cells.downsample makes it a given number.

    Examples
    --------
    >>> import anndata
    >>> cells = anndata.AnnData(np.array([[10.0, 0.0], [3.0, 1000.0]]))
    >>> fb.cells.thin(cells, [0.5, 0.1], rng=1).X
    array([[  1.,   0.],
           [  0., 117.]])
    """
    op = "thin"
    paths = _paths(op, adata, None if out is None else [out], 1)
    with _source(op, adata, layer, paths) as source:
        each = _of_cells(op, "alive", alive, source.shape[0])
        if not ((each >= 0) & (each <= 1)).all():
            raise ValueError(f"{op}: alive: must be in [0, 1], got {each[~((each >= 0) & (each <= 1))][0]}")

        def draw(block: Block, cells: slice, rng: Philox) -> list[Any]:
            own = each[cells].astype(np.float64) if each.ndim else float(each)
            return [thinned(block.counts, block.per_cell, own, rng)]

        return _made(source, paths, 1, chunk_size, rng, draw)[0]


@overload
def downsample(
    adata: AnnData,
    counts_per_cell: int | Array,
    *,
    layer: str | None = None,
    out: None = None,
    chunk_size: int | None = None,
    rng: Rng | int = None,
) -> AnnData: ...
@overload
def downsample(
    adata: PathLike,
    counts_per_cell: int | Array,
    *,
    layer: str | None = None,
    out: PathLike,
    chunk_size: int | None = None,
    rng: Rng | int = None,
) -> Path: ...
def downsample(
    adata: AnnData | PathLike,
    counts_per_cell: int | Array,
    *,
    layer: str | None = None,
    out: PathLike | None = None,
    chunk_size: int | None = None,
    rng: Rng | int = None,
) -> AnnData | Path:
    """Draw a given number of each cell's molecules, without replacement.

    ::

        kept ~ MultivariateHypergeometric(counts of the cell, counts_per_cell)

    Parameters
    ----------
    adata : AnnData or path
        Cells with raw counts, as in fb.cells.split.
    counts_per_cell : int or array
        How many molecules a cell keeps, for all cells or one number for each. A cell that has no more keeps them all,
        as in scanpy.pp.downsample_counts.
    layer : str, optional
        The layer that holds the counts. By default X does.
    out : path, optional
        Of a file, the new .h5ad file or .zarr store. Of an AnnData None.
    chunk_size : int, optional
        How many cells are in memory at a time. By default they have some 260,000 values. It changes no counts.
    rng : Philox or int or Tensor, optional
        The key of the draw, or its seed. Without one a seed comes from torch's default generator.

    Returns
    -------
    AnnData or Path
        The same cells with the counts that are kept in X, as of fb.cells.split.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong, or a count is no whole number. No file is left then.

    Notes
    -----
    As of fb.cells.split. The law is exact. Cells are thinned, and then molecules are put back or taken until the number
    is right. Each set of molecules of a cell has the same chance to be kept (docs/draw.md, "Cells").

    Examples
    --------
    >>> import anndata
    >>> cells = anndata.AnnData(np.array([[10.0, 0.0], [3.0, 1000.0]]))
    >>> fb.cells.downsample(cells, 100, rng=1).X
    array([[ 10.,   0.],
           [  0., 100.]])
    """
    op, name = "downsample", "counts_per_cell"
    paths = _paths(op, adata, None if out is None else [out], 1)
    with _source(op, adata, layer, paths) as source:
        depth = _of_cells(op, name, counts_per_cell, source.shape[0])
        if (wrong := ~((depth >= 0) & (depth <= MAX_COUNT) & (np.floor(depth) == depth))).any():
            raise ValueError(f"{op}: {name}: must be whole numbers in 0..2^53, got {depth[wrong][0]}")
        depths = np.broadcast_to(depth.astype(np.int64), source.shape[:1])

        def draw(block: Block, cells: slice, rng: Philox) -> list[Any]:
            totals = sums(block.counts, block.per_cell, np.float64)
            if (wrong := totals >= 2.0**62).any():
                rule, at = "counts of a cell must add up to less than 2^62", wrong.argmax()
                raise ValueError(f"{op}: adata: {rule}, got {totals[at]:g} in cell {cells.start + at}")
            return [downsampled(block.counts, block.per_cell, depths[cells], DrawKeys(Stream.DOWNSAMPLE, rng))]

        return _made(source, paths, 1, chunk_size, rng, draw)[0]


def _made(
    source: Memory | Store, paths: list[Path], number: int, chunk_size: int | None, rng: Any, draw: _Draw
) -> tuple[Any, ...]:
    """The parts: new files, or where there are no paths AnnData."""
    op = source.op
    if chunk_size is not None:
        check_integer(op, "chunk_size", chunk_size, 1, _MOST_CELLS)
    key = resolve_rng(rng, None, op)
    late_key(key, None, op, source.shape[0])  # which has the rule of first_sample
    # The files are renamed when all of them are closed, so that there are all of them or none.
    with atomic_paths(paths) as unfinished, contextlib.ExitStack() as files:
        if isinstance(source, Store):
            add: Any = [files.enter_context(source.writing(*each)) for each in zip(unfinished, paths, strict=True)]
        else:
            add = [source.writing() for _ in range(number)]
        first = 0
        for rows in source.blocks(chunk_size):
            block = Block(f"{op}: adata", rows, source.layers)
            cells = slice(first, first := first + len(block.per_cell))
            for each, drawn in zip(add, draw(block, cells, later(key, cells.start)), strict=True):
                each(block.of(drawn))
    return tuple(paths if isinstance(source, Store) else map(source.of, add))


def _source(op: str, adata: Any, layer: str | None, paths: list[Path]) -> Any:
    """A context with the cells. Errors that they have by then are raised."""
    if is_annotated(adata):
        return contextlib.nullcontext(Memory(op, adata, layer))
    return Store(op, Path(adata), layer, paths[0].parent)


def _paths(op: str, adata: Any, out: Sequence[Any] | None, number: int) -> list[Path]:
    """Where the parts are written, nowhere for an AnnData."""
    if is_annotated(adata):
        if out is not None:
            raise ValueError(f"{op}: out: must be None for an AnnData in memory, got {out!r}")
        return []
    if not isinstance(adata, (str, os.PathLike)):
        raise TypeError(f"{op}: adata: must be an AnnData, or the path of a file of one, got {type(adata).__name__}")
    listed = isinstance(out, Sequence) and not isinstance(out, (str, os.PathLike))
    if out is None or not listed or not all(isinstance(path, (str, os.PathLike)) for path in out):
        what = "the path of a new file" if number == 1 else f"the paths of {number} new files"
        raise TypeError(f"{op}: out: must be {what} where adata is a path, got {shown(out)}")
    paths = [Path(path) for path in out]
    places = [os.path.realpath(path) for path in paths]
    if len(paths) != number or len(set(places)) != number:
        got = len(paths) if len(paths) != number else f"{paths[places.index(max(places, key=places.count))]} twice"
        raise ValueError(f"{op}: out: must be {number} paths that differ, got {got}")
    for path in paths:
        if path.suffix not in SUFFIXES:
            raise ValueError(f"{op}: out: must end in {' or '.join(SUFFIXES)}, got {path}")
        if os.path.lexists(path):
            same = " (adata itself)" if path.exists() and Path(adata).exists() and path.samefile(adata) else ""
            raise ValueError(f"{op}: out: must not exist yet, got {path}{same}")
        if not path.parent.is_dir():
            raise ValueError(f"{op}: out: must be in a folder that exists, got {path}")
    return paths


def _of_cells(op: str, name: str, value: Any, cells: int) -> Any:
    """One number, or one for each cell."""
    array = real_array(op, name, value)
    if array.shape not in ((), (cells,)):
        raise ValueError(f"{op}: {name}: must be one number or one for each of {cells} cells, got shape {array.shape}")
    return array


def _of_genes(op: str, value: Any, genes: int) -> Any:
    """The overdispersion, one number or one for each gene."""
    name = "overdispersion"
    array = real_array(op, name, value).astype(np.float64)
    if array.shape not in ((), (genes,)):
        raise ValueError(f"{op}: {name}: must be one number or one for each of {genes} genes, got shape {array.shape}")
    if (wrong := ~((array >= LEAST) & (array <= MOST))).any():
        raise ValueError(f"{op}: {name}: {RULE}, got {array[wrong][0]}")
    return array
