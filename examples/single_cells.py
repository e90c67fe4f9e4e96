"""Single cells end to end: count splitting, a generator of counts, imputation, and whether fold changes are kept.

    python examples/single_cells.py            # minutes on one CPU core; writes single-cells.png
    python examples/single_cells.py --quick    # half a minute, and worse figures

The cells are the 700 blood cells that come with scanpy (pip install scanpy), of which the 100 genes with the largest
means are taken. Without scanpy, or with --simulated, they are cells of three types whose law is known: library sizes,
base means and fold changes are drawn once, and counts are negative binomial. A tenth of the cells is held out of the
training of the generator, which is told the type of a cell.
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy import sparse

import fastblackout as fb
from fastblackout.data import Dataset, load
from fastblackout.data.sets import OF_TABLE
from fastblackout.evaluation.tables import compare_tables
from fastblackout.training.config import preset
from fastblackout.training.trained_model import Run, load_run

GENES, STEPS = 100, 50  # reverse steps of a sample
DEPTH, OURS = "mean of gene and type, times depth", "the generator"
HIDDEN, DRAWS = 0.2, 10  # share of the counts that are imputed, and the draws whose mean is taken


class Cells(NamedTuple):
    """counts: CSR (N, G), float32, as X of an AnnData. types: (N,), 0 the most frequent. size: b of each gene, whose
    variance is mean + mean^2 / b. mean: the mean of each count, (N, G). share: each gene's part of the counts of a
    type, (types, G). Both are None where nobody knows them."""

    name: str
    counts: sparse.csr_matrix
    types: np.ndarray
    size: np.ndarray
    mean: np.ndarray | None = None
    share: np.ndarray | None = None


def simulated(cells: int = 3000, genes: int = GENES, types: int = 3) -> Cells:
    """Negative binomial counts. Three genes in ten are expressed otherwise in a type, by a factor of about 3."""
    key, of_types = fb.Philox(2024), np.ones((types, genes), np.uint8)
    base = fb.gamma(np.full(genes, 0.6), 1.0, rng=key) + 0.01
    share = base * 2.0 ** (fb.normal(np.zeros((types, genes)), 1.5, rng=key) * fb.binomial(of_types, 0.3, rng=key))
    share /= share.sum(1, keepdims=True)
    type_of = np.arange(cells) % types
    mean = np.exp(fb.normal(np.full((cells, 1), np.log(400.0)), 0.3, rng=key.at(call=1))) * share[type_of]
    size = fb.gamma(np.full(genes, 4.0), 1.0, rng=key.at(call=1)) + 0.5
    counts = fb.negative_binomial(size, mean, rng=key).astype(np.float32)
    return Cells("simulated cells", sparse.csr_matrix(counts), type_of, size, mean, share)


def blood(genes: int = GENES) -> Cells:
    """scanpy's pbmc68k_reduced. Its raw.X is log(1 + 1e4 count / n_counts): 700 cells of 10 types."""
    import scanpy

    data = scanpy.datasets.pbmc68k_reduced()
    counts = np.expm1(data.raw.X.toarray().astype(float)) * data.obs["n_counts"].to_numpy()[:, None] / 1e4
    counts = counts.round().astype(np.float32)  # at most 0.082 away
    counts = counts[:, np.sort(np.argsort(-counts.mean(0), kind="stable")[:genes])]
    _, types = np.unique(data.obs["bulk_labels"].to_numpy(str), return_inverse=True)
    types = np.argsort(np.argsort(-np.bincount(types), kind="stable"))[types]
    mean, variance = counts.mean(0), counts.var(0)
    size = np.clip(mean**2 / np.maximum(variance - mean, 1e-3), 0.05, 100)  # by moments
    return Cells("scanpy's pbmc68k_reduced", sparse.csr_matrix(counts), types, size)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call returns, and how many milliseconds the fastest of five took."""
    times = []
    for _ in range(5):
        started = time.perf_counter()
        made = call()
        times.append(time.perf_counter() - started)
    return made, 1e3 * min(times)


def splitting(cells: Cells) -> dict[str, float]:
    """Two tables of one: to fit a model to one, and judge it by the other.

    Before, with NumPy: p = rng.beta(b / 2, b / 2, counts.shape); train = rng.binomial(counts, p)
    """
    half, dense, random = cells.size / 2, cells.counts.toarray().astype(np.int64), np.random.default_rng(0)
    (train, test), ours = timed(lambda: fb.split(cells.counts, overdispersion=cells.size, rng=fb.Philox(1)))
    assert (train + test != cells.counts).nnz == 0
    _, numpys = timed(lambda: random.binomial(dense, random.beta(half, half, dense.shape)))
    found = {"ms": ours, "ms, NumPy": numpys}
    if cells.mean is not None:  # given the means, the halves of negative binomial counts are independent
        as_poisson = fb.split(cells.counts, rng=fb.Philox(1))
        for name, halves in (
            ("correlation of the halves", (train, test)),
            ("correlation, taken for Poisson", as_poisson),
        ):
            one, other = ((half.toarray() - cells.mean / 2) / np.sqrt(cells.mean) for half in halves)
            found[name] = float((one * other).mean() / np.sqrt((one**2).mean() * (other**2).mean()))
    return found


def generator(cells: Cells, steps: int, folder: Path) -> tuple[Run, Dataset]:
    """A model of the counts given the type: a network of dense layers that gives a negative binomial law.

    On the command line: fastblackout train array --data cells.npz --max-count 1000 --conditional
    --head negative-binomial --learning-rate 2e-3 --ema 0.999 --steps 1500
    """
    counts = cells.counts.toarray().astype(np.int64)
    np.savez(folder / "cells.npz", counts=counts, labels=cells.types)
    data = load("array", folder / "cells.npz", max_count=4 * int(counts.max()))  # samples may exceed the data
    how = {"conditional": True, "head": "negative-binomial", "learning_rate": 2e-3, "ema": 0.999, "steps": steps}
    logs = {"threads": 1, "device": "cpu", "sample_every": 0, "held_out_every": 0, "checkpoint_every": steps}
    fb.train(data, folder / "run", preset("array", **OF_TABLE | how | logs), progress=False)
    return load_run(folder / "run", device="cpu"), data


def drawn(run: Run, types: np.ndarray, seed: int, **known: torch.Tensor) -> np.ndarray:
    """(N, G): cells of these types."""
    labels, shape = torch.from_numpy(types), (len(types), *run.shape)
    counts = fb.sample(run.model, run.schedule, shape, steps=STEPS, rng=fb.Philox(seed), labels=labels, **known)
    return counts.numpy().reshape(len(types), -1)


class Imputed(NamedTuple):
    """Of the counts that were hidden: what they are, and what each way takes them for."""

    counts: np.ndarray
    by: dict[str, np.ndarray]

    def error(self, name: str) -> float:
        """Root mean square of the difference of roots, which weighs small and large counts alike."""
        return float(np.sqrt(np.mean((np.sqrt(self.by[name]) - np.sqrt(self.counts)) ** 2)))


def imputation(run: Run, data: Dataset) -> Imputed:
    """A share of the counts of held-out cells hidden, and drawn anew given the others: the mean of several draws."""
    kept = fb.binomial(np.ones(data.held_out.shape, np.uint8), 1 - HIDDEN, rng=fb.Philox(5)) > 0
    known = {"known": torch.from_numpy(data.held_out), "mask": torch.from_numpy(kept)}
    ours = np.mean([drawn(run, data.held_out_labels, 10 + n, **known) for n in range(DRAWS)], 0)
    hidden, counts, train = ~rows(kept), rows(data.held_out), rows(data.train)
    of_type = means(train, data.train_labels)[data.held_out_labels]
    depth = np.where(hidden, 0, counts).sum(1) / np.maximum(np.where(hidden, 0, of_type).sum(1), 1e-9)
    by = {
        "mean of the gene": np.broadcast_to(train.mean(0), counts.shape),
        "mean of gene and type": of_type,
        DEPTH: of_type * depth[:, None],
        OURS: ours,
    }
    return Imputed(counts[hidden], {name: value[hidden] for name, value in by.items()})


def rows(counts: np.ndarray) -> np.ndarray:
    """(N, G), of a table's (N, G, 1, 1)."""
    return counts[:, :, 0, 0]


def means(counts: np.ndarray, types: np.ndarray) -> np.ndarray:
    """Of each gene in each type, (types, G)."""
    return np.stack([counts[types == label].mean(0) for label in range(types.max() + 1)])


def fold_changes(of_types: np.ndarray) -> np.ndarray:
    """log2 of the quotients of a gene's shares in every two of the three most frequent types, (3, G)."""
    share = of_types[:3] + 0.05
    share /= share.sum(1, keepdims=True)
    return np.log2(share[[1, 2, 2]] / share[[0, 0, 1]])


def picture(cells: Cells, data: Dataset, samples: np.ndarray, imputed: Imputed, path: Path) -> None:
    """Means and variances of the genes, fold changes, and what was imputed."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    train, types = rows(data.train), data.train_labels
    both = [fold_changes(means(counts, types)) for counts in (train, samples)]
    figure, grid = plt.subplots(2, 2, figsize=(6.6, 6.9), constrained_layout=True)
    figure.suptitle(f"{cells.name}: trained on {train.shape[0]} of them, {train.shape[1]} genes", fontsize=11)
    axes = grid.ravel()
    for axis, name, pair in (
        (axes[0], "mean of a gene", [train.mean(0), samples.mean(0)]),
        (axes[1], "variance of a gene", [train.var(0), samples.var(0)]),
        (axes[2], "log2 fold change of two types", both),
    ):
        axis.plot(*(each.ravel() for each in pair), ".", color="tab:blue", alpha=0.6)
        axis.set(title=name, xlabel="cells of the training", ylabel="generated cells")
    for axis in axes[:2]:
        axis.set(xscale="log", yscale="log")
    for name, color in ((DEPTH, "tab:orange"), (OURS, "tab:blue")):
        found = np.sqrt(imputed.counts), np.sqrt(imputed.by[name])
        axes[3].plot(*found, ".", color=color, alpha=0.35, markersize=4, label=name)
    axes[3].set(title="hidden counts, held-out cells", xlabel="root of the count", ylabel="root of what was imputed")
    axes[3].legend(fontsize=8, loc="lower right", handletextpad=0, borderpad=0.2)
    for axis in axes:
        ends = [min(axis.get_xlim()[0], axis.get_ylim()[0]), max(axis.get_xlim()[1], axis.get_ylim()[1])]
        axis.plot(ends, ends, color="black", linewidth=0.8)
    figure.savefig(path, dpi=120, bbox_inches="tight", pad_inches=0.12)
    plt.close(figure)


def report(cells: Cells, steps: int, path: Path) -> dict[str, float]:
    """All of it: the figures by name. The picture goes to `path`."""
    found = {f"split: {name}": value for name, value in splitting(cells).items()}
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run, data = generator(cells, steps, Path(folder))
    found["training: seconds"] = time.perf_counter() - started
    samples = drawn(run, data.train_labels, seed=2)
    differences = compare_tables([samples[:, :, None, None]], data)
    for kind, name in (("samples_as_many", "generated"), ("held_out", "held out")):
        for measure, value in differences[f"difference_{kind}"].items():
            found[f"{measure}, {name}"] = value
    changes = {
        "data": fold_changes(means(rows(data.train), data.train_labels)),
        "generated": fold_changes(means(samples, data.train_labels)),
    }
    if cells.share is not None:
        changes["truth"] = fold_changes(cells.share * cells.counts.sum(1).mean())
    for one, other in (("data", "generated"), ("truth", "data"), ("truth", "generated")):
        if one in changes:
            away = np.sqrt(np.mean((changes[one] - changes[other]) ** 2))
            found[f"fold changes, {one} and {other}"] = float(away)
    imputed = imputation(run, data)
    found |= {f"imputed by {name}": imputed.error(name) for name in imputed.by}
    picture(cells, data, samples, imputed, path)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--simulated", action="store_true", help="cells of a known law even where scanpy is installed")
    parser.add_argument("--quick", action="store_true", help="20 genes of 600 simulated cells, a short training")
    parser.add_argument("--out", type=Path, default=Path(), help="the folder for the picture; default: this one")
    options = parser.parse_args()
    options.out.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    if options.quick:
        cells = simulated(600, 20)
    elif options.simulated or importlib.util.find_spec("scanpy") is None:
        cells = simulated()
    else:
        cells = blood()
    print(f"{cells.name}: {cells.counts.shape[0]} cells x {cells.counts.shape[1]} genes")
    for name, value in report(cells, 400 if options.quick else 1500, options.out / "single-cells.png").items():
        print(f"{name:60}{value:10.3f}")


if __name__ == "__main__":
    main()
