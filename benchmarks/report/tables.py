"""Results as Markdown and pictures: fastblackout bench report [FILE ...], or python benchmarks/report [FILE ...]

FILE: what `pytest benchmarks/ --json FILE` or `python benchmarks/gpu` wrote; default everything in benchmarks/results.
Prints all tables, fills the blocks <!-- bench report: NAME --> ... <!-- end --> of README.md, docs/performance.md and
benchmarks/results/tables.md, and draws docs/images/bench-*.png from the newest results of a CPU. Of results of
one day, the ones of the widest instruction set count.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from report import plots, targets

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/performance.md", "benchmarks/results/tables.md")
_BLOCK = re.compile(r"(<!-- bench report: ([\w -]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_BY_SIZE = re.compile(r"thin, x_t, 10\^(\d+) pixels")
_NOT_PEERS = (targets.SHARE_OF_64, targets.WHOLE_TRAINING, targets.WHOLE_SAMPLING, None)
_HEAD = ("case", "ISA", "threads", "M/s", "a call", "peer", "peer M/s", "ratio", "ratios")
Results = dict[str, Any]


def grid(rows: Sequence[tuple[str, ...]], right: str = "") -> str:
    """A Markdown table of cells, the heading first. right: columns to align so, by their heads, separated by |."""
    rule = tuple("--:" if head in right.split("|") else "---" for head in rows[0])
    table = [rows[0], rule, *rows[1:]]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    return "\n".join("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in table)


def machine(results: Results) -> str:
    """On what the results were found, and how."""
    box, versions = results["machine"], results["versions"]
    lines = [
        f"{box['cpu']}, {box['cores']} cores, {box['isa']}, {box['system']}, load average {box['load'][0]} before and "
        f"{box['load'][1]} after; {results['date']}.",
        f"Medians of up to {results['rounds']} rounds in turns, calls repeated for "
        f"{1e3 * results['window_seconds']:.0f} ms; processor time for one thread, clock time for more; M/s = million "
        "elements a second; "
        + ("glibc's malloc settled; " if results["settled_allocator"] else "malloc as it is; ")
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
        *(f"Not timed: {name}: {why}." for name, why in results["absent"].items()),
    ]
    return "\n".join(lines)


def markdown(results: Results) -> str:
    """Everything, a row for every case and peer."""
    parts = [machine(results), grid([_HEAD, *map(_cells, results["rows"])], "threads|M/s|peer M/s|ratio")]
    parts += [table(results) for table in (ceilings, memory) if table(results)]
    return "\n\n".join(parts)


def standing(results: Results) -> str:
    """A row for every case, what stands beside it in one cell."""
    cases: dict[tuple[Any, ...], list[Results]] = {}
    for row in results["rows"]:
        if row["peer"] not in _NOT_PEERS and not _BY_SIZE.match(row["case"]):
            cases.setdefault((row["case"], row["isa"], row["threads"]), []).append(row)
    head = ("work", "ISA", "threads", "M/s", "a call", "times as fast as")
    cells = [
        (*_cells(rows[0])[:5], ", ".join(f"{row['peer']} {_number(row['ratio'])}" for row in rows))
        for rows in cases.values()
    ]
    return grid([head, *cells], "threads|M/s")


def headline(every: dict[str, Results], only: Collection[tuple[str, str]] | None = None) -> str:
    """The cases that an aim is set for, on the best instruction set: a row for each peer, a column for each machine.

    only: the (case, peer) to show; default all.
    """
    seen: dict[tuple[str, str], dict[str, str]] = {}
    for name, results in every.items():
        for target in targets.TARGETS:
            for row in targets.matching(target._replace(isa=None), results) if target.kind == "ratio" else ():
                if only is None or (row["case"], row["peer"]) in only:
                    seen.setdefault((row["case"], row["peer"]), {})[name] = f"{_number(row['ratio'])}x"
    cells = [(*work, *(found.get(name, "") for name in every)) for work, found in seen.items()]
    return grid([("work", "compared with", *every), *cells], "|".join(every))


def ceilings(results: Results) -> str:
    cells = [(c["name"], f"{c['bytes_per_second'] / 1e9:.3g}") for c in results.get("ceilings", ())]
    return grid([("one thread", "GB/s"), *cells], "GB/s") if cells else ""


def memory(results: Results) -> str:
    cells = [
        (
            m["case"],
            "x".join(map(str, m["shape"])),
            m["who"],
            f"{m['bytes'] / 1e6:.1f}",
            f"{m['bytes'] / m['elements']:.3g}",
        )
        for m in results.get("memory", ())
    ]
    head = ("work", "shape", "by", "MB at the peak beyond the inputs", "bytes an element")
    return grid([head, *cells], "|".join(head[3:])) if cells else ""


TABLES: dict[str, Callable[[Results], str]] = {
    "machine": machine,
    "targets": lambda results: grid(targets.table(results), "found"),
    "standing": standing,
    "ceilings": ceilings,
    "memory": memory,
}


# Of all machines at once.
COMPARISONS: dict[str, Callable[[dict[str, Results]], str]] = {
    "headline": headline,
    "short": lambda every: headline(every, targets.SHORT),
}


def _cells(row: Results) -> tuple[str, ...]:
    def rate(seconds: float) -> str:
        return _number(row["elements"] / seconds / 1e6)

    ours = row["ours_seconds"]
    call = f"{1e6 * ours:.3g} us" if ours < 1e-3 else f"{1e3 * ours:.3g} ms"
    start = (row["case"], row["isa"], str(row["threads"]), rate(ours), call)
    if row["peer"] is None:
        return (*start, "", "", "", "")
    spread = f"{_number(row['ratio_low'])} to {_number(row['ratio_high'])}"
    return (*start, row["peer"], rate(row["peer_seconds"]), _number(row["ratio"]), spread)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def fill(page: str, made: dict[str, str]) -> str:
    """The page with the text between the marks of every block replaced. ValueError for a block of no such name."""

    def block(match: re.Match[str]) -> str:
        if match[2] not in made:
            raise ValueError(f"no table is called {match[2]!r}: {', '.join(made)}")
        return f"{match[1]}\n{made[match[2]]}\n\n{match[3]}"

    return _BLOCK.sub(block, page)


def load(path: Path) -> Results:
    try:
        results = json.loads(path.read_text())
        if "card" not in results["machine"]:
            markdown(results)  # whatever is missing is missed here
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not the results of pytest benchmarks/ --json or benchmarks/gpu: {error!r}") from None
    return results


def write(every: dict[str, Results], root: Path) -> list[Path]:
    """Fills the pages under root and draws the pictures; what it wrote. every: of CPUs by name, the best first."""
    made = {
        name: "\n\n".join(f"**{machine}**\n\n{table(results)}" for machine, results in every.items())
        if len(every) > 1
        else table(*every.values())
        for name, table in TABLES.items()
    }
    made |= {name: table(every) for name, table in COMPARISONS.items()}
    written = []
    for name in PAGES:
        page = root / name
        if page.exists() and (new := fill(old := page.read_text(), made)) != old:
            page.write_text(new)
            written.append(page)
    return written + plots.draw(next(iter(every.values())), root / "docs" / "images")


def _rank(results: Results) -> tuple[str, int]:
    return results["date"], targets.ISAS.index(results["machine"]["isa"])


def main(arguments: Sequence[str]) -> int:
    """The command; the exit status. Errors are one line."""
    if any(argument.startswith("-") for argument in arguments):
        print(f"usage: fastblackout bench report [FILE ...]\n\n{__doc__}")
        return 0 if set(arguments) <= {"-h", "--help"} else 2
    try:
        paths = [Path(argument) for argument in arguments] or sorted((ROOT / "benchmarks" / "results").glob("*.json"))
        found = {path: load(path) for path in paths}
        best_first = sorted(found.items(), key=lambda item: _rank(item[1]), reverse=True)
        cpus = {path.stem: results for path, results in best_first if "card" not in results["machine"]}
        for path, results in found.items():
            print(f"## {path.name}\n\n{_gpu(results) if 'card' in results['machine'] else markdown(results)}\n")
        if not cpus:
            raise ValueError("no results of a CPU: run pytest benchmarks/ --json benchmarks/results/MACHINE.json")
        for name, results in cpus.items():
            print(f"## Aims, {name}\n\n{TABLES['targets'](results)}\n")
        print("\n".join(f"written: {path}" for path in write(cpus, ROOT)))
    except (OSError, ValueError, ImportError) as error:
        print(f"fastblackout bench report: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def _gpu(results: Results) -> str:
    from gpu.report import markdown as markdown_of_gpu  # which puts tests/ on the path

    return markdown_of_gpu(results)
