"""What differs between two records, on a page."""

from __future__ import annotations

import collections
import os
import re
from typing import Any

Record = dict[str, Any]
PAGE = 18  # kinds of changes that are shown


def differences(old: Record, new: Record, only: str = "") -> list[str]:
    """One entry for each kind of change, the kinds of most cases first, whatever the op and the numbers in it."""
    about = [(name, old["about"][name], now) for name, now in new["about"].items()]
    lines = [f"{name} was {was}, is {now}" for name, was, now in about if was != now]
    kinds: dict[Any, list[tuple[str, str, str]]] = collections.defaultdict(list)
    for part in sorted(old["parts"].keys() & new["parts"].keys()):
        before, after = old["parts"][part], new["parts"][part]
        for group in sorted(group for group in before.keys() | after.keys() if only in group or part == "signatures"):
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
    """What an ending has in common with the endings of other ops, arguments and values."""
    end = re.sub(r"^(\w+: )[\w.]+: [^:]+: ", r"\1", re.sub(r"\b[0-9a-f]{12}\b|[\d.]+", "", end))
    return re.sub(r", got .*", "", end)[:200]
