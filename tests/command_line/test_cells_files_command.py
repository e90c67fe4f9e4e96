"""split, thin and downsample of files of cells: the draws of fb.cells in memory, and what is refused."""

import numpy as np
import pytest

import fastblackout as fb
from fastblackout.cli.command_line import main
from support.simulated_cells import anndata, simulated, write_zarr

h5py = pytest.importorskip("h5py")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A file and a store of cells, whose layer has other counts than X."""
    folder, data = tmp_path_factory.mktemp("home"), cells()
    data.write_h5ad(folder / "cells.h5ad")
    write_zarr(data, folder / "cells.zarr")
    return folder


def cells():
    data = simulated(30)
    data.layers["raw"] = data.X * 3
    return data


def read(path):
    return (anndata.read_h5ad if path.endswith(".h5ad") else anndata.read_zarr)(path).X.toarray()


@pytest.mark.parametrize(
    "line,paths,draw",
    [
        ("split cells.h5ad a.h5ad b.zarr", "a.h5ad b.zarr", lambda d: fb.cells.split(d, rng=0)),
        (
            "split cells.zarr a.h5ad b.h5ad --folds=.8,.2 --overdispersion=2 --seed=3 --layer=raw",
            "a.h5ad b.h5ad",
            lambda d: fb.cells.split(d, (0.8, 0.2), 2.0, layer="raw", rng=3),
        ),
        ("split cells.h5ad a.h5ad b.h5ad c.h5ad", "a.h5ad b.h5ad c.h5ad", lambda d: fb.cells.split(d, 3, rng=0)),
        ("thin cells.h5ad a.h5ad --alive=.5", "a.h5ad", lambda d: [fb.cells.thin(d, 0.5, rng=0)]),
        ("thin cells.zarr a.zarr --alive=.1 --layer=raw --seed=2", "a.zarr",
         lambda d: [fb.cells.thin(d, 0.1, layer="raw", rng=2)]),
        ("downsample cells.h5ad a.h5ad --counts-per-cell=50", "a.h5ad", lambda d: [fb.cells.downsample(d, 50, rng=0)]),
        ("downsample cells.zarr a.h5ad --counts-per-cell=90 --layer=raw --seed=1", "a.h5ad",
         lambda d: [fb.cells.downsample(d, 90, layer="raw", rng=1)]),
    ],
)  # fmt: skip
def test_the_draws_are_those_in_memory(place, capsys, line, paths, draw):
    assert main(line.split()) == 0
    assert capsys.readouterr().out.split() == paths.split()
    for path, part in zip(paths.split(), draw(cells()), strict=True):
        assert np.array_equal(read(path), part.X.toarray())


@pytest.mark.parametrize(
    "line,words",
    [
        ("split cells.h5ad a.h5ad a.h5ad", "split: out: must be 2 paths that differ, got a.h5ad twice"),
        ("split cells.h5ad a.h5ad b.h5ad --folds=.5,.2,.3", "split: out: must be 3 paths that differ, got 2"),
        ("split cells.h5ad a.h5ad", "split: folds: must be"),
        ("split cells.h5ad a.h5ad cells.h5ad", "split: out: must not exist yet, got cells.h5ad (adata itself)"),
        ("split none.h5ad a.h5ad b.h5ad", "got none.h5ad, which does not exist"),
        ("split cells.h5ad a.h5ad b.csv", "split: out: must end in .h5ad or .zarr, got b.csv"),
        ("split cells.h5ad a.h5ad no/b.h5ad", "split: out: must be in a folder that exists, got no/b.h5ad"),
        ("thin cells.h5ad a.h5ad --alive=1.5", "thin: alive: must be in [0, 1], got 1.5"),
        ("thin cells.h5ad a.h5ad --alive=.5 --layer=no", "thin: layer: must be one of 'rates', 'raw', got 'no'"),
        ("downsample cells.h5ad a.h5ad --counts-per-cell=-1", "counts_per_cell: must be whole numbers in 0..2^53"),
        ("downsample cells.h5ad a.h5ad --counts-per-cell=5 --seed=-1", "must be"),
    ],
)
def test_what_is_wrong_is_named(place, capsys, line, words):
    before = sorted(place.rglob("*"))
    assert main(line.split()) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and words in error and error.startswith(f"fastblackout {line.split()[0]}: "), error
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(
    "line,words",
    [
        ("split cells.h5ad", "required: PART"),
        ("split cells.h5ad a.h5ad b.h5ad --folds=x", "must be a number, or numbers with commas, got 'x'"),
        ("thin cells.h5ad a.h5ad", "required: --alive"),
        ("thin cells.h5ad a.h5ad b.h5ad --alive=.5", "unrecognized arguments: b.h5ad"),
        ("downsample cells.h5ad a.h5ad", "required: --counts-per-cell"),
    ],
)
def test_a_wrong_command_is_named(place, capsys, line, words):
    with pytest.raises(SystemExit, match="2"):
        main(line.split())
    assert words in capsys.readouterr().err
