"""Builds fastblackout, checks its GPU kernels on this machine's NVIDIA GPU, times them, trains and profiles.

python benchmarks/gpu [PHASE ...] [--minutes 9] [--work FOLDER] [--out FOLDER] [--ops OP,OP] [--fresh] [--dry]

Phases, by default all, in this order:
  build    compiles the modules in place, without CUDA where that fails.
  check    tests/backends/test_gpu.py, in processes for every op and backend: first what decides whether an op is
           right (every op of both GPU backends against the reference, to the bit; CUDA graphs; parts of a batch),
           within 4 minutes; after the timings, torch.compile, opcheck, processes and samples.
  train    steps of CIFAR-10's network and of the small one by every way of executing them, compiled in bf16 first, with
           the kernels of such a step; samples, a run on the digits.
  time     what the card can do at most, and every op beside the same work in torch and CuPy; which backend is the
           faster for which op and size.
  profile  the kernels of a call of every op; with Nsight Compute (ncu), where it is there, their counters.
  jax      calls of fastblackout.jax, within 20 s.

The folder --work, by default build/gpu, has all that the next call goes on with: the modules, built for each
capability (built/), and what was found, in a folder for each card. What was found on this card of these sources is not
measured again (--fresh forgets it): call it again until nothing is left out. docs/gpu.md says how to carry the folder
between machines. What Triton and torch.compile keep is large, and lies beside it: build/gpu-caches. Results are copied
to the folder --out, or $OUT where that is set, again in a folder for the card: results.json, table.md, preference.json
(what backend="auto" should take: fastblackout/backends/preference.json), tests.log, build.log, profile.txt. The end of
the output says what failed, what came of the aims, and on which card. Status: 0 when nothing failed; 1, with one line,
when it cannot run; 1 when something failed or the time ran out.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import threading
import time
from pathlib import Path

from gpu import ROOT, phases, report
from gpu.children import end_all
from gpu.results import Store, folder_of_card

NEEDED = ("setuptools", "pybind11", "ninja", "numpy", "scipy", "pytest", "pytest-timeout")
WORK = ROOT / "build" / "gpu"
PHASES = ("build", "check", "train", "time", "profile", "jax")


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


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phases", nargs="*", help=", ".join(PHASES))
    parser.add_argument("--minutes", type=float, default=9.0, help="time for everything (9)")
    parser.add_argument("--out", type=Path, default=os.environ.get("OUT"), help="where results are copied to ($OUT)")
    parser.add_argument("--work", type=Path, default=WORK, help=f"where all is kept that goes on ({WORK})")
    parser.add_argument("--ops", default="", help="these alone, separated by commas")
    parser.add_argument("--fresh", action="store_true", help="forget earlier results")
    parser.add_argument("--dry", action="store_true", help="on the CPU, as small as can be: to see that it runs")
    asked = parser.parse_args(arguments)
    if unknown := [name for name in asked.phases if name not in PHASES]:
        parser.error(f"phases: must be some of {', '.join(PHASES)}, got {', '.join(unknown)}")
    if not asked.dry and (why := why_not()) is not None:
        print(f"gpu: {why}", file=sys.stderr)
        return 1
    if not asked.dry:  # which takes the fastblackout that is there
        sys.path.insert(0, str(ROOT))
    end = time.monotonic() + 60 * asked.minutes - 15  # for writing, and for ending
    card, work = folder_of_card(asked.dry), asked.work.resolve()
    store = Store(work / card, None if asked.out is None else Path(asked.out) / card, asked.fresh)
    caches = work.with_name(f"{work.name}-caches")  # too large to carry
    os.environ |= {  # of all processes from here on
        "TRITON_CACHE_DIR": str(caches / "triton"),
        "TORCHINDUCTOR_CACHE_DIR": str(caches / "inductor"),
        "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",
        "TORCHINDUCTOR_AUTOGRAD_CACHE": "1",
    }
    run = phases.Run(store, lambda: end - time.monotonic(), asked.ops, asked.dry)

    def cut_off() -> None:  # what hangs cannot be stopped from Python
        store.results["cut_off"] = True
        end_all()
        try:
            finish(store)
        finally:
            os._exit(1)

    watch = threading.Timer(max(end - time.monotonic(), 0.0) + 10, cut_off)
    watch.daemon = True
    watch.start()
    for name, phase in run.order(asked.phases or PHASES):
        start, spent = time.monotonic(), store.results["seconds"]
        print(f"== {name}, {run.left():.0f} s left", flush=True)
        store.results["errors"] = [text for text in store.results["errors"] if not text.startswith(f"{name}: ")]
        phase()
        spent[name] = round(spent.get(name, 0.0) + time.monotonic() - start, 1)
        store.keep()
    watch.cancel()
    finish(store)
    return 1 if report.failures(store.results) else 0


def finish(store: Store) -> None:
    store.keep()
    print(f"\nwritten to {', '.join(map(str, store.places()))}\n\n{report.summary(store.results)}", flush=True)
