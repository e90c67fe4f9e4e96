"""Records all that a user can see of the ops, to the bit and to the word, and tells what differs from a record."""

from __future__ import annotations

import argparse
import concurrent.futures
import gzip
import json
import multiprocessing
import os
import platform
import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).parents[1])  # where `record` and `support` lie
sys.path.insert(1, str(Path(__file__).parents[2]))

from record.compare import Record, differences  # noqa: E402
from support.installed import use_compiled_package  # noqa: E402

PARTS = ("numpy", "tensors", "torch", "jax", "device", "cover", "signatures")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/record", description=__doc__)
    parser.add_argument("file", nargs="?", type=Path, help="where to write the record, .json or .json.gz")
    parser.add_argument("--compare", type=Path, metavar="OLD", help="tell what differs from a record; status 1 if any")
    parser.add_argument("--read", action="store_true", help="compare with the record in FILE, instead of making one")
    parser.add_argument("--parts", default=",".join(PARTS), help="of the record, by commas: %(default)s")
    parser.add_argument("--only", default="", metavar="WORD", help="only what has this word in its name, such as thin")
    parser.add_argument("--figures", action="store_true", help="print the figures of the plumbing instead")
    options = parser.parse_args()
    if (reason := use_compiled_package()) is not None:
        parser.error(reason)
    if options.figures:
        from record.figures import print_figures

        print_figures()
        return 0
    if not (options.file or options.compare) or (options.read and not options.file):
        parser.error("name a file to write, or a record to compare with")
    record = _read(options.file) if options.read else made(options.parts.split(","), options.only)
    if options.file and not options.read:
        text = json.dumps(record, indent=0).encode()
        options.file.write_bytes(gzip.compress(text, mtime=0) if options.file.suffix == ".gz" else text)
    if options.compare is None:
        return 0
    lines = differences(_read(options.compare), record, options.only)
    print("\n".join(lines) or "equal")
    return bool(lines)


def _read(path: Path) -> Record:
    text = path.read_bytes()
    return json.loads(gzip.decompress(text) if path.suffix == ".gz" else text)


def made(names: list[str], only: str) -> Record:
    """Every part in a process of its own, as one of them pretends to have a device."""
    from record import parts

    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(os.cpu_count(), context, max_tasks_per_child=1) as pool:
        found = dict(zip(names, pool.map(parts.part, names, [only] * len(names)), strict=True))
    return {"about": _about(), "parts": found}


def _about() -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    known = {"python": platform.python_version()}
    for name in ("numpy", "torch", "jax", "scipy", "anndata"):
        try:
            known[name] = version(name)
        except PackageNotFoundError:
            known[name] = "none"
    return known


if __name__ == "__main__":
    sys.exit(main())
