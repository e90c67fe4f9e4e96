"""Runs a method on a split in another interpreter, with files between."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from cells.hidden import observed_of
from cells.methods import KINDS
from cells.sets import Split

Array = NDArray[Any]

DRAWS = 5
ONE_THREAD = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "LOKY_MAX_CPU_COUNT"), "1"
)


class Result(NamedTuple):
    """What a method made of a split: facts of the process, sets of cells, and what it imputed by protocol."""

    facts: dict[str, Any]
    samples: list[Array]
    means: dict[str, Array]
    draws: dict[str, Array | None]


def run_method(
    name: str, settings: dict[str, Any], split: Split, samples: int, protocols: Sequence[str], seed: int, python: str
) -> Result:
    """Fit a method to the training cells, draw sets of cells as large as the test set and impute the latter. The
    method never sees a hidden count. RuntimeError, with the last lines of its process, where that fails."""
    kind = KINDS[name]
    samples, protocols = samples if kind.samples else 0, protocols if kind.imputes else ()
    arrays = {"train": split.train, "train_types": split.train_types, "types": split.test_types}
    for protocol in protocols:
        arrays[f"observed_{protocol}"] = observed = observed_of(protocol, split.test, split.test_types)
        arrays[f"seen_{protocol}"] = np.where(observed, split.test, 0)
    job = {"method": name, "settings": settings, "seed": seed, "samples": samples, "protocols": list(protocols)}
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "job.json").write_text(json.dumps({**job, "draws": DRAWS}))
        np.savez(place / "job.npz", **arrays)
        command = [python, str(Path(__file__).with_name("child.py")), folder]
        done = subprocess.run(command, env={**os.environ, **ONE_THREAD}, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip() or "no word").splitlines()[-1]
            raise RuntimeError(f"{name} by {python} ended with status {done.returncode}: {last}")
        facts = json.loads((place / "result.json").read_text())
        with np.load(place / "result.npz") as file:
            found = dict(file)
    return Result(
        facts,
        [found[f"sample_{n}"] for n in range(samples)],
        {protocol: found[f"mean_{protocol}"] for protocol in protocols},
        {protocol: found.get(f"draws_{protocol}") for protocol in protocols},
    )
