"""Splits, thinning and downsampling of cells, in memory or from file to file by blocks of cells."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from ..atomic_files import atomic_paths
from ..call.annotated import is_annotated
from ..call.composed import DrawKeys
from ..call.keys import late_key, resolve_rng
from ..call.numbers import MAX_COUNT
from ..data.cell_files import SUFFIXES
from ..ground.values import check_integer, real_array, shown
from ..ops.split import LEAST, MOST, RULE, weights_of
from ..philox import Philox
from ..reference.philox import Stream
from .blocks import Block
from .memory import Memory
from .rows import downsampled, later, parts_of, sums, thinned
from .stores import Store

if TYPE_CHECKING:
    from anndata import AnnData

    from ..philox import Rng
    from ..typing import Array

    PathLike: TypeAlias = str | os.PathLike[str]

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
