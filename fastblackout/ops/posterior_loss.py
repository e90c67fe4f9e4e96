"""The loss of a network whose outputs are a law of the births.

The family "mean" is of a network that gives the expected births alone; posterior_step has it, too.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import COUNTS
from ..call.arguments import Births, Counts, adopt_counts
from ..call.elements import filled
from ..call.head import Head, LikeHead, MaxCountOfHead
from ..call.numbers import PerSample, max_count_of
from ..call.outputs import Single
from ..ground.values import as_float, check_real_tensor, is_number, is_tensor, real_array
from ..reference import portfloat
from ..reference import posterior_loss as reference
from .birth_loss import birth_loss
from .loss_declaration import WEIGHT, Loss, scale_slopes

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..typing import Array, ArrayT, Backend, Family, Numbers


MEAN = "mean"

_POSTERIOR_LOSS = Loss(
    "posterior_loss",
    Counts("x_t"),
    Head(),
    Births("births"),
    WEIGHT,
    PerSample("offset"),
    MaxCountOfHead(),
    loss=(Single("loss", "float32", like="sample"), reference.posterior_loss),
    gradient=(LikeHead(), reference.posterior_loss_backward),
    finish=functools.partial(scale_slopes, at=3),
)


def posterior_loss(
    head: Array | Sequence[Array],
    x_t: ArrayT | NDArray[Any],
    births: Array,
    weight: Numbers,
    *,
    family: Family,
    offset: Numbers = 0.0,
    max_count: Numbers | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Sum over each sample -log P(births), by the law that a network's head gives each element.

    ::

        loss_b = weight_b * sum over the sample of -log P(births)

    The family makes a law of births 0..R, with R = max_count - x_t and M = max_count.

    "beta-binomial", a head of two arrays o_1, o_2::

        births ~ Binomial(R, f),  f ~ Beta(m c, (1 - m) c),
        m = sigmoid(o_1 + offset_b),  c = exp(clamp(o_2 + 1, -5, 7))

    "bayes-logistic", a head of 3 K - 1 arrays, K = 1, 2 or 3: means o_1 .. o_K, scales s_1 .. s_K and K - 1 logits
    a_1 .. (the last is 0)::

        P(births = n) = w(n) / sum of w over 0..R,  w(n) = pi(x_t + n) C(x_t + n, x_t) exp(n offset_b),
        pi(v) = sum over j of softmax(a)_j (F((v + 1/2 - mu_j) / t_j) - F((v - 1/2 - mu_j) / t_j)),  F = sigmoid,
        mu_j = M / 2 (1 + o_j + 0.6 (j - (K + 1) / 2)),  t_j = M / 32 exp(clamp(s_j, -5, 5)),  j = 1 .. K

    pi is a mixture of K logistic laws of x_0, rounded to 0..M, their tails given to 0 and M. The known law of x_t given
    x_0 is multiplied to it.

    "negative-binomial", a head of two arrays o_1, o_2::

        births ~ NegativeBinomial of size A and mean A theta,  A = r + x_t,  theta = (1 - p) m / (r + p m),
        log m = clamp(log(M) / 2 + o_1, -12, 36),  log r = clamp(o_2 + 1, -7, 16),  log(1 - p) = min(offset_b, 0)

    It is for counts without a bound. max_count is then above all counts that are met. x_0 ~ Poisson(lambda) with
    lambda ~ Gamma(r) m / r. x_t is a part of x_0, and the births are the rest.

    "mean", an array of logits that give the expected births alone: fb.birth_loss with gain = max_count / 4
    exp(offset_b), whose errors it raises. Up to a constant it is -log of a Poisson law of the births.

    Parameters
    ----------
    head : array or sequence of arrays
        Arrays in the shape of `x_t`, of float32, float64, bfloat16 or float16, finite in float32. Any strides
        will do: the chunks of a network's output need no copy. Torch tensors have a
        gradient, see the notes.
    x_t : array of counts (B, ...)
        Counts in 0..max_count, as in fb.thin.
    births : array
        x_0 - x_t, whole numbers in 0..R, in the shape of `x_t` and any integer or float dtype.
    weight : number or array
        Finite, per sample: Schedule.weight(name, k).
    family : {"beta-binomial", "bayes-logistic", "negative-binomial", "mean"}
        The law.
    offset : number or array, optional
        Finite, per sample: log(1 - p_k), as BlackoutModel.offset gives it. With it a pixel whose x_0 is
        Binomial(max_count, phi) has o_1 = logit(phi) at every time. With "bayes-logistic" and "negative-binomial" P is
        the posterior of a pixel by its law of x_0.
    max_count : integer, optional
        As in fb.thin, and it is in R: the max_count of the model. uint8 counts have the default 255, which is wrong for
        data with another largest count. It is at most 65,535 for "bayes-logistic", which adds up states.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array of float32 (B,)
        The loss of each sample, in the library of `x_t`.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. On CUDA devices fb.check_values tells of
        wrong values in tensors, and births outside 0..R are taken for the nearest count in it.
    RuntimeError
        If the gradient is differentiated.

    Notes
    -----
    **Gradient.** Each array of the head has one in its dtype, under torch.func too, but no second derivative. Where a
    clamp cuts, its array has gradient 0. Where R is 0, the loss and its gradient are 0, but for "negative-binomial",
    whose law goes on beyond R. Autocast leaves the loss alone.

    **Accuracy.** Elements are computed in float64 and rounded once. Before that -log P is as exact as this, for counts
    up to 255:

    - "beta-binomial": within 1e-11, derivatives within 1e-12 (1 + R).
    - "bayes-logistic": within 2e-10, derivatives within 1e-5 of themselves or 1e-8.
      fastblackout/reference/bayes_logistic.py derives it.
    - "negative-binomial": within 1e-11 + 1e-14 A theta, derivatives as for "bayes-logistic".
      negative_binomial_law.py there derives it.

    The result is equal to the bit on every backend. The sum runs in a fixed order: trees of 1,024 in float32, added in
    float64. No exponential, factor or tail is lost. The loss is finite for every finite head whose first array (all
    arrays of "bayes-logistic") is below 1e34, and for every finite head of "negative-binomial".

    References
    ----------
    Skellam, A probability distribution derived from the binomial distribution by regarding the probability of success
    as variable, J. R. Stat. Soc. B 10 (1948), for the beta-binomial law.

    Salimans et al., PixelCNN++ (2017), for rounded logistic laws.

    Greenwood and Yule, J. R. Stat. Soc. 83 (1920), for the negative binomial law.
    https://github.com/fastblackout/fastblackout/blob/main/docs/theory.md says what all three do here.

    Examples
    --------
    >>> x_t, births = np.array([[0, 5]], np.uint8), np.array([[4, 5]])
    >>> head = np.array([[0.0, 1]], np.float32), np.array([[0.0, -1]], np.float32)
    >>> fb.posterior_loss(head, x_t, births, weight=1.0, family="beta-binomial", max_count=10)
    array([2.9317954], dtype=float32)
    >>> fb.posterior_loss(head, x_t, births, weight=1.0, family="bayes-logistic", offset=-0.5, max_count=10)
    array([1.3933266], dtype=float32)
    >>> fb.posterior_loss(head, x_t, births, weight=1.0, family="negative-binomial", offset=-0.5, max_count=10)
    array([5.347707], dtype=float32)
    """
    if is_mean(family):
        logits, gain = as_births("posterior_loss", head, x_t, offset, max_count)
        return birth_loss(logits, births, weight, gain=gain, backend=backend)
    head = tuple(head) if isinstance(head, list) else head  # which no other thread can change
    return _POSTERIOR_LOSS((x_t, (family, head), births, weight, offset, max_count), backend)


def is_mean(family: Any) -> bool:
    return isinstance(family, str) and family == MEAN


def as_births(op: str, head: Any, x_t: Any, offset: Any, max_count: Any) -> tuple[Any, Any]:
    """(logits, gain) as fb.bridge_step and fb.birth_loss take them: gain = max_count / 4 exp(offset)."""
    if isinstance(head, (tuple, list)):
        if len(head) != 1:
            raise ValueError(f"{op}: head: must be an array, or a tuple of one, for family {MEAN!r}, got {len(head)}")
        (head,) = head
    counts = adopt_counts(x_t, op, "x_t", COUNTS)
    quarter = max_count_of(op, max_count, counts.came_as or counts.dtype) / 4
    # A number may be a symbol of torch.compile, of which there is no portable exponential.
    if is_number(offset) and counts.is_tensor and (torch := sys.modules["torch"]).compiler.is_compiling():
        offset = filled((), as_float(op, "offset", offset), torch.float64, counts.value.device)
    return head, _scaled_exp(op, offset, quarter)


def _scaled_exp(op: str, offset: Any, factor: float) -> Any:
    """factor exp(offset) by the portable exponential of docs/draw.md in float64: the same bits in every library."""
    if is_tensor(offset):
        from ..backends import tensors

        check_real_tensor(op, "offset", offset)
        return tensors.exp(offset.double()) * factor
    if is_number(offset):
        return portfloat.exp_number(as_float(op, "offset", offset)) * factor
    with np.errstate(over="ignore", under="ignore"):  # of the ops, which refuse an infinite gain
        return portfloat.exp(real_array(op, "offset", offset).astype(np.float64)) * factor
