"""Measures generators of single cells, and methods that impute their counts, beside one another.

python benchmarks/cells --out FILE.jsonl [--sets scrt pbmc simulated] [--methods ours scvi ...] [--splits 5]
    [--trials 6] [--genes 1000] [--data FOLDER] [--download] [--python scvi=PATH magic=PATH ...] [--tables]
    [--picture FILE.png]

Sets: scrt (2,000 cells of PyPI's pyPLNmodels), pbmc (pbmc68k_reduced of PyPI's scanpy), and simulated, cells of a known
law. --data holds the files of these packages or their wheels, and --download fetches the wheels into it by pip.

Each of five outer splits sets a fifth of the cells aside. The settings of a method are chosen inside the training cells
alone: --trials of them, as many for each method, are fitted to four fifths of these and judged by the rest. The ranks
of a trial by forest AUC, energy distance and deviance of hidden counts are averaged, and the least mean is chosen. With
it the method is fitted to all training cells; three sets of cells are drawn, and counts of the test cells are hidden
by four protocols (hidden.py).

A method runs in a process of its own with one thread, by this interpreter or by the one that --python names for it:
requirements-peers.txt has the packages of peers. --out gets a line for each trial and final run, and what it holds is
not run again. Then the tables are printed, as Markdown; with --tables nothing else is done.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cells import sets
from cells.hidden import PROTOCOLS, differences, recovered
from cells.jobs import Result, run_method
from cells.methods import KINDS
from cells.picture import draw
from cells.records import Record, Records
from cells.tables import tables
from fastblackout.cells import compare

DATA = Path(__file__).resolve().parents[2] / "build" / "cells"
SETS = ("scrt", "pbmc", "simulated")
SAMPLES = 3  # sets of cells of a final run
CHOSEN_BY = ("forest_auc_log", "energy_distance", "deviance")  # of trials; lower is better

Array = NDArray[Any]


def measured(result: Result, split: sets.Split) -> Record:
    """The numbers of what a method made, and of real cells in its place: one for each set of cells, and one a protocol
    of imputation."""
    train, test = _annotated(split.train, split.train_types), _annotated(split.test, split.test_types)
    numbers, floors = [], []
    for seed, counts in enumerate(result.samples):
        report = compare(_annotated(counts, split.test_types), test, train=train, labels_key="type", rng=seed)
        rows = np.random.default_rng(seed).permutation(len(split.train))[: len(split.test)]
        real = differences(split.train[rows], split.train_types[rows], split.test, split.test_types)
        numbers.append(report.numbers | differences(counts, split.test_types, split.test, split.test_types))
        floors.append((report.floors or {}) | real)
    imputed = {
        name: recovered(name, split.test, split.test_types, mean, result.draws[name])
        for name, mean in result.means.items()
    }
    return {"numbers": numbers, "floors": floors, "imputed": imputed}


def _annotated(counts: Array, types: Array) -> Any:
    import anndata

    data = anndata.AnnData(counts.astype(np.float32))
    data.obs["type"] = types.astype(str)
    return data


def chosen(trials: list[Record]) -> dict[str, Any]:
    """The settings of the trial with the least mean rank; of equal ones the first."""
    ranks = np.zeros(len(trials))
    for name in CHOSEN_BY:
        values = [_number(trial, name) for trial in trials]
        if None not in values:
            ranks += np.argsort(np.argsort(values, kind="stable"), kind="stable")
    settings: dict[str, Any] = trials[int(np.argmin(ranks))]["settings"]
    return settings


def _number(trial: Record, name: str) -> float | None:
    if name == "deviance":
        return trial["imputed"].get("tenth", {}).get(name)  # type: ignore[no-any-return]
    value = trial["numbers"][0][name] if trial["numbers"] else None
    return value if value is None or name != "forest_auc_log" else abs(value - 0.5)


class Run:
    """A run of the benchmark. failed: what methods ended with, in place of results."""

    def __init__(self, options: argparse.Namespace, records: Records) -> None:
        self.options, self.records, self.failed = options, records, list[str]()
        self.pythons = dict(each.split("=", 1) for each in options.python)

    def all(self) -> None:
        for name in self.options.sets:
            data = sets.load(name, self.options.data, self.options.download)
            for number in range(self.options.splits):
                outer = sets.split(data, number, self.options.genes)
                for method in self.options.methods:
                    if method == "law" and name != "simulated":
                        continue
                    try:
                        self._method(method, name, number, outer)
                    except RuntimeError as error:
                        self.failed.append(str(error))
                        print(f"cells: {error}", file=sys.stderr, flush=True)

    def _method(self, method: str, name: str, number: int, outer: sets.Split) -> None:
        settings = KINDS[method].trials[: self.options.trials]
        best = settings[0]
        if len(settings) > 1:
            inside = sets.inner(outer, number)
            what = [("trial", name, number, method, each) for each in settings]
            best = chosen([self._record(*one, inside, 1, ("tenth",)) for one in what])
        self._record("final", name, number, method, best, outer, SAMPLES, PROTOCOLS)

    def _record(
        self, stage: str, name: str, number: int, method: str, settings: dict[str, Any], split: sets.Split,
        samples: int, protocols: tuple[str, ...],
    ) -> Record:  # fmt: skip
        record = {
            "stage": stage, "set": name, "split": number, "method": method, "settings": settings,
            "genes": self.options.genes,
        }  # fmt: skip
        if (known := self.records.get(record)) is not None:
            return known
        python = self.pythons.get(method, sys.executable)
        result = run_method(method, settings, split, samples, protocols, number, python)
        cells = {"train": len(split.train), "test": len(split.test), "genes_kept": split.train.shape[1]}
        told = {**record, **cells, **measured(result, split), **result.facts, "machine": _machine()}
        seconds = ", ".join(f"{each} {value:.1f} s" for each, value in result.facts["seconds"].items())
        print(f"{stage} {name} {number} {method} {json.dumps(settings)}: {seconds}", file=sys.stderr, flush=True)
        return self.records.add(told)


def _machine() -> str:
    told = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    names = [line.split(":", 1)[1].strip() for line in told.splitlines() if line.startswith("model name")]
    return names[0] if names else platform.machine()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python benchmarks/cells", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help="the JSON lines to write, or go on with"
    )
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, help="(all)")
    parser.add_argument("--methods", nargs="+", choices=tuple(KINDS), default=tuple(KINDS), help="(all)")
    parser.add_argument(
        "--splits", type=int, default=sets.SPLITS, help="how many of the five, in runs and in tables (5)"
    )
    parser.add_argument("--trials", type=int, default=6, help="settings that are tried, 1 to 8 (6)")
    parser.add_argument("--genes", type=int, default=1000, help="the most variable genes that are kept (1000)")
    parser.add_argument("--data", type=Path, default=DATA, metavar="FOLDER", help=f"of files or wheels ({DATA})")
    parser.add_argument("--download", action="store_true", help="fetch wheels that --data lacks, by pip")
    parser.add_argument("--python", nargs="+", default=[], metavar="METHOD=PATH", help="the interpreter of a method")
    parser.add_argument("--tables", action="store_true", help="only print the tables of --out")
    parser.add_argument("--picture", type=Path, metavar="FILE", help="also draw the first set of --out, as PNG")
    options = parser.parse_args(arguments)
    try:
        for name, least, most in (("splits", 1, sets.SPLITS), ("trials", 1, 8), ("genes", 10, 1 << 20)):
            if not least <= (value := getattr(options, name)) <= most:
                raise ValueError(f"cells: {name}: must be in {least}..{most}, got {value}")
        for each in options.python:
            method, _, path = each.partition("=")
            if method not in KINDS or not Path(path).is_file():
                rule = "must be a method and the path of an interpreter, as scvi=venv/bin/python"
                raise ValueError(f"cells: python: {rule}, got {each!r}")
        if not options.out.absolute().parent.is_dir():
            raise ValueError(f"cells: out: must lie in a folder that is there, got {options.out}")
        run = Run(options, Records(options.out))
        if not options.tables:
            run.all()
        print(tables(finals := run.records.finals(), options.splits))
        if options.picture and finals:
            draw(finals, options.splits, options.picture)
    except (ValueError, OSError) as error:
        print(f"cells: {str(error).removeprefix('cells: ')}", file=sys.stderr)
        return 2
    return 1 if run.failed else 0
