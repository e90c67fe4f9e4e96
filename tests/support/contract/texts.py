"""All that wrong arguments of the ops are told: each text once, with the ops and the arguments that have it."""

from __future__ import annotations

import collections
import textwrap
from typing import Any

from support.contract.calls import Pick, simplest
from support.contract.check import refused
from support.contract.valid import OPS, valid
from support.contract.violations import violations


def with_feature(feature: dict[str, Any], pick: Pick = simplest) -> Pick:
    """What takes a feature wherever it is to choose from, and all arguments that may be left out."""

    def choose(name: str, options: Any) -> Any:
        if name in feature and feature[name] in options:
            return feature[name]
        return True if name.endswith(" given") and True in options else pick(name, options)

    return choose


def texts(features: list[dict[str, Any]]) -> str:
    """Of every op, argument and violation, in a call with one feature that has it."""
    told: dict[str, set[str]] = collections.defaultdict(set)
    for op in OPS:
        seen = set()
        for feature in features:
            case = valid(op, with_feature(feature))
            for violation in violations(case):
                if (what := violation[:2]) not in seen:
                    seen.add(what)
                    text = refused(case, violation, ("reference", "cpu-scalar"), ("numpy", "torch with gradients"))
                    kind, owner, argument, rule = text.split(": ", 3)
                    told[f"{kind}: {rule}"].add(f"{owner}.{argument}")
    lines = []
    for text, owners in sorted(told.items()):
        lines += [text, *textwrap.wrap(", ".join(sorted(owners)), 116, initial_indent="    ", subsequent_indent="    ")]
    return "\n".join(lines) + "\n"
