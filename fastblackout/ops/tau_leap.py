"""Tau-leaping: the reverse step with Poisson births."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..backends import select
from ..call import checks
from ..call.route import readable, through_torch
from ..philox import Philox
from ..probability import Prob
from ..reference.tau_leap import tau_leap as reference_tau_leap
from .reverse import OUTPUTS, Step, check_step

if TYPE_CHECKING:
    import torch


class Leaped(NamedTuple):
    """What tau_leap_step returns; None for what was not asked for. overshoot: int64 (B,), elements clamped."""

    x_s: Any = None
    model_input: Any = None
    overshoot: Any = None


def tau_leap_step(
    x_t: Any,
    logits: Any = None,
    step: Any = None,
    *,
    births: Any = None,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    max_count: int | None = None,
    gain: Any = 1.0,
    center: Any = 0.0,
    scale: Any = 1.0,
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
        form="rate") for the textbook form, which may exceed 1.
    The other arguments are those of fb.bridge_step. The Poisson draw is the one of fb.poisson.
    Returns Leaped(x_s, model_input, overshoot): overshoot counts, per sample, the elements whose Poisson draw went
    above max_count - x_t and was clamped.
    Raises TypeError or ValueError naming op, argument, rule and value, with nothing written; on CUDA devices see
    fb.check_values.
    Source: Santos et al., ICML 2023, arXiv 2305.11089; Gillespie, J. Chem. Phys. 115 (2001).
    """
    op = "tau_leap_step"
    x_t, logits, births, step, rng, gain, center, scale = readable(
        op, x_t, x_t=x_t, logits=logits, births=births, step=step, rng=rng, gain=gain, center=center, scale=scale
    )
    if through_torch(x_t, backend):
        from .. import torch_calls

        return Leaped(
            *torch_calls.tau_leap_step(
                x_t, logits, births, step, rng, generator, max_count, gain, center, scale, outputs, input_dtype, out,
                backend,
            )
        )  # fmt: skip
    checked = check_step(
        op, x_t, logits, births, rng, generator, max_count, gain, center, scale, outputs, input_dtype, out, backend,
        {"step": step},
    )  # fmt: skip
    factor = checks.per_sample(op, "step", factor_of(op, step), checked.size[0], low=0.0)
    overshoot = run(checked, factor)
    x_s, model_input = checked.give()
    if checked.x_t.is_tensor:
        import torch

        return Leaped(x_s, model_input, torch.from_numpy(overshoot))
    return Leaped(x_s, model_input, checked.x_t.like(overshoot).give())


def factor_of(op: str, step: Any) -> Any:
    if step is None:
        raise TypeError(f"{op}: step: must be given, as Schedule.bridge or Schedule.leap make it, got None")
    return step.p if isinstance(step, Prob) else step


def run(checked: Step, factor: Any) -> Any:
    """The "cpu" or "reference" kernel on checked arguments; returns overshoot, int64 NumPy (B,)."""
    c = checked
    if c.backend == "cpu":
        overshoot = np.zeros(c.size[0], np.int64)
        select.cpu_module(c.op).tau_leap(*c.head(), factor, overshoot)
        return overshoot
    *results, overshoot = reference_tau_leap(
        *c.numpy(), factor, c.key, c.max_count, c.gain, c.center, c.scale, c.asked(), c.input_dtype
    )
    c.store(results)
    return overshoot
