"""Names of samplers and of last steps, which the command line shows without NumPy and torch."""

from typing import get_args

from ..typing import LastStep

SAMPLERS = {  # what `sampler=` and `--sampler` take, and its class in rules.py
    "bridge": "Bridge",
    "tau-leap": "TauLeap",
    "tau-leap-rate": "TauLeapRate",
    "lanl-2023": "Lanl2023",
}
LAST_STEPS = get_args(LastStep)
# Samplers that draw as another program does, and the head with which it draws. It has a grid of its own, too.
COMPAT = {"lanl-2023": "mean"}
