"""The results of `pytest benchmarks/ --json FILE` as a Markdown table: python benchmarks/report.py FILE"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

_HEAD = ("case", "ISA", "threads", "M/s", "a call", "peer", "peer M/s", "ratio")


def markdown(results: dict[str, Any]) -> str:
    """Two lines on machine and versions, then a row for every case and peer."""
    machine, versions = results["machine"], results["versions"]
    table = [_HEAD, ("---", "---", "--:", "--:", "--:", "---", "--:", "--:"), *map(_cells, results["rows"])]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['isa']}, {machine['system']}, load average "
        f"{machine['load'][0]} before and {machine['load'][1]} after; {results['date']}.",
        f"Medians of {results['rounds']} rounds in turns, calls repeated for 40 ms; M/s = million elements a second; "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".",
        *(f"Not timed: {name}: {why}." for name, why in results["absent"].items()),
        "",
        *("| " + " | ".join(map(str.ljust, row, widths)) + " |" for row in table),
    ]
    return "\n".join(lines)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def rate(seconds: float) -> str:
        return f"{row['elements'] / seconds / 1e6:.3g}"

    ours = row["ours_seconds"]
    call = f"{1e6 * ours:.3g} us" if ours < 1e-3 else f"{1e3 * ours:.3g} ms"
    ratio = f"{row['ratio']:.0f}" if row["ratio"] >= 100 else f"{row['ratio']:.3g}"
    return (
        row["case"], row["isa"], str(row["threads"]), rate(ours), call, row["peer"], rate(row["peer_seconds"]), ratio
    )  # fmt: skip


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python benchmarks/report.py FILE", file=sys.stderr)
        return 2
    try:
        print(markdown(json.loads(Path(arguments[0]).read_text())))
    except (OSError, ValueError, KeyError) as error:
        print(f"report: {arguments[0]}: not the results of pytest benchmarks/ --json: {error!r}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
