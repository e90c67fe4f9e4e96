"""The binomial bridge: the reverse step of blackout diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..backends import select
from ..call import short
from ..call.probabilities import as_prob
from ..call.route import readable, through_torch
from ..ground.values import check_name
from ..philox import Philox
from ..reference.bridge import bridge as reference_bridge
from .reverse import OUTPUTS, Step, check_step

if TYPE_CHECKING:
    import torch

ROUNDINGS = ("stochastic", "nearest")


class Stepped(NamedTuple):
    """What bridge_step returns; None for what was not asked for."""

    x_s: Any = None
    model_input: Any = None


def bridge_step(
    x_t: Any,
    logits: Any = None,
    step: Any = None,
    *,
    births: Any = None,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    max_count: int | None = None,
    gain: Any = 1.0,
    rounding: str = "stochastic",
    attrition: Any = 0.0,
    center: Any = 0.0,
    scale: Any = 1.0,
    outputs: Sequence[str] = OUTPUTS,
    input_dtype: Any = "float32",
    out: Stepped | None = None,
    backend: str = "auto",
) -> Stepped:
    """One reverse step from time t to s < t by the binomial bridge, and the network's next input, in one pass.

        y = gain * softplus(logits),  N = min(round(y), max_count - x_t),
        x_s = x_t + Binomial(N, step) - Binomial(x_t, attrition),  model_input = (x_s - center) * scale

    x_t: counts (B, ...) in 0..max_count, uint8, int16, int32 or int64; any strides. Dimension 0 is the sample.
    logits: x_t's shape, float32, float64, bfloat16 or float16, finite in float32; or births=y, the expected births
        themselves, at least 0 (guidance works on them); both are taken in float32.
    step: the birth probability (p_s - p_t) / (1 - p_t) in [0, 1]: Schedule.bridge(k_t, k_s), or as alive of fb.thin.
    rounding: "stochastic": floor(y) + Bernoulli(frac(y)), unbiased; "nearest": floor(y + 1/2), the authors' rule, which
        never births where y < 1/2.
    attrition: the probability that a particle dies again (keeps the marginals when `step` is raised to match: both come
        from Schedule.bridge_with_attrition), as alive of fb.thin; 0 for none.
    gain: finite, at least 0, per sample. center, scale: for the NEXT input. They, max_count, rng, generator, outputs,
    input_dtype and out are as in fb.thin; x_s may be x_t itself.
    Returns Stepped(x_s, model_input).
    Raises TypeError or ValueError naming op, argument, rule and value, with nothing written; on CUDA devices see
    fb.check_values.
    Source: Santos et al., ICML 2023, arXiv 2305.11089 (bridge); arXiv 2604.03779 (attrition).
    """
    op = "bridge_step"
    made = short.bridge(
        x_t, logits, births, step, rounding, attrition, rng, generator, max_count, gain, center, scale, outputs,
        input_dtype, out, backend,
    )  # fmt: skip
    if made is not None:
        return Stepped(*made)
    x_t, logits, births, step, attrition, rng, gain, center, scale = readable(
        op, x_t, x_t=x_t, logits=logits, births=births, step=step, attrition=attrition, rng=rng, gain=gain,
        center=center, scale=scale,
    )  # fmt: skip
    if through_torch(x_t, backend):
        from .. import torch_calls

        return Stepped(
            *torch_calls.bridge_step(
                x_t, logits, births, step, rounding, attrition, rng, generator, max_count, gain, center, scale, outputs,
                input_dtype, out, backend,
            )
        )  # fmt: skip
    checked = check_step(
        op, x_t, logits, births, rng, generator, max_count, gain, center, scale, outputs, input_dtype, out, backend,
        {"step": step, "attrition": attrition},
    )  # fmt: skip
    check_rule(op, rounding, step)
    samples = checked.size[0]
    birth = as_prob(step, samples, op, "step")
    death = None if is_zero(attrition) else as_prob(attrition, samples, op, "attrition")
    run(checked, birth, death, rounding == "stochastic")
    return Stepped(*checked.give())


def check_rule(op: str, rounding: Any, step: Any) -> None:
    check_name(op, "rounding", rounding, ROUNDINGS)
    if step is None:
        raise TypeError(f"{op}: step: must be given, as Schedule.bridge(k_t, k_s) makes it, got None")


def is_zero(attrition: Any) -> bool:
    """Whether no particle dies, said by a Python number: then there is no second draw."""
    return isinstance(attrition, (int, float)) and not isinstance(attrition, bool) and attrition == 0


def run(checked: Step, birth: Any, death: Any, stochastic: bool) -> None:
    """The "cpu" or "reference" kernel on checked arguments; birth, death: pairs (p, q), death None for no attrition."""
    if checked.backend == "cpu":
        select.cpu_module(checked.op).bridge(*checked.head(), birth, death, stochastic)
        return
    c = checked
    rounding = "stochastic" if stochastic else "nearest"
    sigma_p, sigma_q = death or (None, None)
    results = reference_bridge(
        *c.numpy(), birth[0], birth[1], c.key, c.max_count, c.gain, rounding, sigma_p, sigma_q, c.center, c.scale,
        c.asked(), c.input_dtype,
    )  # fmt: skip
    c.store(results)
