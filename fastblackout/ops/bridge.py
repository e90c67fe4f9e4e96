"""The binomial bridge: the reverse step of blackout diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

from ..call.arguments import Counts, ExpectedBirths, Key
from ..call.numbers import Choice, MaxCount, PerSample, Probability
from ..call.operation import Operation
from ..call.outputs import Chosen
from ..reference import bridge as reference
from ..typing import Generic, Rounding, T_co
from . import per_element

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..philox import Rng
    from ..probability import ProbLike
    from ..typing import Array, ArrayT, Backend, FloatDtypeLike, Numbers, StepOutput

OUTPUTS: tuple[StepOutput, ...] = ("x_s", "model_input")
ROUNDINGS = get_args(Rounding)


class Stepped(NamedTuple, Generic[T_co]):
    """What fb.bridge_step and fb.posterior_step return.

    Parameters
    ----------
    x_s : array
        The counts after the step.
    model_input : array
        The input of a network for the next step. Each of both is None if it was not asked for.
    """

    x_s: T_co = None  # type: ignore[assignment]  # as if all were made: who reads one has asked for it
    model_input: T_co = None  # type: ignore[assignment]


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
)


def bridge_step(
    x_t: ArrayT | NDArray[Any],
    logits: Array | None = None,
    step: ProbLike | None = None,
    *,
    births: Array | None = None,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    max_count: Numbers | None = None,
    gain: Numbers = 1.0,
    rounding: Rounding = "stochastic",
    attrition: ProbLike = 0.0,
    center: Numbers = 0.0,
    scale: Numbers = 1.0,
    mask: Array | None = None,
    outputs: StepOutput | Sequence[StepOutput] = OUTPUTS,
    input_dtype: FloatDtypeLike = "float32",
    out: Stepped[Any] | None = None,
    backend: Backend = "auto",
) -> Stepped[ArrayT]:
    """Make one reverse step from time t to s < t by the binomial bridge.

    ::

        y = gain * softplus(logits),  N = min(round(y), max_count - x_t),
        x_s = x_t + Binomial(N, step) - Binomial(x_t, attrition),  model_input = (x_s - center) * scale

    Parameters
    ----------
    x_t : array of counts (B, ...)
        Counts in 0..max_count, as in fb.thin. Dimension 0 is the sample.
    logits : array, optional
        In the shape of `x_t`, of float32, float64, bfloat16 or float16, finite in float32.
    step : number, array or Prob
        The birth probability (p_s - p_t) / (1 - p_t) in [0, 1]: Schedule.bridge(k_t, k_s). It is given like `alive` of
        fb.thin.
    births : array, optional
        y itself in place of `logits`: the expected births, at least 0. Guidance works on them. Both are taken in
        float32.
    rng : Philox, Tensor or int, optional
        The key of the draw: a fb.Philox, its seed, or its tensor on the device of `x_t`, which the host does not
        read. Without one a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    max_count : integer or array, optional
        As in fb.thin. No count gets above it.
    gain : number or array, optional
        Finite and at least 0, per sample or within a sample. It has no effect beside `births`.
    rounding : {"stochastic", "nearest"}, optional
        How y is made a whole number. "stochastic" is floor(y) + Bernoulli(frac(y)), which keeps the mean. "nearest" is
        floor(y + 1/2), the rule of the paper's authors. It never gives a birth where y < 1/2.
    attrition : number, array or Prob, optional
        The probability that a particle dies again, given like `alive` of fb.thin; 0 for none. It keeps the marginals
        when `step` is raised to match. Both come from Schedule.bridge_with_attrition.
    center, scale : number or array, optional
        They make the next input of the network, as in fb.thin.
    mask : array of bool, optional
        True where elements take part. It has no dimensions, or as many as `x_t`, and broadcasts. Other elements keep
        their count, whatever it is, with no births.
    outputs : {"x_s", "model_input"} or a sequence of these, optional
        What to make, in one pass. What is not named is None in the result.
    input_dtype : {"float32", "float64", "bfloat16", "float16"} or dtype, optional
        The dtype of model_input.
    out : Stepped, optional
        Arrays to write to instead of new ones, None for what is not wanted. They share no memory with each other or an
        argument, but x_s may be x_t itself. Counts that are copied, numbers within a sample and `mask` take none.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    Stepped
        The counts x_s and model_input, in the library and the memory order of `x_t`. x_s is in its dtype.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value, and nothing has been written. On a GPU
        wrong values in tensors are clamped, and fb.check_values tells of them.

    Notes
    -----
    Equal keys give equal results, whatever the batch split, backend, thread count or strides. There is no gradient.

    The draws of births, and of deaths with `attrition`, are as exact as the draw of fb.thin, given the mean births.
    These are computed in float32 from `logits`.

    `step` and `attrition` that differ within a sample draw by fb.binomial, as `alive` of fb.thin does. A `gain` or
    `max_count` that is the same everywhere draws what the one number draws.

    https://github.com/fastblackout/fastblackout/blob/main/docs/ops.md, "Arrays and types", has the rule for numbers per
    sample and within a sample, and all libraries and dtypes that are taken. "Numbers that differ within a sample" there
    says what such numbers cost.

    References
    ----------
    Santos et al., Blackout Diffusion, ICML 2023, arXiv 2305.11089, for the bridge.

    arXiv 2604.03779, for attrition.

    Examples
    --------
    >>> x_t, logits = np.array([[0, 20, 40, 90]], np.uint8), np.array([[0, 1, 2, 3]], np.float32)
    >>> fb.bridge_step(x_t, logits, step=0.5, rng=fb.Philox(1), gain=10.0, outputs=("x_s",)).x_s
    array([[  2,  26,  56, 106]], dtype=uint8)
    """
    values = x_t, (logits, births), step, attrition, (rng, generator), max_count, gain, rounding, center, scale
    how = values, (outputs, input_dtype, out), backend
    return _BRIDGE_STEP(*how) if mask is None else per_element.masked(_BRIDGE_STEP, *how, mask)
