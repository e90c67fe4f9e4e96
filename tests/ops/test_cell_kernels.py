"""The kernels of fb.cells: thin of cells of any length, and what is left without the counts of 0."""

import functools
import itertools

import numpy as np
import pytest

import fastblackout as fb
from fastblackout.cells import draws

RNG = fb.Philox(seed=2**63 + 5, first_sample=3, call=2)
# Empty cells at both ends and between, and lengths around the vectors and the chunks of the kernels.
PER_CELL = np.array([0, 1, 15, 16, 17, 0, 64, 130, 1024, 1025, 4096, 4100, 3, 0])
CELLS, SIZE = len(PER_CELL), int(PER_CELL.sum())
_random = np.random.default_rng(0)
COUNTS = _random.geometric(0.02, SIZE) * (_random.random(SIZE) < 0.6)
GENES = _random.integers(0, 1 << 30, SIZE)
P = _random.random(CELLS)
P[[6, 7]] = 0, 1


def counts_of(dtype):
    """Counts that need the dtype."""
    counts = COUNTS.astype(dtype) if dtype != "uint8" else np.minimum(COUNTS, 255).astype(dtype)
    if dtype != "uint8":
        counts[100:3000:97] = {"int32": 2**31 - 1, "int64": 2**53}[dtype]
        counts[200:3000:97] = 256
    return counts


ALIVE = {"number": 0.3, "pair": fb.Prob(0.75, 0.25), "each": P}
ENDS = draws.ends_of(PER_CELL)


@functools.cache
def wanted(dtype, name):
    """What the reference of thin draws, cell by cell."""
    counts, drawn = counts_of(dtype), []
    for cell, (start, stop) in enumerate(itertools.pairwise(ENDS)):
        own = P[cell] if name == "each" else ALIVE[name]
        how = {"max_count": int(counts.max()), "rng": RNG.at(first_sample=RNG.first_sample + cell), "outputs": "x_t"}
        drawn.append(fb.thin(counts[None, start:stop], own, backend="reference", **how).x_t[0])
    return np.concatenate(drawn)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("alive", ALIVE)
def test_each_cell_is_thinned_as_a_sample(backend, dtype, alive):
    counts = counts_of(dtype)
    drawn = draws.thinned(counts, PER_CELL, ALIVE[alive], RNG)
    assert drawn.dtype == dtype and np.array_equal(counts, counts_of(dtype))
    assert np.array_equal(drawn, wanted(dtype, alive))


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64"])
@pytest.mark.parametrize("index", ["int32", "int64", "uint32", "int16"])
def test_what_is_not_0_is_kept(backend, dtype, index):
    counts, genes = counts_of(dtype), GENES.astype(index)
    kept, kept_genes, per_cell = draws.above_0(counts, genes, PER_CELL)
    assert kept.dtype == dtype and kept_genes.dtype == (index if index == "int32" else "int64")
    assert np.array_equal(kept, counts[counts > 0]) and np.array_equal(kept_genes, genes[counts > 0])
    parts = np.split(counts > 0, np.cumsum(PER_CELL)[:-1])
    assert per_cell.tolist() == [part.sum() for part in parts]
    for none in (np.zeros(0, dtype), np.zeros(20, dtype)):
        of = np.array([0, len(none), 0])
        kept, kept_genes, per_cell = draws.above_0(none, genes[: len(none)], of)
        assert len(kept) == len(kept_genes) == 0 and per_cell.tolist() == [0, 0, 0]


def test_any_number_of_threads_draws_the_same():
    often = 8  # so that they are enough to be worth a thread
    counts, per_cell = np.tile(counts_of("uint8"), often), np.tile(PER_CELL, often)
    drawn = []
    for threads in (1, 3):
        with fb.use_backend("cpu", threads=threads):
            drawn.append(draws.thinned(counts, per_cell, np.tile(P, often), RNG))
    assert np.array_equal(*drawn)


def test_ends_that_are_wrong_read_no_memory():
    _cpu = pytest.importorskip("fastblackout._cpu")
    counts, genes, key = np.ones(5, np.uint8), np.arange(5), (1, 0, 0)
    for ends in ([0, 6], [1, 5], [0, 4], [0, 7, 3, 5]):
        ends = np.array(ends)
        how = (len(ends) - 1, len(counts)), 1, -1, counts, ends
        half = np.full(len(ends) - 1, 0.5)
        with pytest.raises(ValueError, match="^thin_cells: the cells must end one after the other"):
            _cpu.thin_cells(*how, half, half, key, counts)
        with pytest.raises(ValueError, match="^keep_counts: the cells must end one after the other"):
            _cpu.keep_counts(*how, genes, counts, genes, ends)


def test_dtypes_that_the_kernels_do_not_know_read_no_memory():
    _cpu = pytest.importorskip("fastblackout._cpu")
    counts, genes, ends, key = np.ones(5, np.uint8), np.arange(5), np.array([0, 5]), (1, 0, 0)
    kept, half = ends.copy(), np.full(1, 0.5)
    for wrong in (counts.astype("int16"), counts.astype("float32")):
        with pytest.raises(ValueError, match="^thin_cells: counts: must have a dtype that the kernel knows"):
            _cpu.thin_cells((1, 5), 1, -1, wrong, ends, half, half, key, wrong)
        with pytest.raises(ValueError, match="^keep_counts: counts: must have a dtype that the kernel knows"):
            _cpu.keep_counts((1, 5), 1, -1, wrong, ends, genes, wrong, genes, kept)
        with pytest.raises(ValueError, match="^keep_counts: genes: must have a dtype that the kernel knows"):
            _cpu.keep_counts((1, 5), 1, -1, counts, ends, wrong, counts, wrong, kept)
