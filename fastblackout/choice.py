"""Which backend "auto" takes for an op on a device, and why: one table, printed by `fastblackout info`."""

from __future__ import annotations

from typing import NamedTuple


class Rule(NamedTuple):
    """Backends in the order in which they are tried, and the reason for that order."""

    order: tuple[str, ...]
    why: str


OPS = (
    "binomial",
    "birth_loss",
    "bridge_log_prob",
    "bridge_step",
    "categorical",
    "categorical_bridge",
    "poisson",
    "tau_leap_step",
    "thin",
    "thin_log_prob",
    "transition_rows",
)
_CPU = Rule(("cpu",), "the C++ kernels; the reference only where it is asked for")
_UNMEASURED = "CUDA C++ before Triton: a static rule, not yet measured on a GPU"
_CUDA_FIRST = Rule(("cuda", "triton"), _UNMEASURED)

# Device, op: rule. An entry changes with a measurement that is committed in benchmarks/results.
CHOICE: dict[str, dict[str, Rule]] = {
    "cpu": dict.fromkeys(OPS, _CPU),
    "cuda": dict.fromkeys(OPS, _CUDA_FIRST),
}
