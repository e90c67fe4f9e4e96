"""The samplers: the rule of a reverse step behind each name that `sampler=` and `--sampler` take.

A new sampler is one file in this folder, written as rule.py says, and one line below: its name, file and class. A file
is imported when its sampler is asked for, because the command line shows the names without NumPy and torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, get_args

from ...typing import LastStep

if TYPE_CHECKING:
    from .rule import Rule

SAMPLERS = {
    "bridge": ".bridge:Bridge",
    "tau-leap": ".tau_leap:TauLeap",
    "tau-leap-rate": ".tau_leap:TauLeapRate",
    "lanl-2023": ".lanl_2023:Lanl2023",
}
LAST_STEPS = get_args(LastStep)
# Samplers that draw as another program does, and the head with which it draws. It has a grid of its own, too.
COMPAT = {"lanl-2023": "mean"}


def load_rule(sampler: str) -> type[Rule]:
    file, name = SAMPLERS[sampler].split(":")
    rule: type[Rule] = getattr(import_module(file, __name__), name)
    return rule
