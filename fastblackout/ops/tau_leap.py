"""Tau-leaping: the reverse step with Poisson births."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..call.arguments import Counts, ExpectedBirths, Key
from ..call.numbers import MaxCount, PerSample
from ..call.operation import Operation
from ..call.outputs import Chosen
from ..reference import tau_leap as reference
from ..typing import Generic, T_co
from . import per_element
from .bridge import OUTPUTS

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..philox import Rng
    from ..probability import ProbLike
    from ..typing import Array, ArrayT, Backend, FloatDtypeLike, Numbers, StepOutput


class Leaped(NamedTuple, Generic[T_co]):
    """What fb.tau_leap_step returns.

    Parameters
    ----------
    x_s : array
        The counts after the step.
    model_input : array
        The input of a network for the next step. Each of both is None if it was not asked for.
    overshoot : array of int64 (B,)
        How many elements of each sample were clamped: their draw went above max_count - x_t.
    """

    x_s: T_co = None  # type: ignore[assignment]  # as if all were made: who reads one has asked for it
    model_input: T_co = None  # type: ignore[assignment]
    overshoot: T_co = None  # type: ignore[assignment]


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
    x_t: ArrayT | NDArray[Any],
    logits: Array | None = None,
    step: ProbLike | None = None,
    *,
    births: Array | None = None,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    max_count: Numbers | None = None,
    gain: Numbers = 1.0,
    center: Numbers = 0.0,
    scale: Numbers = 1.0,
    mask: Array | None = None,
    outputs: StepOutput | Sequence[StepOutput] = OUTPUTS,
    input_dtype: FloatDtypeLike = "float32",
    out: Leaped[Any] | None = None,
    backend: Backend = "auto",
) -> Leaped[ArrayT]:
    """Make one reverse step from time t to s < t by tau-leaping.

    ::

        y = gain * softplus(logits),  x_s = x_t + min(Poisson(y * step), max_count - x_t),
        model_input = (x_s - center) * scale

    Parameters
    ----------
    x_t : array of counts (B, ...)
        Counts in 0..max_count, as in fb.thin. Dimension 0 is the sample.
    logits : array, optional
        In the shape of `x_t`, of float32, float64, bfloat16 or float16, finite in float32.
    step : number, array or Prob
        The factor on the expected births, finite and at least 0, per sample or within a sample. Of a Prob its p is
        taken. Schedule.bridge(k_t, k_s) gives the mean of the bridge, which the paper's authors call tau-leaping.
        Schedule.leap(k_t, k_s, form="rate") gives the textbook form, which may exceed 1.
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
    center, scale : number or array, optional
        They make the next input of the network, as in fb.thin.
    mask : array of bool, optional
        True where elements take part. It has no dimensions, or as many as `x_t`, and broadcasts. Other elements keep
        their count, whatever it is, with no births.
    outputs : {"x_s", "model_input"} or a sequence of these, optional
        What to make, in one pass. What is not named is None in the result.
    input_dtype : {"float32", "float64", "bfloat16", "float16"} or dtype, optional
        The dtype of model_input.
    out : Leaped, optional
        Arrays to write to instead of new ones, None for what is not wanted. They share no memory with each other or an
        argument, but x_s may be x_t itself. Counts that are copied, numbers within a sample and `mask` take none.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    Leaped
        The counts x_s and model_input, in the library and the memory order of `x_t`. x_s is in its dtype. overshoot is
        always made: for each sample the number of elements whose draw went above max_count - x_t and was clamped.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value, and nothing has been written. On a GPU
        wrong values in tensors are clamped, and fb.check_values tells of them.

    Notes
    -----
    Equal keys give equal results, whatever the batch split, backend, thread count or strides. There is no gradient. The
    Poisson numbers are drawn as by fb.poisson.

    https://github.com/fastblackout/fastblackout/blob/main/docs/ops.md, "Arrays and types", has the rule for numbers per
    sample and within a sample, and all libraries and dtypes that are taken. "Numbers that differ within a sample" there
    says what such numbers cost.

    References
    ----------
    Santos et al., Blackout Diffusion, ICML 2023, arXiv 2305.11089.

    Gillespie, Approximate accelerated stochastic simulation, J. Chem. Phys. 115 (2001).

    Examples
    --------
    >>> x_t, births = np.array([[0, 20, 40, 90]], np.uint8), np.array([[0.0, 30, 60, 110]])
    >>> fb.tau_leap_step(x_t, births=births, step=0.5, rng=fb.Philox(1), outputs=("x_s",)).x_s
    array([[  0,  25,  68, 136]], dtype=uint8)
    """
    values = x_t, (logits, births), step, (rng, generator), max_count, gain, center, scale
    how = values, (outputs, input_dtype, out), backend
    return _TAU_LEAP_STEP(*how) if mask is None else per_element.masked(_TAU_LEAP_STEP, *how, mask)
