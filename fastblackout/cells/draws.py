"""Draws for cells, of which each is a sample: its elements are its counts above 0, in the order of the genes.

What a cell is given depends on its number and on its own counts alone. It does not depend on other cells, on how a
matrix is stored, or on the blocks that it is read by. docs/draw.md specifies the draws, "Cells".

The counts of several cells stand one after the other here, with the number of them in each cell, as in a CSR matrix.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..backends import host, select
from ..call.elements import DrawKeys
from ..call.numbers import MAX_COUNT
from ..data.cells import RAW, raw_rule
from ..ops.beta_binomial import beta_binomial
from ..ops.split import halved, sum_of
from ..philox import Philox
from ..probability import Prob
from ..reference import cells as reference

Ints = NDArray[np.int64]
_AT_ONCE = 1 << 16  # counts that are filled up and drawn together, so that they stay in a cache
_OF_BLOCK = 1 << 18  # values of a block of several cells


def thinned(counts: Any, per_cell: Ints, alive: Any, rng: Philox) -> Any:
    """What is left of the counts; alive: a fb.Prob, one number, or one for each cell."""
    p, q = alive if isinstance(alive, Prob) else (alive, 1.0 - alive)
    p, q = (np.broadcast_to(side, len(per_cell)) for side in (p, q))
    drawn = np.empty_like(counts)
    fields = {"counts": counts, "ends": ends_of(per_cell), "p": p, "q": q, "key": rng}
    _run("thin_cells", reference.thin_cells, fields, {"drawn": drawn})
    return drawn


def above_0(counts: Any, genes: Any, per_cell: Ints) -> tuple[Any, Any, Ints]:
    """The counts above 0, their genes, and how many each cell has."""
    ends = ends_of(per_cell)
    if genes.dtype not in (np.int32, np.int64):  # indices of a matrix may be of any integer dtype
        genes = genes.astype(np.int64)
    kept, kept_genes, kept_ends = np.empty_like(counts), np.empty_like(genes), np.empty_like(ends)
    made = {"kept": kept, "kept_genes": kept_genes, "kept_ends": kept_ends}
    _run("keep_counts", reference.keep_counts, {"counts": counts, "ends": ends, "genes": genes}, made)
    return kept[: kept_ends[-1]], kept_genes[: kept_ends[-1]], np.diff(kept_ends)


def _run(name: str, twin: Callable[..., Any], fields: dict[str, Any], outputs: dict[str, Any]) -> None:
    """A kernel of csrc/cpu/cells.cpp, or its twin."""
    size = len(fields["ends"]) - 1, len(fields["counts"])
    host.run(name, twin, select.select_host("thin", "auto"), fields, outputs, size)


def ends_of(per_cell: Ints) -> Ints:
    """0 and the sums of the numbers of counts: where each cell ends."""
    ends = np.zeros(len(per_cell) + 1, np.int64)
    np.cumsum(per_cell, out=ends[1:])
    return ends


def parts_of(counts: Any, per_cell: Ints, weights: list[float], overdispersion: Any, keys: DrawKeys) -> list[Any]:
    """The counts divided by these weights; overdispersion: None, or one for each count."""
    total = sum_of(weights)

    def left_of(whole: Any, left: float, right: float, number: int) -> Any:
        rng = keys.of(number)
        if overdispersion is None:
            return thinned(whole, per_cell, Prob(left / (left + right), right / (left + right)), rng)
        return _left_of_overdispersed(whole, per_cell, overdispersion, left / total, right / total, rng)

    return halved(counts, weights, 0, left_of)


def _left_of_overdispersed(whole: Any, per_cell: Ints, sizes: Any, left: float, right: float, rng: Philox) -> Any:
    """fb.beta_binomial takes rows of one length: some cells at a time are filled up to the longest of them."""
    drawn, ends = np.empty_like(whole), ends_of(per_cell)
    for cells in _filled(per_cell):
        part = slice(ends[cells.start], ends[cells.stop])
        own = per_cell[cells, None].astype(np.uint32)
        taken = np.arange(own.max(), dtype=np.uint32) < own
        counts, each = np.ones(taken.shape, whole.dtype), np.ones(taken.shape)
        counts[taken], each[taken] = whole[part], sizes[part]
        drawn[part] = beta_binomial(counts, each * left, each * right, rng=later(rng, cells.start))[taken]
    return drawn


def _filled(per_cell: Ints) -> Iterator[slice]:
    """Cells that have at most _AT_ONCE counts when they are filled up, or one cell."""
    start = 0
    while start < len(per_cell):
        longest = np.maximum.accumulate(per_cell[start : start + _AT_ONCE])
        fit = np.searchsorted(longest * np.arange(1, len(longest) + 1), _AT_ONCE, "right")
        yield slice(start, start := start + max(1, int(fit)))


def downsampled(counts: Any, per_cell: Ints, depth: Ints, keys: DrawKeys) -> Any:
    """Of each cell so many molecules, drawn without replacement; all of them where it has no more.

    A pool of molecules is thinned, so that about as many are drawn as are wanted. Of those that are too many, some are
    put back; those that lack come from the rest. Either way a smaller number is wanted of another pool. All molecules
    of a pool are alike, so every choice of that many has the same chance, whatever the probability of the thinning.
    """
    kept, pool, at = np.zeros_like(counts), counts, slice(None)  # at: the places of the pool's counts
    total = sums(pool, per_cell)
    wanted, sign, number = np.minimum(depth, total), np.ones(len(per_cell), counts.dtype), 0
    while len(pool):
        # Where few are wanted of many, a few too many make the next pool a small one.
        spare = np.where(8 * wanted <= total, 2 * np.sqrt(wanted) + 1, 0.0)
        some = thinned(pool, per_cell, (wanted + spare) / np.maximum(total, 1), keys.of(number))
        kept[at] += np.repeat(sign, per_cell) * some  # modulo 2^8 or more: unsigned signs are 1 and the largest number
        found = sums(some, per_cell)
        over = found > wanted
        pool = np.where(np.repeat(over, per_cell), some, pool - some)
        total, sign, wanted = np.where(over, found, total - found), np.where(over, -sign, sign), abs(found - wanted)
        pool[np.repeat(wanted == 0, per_cell)] = 0
        pool, at, per_cell = above_0(pool, np.arange(len(counts)) if number == 0 else at, per_cell)
        number += 1
    return kept


def sums(values: Any, per_cell: Ints, dtype: Any = np.int64) -> Any:
    """The sum of the values of each cell."""
    found, some = np.zeros(len(per_cell), dtype), per_cell > 0  # reduceat would give an empty cell another's value
    if some.any():
        found[some] = np.add.reduceat(values, (np.cumsum(per_cell) - per_cell)[some], dtype=dtype)
    return found


def later(rng: Philox, cells: int) -> Philox:
    """The key of a cell that stands so many behind the first."""
    return rng.at(first_sample=rng.first_sample + cells)


def together(ends: Ints, most: int) -> Iterator[slice]:
    """Cells that have at most so many counts, or one cell; ends: (cells + 1,), 0 and the sums of counts per cell."""
    start = 0
    while start < len(ends) - 1:
        stop = max(start + 1, int(np.searchsorted(ends, ends[start] + most, "right")) - 1)
        yield slice(start, stop)
        start = stop


class Stored(NamedTuple):
    """Cells as CSR has them: the counts and their genes, cell after cell, and how many each cell has."""

    data: Any
    genes: Any
    per_cell: Ints


def runs(ends: Ints, chunk_size: int | None) -> Iterator[slice]:
    """The cells of each block: chunk_size, or as many as have _OF_BLOCK values.

    ends: (cells + 1,), 0 and the sums of the numbers of values.
    """
    if chunk_size is None:
        yield from together(ends, _OF_BLOCK)
    else:
        cells = len(ends) - 1
        yield from (slice(start, min(start + chunk_size, cells)) for start in range(0, cells, chunk_size))


def check_shape(op: str, shape: tuple[int, ...]) -> tuple[int, int]:
    """(cells, genes). ValueError where there are none."""
    cells, genes = shape
    if 0 in shape:
        raise ValueError(f"{op}: adata: must have cells and genes, got shape {(cells, genes)}")
    return cells, genes


class Block:
    """Some cells. counts: those above 0, cell after cell, in the order of genes; per_cell: how many each cell has.

    The counts have the least dtype that the draws take. rows: an array (cells, genes), or Stored in canonical order.
    where, layers: op and argument, and the layers that may hold raw counts, for errors.
    """

    def __init__(self, where: str, rows: Any, layers: Collection[str] = ()) -> None:
        self._rows = rows
        if isinstance(rows, Stored):
            self.counts, self.per_cell = _narrow(where, rows.data, layers), rows.per_cell
            self.genes = np.ascontiguousarray(rows.genes)
            if not self.counts.all():
                self.counts, self.genes, self.per_cell = above_0(self.counts, self.genes, self.per_cell)
        else:
            self._places = np.flatnonzero(rows)
            self.counts = _narrow(where, rows.ravel()[self._places], layers)
            self.per_cell = np.count_nonzero(rows, 1).astype(np.int64)
            self.genes = self._places % rows.shape[1]

    def of(self, drawn: Any) -> Any:
        """The same cells with other counts: Stored in the dtype of the drawn ones without those of 0, or an array."""
        if isinstance(self._rows, Stored):
            return Stored(*above_0(drawn, self.genes, self.per_cell))
        made = np.zeros_like(self._rows, order="C")
        made.ravel()[self._places] = drawn
        return made


def _narrow(where: str, values: Any, layers: Collection[str]) -> Any:
    """Counts as uint8, int32 or int64. ValueError unless they are whole numbers that the draws take."""
    if values.dtype.kind not in "iuf":
        raise ValueError(f"{where}: {RAW}, got dtype {values.dtype}")
    low, top = values.min(initial=0), values.max(initial=0)
    if not 0 <= low <= top <= MAX_COUNT:  # NaN among them
        wrong = values[~((values >= 0) & (values <= MAX_COUNT))]
    else:
        counts = values.astype(np.uint8 if top <= 255 else np.int32 if top < 1 << 31 else np.int64)
        wrong = values[counts != values] if values.dtype.kind == "f" else counts[:0]
        if not len(wrong):
            return counts
    raise ValueError(f"{where}: {raw_rule(layers)}, in 0..2^53, got {float(wrong[0]):.6g}")
