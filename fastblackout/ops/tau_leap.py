"""Tau-leaping: the reverse step with Poisson births."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..call.arguments import Counts, ExpectedBirths, Key
from ..call.numbers import MaxCount, PerSample
from ..call.operation import Operation
from ..call.outputs import Chosen
from ..philox import Philox
from ..reference import tau_leap as reference
from . import per_element

if TYPE_CHECKING:
    import torch

OUTPUTS = ("x_s", "model_input")


class Leaped(NamedTuple):
    """What tau_leap_step returns; None for what was not asked for. overshoot: int64 (B,), elements clamped."""

    x_s: Any = None
    model_input: Any = None
    overshoot: Any = None


_TAU_LEAP_STEP = Operation(
    "tau_leap_step",
    Counts("x_t"),
    ExpectedBirths(),
    PerSample("step", "float64", low=0.0, part="factor", missing="as Schedule.bridge or Schedule.leap make it"),
    Key(),
    MaxCount(low=0),
    PerSample("gain", low=0.0),
    PerSample("center"),
    PerSample("scale"),
    outputs=Chosen("x_s", result=Leaped, count="overshoot"),
    twin=reference.tau_leap,
    per_element=per_element.tau_leap_step,
)


def tau_leap_step(
    x_t: Any,
    logits: Any = None,
    step: Any = None,
    *,
    births: Any = None,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    max_count: Any = None,
    gain: Any = 1.0,
    center: Any = 0.0,
    scale: Any = 1.0,
    mask: Any = None,
    outputs: Sequence[str] = OUTPUTS,
    input_dtype: Any = "float32",
    out: Leaped | None = None,
    backend: str = "auto",
) -> Leaped:
    """One reverse step from time t to s < t by tau-leaping, and the network's next input, in one pass.

        y = gain * softplus(logits),  x_s = x_t + min(Poisson(y * step), max_count - x_t),
        model_input = (x_s - center) * scale

    step: the factor on the expected births, finite and at least 0, per sample (see fb.thin), or a Prob (its p):
        Schedule.bridge(k_t, k_s) for the bridge's mean (what the authors call tau-leaping), Schedule.leap(k_t, k_s,
        form="rate") for the textbook form, which may exceed 1. It may differ within a sample, as fb.thin's alive.
    The other arguments are those of fb.bridge_step. The Poisson draw is the one of fb.poisson.
    Returns Leaped(x_s, model_input, overshoot): overshoot counts, per sample, the elements whose Poisson draw went
    above max_count - x_t and was clamped.
    Raises TypeError or ValueError naming op, argument, rule and value, with nothing written; on CUDA devices see
    fb.check_values.
    Source: Santos et al., ICML 2023, arXiv 2305.11089; Gillespie, J. Chem. Phys. 115 (2001).

        >>> x_t, births = np.array([[0, 20, 40, 90]], np.uint8), np.array([[0.0, 30, 60, 110]])
        >>> fb.tau_leap_step(x_t, births=births, step=0.5, rng=fb.Philox(1), outputs=("x_s",)).x_s
        array([[  0,  25,  68, 136]], dtype=uint8)
    """
    values = x_t, (logits, births), step, (rng, generator), max_count, gain, center, scale
    how = values, (outputs, input_dtype, out), backend
    return _TAU_LEAP_STEP(*how) if mask is None else per_element.masked(_TAU_LEAP_STEP, *how, mask)
