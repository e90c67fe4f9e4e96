"""Fits one method in a process of its own, draws and imputes with it: `python child.py FOLDER`, as jobs.py calls it.

The folder holds job.json and job.npz; result.json and result.npz are written there. Times are of the processor, and the
most memory is of the whole process.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).resolve().parents[1])

import numpy as np  # noqa: E402

from cells.methods import KINDS  # noqa: E402

PACKAGES = (
    "fastblackout", "torch", "numpy", "scipy", "scikit-learn", "anndata", "scvi-tools", "pyPLNmodels", "magic-impute",
)  # fmt: skip


def run(folder: Path) -> None:
    job = json.loads((folder / "job.json").read_text())
    with np.load(folder / "job.npz") as file:
        arrays = dict(file)
    method, seconds, found = KINDS[job["method"]].new(), {}, {}

    def timed(name: str, call: Callable[..., Any], *given: Any, **more: Any) -> Any:
        began = time.process_time()
        result = call(*given, **more)
        seconds[name] = seconds.get(name, 0.0) + time.process_time() - began
        return result

    timed("fit", method.fit, arrays["train"], arrays["train_types"], job["seed"], **job["settings"])
    for n in range(job["samples"]):
        found[f"sample_{n}"] = timed("sample", method.sample, arrays["types"], 100 * job["seed"] + n)
    for name in job["protocols"]:
        told = (arrays[f"seen_{name}"], arrays[f"observed_{name}"], arrays["types"])
        imputed = timed("impute", method.impute, *told, job["draws"], job["seed"])
        found[f"mean_{name}"] = np.asarray(imputed.mean, np.float32)
        if imputed.draws is not None:
            found[f"draws_{name}"] = np.asarray(imputed.draws)
    there = {}
    for package in PACKAGES:
        try:
            there[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    np.savez(folder / "result.npz", **found)
    facts = {"seconds": seconds, "memory_mib": _most_mib(), "versions": there}
    (folder / "result.json").write_text(json.dumps(facts))


def _most_mib() -> int:
    """The most memory that this process had. getrusage would tell the most of its parent, where that had more."""
    told = Path("/proc/self/status").read_text()
    return int(told.split("VmHWM:")[1].split()[0]) // 1024


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    run(Path(sys.argv[1]))
