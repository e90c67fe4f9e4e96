"""Seconds and memory of fb.cells from file to file: python -m cases.cell_files FOLDER [CELLS ...]

Run in benchmarks/. Each call has a process of its own, which made the same call of few cells before. By how much its
memory then rises is what the call needed, without the files that it wrote. Peers read a file whole. Those that are not
installed are left out. Prints JSON lines. Linux only.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import anndata
import h5py
import numpy as np
import torch

import fastblackout as fb
from cases.memory import status
from cases.workloads import single_cells

TILE, GENES, HALF = 10_000, 2000, 1150  # about half of a cell's molecules


def make(path: Path, cells: int, layout: str = "csr") -> None:
    """A file of cells, written by tiles so that this needs no memory."""
    tile = single_cells(min(cells, TILE), -1.0, GENES)
    names = [f"cell-{n}" for n in range(cells)]
    empty = anndata.AnnData(obs={"type": np.resize(["B", "T"], cells)}, var={"kind": np.full(GENES, "x")})
    empty.obs_names = names
    empty.write_h5ad(path)
    repeats = cells // tile.shape[0]  # cells is a multiple of the tile
    with h5py.File(path, "r+") as file:
        if "X" in file:
            del file["X"]
        group = file.create_group("X")
        group.attrs.update({"encoding-type": f"{layout}_matrix", "encoding-version": "0.1.0"})
        group.attrs["shape"] = (cells, GENES)
        made = {"data": tile.data, "indices": tile.indices}
        arrays = {
            name: group.create_dataset(name, (repeats * tile.nnz,), each.dtype, chunks=(1 << 17,))
            for name, each in made.items()
        }
        if layout == "csr":
            for start in range(0, repeats * tile.nnz, tile.nnz):
                for name, each in made.items():
                    arrays[name][start : start + tile.nnz] = each
            ends = [tile.indptr[1:].astype(np.int64) + n * tile.nnz for n in range(repeats)]
        else:
            columns, at, ends = tile.tocsc(), 0, []
            for gene in range(GENES):
                own = slice(columns.indptr[gene], columns.indptr[gene + 1])
                cells_of = columns.indices[own] + tile.shape[0] * np.arange(repeats)[:, None]
                to = slice(at, at := at + cells_of.size)
                arrays["indices"][to], arrays["data"][to] = cells_of.ravel(), np.tile(columns.data[own], repeats)
                ends.append(np.array([at]))
        group["indptr"] = np.concatenate([[0], *ends]).astype(np.int32)


def ours_split(path: Path, out: list[Path]) -> None:
    fb.cells.split(path, out=out, rng=1)


def ours_downsample(path: Path, out: list[Path]) -> None:
    fb.cells.downsample(path, HALF, out=out[0], rng=1)


def count_split(path: Path, out: list[Path]) -> None:
    from count_split.count_split import split_sparse

    data = anndata.read_h5ad(path)
    for part, to in zip(split_sparse(data.X, seed=1), out, strict=True):
        anndata.AnnData(part, obs=data.obs, var=data.var).write_h5ad(to)


def scanpy(path: Path, out: list[Path]) -> None:
    from scanpy.preprocessing import downsample_counts

    data = anndata.read_h5ad(path)
    downsample_counts(data, HALF)
    data.write_h5ad(out[0])


CALLS: dict[str, Callable[[Path, list[Path]], None]] = {
    "ours_split": ours_split, "count_split": count_split, "ours_downsample": ours_downsample, "scanpy": scanpy,
}  # fmt: skip


def one(name: str, path: Path, folder: Path) -> None:
    """The second of two calls: the first, of few cells, loads and compiles."""
    torch.set_num_threads(1)
    few = folder / "few.h5ad"
    with fb.use_backend("cpu", threads=1):
        for given in (few, path):
            out = [folder / f"{name}-{n}.h5ad" for n in range(2)]
            Path("/proc/self/clear_refs").write_text("5")
            before, start, work = status("VmRSS"), time.perf_counter(), time.process_time()
            CALLS[name](given, out)
            found = {"seconds": time.perf_counter() - start, "processor": time.process_time() - work}
            found["bytes"] = status("VmHWM") - before
            for file in out:
                file.unlink(missing_ok=True)
    print(json.dumps(found))


def main() -> int:
    if len(sys.argv) == 4 and sys.argv[1] in CALLS:
        one(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
        return 0
    folder, sizes = Path(sys.argv[1]), [int(cells) for cells in sys.argv[2:]] or [10_000, 100_000]
    make(folder / "few.h5ad", 1000)
    for cells in sizes:
        for layout in ("csr", "csc"):
            path = folder / f"{cells}-{layout}.h5ad"
            make(path, cells, layout)
            calls = [name for name in CALLS if name not in ("count_split", "scanpy") or importlib.util.find_spec(name)]
            for name in calls if layout == "csr" else ["ours_split"]:
                for _ in range(3 if cells <= 100_000 else 1):
                    command = [sys.executable, "-m", "cases.cell_files", name, str(path), str(folder)]
                    done = subprocess.run(command, capture_output=True, text=True)
                    row = json.loads(done.stdout) if done.returncode == 0 else {"failed": done.stderr[-200:]}
                    print(json.dumps({"cells": cells, "layout": layout, "call": name} | row), flush=True)
            path.unlink()
    (folder / "few.h5ad").unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
