"""Which backend "auto" takes for an op on a device, and why: one table, printed by `fastblackout info`.

preference.json beside this file holds what a card measured: {"card", "date", "ops": {op: {"order": [...],
"small": [...], "below": elements}}}; benchmarks/gpu writes it. {}: no card has.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

MEASURED = Path(__file__).with_name("preference.json")


class Rule(NamedTuple):
    """Backends in the order in which they are tried, and the reason for that order."""

    order: tuple[str, ...]
    why: str
    small: tuple[str, ...] = ()  # the order for fewer elements than `below`
    below: int = 0

    def tried(self, elements: int) -> tuple[str, ...]:
        return self.small if elements < self.below else self.order


_CPU = Rule(("cpu",), "the C++ kernels; the reference only where it is asked for")
_CUDA_FIRST = Rule(
    ("cuda", "triton"), "CUDA C++ where it is built, else Triton: a static rule, not measured on a GPU yet"
)


def rules(measured: dict[str, Any]) -> dict[str, Rule]:
    """What a results file says of ops on a CUDA device."""
    made = {}
    for op, found in measured.get("ops", {}).items():
        small, below = tuple(found.get("small", ())), int(found.get("below", 0))
        why = f"the faster of both on {measured['card']}, measured {measured['date']}"
        made[op] = Rule(tuple(found["order"]), why, small, below)
    return made


ON_CARD = rules(json.loads(MEASURED.read_text()))


def rule(device: str, op: str) -> Rule:
    """For an op on "cpu" or "cuda"; a static rule where no card has measured it."""
    return _CPU if device == "cpu" else ON_CARD.get(op, _CUDA_FIRST)
