"""The binomial bridge: the reverse step of blackout diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..call.arguments import Counts, ExpectedBirths, Key
from ..call.numbers import Choice, MaxCount, PerSample, Probability
from ..call.operation import Operation
from ..call.outputs import Chosen
from ..philox import Philox
from ..reference import bridge as reference
from . import per_element

if TYPE_CHECKING:
    import torch

OUTPUTS = ("x_s", "model_input")
ROUNDINGS = ("stochastic", "nearest")


class Stepped(NamedTuple):
    """What bridge_step returns; None for what was not asked for."""

    x_s: Any = None
    model_input: Any = None


_BRIDGE_STEP = Operation(
    "bridge_step",
    Counts("x_t"),
    ExpectedBirths(),
    Probability("step", missing="as Schedule.bridge(k_t, k_s) makes it"),
    Probability("attrition", parts=("sigma_p", "sigma_q"), optional=True),
    Key(),
    MaxCount(low=0),
    PerSample("gain", low=0.0),
    Choice("rounding", ROUNDINGS, part="stochastic"),
    PerSample("center"),
    PerSample("scale"),
    outputs=Chosen("x_s", result=Stepped),
    twin=reference.bridge,
    per_element=per_element.bridge_step,
    quick="quick_bridge",
)


def bridge_step(
    x_t: Any,
    logits: Any = None,
    step: Any = None,
    *,
    births: Any = None,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    max_count: Any = None,
    gain: Any = 1.0,
    rounding: str = "stochastic",
    attrition: Any = 0.0,
    center: Any = 0.0,
    scale: Any = 1.0,
    mask: Any = None,
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
    gain: finite, at least 0, per sample; of no effect beside births. center, scale: for the NEXT input. They,
    max_count, rng, generator, mask, outputs, input_dtype and out are as in fb.thin; x_s may be x_t itself. step,
    attrition and gain may differ within a sample, as alive there, and max_count, too: no count gets above its own. A
    gain or max_count that is the same everywhere draws what the one number draws.
    Returns Stepped(x_s, model_input).
    Raises TypeError or ValueError naming op, argument, rule and value, with nothing written; on CUDA devices see
    fb.check_values.
    Source: Santos et al., ICML 2023, arXiv 2305.11089 (bridge); arXiv 2604.03779 (attrition).

        >>> x_t, logits = np.array([[0, 20, 40, 90]], np.uint8), np.array([[0, 1, 2, 3]], np.float32)
        >>> fb.bridge_step(x_t, logits, step=0.5, rng=fb.Philox(1), gain=10.0, outputs=("x_s",)).x_s
        array([[  2,  26,  56, 106]], dtype=uint8)
    """
    values = x_t, (logits, births), step, attrition, (rng, generator), max_count, gain, rounding, center, scale
    how = values, (outputs, input_dtype, out), backend
    return _BRIDGE_STEP(*how) if mask is None else per_element.masked(_BRIDGE_STEP, *how, mask)
