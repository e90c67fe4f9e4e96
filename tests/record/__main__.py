"""Records all that a user can see of the ops, to the bit and to the word, and tells what differs from a record."""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import gzip
import json
import multiprocessing
import os
import platform
import re
import sys
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parents[1])  # where `record` and `support` lie
sys.path.insert(1, str(Path(__file__).parents[2]))

from support.installed import use_compiled_package  # noqa: E402

Record = dict[str, Any]
PARTS = ("numpy", "tensors", "torch", "jax", "device", "cover", "signatures")
PAGE = 18  # differences that are shown


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


def differences(old: Record, new: Record, only: str = "") -> list[str]:
    """One entry for each kind of change, those of most cases first, whatever the op and the numbers in it."""
    about = [(name, old["about"][name], now) for name, now in new["about"].items()]
    lines = [f"{name} was {was}, is {now}" for name, was, now in about if was != now]
    kinds: dict[Any, list[tuple[str, str, str]]] = collections.defaultdict(list)
    for part in sorted(old["parts"].keys() & new["parts"].keys()):
        before, after = old["parts"][part], new["parts"][part]
        for group in sorted(group for group in before.keys() | after.keys() if only in group):
            was, now = before.get(group, {}), after.get(group, {})
            for case in sorted(was.keys() | now.keys()):
                pair = was.get(case, "no such case"), now.get(case, "no such case")
                if pair[0] != pair[1]:
                    kinds[tuple(map(_kind, pair))].append((f"{part}, {group}, {case}", *pair))
    for found in sorted(kinds.values(), key=len, reverse=True)[:PAGE]:
        case, was, now = found[0]
        start = max(len(os.path.commonprefix((was, now))) - 60, 0)
        lines.append(f"{len(found)} cases, first {case[:150]}")
        lines += [
            f"    {word} {'...' * (start > 0)}{text[start:][:150]}" for word, text in (("was", was), ("is ", now))
        ]
    if len(kinds) > PAGE:
        lines.append(f"and {len(kinds) - PAGE} other kinds of changes; {sum(map(len, kinds.values()))} cases in all")
    return lines


def _kind(end: str) -> str:
    return re.sub(r"^(\w+: )[\w.]+: [^:]+: |\b[0-9a-f]{12}\b|[\d.]+", r"\1", end)[:200]


if __name__ == "__main__":
    sys.exit(main())
