"""What is printed and written: a short summary, which comes last, and a long table for a file."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gpu.aims import aims, of_ceiling, seconds_of
from gpu.tests import ALL, BITS, DECISIVE, REST, subject

Results = dict[str, Any]
# Of the failures in the summary, of those of a kind of test, and characters of each: the rest is in tests.log
MOST_LINES, MOST_OF_A_KIND, LINE = 16, 3, 220


def _rank(kind: str) -> int:
    """Of a kind of test: what decides whether an op is right comes first."""
    return [*DECISIVE, *BITS, *REST, kind].index(kind)


def failures(results: Results, of_a_kind: int | None = None) -> list[str]:
    """One line each of what went wrong, the build first. of_a_kind: so many tests of a kind at most."""
    lines, kinds = [f"FAILED: {text}" for text in results["errors"]], dict[str, list[str]]()
    for name, result in sorted(results["tests"].items()):
        if result["outcome"] == "failed":
            line = f"FAILED: {name}: {' '.join(result['text'].split())[-LINE:]}"
            kinds.setdefault(subject(name)[0], []).append(line)
    for kind in sorted(kinds, key=_rank):
        lines += kinds[kind][:of_a_kind]
        if more := len(kinds[kind]) - len(kinds[kind][:of_a_kind]):
            lines.append(f"FAILED: {more} more of test_{kind}")
    errors = [row for row in results["rows"] if "error" in row]
    lines += [f"FAILED: time: {row['case']} by {row['by']}: {row['error'][:LINE]}" for row in errors]
    for part in (*results["train"], *results["profile"], *results["jax"]):
        if "error" in part:
            lines.append(f"FAILED: {part['part']}: {part['error'][:LINE]}")
        lines += [
            f"FAILED: {part['part']}: {rule} is {part[rule]}"
            for rule in ("same_bytes", "falls")
            if part.get(rule) is False
        ]
    return lines


def card(results: Results) -> str:
    m = {"card": "no card yet", **results["machine"]}
    facts = ", ".join(
        f"{name} {m[name]}" for name in ("capability", "driver", "torch", "triton", "nvcc") if m.get(name)
    )
    return f"{m['card']}: {facts}, sources {m.get('sources')}; {results['date']}."


def tested(results: Results) -> str:
    """Tests passed, by backend and op; cases of the product."""
    parts = []
    groups = sorted({subject(name)[1:] for name in results["tests"]}, key=lambda pair: (pair[1], pair[0] == ALL, pair))
    for op, backend in groups:
        mine = [result for name, result in results["tests"].items() if subject(name)[1:] == (op, backend)]
        counted = Counter(result["outcome"] for result in mine)
        cases, of = (sum(result.get(key, 0) for result in mine) for key in ("cases", "of"))
        product = f", cases {cases}/{of}" if of else ""
        unrun = f", {counted['not run']} not run" if counted["not run"] else ""
        parts.append(f"{backend} {op} {counted['passed']}/{len(mine) - counted['skipped']}{product}{unrun}")
    return "Tests passed, and cases of the product equal to the reference to the bit: " + "; ".join(parts) + "."


def summary(results: Results) -> str:
    """Short enough for a terminal that keeps little: what failed, the aims, the card."""
    wrong = failures(results, MOST_OF_A_KIND)
    lines = wrong[:MOST_LINES] or ["Nothing failed."]
    if len(wrong) > MOST_LINES:
        lines.append(f"... and {len(wrong) - MOST_LINES} more, in tests.log and results.json")
    lines += [tested(results)]
    lines += [_trained(part) for part in (*results["train"], *results["jax"]) if "error" not in part]
    if results["dropped"]:
        lines.append(f"Left out, no time: {len(results['dropped'])}, in table.md; the next call goes on with them.")
    if results["cut_off"]:
        lines.append("CUT OFF: the time was over while something still ran.")
    lines += [f"aim: {name}: {wanted}: {found} {verdict}".rstrip() for name, wanted, found, verdict in aims(results)]
    return "\n".join([*lines, card(results)])


def _trained(part: dict[str, Any]) -> str:
    shown = {name: value for name, value in part.items() if name not in ("part", "when", "clock", "profile")}
    return f"{part['part']}: " + ", ".join(
        f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in shown.items()
    )


def _kernels(found: Results) -> list[str]:
    return [f"- {row['launches']:g} x {row['us']:.1f} us {row['kernel']}" for row in found["kernels"]]


def markdown(results: Results) -> str:
    """Everything: a row for every timing, with the clock it ran at."""
    c, counts = results["ceilings"], results["instructions"]
    lines = [card(results)]
    lines += ["At most: " + ", ".join(f"{n} {v:.4g}" if isinstance(v, float) else f"{n}: {v}" for n, v in c.items())]
    lines += [tested(results), *failures(results), *(f"Not timed: {text}." for text in results["absent"]), ""]
    lines.append("| case | shape | by | G/s | a call | in a graph | GB/s | of copy | of ceiling | MHz | cuda faster |")
    lines.append("|---|---|---|---|---|---|---|---|---|---|---|")
    best = {(r["case"], *r["shape"]): seconds_of(r) for r in results["rows"] if r["by"] == "cuda" and "error" not in r}
    table = (_cells(row, best.get((row["case"], *row["shape"])), results) for row in results["rows"])
    lines += ["| " + " | ".join(cells) + " |" for cells in table]
    lines += ["", "Of ceiling: of the lower of memory's, as copied here, and issue's, by the count of instructions: "]
    lines[-1] += ", ".join(f"{n} {v:.1f}" if isinstance(v, float) else f"{n} {v}" for n, v in counts.items()) + "."
    lines += ["", "Aims, for 64 Mpx:", "| aim | wanted | found | |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in aims(results)]
    lines += ["", *map(_trained, (*results["train"], *results["jax"]))]
    for part in results["train"]:
        if found := part.get("profile"):
            gaps = f"{found['gaps']:g} gaps, {found['us_of_gaps']:.0f} us, the longest {found['us_of_longest_gap']:.0f}"
            lines += ["", f"Kernels of a {part['part']}, one of which runs {found['busy']:.1%} of the time ({gaps}):"]
            lines += _kernels(found)
    for found in (case for part in results["profile"] for case in part.get("cases", ())):
        lines += ["", f"Kernels of a call of {found['case']} by {found['by']}, {'x'.join(map(str, found['shape']))}:"]
        lines += _kernels(found)
    if results["dropped"]:
        lines += ["", f"Left out, no time: {'; '.join(results['dropped'])}."]
    return "\n".join(lines)


def _cells(row: dict[str, Any], cuda: float | None, results: Results) -> tuple[str, ...]:
    head, limits = (row["case"], "x".join(map(str, row["shape"])), row["by"]), results["ceilings"]
    if "error" in row:
        return (*head, row["error"].replace("|", "/").replace("\n", " ")[:60], *("",) * 7)

    def micro(value: float | None) -> str:
        return "" if value is None else f"{value * 1e6:.4g} us"

    seconds, moved, copy, part = seconds_of(row), "", "", of_ceiling(row, results)
    if row["bytes"]:
        moved = f"{row['bytes'] / seconds / 1e9:.4g}"
        if "copy_gigabytes_s" in limits:
            copy = f"{row['bytes'] / seconds / 1e7 / limits['copy_gigabytes_s']:.0f}%"
    faster = "" if cuda is None or row["by"] == "cuda" else f"{seconds / cuda:.3g}x"
    rate, clock = f"{row['elements'] / seconds / 1e9:.4g}", row.get("clock")
    of = "" if part is None else f"{100 * part:.0f}%"
    mhz = "" if clock is None else f"{clock['sm_mhz']:.0f}"
    return (*head, rate, micro(row["call_seconds"]), micro(row["graph_seconds"]), moved, copy, of, mhz, faster)
