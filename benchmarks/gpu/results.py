"""What has been found and built so far: kept in one folder, and results copied to the one that was asked for."""

from __future__ import annotations

import datetime
import hashlib
import importlib.util
import json
import platform
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from gpu import ROOT, aims, report

SOURCES = {".py", ".h", ".cpp", ".inc", ".cu", ".cuh"}


def blank() -> dict[str, Any]:
    return {
        "date": datetime.date.today().isoformat(), "machine": {}, "seconds": {}, "errors": [], "tests": {},
        "ceilings": {}, "instructions": {}, "rows": [], "dropped": [], "absent": [], "train": [], "profile": [],
        "jax": [], "cut_off": False,
    }  # fmt: skip


class Store:
    """results: what is known, a dict that `keep` writes."""

    def __init__(self, work: Path, out: Path | None, fresh: bool) -> None:
        self.work, self.out, self.lock = work, out, threading.Lock()
        self.results = blank()
        work.mkdir(parents=True, exist_ok=True)
        for folder in (work, out) if not fresh else ():
            if folder is not None and (folder / "results.json").exists():
                self.results |= json.loads((folder / "results.json").read_text())
                break
        else:
            for name in ("tests.log", "build.log", "profile.txt"):
                (work / name).unlink(missing_ok=True)
        self.results |= {"cut_off": False, "dropped": []}

    def on(self, machine: dict[str, Any]) -> None:
        """The machine at hand: results of another card, or of other code, do not count."""
        before, same = self.results["machine"], ("card", "sources", "torch", "triton")
        if before and any(before.get(name) != machine.get(name) for name in same):
            print(f"earlier results are of {before.get('card')} and sources {before.get('sources')}: forgotten")
            self.results |= blank() | {name: self.results[name] for name in ("errors", "seconds")}  # the build's
        self.results["machine"] = machine

    def log(self, name: str, text: str) -> None:
        with self.lock, (self.work / name).open("a") as file:
            file.write(text + "\n")

    def keep(self) -> None:
        with self.lock:
            files = {"results.json": json.dumps(self.results, indent=1)}
            if self.results["machine"]:
                files["table.md"] = report.markdown(self.results)
            if found := aims.preference(self.results):
                files["preference.json"] = json.dumps(found, indent=1)
            for name, text in files.items():
                (self.work / f"{name}.new").write_text(text + "\n")
                (self.work / f"{name}.new").replace(self.work / name)
            if self.out is not None:
                self.out.mkdir(parents=True, exist_ok=True)
                for file in self.work.iterdir():
                    if file.suffix in (".json", ".md", ".log", ".txt"):
                        shutil.copy2(file, self.out / file.name)

    def places(self) -> list[Path]:
        return [self.work] if self.out is None else [self.work, self.out]


def folder_of_card(dry: bool = False) -> str:
    """The name of the folder of what is found on the card at hand."""
    import torch

    return "dry" if dry else "-".join(re.findall(r"[A-Za-z0-9.]+", torch.cuda.get_device_name(0)))


def digest(*places: str, root: Path = ROOT) -> str:
    """Of the sources in folders, or files, of this clone: what was found or built of others does not count."""
    made = hashlib.sha256()
    for place in places:
        for path in sorted(p for p in (root / place, *(root / place).rglob("*")) if p.suffix in SOURCES):
            made.update(f"{path.relative_to(root)}\0{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return made.hexdigest()[:16]


def _said(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""


def machine(dry: bool = False) -> dict[str, Any]:
    """The card and the versions; dry: of a processor, in the same words."""
    import torch

    import fastblackout

    query = _said("nvidia-smi", "-i", "0", "--query-gpu=driver_version,clocks.max.sm", "--format=csv,noheader")
    driver, _, clock = query.partition(", ")
    nvcc = shutil.which("nvcc") or "/usr/local/cuda/bin/nvcc"
    release = re.search(r"release ([\d.]+)", _said(nvcc, "--version"))
    triton = sys.modules.get("triton") or (importlib.util.find_spec("triton") and importlib.import_module("triton"))
    facts: dict[str, Any] = {"card": "no card, a dry run", "capability": "none", "multiprocessors": 0}
    if not dry:
        card = torch.cuda.get_device_properties(0)
        facts = {"card": card.name, "capability": f"sm_{card.major}{card.minor}"}
        facts |= {"multiprocessors": card.multi_processor_count, "memory_bytes": card.total_memory}
        facts |= {"l2_bytes": card.L2_cache_size}
    facts |= {"driver": driver, "max_clock": clock, "torch": torch.__version__, "torch_cuda": torch.version.cuda}
    facts |= {"nvcc": release[1] if release else None, "triton": getattr(triton, "__version__", None)}
    facts |= {"python": platform.python_version(), "fastblackout": fastblackout.__version__}
    return facts | {"sources": digest("csrc", "kernels", "fastblackout")}
