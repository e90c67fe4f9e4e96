"""fb.cells from file to file: the counts of the same cells in memory, what comes along, memory, and errors."""

import errno
import os
import shutil
import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

import fastblackout as fb
from fastblackout.data.cell_files import elements
from fastblackout.data.cells import load_h5ad, write_h5ad
from support.forks import Fork
from support.helpers import assert_named
from support.simulated_cells import write_zarr

anndata = pytest.importorskip("anndata")
h5py = pytest.importorskip("h5py")
pytest.importorskip("zarr")

RNG = fb.Philox(seed=2**63 + 5, first_sample=3, call=2)
KINDS = {"dense": np.asarray, "csr": sp.csr_matrix, "csc": sp.csc_matrix}
CELLS, GENES = 60, 30
_random = np.random.default_rng(0)
COUNTS = (_random.geometric(0.1, (CELLS, GENES)) * (_random.random((CELLS, GENES)) < 0.4)).astype(np.float32)
COUNTS[4], COUNTS[:, 7], COUNTS[9, 9] = 0, 0, 3000
DEPTHS = np.resize([0, 5, 40, 10**6], CELLS)
SUFFIXES = (".h5ad", ".zarr")


def cells(lay):
    data = anndata.AnnData(lay(np.sqrt(COUNTS)), layers={"raw": lay(COUNTS)})
    data.obs_names = [f"cell {n}" for n in range(CELLS)]
    data.obs["type"], data.obs["total"] = np.resize(["B", "T"], CELLS), COUNTS.sum(1)
    data.var["kind"], data.obsm["X_pca"] = "gene", COUNTS[:, :2]
    data.strings_to_categoricals()  # as files have them
    return data


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder, made = tmp_path_factory.mktemp("cells"), {}
    for name, lay in KINDS.items():
        cells(lay).write_h5ad(folder / f"{name}.h5ad", compression="gzip" if name == "csr" else None)
        write_zarr(cells(lay), folder / f"{name}.zarr")
        made |= {(name, suffix): folder / f"{name}{suffix}" for suffix in SUFFIXES}
    return made


def read(path):
    return anndata.read_h5ad(path) if path.suffix == ".h5ad" else anndata.read_zarr(path)


def dense(counts):
    return counts.toarray() if sp.issparse(counts) else counts


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", KINDS)
def test_the_same_counts_as_in_memory(files, tmp_path, monkeypatch, name, suffix):
    data, path = cells(KINDS[name]), files[name, suffix]
    draws = {
        "split": lambda x, **how: fb.cells.split(x, 3, **how),
        "thin": lambda x, out=None, **how: [fb.cells.thin(x, 0.3, out=out and out[0], **how)],
        "downsample": lambda x, out=None, **how: [fb.cells.downsample(x, DEPTHS, out=out and out[0], **how)],
    }
    blocks = ((None, 1 << 20, ".h5ad", "split"), (17, 70, ".zarr", "downsample"), (1, 200, ".h5ad", "thin"))
    for size, per_read, other, draw in blocks:
        monkeypatch.setattr("fastblackout.cells.files._READ", per_read)
        wanted = draws[draw](data, layer="raw", rng=RNG)
        out = [tmp_path / f"{draw}-{n}{other}" for n in range(len(wanted))]
        given = [str(file) for file in out]
        assert list(draws[draw](str(path), out=given, layer="raw", rng=RNG, chunk_size=size)) == out
        for file, like in zip(out, wanted, strict=True):
            part = read(file)
            assert np.array_equal(dense(part.X), dense(like.X)) and part.X.dtype == np.float32
            assert part.obs.equals(like.obs) and part.var.equals(like.var) and list(part.obs) == ["type"]
            assert not any(len(held) for held in (part.layers, part.obsm, part.uns)) and part.raw is None
            if name != "dense":
                assert part.X.format == "csr" and part.X.has_canonical_format and part.X.data.all()
                assert part.X.indptr.dtype == part.X.indices.dtype  # or scipy changes nothing in place
    assert len(list(tmp_path.iterdir())) == 5


def test_an_h5ad_file_is_compressed_as_the_one_it_is_made_of(files, tmp_path):
    for name, how in (("csr", "gzip"), ("csc", None)):
        with h5py.File(
            fb.cells.thin(files[name, ".h5ad"], 0.5, layer="raw", out=tmp_path / f"{name}.h5ad", rng=1)
        ) as file:
            assert file["X/data"].compression == file["X/indices"].compression == how


def test_cells_out_of_order_and_zeros(tmp_path):
    """A matrix whose genes are out of order, some twice, with zeros."""
    matrix = sp.csr_matrix(COUNTS)
    matrix.indices, matrix.data = matrix.indices[::-1].copy(), matrix.data[::-1].copy()
    matrix.indptr = (matrix.nnz - matrix.indptr[::-1]).astype(np.int32)
    matrix.has_sorted_indices = matrix.has_canonical_format = False
    matrix.indices[1], matrix.data[5] = matrix.indices[0], 0
    path = tmp_path / "loose.h5ad"
    anndata.AnnData(matrix).write_h5ad(path)
    with h5py.File(path) as file:
        assert np.array_equal(file["X/indices"][:], matrix.indices)
    drawn = read(fb.cells.split(path, out=[tmp_path / "a.h5ad", tmp_path / "b.h5ad"], rng=RNG)[0])
    assert np.array_equal(dense(drawn.X), fb.cells.split(anndata.AnnData(matrix.toarray()), rng=RNG)[0].X)


@pytest.mark.parametrize("name", KINDS)
def test_memory_does_not_grow_with_the_cells(tmp_path, monkeypatch, name):
    """Of 16 times the cells: what is left is obs, and some numbers a cell."""
    monkeypatch.setattr("fastblackout.cells.files._READ", 1 << 14)
    peaks, sizes = [], (1000, 16_000)
    for size in sizes:
        counts = _random.poisson(0.6, (size, 100)).astype(np.float32)
        path = tmp_path / f"{size}.h5ad"
        anndata.AnnData(KINDS[name](counts)).write_h5ad(path)
        del counts
        tracemalloc.start()
        fb.cells.downsample(path, 20, out=tmp_path / f"{size}-made.h5ad", chunk_size=500)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 400 * (sizes[1] - sizes[0]), peaks  # the counts are 800 bytes a cell, 400 dense


def test_errors_leave_no_file(files, tmp_path):
    path, harmed = files["csr", ".h5ad"], tmp_path / "harmed.h5ad"
    there, out = tmp_path / "there.h5ad", tmp_path / "new.h5ad"
    there.write_bytes(b"")
    (tmp_path / "folder.h5ad").mkdir()
    link = tmp_path / "link.h5ad"
    link.symlink_to("nowhere.h5ad")
    fractions = anndata.AnnData(COUNTS.copy())
    fractions.X[50, 3] = 2.5
    fractions.write_h5ad(harmed)
    before = sorted(tmp_path.iterdir())
    thin = lambda x=path, o=out, **how: fb.cells.thin(x, 0.5, **({"layer": "raw", "out": o} | how))  # noqa: E731
    calls = [
        (lambda: thin(harmed, layer=None, chunk_size=7), ValueError, "adata: must hold raw counts", "got 2.5"),
        (lambda: thin(layer=None), ValueError, "adata: must hold raw counts", "(a layer may have them: 'raw'), in 0"),
        (lambda: thin(layer="rwa"), ValueError, "layer: must be one of 'raw'", "'rwa'"),
        (lambda: thin(tmp_path / "no.h5ad"), ValueError, "adata: must be an AnnData, a .h5ad file", "does not exist"),
        (lambda: thin(tmp_path / "folder.h5ad"), ValueError, "adata: must be an AnnData, a .h5ad file", "folder.h5ad"),
        (lambda: thin(there), ValueError, "adata: must be a file of an AnnData", f"got {there}: "),
        (lambda: thin(o=None), TypeError, "out: must be the path of a new file", "None"),
        (lambda: thin(o=[out]), TypeError, "out: must be the path of a new file", "["),
        (lambda: thin(o=there), ValueError, "out: must not exist yet", "there.h5ad"),
        (lambda: thin(o=path), ValueError, "out: must not exist yet", "(adata itself)"),
        (lambda: thin(o=tmp_path / "new.loom"), ValueError, "out: must end in .h5ad or .zarr", "new.loom"),
        (lambda: thin(o=tmp_path / "no/new.h5ad"), ValueError, "out: must be in a folder that exists", "new.h5ad"),
        (lambda: thin(rng=fb.Philox(0, first_sample=2**32 - 5)), ValueError, "rng: first_sample + samples", "+ 60"),
    ]
    for call, error, rule, got in calls:
        assert_named(call, error, f"thin: {rule}", got)
        assert sorted(tmp_path.iterdir()) == before
    for wrong, error, rule, got in (
        ([out], ValueError, "must be 2 paths that differ", "got 1"),
        ([out, out], ValueError, "must be 2 paths that differ", "new.h5ad twice"),
        ([out, tmp_path / "folder.h5ad/../new.h5ad"], ValueError, "must be 2 paths that differ", "new.h5ad twice"),
        ([out, link], ValueError, "must not exist yet", "link.h5ad"),
        (out, TypeError, "must be the paths of 2 new files where adata is a path", "new.h5ad"),
        (None, TypeError, "must be the paths of 2 new files where adata is a path", "got None"),
    ):
        call = lambda w=wrong: fb.cells.split(path, layer="raw", out=w)  # noqa: E731
        assert_named(call, error, f"split: out: {rule}", got)
    backed = anndata.read_h5ad(path, backed="r")
    assert_named(
        lambda: fb.cells.thin(backed, 0.5), ValueError, "thin: adata: must be in memory, or the path", "a file"
    )
    backed.file.close()
    assert sorted(tmp_path.iterdir()) == before


def test_a_damaged_file(files, tmp_path):
    for name, harm, reason in (
        ("csr", lambda x: x["indices"].__setitem__(3, GENES), "gene 30 of 30"),
        ("csr", lambda x: x["indptr"].__setitem__(3, 10**6), "its arrays must fit"),
        ("csc", lambda x: x["indices"].__setitem__(3, CELLS), ""),
        ("csc", lambda x: x["indices"].__setitem__(3, -1), ""),
        ("csc", lambda x: x.__delitem__("data"), ""),
        ("csr", lambda x: x.attrs.__setitem__("encoding-type", "of tomorrow"), "got of tomorrow"),
    ):
        path = tmp_path / "damaged.h5ad"
        shutil.copy(files[name, ".h5ad"], path)
        with h5py.File(path, "r+") as file:
            harm(file["layers/raw"])
        call = lambda p=path: fb.cells.downsample(p, 5, layer="raw", out=tmp_path / "new.h5ad")  # noqa: E731
        assert_named(call, ValueError, "downsample: ", reason)
        assert [each.name for each in tmp_path.iterdir()] == ["damaged.h5ad"]


@pytest.mark.parametrize("name", ["csr", "csc"])
def test_indices_out_of_range(files, tmp_path, name):
    """Of counts in memory and in files. scipy trusts indices, and would end the process."""
    for part, wrong, rule in (("indices", 10**6, "indices must be in 0.."), ("indices", -1, "indices must be in 0.."),
                              ("indptr", 10**6, "indptr must rise from 0")):  # fmt: skip
        data = cells(KINDS[name])
        getattr(data.X, part)[3] = wrong
        for call in (fb.data.from_anndata, lambda x: fb.split(x), lambda x: fb.cells.thin(x, 0.5)):
            with pytest.raises(ValueError, match=rule):
                call(data)
        with pytest.raises(ValueError, match=f"split: counts: {rule}"):
            fb.split(data.X)
        path = tmp_path / f"wrong-{name}.h5ad"
        shutil.copy(files[name, ".h5ad"], path)
        with h5py.File(path, "r+") as file:
            file[f"X/{part}"][3] = wrong  # the layer is whole, but is not the only one that is indexed
        with pytest.raises(ValueError, match=rule):
            load_h5ad(path, layer="raw")


def test_what_lies_elsewhere_or_promises_too_much(files, tmp_path):
    """No byte of another file comes into the output, and no memory is taken for what is not there."""
    path, store, secret = tmp_path / "cells.h5ad", tmp_path / "cells.zarr", tmp_path / "secret"
    secret.write_bytes(b"s" * 8 * CELLS)

    def external(file):
        del file["obs/total"]
        file.create_dataset("obs/total", (CELLS,), "f8", external=[(str(secret), 0, 8 * CELLS)])

    def virtual(file):
        layout = h5py.VirtualLayout((CELLS,), "f8")
        layout[:] = h5py.VirtualSource(str(secret), "x", (CELLS,))
        file.create_virtual_dataset("obs/other", layout)

    def long(file):
        del file["layers/raw/indptr"]
        file.create_dataset("layers/raw/indptr", (10**9,), "i8", chunks=(10**6,), compression="gzip")

    harms = [
        (external, "itself, got 'total'"),
        (virtual, "itself, got 'other'"),
        (long, "its .* bytes must hold at most .* bytes of arrays, got 80"),
        (lambda file: file.__setitem__("obs/a", h5py.SoftLink("/obs/total")), "no links, got 'a'"),
        (lambda file: file.__setitem__("obs/a", h5py.ExternalLink(str(secret), "/x")), "no links, got 'a'"),
        (lambda file: file.__setitem__("obs/a", file["obs"]), "no links, got"),
    ]
    calls = (lambda x: load_h5ad(x, layer="raw"), lambda x: fb.cells.thin(x, 0.5, layer="raw", out=tmp_path / "o.h5ad"))
    for harm, rule in harms:
        shutil.copy(files["csr", ".h5ad"], path)
        with h5py.File(path, "r+") as file:
            harm(file)
        for call in calls:
            with pytest.raises(ValueError, match=rule):
                call(path)
    shutil.copytree(files["csr", ".zarr"], store)
    (store / "obs" / "total" / "0").unlink()
    (store / "obs" / "total" / "0").symlink_to(secret)
    for call in calls:
        with pytest.raises(ValueError, match="must hold plain files alone, got .*total/0"):
            call(store)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_no_counts(tmp_path, suffix):
    path = tmp_path / f"none{suffix}"
    data = cells(np.asarray)
    del data.X
    write_zarr(data, path) if suffix == ".zarr" else data.write_h5ad(path)
    call = lambda p=path: fb.cells.thin(p, 0.5, out=tmp_path / "new.h5ad")  # noqa: E731
    assert_named(call, ValueError, "thin: adata: must have counts in X", "without X (its layers: 'raw')")
    assert fb.cells.thin(path, 0.5, layer="raw", out=tmp_path / "new.h5ad").exists()


def test_columns_of_strings(files, tmp_path):
    """Also with none for some cells, which anndata writes as categories alone."""
    data = read(files["csr", ".h5ad"])
    data.obs["note"], data.var["note"] = np.resize(["a", "b"], CELLS).astype(object), np.resize(["c", "d"], GENES)
    data.obs.loc[data.obs_names[2], "note"] = None
    data.raw = data.copy()
    write_h5ad(data.copy(), tmp_path / "whole.h5ad")
    written = read(tmp_path / "whole.h5ad")
    assert written.obs["note"].equals(data.obs["note"].astype("category"))
    assert (written.raw.X != data.X).nnz == 0 and list(written.var["note"]) == list(data.var["note"])
    strings = data.obs["note"].astype("string")  # as files of anndata 0.11 may have them
    with h5py.File(tmp_path / "whole.h5ad", "r+") as file, anndata.settings.override(allow_write_nullable_strings=True):
        del file["obs/note"]
        elements().write_elem(file["obs"], "note", strings.array)
    thinned = read(fb.cells.thin(tmp_path / "whole.h5ad", 0.5, layer="raw", out=tmp_path / "thin.h5ad", rng=1))
    assert thinned.obs["note"].isna().sum() == 1 and (thinned.obs["note"] == "b").sum() == CELLS // 2


def test_a_pipe_is_not_replaced(files, tmp_path):
    os.mkfifo(tmp_path / "pipe.h5ad")
    with pytest.raises(FileExistsError, match="A device or a pipe cannot be replaced"):
        write_h5ad(read(files["csr", ".h5ad"]), tmp_path / "pipe.h5ad")
    assert [path.name for path in tmp_path.iterdir()] == ["pipe.h5ad"] and (tmp_path / "pipe.h5ad").is_fifo()


FULL = """
import pathlib, sys
import anndata, numpy as np
import fastblackout as fb
from fastblackout.data.cells import write_h5ad
from support.full_disk import no_file_beyond

csr, csc, out = map(pathlib.Path, sys.argv[1:])
whole = anndata.read_h5ad(csr)
calls = [lambda: fb.cells.split(csr, out=[out / "a.h5ad", out / "b.h5ad"], layer="raw", rng=1, chunk_size=9),
         lambda: fb.cells.split(csr, out=[out / "a.zarr", out / "b.zarr"], layer="raw", rng=1, chunk_size=9),
         lambda: fb.cells.thin(csc, 0.5, out=out / "a.zarr", layer="raw", rng=1),
         lambda: write_h5ad(whole, out / "a.h5ad")]
for most, call in zip((20_000, 1_000, 8_000, 20_000), calls, strict=True):
    with no_file_beyond(most):
        try:
            call()
        except OSError as error:
            print(error.errno, pathlib.Path(error.filename).relative_to(out), *out.iterdir())
names = np.array([f"barcode-{n}" for n in range(1500)])
many, barcodes = csc.with_name("many.h5ad"), {"barcode": names.astype(object)}
anndata.AnnData(np.ones((1500, 300), "f4"), obs=barcodes).write_h5ad(many, compression="gzip")
for most in range(2_000, 50_000, 6_000):
    with no_file_beyond(most):
        try:
            fb.cells.thin(many, 0.5, out=out / "many.h5ad", rng=1)
        except OSError as error:
            print(error.errno, pathlib.Path(error.filename).relative_to(out), *out.iterdir())
"""


def test_a_full_disk(files, tmp_path):
    """Also when the process ends: HDF5 would be in the way, and end it by a signal."""
    given = [str(files[name, ".h5ad"]) for name in ("csr", "csc")]
    process = Fork(FULL, *given, str(tmp_path))
    out, err = process.communicate()
    assert (process.returncode, err) == (0, "")
    too_large = errno.EFBIG
    names = ["a.h5ad", "a.zarr", ".", "a.h5ad", *["many.h5ad"] * 8]
    assert out.splitlines() == [f"{too_large} {name}" for name in names]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_all_parts_or_none(files, tmp_path, monkeypatch, suffix):
    """The first part fails after the last one is whole."""
    append, ends = fb.cells.files._append, []

    def failing(array, rows):
        if array.name.endswith("indptr"):
            ends.append(array)
            if len(ends) == 2:
                raise OSError(errno.ENOSPC, "No space left on device")
        append(array, rows)

    monkeypatch.setattr("fastblackout.cells.files._append", failing)
    out = [tmp_path / f"{name}{suffix}" for name in "ab"]
    with pytest.raises(OSError, match="No space left"):
        fb.cells.split(files["csr", suffix], out=out, layer="raw", rng=1)
    assert not list(tmp_path.iterdir())
