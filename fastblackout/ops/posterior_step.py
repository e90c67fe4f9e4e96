"""The reverse step of a network whose outputs are a law of the births."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..call.arguments import Counts, Key
from ..call.head import Head, MaxCountOfHead
from ..call.numbers import PerSample, Probability
from ..call.operation import Operation
from ..call.outputs import Chosen
from ..philox import Philox
from ..reference import posterior_step as reference
from .bridge import OUTPUTS, Stepped, bridge_step
from .mean_family import as_births, is_mean

if TYPE_CHECKING:
    import torch

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
    x_t: Any,
    head: Any,
    step: Any,
    *,
    family: str,
    offset: Any = 0.0,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    max_count: int | None = None,
    center: Any = 0.0,
    scale: Any = 1.0,
    outputs: Sequence[str] = OUTPUTS,
    input_dtype: Any = "float32",
    out: Stepped | None = None,
    backend: str = "auto",
) -> Stepped:
    """One reverse step from time t to s < t by the law that a network's outputs, its head, give each element's births.

        x_s = x_t + births,  model_input = (x_s - center) * scale

    family: the law. "beta-binomial", a head of two arrays o_1, o_2, with R = max_count - x_t:

        births ~ Binomial(R, f step_b),  f ~ Beta(m c, (1 - m) c),
        m = sigmoid(o_1 + offset_b),  c = exp(clamp(o_2 + 1, -5, 7))

        "bayes-logistic", a head of 2, 5 or 8 arrays, and "categorical" and "bayes-categorical", one of logits:

        births ~ Binomial(N, step_b),  N by the law of fb.posterior_loss, drawn by its distribution function

        "negative-binomial", a head of two arrays, with A and theta of fb.posterior_loss:

        births = min(K, R),  K ~ Poisson(step_b theta g),  g ~ Gamma(A),

        negative binomial of size A and mean step_b A theta, and cut at R, so that the state stays in 0..max_count: the
        law of fb.posterior_loss, which goes on, is not cut, and the two agree but for what lies beyond the bound.

        "mean", an array of logits: fb.bridge_step, whose errors it raises, with gain = max_count / 4 exp(offset_b), in
        float64 for offsets of any dtype.

        In all but "mean" the births of all time left, of which a step takes its share, have fb.posterior_loss's law.
    x_t: as in fb.bridge_step. head, family, offset, max_count: as in fb.posterior_loss; nothing has a gradient.
    step: the birth probability (p_s - p_t) / (1 - p_t) in [0, 1], per sample: Schedule.bridge(k_t, k_s), or as alive of
        fb.thin.
    center, scale: for the NEXT input. They, rng, generator, outputs, input_dtype and out are as in fb.thin; x_s may be
    x_t itself. Nothing cancels where f or step is next to 0 or 1, and no tail is lost: the distribution function of x_s
    is within 1.5e-13 + 1.5e-15 sqrt(R) of the exact one everywhere for "beta-binomial" and every finite head, within
    1e-10 for "bayes-logistic" with max_count 255, means in 0..max_count and logits below 1000, within 6e-14 + 5e-15
    sqrt(A) + 2e-15 sqrt(step_b A theta) for "negative-binomial", and within 6e-8 (3 + log(R + 1)) with a logit for
    every state, as their exponentials are float32 (derived in fastblackout/reference/posterior_step.py,
    bayes_logistic.py, negative_binomial_law.py and states.py). Equal keys give equal results, bit for bit, on every
    backend and for any split of the batch.
    Returns Stepped(x_s, model_input).
    Raises TypeError or ValueError naming op, argument, rule and value, with nothing written; on CUDA devices see
    fb.check_values.
    Source: Skellam, J. R. Stat. Soc. B 10 (1948), for the beta-binomial law; Salimans et al., PixelCNN++ (2017), for
    rounded logistic laws; Greenwood and Yule, J. R. Stat. Soc. 83 (1920), for the negative binomial one; docs/theory.md
    for their place here.

        >>> x_t = np.array([[0, 20, 40, 90]], np.uint8)
        >>> head = np.array([[-3.0, 0, 0, 3]], np.float32), np.array([[5.0, 5, -2, 5]], np.float32)
        >>> step = dict(family="beta-binomial", rng=fb.Philox(1), outputs=("x_s",))
        >>> fb.posterior_step(x_t, head, 0.5, **step).x_s
        array([[  7,  75,  60, 171]], dtype=uint8)
        >>> fb.posterior_step(x_t, head, 0.5, **step | {"family": "bayes-logistic", "offset": -0.5}).x_s
        array([[  0,  41,  73, 176]], dtype=uint8)
        >>> fb.posterior_step(x_t, head, 0.5, **step | {"family": "negative-binomial", "offset": -0.5}).x_s
        array([[  1,  25,  52, 184]], dtype=uint8)
        >>> logits = np.linspace(0, 9, 1024, dtype=np.float32).reshape(1, 4, 256)
        >>> fb.posterior_step(x_t, logits, 0.5, **step | {"family": "bayes-categorical", "offset": -0.5}).x_s
        array([[  0,  38,  64, 162]], dtype=uint8)
    """
    if is_mean(family):
        logits, gain = as_births("posterior_step", head, x_t, offset, max_count)
        return bridge_step(
            x_t, logits, step, rng=rng, generator=generator, max_count=max_count, gain=gain, center=center,
            scale=scale, outputs=outputs, input_dtype=input_dtype, out=out, backend=backend,
        )  # fmt: skip
    values = x_t, (family, head), step, offset, (rng, generator), max_count, center, scale
    return _POSTERIOR_STEP(values, (outputs, input_dtype, out), backend)
