"""The reverse step of a network whose outputs are a law of the births."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..call.arguments import Counts, Key
from ..call.head import Head, MaxCountOfHead
from ..call.numbers import PerSample, Probability
from ..call.operation import Operation
from ..call.outputs import Chosen
from ..reference import posterior_step as reference
from .bridge import OUTPUTS, Stepped, bridge_step
from .posterior_loss import as_births, is_mean

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..philox import Rng
    from ..probability import ProbLike
    from ..typing import Array, ArrayT, Backend, Family, FloatDtypeLike, Numbers, StepOutput

_POSTERIOR_STEP = Operation(
    "posterior_step",
    Counts("x_t"),
    Head(),
    Probability("step", missing="as Schedule.bridge(k_t, k_s) makes it"),
    PerSample("offset"),
    Key(),
    MaxCountOfHead(),
    PerSample("center"),
    PerSample("scale"),
    outputs=Chosen("x_s", result=Stepped),
    twin=reference.posterior_step,
)


def posterior_step(
    x_t: ArrayT | NDArray[Any],
    head: Array | Sequence[Array],
    step: ProbLike,
    *,
    family: Family,
    offset: Numbers = 0.0,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    max_count: Numbers | None = None,
    center: Numbers = 0.0,
    scale: Numbers = 1.0,
    outputs: StepOutput | Sequence[StepOutput] = OUTPUTS,
    input_dtype: FloatDtypeLike = "float32",
    out: Stepped[Any] | None = None,
    backend: Backend = "auto",
) -> Stepped[ArrayT]:
    """Make one reverse step from time t to s < t by the law that a network's head gives the births.

    ::

        x_s = x_t + births,  model_input = (x_s - center) * scale

    The family makes a law of births for each element, with R = max_count - x_t.

    "beta-binomial", a head of two arrays o_1, o_2::

        births ~ Binomial(R, f step_b),  f ~ Beta(m c, (1 - m) c),
        m = sigmoid(o_1 + offset_b),  c = exp(clamp(o_2 + 1, -5, 7))

    "bayes-logistic", a head of 2, 5 or 8 arrays::

        births ~ Binomial(N, step_b),  N by the law of fb.posterior_loss, drawn by its distribution function

    "negative-binomial", a head of two arrays, with A and theta of fb.posterior_loss::

        births = min(K, R),  K ~ Poisson(step_b theta g),  g ~ Gamma(A)

    So K is negative binomial of size A and mean step_b A theta. It is cut at R, so that the state stays in
    0..max_count. The law of fb.posterior_loss is not cut. The two agree but for what lies beyond the bound.

    "mean", an array of logits: fb.bridge_step with gain = max_count / 4 exp(offset_b), in float64 for offsets of any
    dtype. It raises the errors of fb.bridge_step.

    In all but "mean" the births of all time left have the law of fb.posterior_loss. A step takes its share of them.

    Parameters
    ----------
    x_t : array of counts (B, ...)
        Counts in 0..max_count, as in fb.thin. Dimension 0 is the sample.
    head : array or sequence of arrays
        The outputs of a network, as in fb.posterior_loss.
    step : number, array or Prob
        The birth probability (p_s - p_t) / (1 - p_t) in [0, 1], per sample: Schedule.bridge(k_t, k_s). It is given like
        `alive` of fb.thin.
    family : {"beta-binomial", "bayes-logistic", "negative-binomial", "mean"}
        The law.
    offset : number or array, optional
        As in fb.posterior_loss: log(1 - p_t), per sample.
    rng : Philox, Tensor or int, optional
        The key of the draw: a fb.Philox, its seed, or its tensor on the device of `x_t`, which the host does not
        read. Without one a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    max_count : integer, optional
        As in fb.posterior_loss.
    center, scale : number or array, optional
        They make the next input of the network, per sample, as in fb.thin.
    outputs : {"x_s", "model_input"} or a sequence of these, optional
        What to make, in one pass. What is not named is None in the result.
    input_dtype : {"float32", "float64", "bfloat16", "float16"} or dtype, optional
        The dtype of model_input.
    out : Stepped, optional
        Arrays to write to instead of new ones, None for what is not wanted. They share no memory with each other or an
        argument, but x_s may be x_t itself. Counts that are copied take none.
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
    Equal keys give equal results, bit for bit, on every backend and for any split of the batch. There is no gradient.

    Nothing cancels where f or `step` is next to 0 or 1, and no tail is lost. The distribution function of x_s is within
    these distances of the exact one:

    - "beta-binomial", for every finite head: 1.5e-13 + 1.5e-15 sqrt(R).
    - "bayes-logistic" with max_count 255, means in 0..max_count and logits below 1000: 1e-10.
    - "negative-binomial": 6e-14 + 5e-15 sqrt(A) + 2e-15 sqrt(step_b A theta).

    posterior_step.py, bayes_logistic.py and negative_binomial_law.py of fastblackout/reference derive them.

    References
    ----------
    Skellam, A probability distribution derived from the binomial distribution by regarding the probability of success
    as variable, J. R. Stat. Soc. B 10 (1948), for the beta-binomial law.

    Salimans et al., PixelCNN++ (2017), for rounded logistic laws.

    Greenwood and Yule, J. R. Stat. Soc. 83 (1920), for the negative binomial law.
    https://github.com/fastblackout/fastblackout/blob/main/docs/theory.md says what all three do here.

    Examples
    --------
    >>> x_t = np.array([[0, 20, 40, 90]], np.uint8)
    >>> head = np.array([[-3.0, 0, 0, 3]], np.float32), np.array([[5.0, 5, -2, 5]], np.float32)
    >>> step = dict(family="beta-binomial", rng=fb.Philox(1), outputs=("x_s",))
    >>> fb.posterior_step(x_t, head, 0.5, **step).x_s
    array([[  7,  75,  60, 171]], dtype=uint8)
    >>> fb.posterior_step(x_t, head, 0.5, **step | {"family": "bayes-logistic", "offset": -0.5}).x_s
    array([[  0,  41,  73, 176]], dtype=uint8)
    >>> fb.posterior_step(x_t, head, 0.5, **step | {"family": "negative-binomial", "offset": -0.5}).x_s
    array([[  1,  25,  52, 184]], dtype=uint8)
    """
    if is_mean(family):
        logits, gain = as_births("posterior_step", head, x_t, offset, max_count)
        return bridge_step(
            x_t, logits, step, rng=rng, generator=generator, max_count=max_count, gain=gain, center=center,
            scale=scale, outputs=outputs, input_dtype=input_dtype, out=out, backend=backend,
        )  # fmt: skip
    head = tuple(head) if isinstance(head, list) else head  # which no other thread can change
    values = x_t, (family, head), step, offset, (rng, generator), max_count, center, scale
    return _POSTERIOR_STEP(values, (outputs, input_dtype, out), backend)
