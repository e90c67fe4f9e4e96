"""Builds fastblackout, checks its GPU kernels on this machine's NVIDIA GPU and times them, in one call.

python benchmarks/gpu.py [--out FILE] [--minutes 9]

Builds in place, runs the tests that use a GPU (tests/test_gpu.py: every op of both GPU backends against the reference,
to the bit), measures what the card can do at most, times every op beside the same work in torch and CuPy, writes it all
to benchmarks/results/<card>.json and prints a Markdown table with the aims; which backend is faster for which op and
size goes to fastblackout/choice.json. What does not fit into the time is left out, the least
important first, and named. Status: 0 when every test passed; 1, with one line, when it cannot run; 1 when a test failed
or the time ran out.
"""

from __future__ import annotations

import argparse
import datetime
import importlib.util
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

from gpu_aims import FLAGGEMS, aims, choice, instructions, of_ceiling, seconds_of
from gpu_tests import BACKENDS, check_all, passed

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
NEEDED = ("setuptools", "pybind11", "ninja", "numpy", "scipy", "pytest", "pytest-timeout")
# Found in print, on other work and other cards: not measured here.
PUBLISHED = (
    ("torch.binomial", "NVIDIA H20", 0.34, "flagos-ai/FlagGems PR 5486"),
    FLAGGEMS,
    ("BinomialGPU.jl", "NVIDIA RTX 2070", 1.75, "source not kept"),
    ("torch uniform numbers", "NVIDIA H20", 220.0, "source not kept"),
)
NO_BINOMIAL = "cuRAND and rocRAND have no binomial"


def why_not() -> str | None:
    """One line on what keeps this machine from running the script."""
    if importlib.util.find_spec("torch") is None:
        return "torch is not installed: pip install torch"
    import torch

    if not torch.cuda.is_available() or torch.version.cuda is None:
        return "torch sees no NVIDIA GPU: run this where there is one"
    missing = [name for name in NEEDED if importlib.util.find_spec(name.replace("-", "_")) is None]
    if missing:
        return f"the build and the tests need {', '.join(missing)}: pip install {' '.join(missing)}"
    return None


def absent() -> list[str]:
    """Peers that are not timed, with the package that brings them."""
    import torch

    if importlib.util.find_spec("cupy") is not None:
        return []
    return [f"CuPy is not installed: pip install cupy-cuda{(torch.version.cuda or '13').partition('.')[0]}x"]


def build(seconds: float) -> str | None:
    """Compiles the modules in place; None, or one line on what went wrong."""
    environment = os.environ | {"FASTBLACKOUT_CUDA": "1", "FASTBLACKOUT_SIMT": "1"}
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    try:
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return f"the build took more than {seconds:.0f} s: run it beforehand, {' '.join(command)}"
    if done.returncode == 0:
        return None
    lines = (done.stdout + done.stderr).strip().splitlines()
    return next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "the build failed")


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def machine() -> dict[str, Any]:
    import torch

    import fastblackout

    card = torch.cuda.get_device_properties(0)
    query = _said("nvidia-smi", "-i", "0", "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader")
    driver, _, clock = query.partition(", ")
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    release = re.search(r"release ([\d.]+)", _said(nvcc, "--version"))
    triton = sys.modules.get("triton") or (importlib.util.find_spec("triton") and importlib.import_module("triton"))
    return {
        "card": card.name, "capability": f"sm_{card.major}{card.minor}", "multiprocessors": card.multi_processor_count,
        "memory_bytes": card.total_memory, "l2_bytes": card.L2_cache_size, "driver": driver, "max_clock": clock,
        "torch": torch.__version__, "torch_cuda": torch.version.cuda, "nvcc": release[1] if release else None,
        "triton": getattr(triton, "__version__", None), "python": platform.python_version(),
        "fastblackout": fastblackout.__version__, "commit": _said("git", "-C", str(ROOT), "rev-parse", "HEAD"),
    }  # fmt: skip


def ceilings(device: Any) -> dict[str, Any]:
    import gpu_times

    def clock(call: Any) -> float:
        return gpu_times.clock(call, device)

    found: dict[str, Any] = {}
    try:
        import gpu_ceilings

        found["copy_gigabytes_s"] = gpu_ceilings.copying(device, clock)
        found |= gpu_ceilings.arithmetic(device, clock)
    except Exception as error:  # the times stand without them
        found["error"] = f"{type(error).__name__}: {error}"[:300]
    return found


def markdown(results: dict[str, Any]) -> str:
    """A short table, with a line on every check that failed and on what was left out."""
    m, c, counts = results["machine"], results["ceilings"], results["instructions"]
    lines = [
        f"{m['card']} ({m['capability']}, {m['multiprocessors']} multiprocessors), driver {m['driver']}, torch "
        f"{m['torch']}, Triton {m['triton']}, nvcc {m['nvcc']}; {results['date']}.",
        "At most: " + ", ".join(f"{n} {v:.4g}" if isinstance(v, float) else f"{n}: {v}" for n, v in c.items()) + ".",
        "Equal to the reference to the bit (tests and cases passed, of those there are): " + "; ".join(
            f"{b} " + ", ".join(f"{x['op']} {x['done'] - len(x['failures'])}/{x['of']}" for x in results["checks"]
                                if x["backend"] == b) for b in BACKENDS) + ".",
        *(f"FAILED: {x['backend']} {x['op']}: {text}" for x in results["checks"] for text in x["failures"][:2]),
        *(f"Not timed: {text}." for text in results["absent"]),
        "",
    ]  # fmt: skip
    table: list[tuple[str, ...]] = [
        ("case", "shape", "by", "G/s", "a call", "in a graph", "GB/s", "of copy", "of ceiling", "cuda is faster"),
        ("---",) * 10,
    ]
    best = {(r["case"], *r["shape"]): seconds_of(r) for r in results["rows"] if r["by"] == "cuda" and "error" not in r}
    table += [_cells(row, best.get((row["case"], *row["shape"])), results) for row in results["rows"]]
    lines += ["| " + " | ".join(cells) + " |" for cells in table]
    lines += ["", "Of ceiling: of the lower of memory's, as copied here, and issue's, by the count of instructions: "]
    lines[-1] += ", ".join(f"{n} {v:.1f}" if isinstance(v, float) else f"{n} {v}" for n, v in counts.items()) + "."
    lines += ["", "Aims, for 64 Mpx:", "| aim | wanted | found | |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in aims(results)]
    lines += ["", "Published by others, on other work and on the card named, not measured here:"]
    lines += [f"- {what}, {card}: {rate} G/s ({source})" for what, card, rate, source in results["published"]]
    lines.append(f"- {NO_BINOMIAL}")
    if results["dropped"]:
        lines += ["", f"Left out, no time: {'; '.join(results['dropped'])}."]
    if results["cut_off"]:
        lines += ["", f"CUT OFF after {results['minutes']:g} minutes."]
    return "\n".join(lines)


def _cells(row: dict[str, Any], cuda: float | None, results: dict[str, Any]) -> tuple[str, ...]:
    head, limits = (row["case"], "x".join(map(str, row["shape"])), row["by"]), results["ceilings"]
    if "error" in row:
        return (*head, row["error"].replace("|", "/").replace("\n", " ")[:60], *("",) * 6)

    def micro(value: float | None) -> str:
        return "" if value is None else f"{value * 1e6:.4g} us"

    seconds, moved, copy, part = seconds_of(row), "", "", of_ceiling(row, results)
    if row["bytes"]:
        moved = f"{row['bytes'] / seconds / 1e9:.4g}"
        if "copy_gigabytes_s" in limits:
            copy = f"{row['bytes'] / seconds / 1e7 / limits['copy_gigabytes_s']:.0f}%"
    faster = "" if cuda is None or row["by"] == "cuda" else f"{seconds / cuda:.3g}x"
    rate = f"{row['elements'] / seconds / 1e9:.4g}"
    of = "" if part is None else f"{100 * part:.0f}%"
    return (*head, rate, micro(row["call_seconds"]), micro(row["graph_seconds"]), moved, copy, of, faster)


def blank(minutes: float) -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(), "minutes": minutes, "machine": {}, "seconds": {}, "ceilings": {},
        "instructions": {}, "checks": [], "rows": [], "dropped": [], "absent": [], "cut_off": False,
        "published": PUBLISHED,
    }  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="results file (benchmarks/results/<card>.json)")
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything (9)")
    asked = parser.parse_args(arguments)
    start, total = time.monotonic(), 60 * asked.minutes

    def left() -> float:
        return total - 10 - (time.monotonic() - start)  # 10: for writing, and for ending

    if (why := why_not() or build(0.6 * total)) is not None:
        print(f"gpu: {why}", file=sys.stderr)
        return 1
    sys.path[:0] = [str(ROOT), str(HERE), str(ROOT / "tests")]
    import gpu_times
    import torch

    results, lock = blank(asked.minutes), threading.Lock()
    results["seconds"]["build"] = time.monotonic() - start
    results["machine"], results["absent"] = machine(), absent()
    slug = re.sub(r"[^a-z0-9]+", "-", results["machine"]["card"].lower()).strip("-")
    out = asked.out or HERE / "results" / f"{slug}.json"
    out.parent.mkdir(parents=True, exist_ok=True)

    def keep() -> None:
        with lock:
            out.write_text(json.dumps(results, indent=1) + "\n")

    def cut_off() -> None:  # a kernel that hangs cannot be stopped from Python
        results["cut_off"] = True
        keep()
        print(markdown(results), flush=True)
        os._exit(1)

    watch = threading.Timer(left() + 5, cut_off)
    watch.daemon = True
    watch.start()
    print(f"built in {results['seconds']['build']:.0f} s; checking", flush=True)
    results["checks"] = check_all(max(10.0, min(150.0, 0.5 * left() - 40)))
    results["seconds"]["checks"] = time.monotonic() - start - results["seconds"]["build"]
    keep()
    print(f"checked in {results['seconds']['checks']:.0f} s; timing", flush=True)
    device = torch.device("cuda", 0)
    results["ceilings"], results["instructions"] = ceilings(device), instructions(results["machine"]["capability"])
    times = gpu_times.Times(device, BACKENDS, lambda o, b: passed(results["checks"], o, b), left, keep)
    results["rows"], results["dropped"] = times.rows, times.dropped
    times.all()
    watch.cancel()
    results["seconds"]["all"] = time.monotonic() - start
    keep()
    if found := choice(results):  # for backend="auto"; to be committed with the results
        (ROOT / "fastblackout" / "choice.json").write_text(json.dumps(found, indent=1) + "\n")
    print(f"written to {out}\n\n{markdown(results)}", flush=True)
    return 1 if any(c["failures"] or not c["done"] for c in results["checks"]) else 0


if __name__ == "__main__":
    sys.exit(main())
