"""The reverse step of heads that give a law of the births, in NumPy: the twin of
csrc/include/fastblackout/posterior_step.h to the bit.

"bayes-logistic": N is drawn as reference/bayes_logistic.py says, which derives its error, and births ~ Binomial(N, q),
q as given, with the error of reference/binomial.py for one element.

"negative-binomial": its births are drawn as reference/negative_binomial_law.py says, which derives their error.

"beta-binomial": all R = max_count - x_t particles that may still come back do so with a probability f ~ Beta(a, b) of
the element's own, a and b as in reference/posterior_loss.py. Of those that do, the step brings back each with its
birth probability q, so its births are Binomial(R, f q), and no N is drawn. f and g = 1 - f are the pair of
reference/beta.py, each good relative to itself, and the binomial draw (reference/binomial.py) takes

    f q    and    1 - f q = g + f (1 - q),

sums and products of numbers of one sign, with 1 - q as it was given: nothing cancels where f or q is next to 0 or 1.
The draw is the one for each element whatever the counts, as every element has a probability of its own.

Shapes below 1e-300, the least that the gamma draw takes, are taken for 1e-300: there f is 0 (for a) or 1 (for b) in
every draw. As c > 0.0067, the mean of f is within 1.5e-298 of 0 or 1 then, so this changes the law of the births by a
total variation below 2e-298 R.

Error, derived; u = 2^-53. The exact law is the law of the head in float32, the offset, and q and 1 - q as given.
* The draws of f and of the births: the distribution function is within 6e-14 + 8e-16 (sqrt(a) + sqrt(b)) +
  1.2e-15 sqrt(R), as reference/beta_binomial.py derives. a + b <= 1097, so the middle part is below 3.8e-14.
* The products: f q is off by u of itself more, 1 - f q by 3 u; a binomial law whose odds are off by 4 u differs by less
  than 0.5 * 4 u sqrt(R p (1 - p)) / 0.5 <= 2 u sqrt(R).
* Shapes: with z = o_1 + offset and m = sigmoid(z), a is off by (6 + |z| (1 - m)) u of itself and b by (6 + |z| m) u. A
  shape off by d of itself moves the distribution function of f by less than (1 + 0.5 sqrt(shape)) d. In sum over both,
  the part without z is below 3.5e-14. As |z| (1 - m) sqrt(m) < 1, the other is below 33 u where a shape is above 1.
  Elsewhere it is below 40 u: a birth, or a death, among R <= 2^53 has a chance above u only where f q, or 1 - f q, is
  above 2^-106, which a shape a allows with a chance of at most 75 a, so that |z| counts up to 14 or so.
Sum: the distribution function of x_s is within 1.5e-13 + 1.5e-15 sqrt(R) of the exact one everywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from . import common, negative_binomial_law
from .bayes_births import draw_births_left
from .beta import beta_pair
from .binomial import binomial
from .gamma import LEAST_SHAPE
from .philox import Stream
from .posterior_loss import beta_binomial_shapes, check_head, head_arrays

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..philox import Philox
    from .dtypes import F32, F64, I64, Array

STREAMS = Stream.POSTERIOR_A, Stream.POSTERIOR_B, Stream.POSTERIOR_BOOST


def _beta_binomial_births(
    head: Sequence[Array], offset: F32, room: I64, p: F64, q: F64, key: Philox, _most: int
) -> I64:
    """Binomial(room, f p), f ~ Beta(a, b), (B, n); p and q = 1 - p: (B,)."""
    a, b = (np.maximum(shape, LEAST_SHAPE) for shape in beta_binomial_shapes(head, offset))
    f, g = beta_pair(a, b, key, STREAMS)
    born, rest = f * p[:, None], g + f * q[:, None]
    return binomial(room, born, np.minimum(rest, 1.0), key, Stream.POSTERIOR_ELEMENT)


def _bayes_logistic_births(
    head: Sequence[Array], offset: F32, room: I64, p: F64, q: F64, key: Philox, most: int
) -> I64:
    """Binomial(N, p), (B, n); p and q = 1 - p: (B,)."""
    left = draw_births_left(head, offset, room, most, key)
    p, q = (np.broadcast_to(each[:, None], room.shape) for each in (p, q))
    return binomial(left, p, q, key, Stream.POSTERIOR_ELEMENT)


# By the number of the family, call/head.py
BIRTHS = {
    0: _beta_binomial_births,
    1: _bayes_logistic_births,
    2: negative_binomial_law.draw_births,
}


def posterior_step(
    x_t: Array, family: int, head: Sequence[Array | None], p: F64, q: F64,
    offset: Array, key: Philox, max_count: int, center: Array, scale: Array,
    outputs: Collection[str], input_dtype: str,
) -> tuple[Array | None, Array | None]:  # fmt: skip
    """x_s = x_t + births by the law of a family, one of BIRTHS, and the model input.

    x_t: (B, ...) counts in 0..max_count. head: as in posterior_loss. p, q, offset, center, scale: (B,). Returns (x_s in
    the dtype of x_t, model_input), None for what `outputs` does not name. ValueError, before anything is computed, for
    wrong values.
    """
    op = "posterior_step"
    x = common.count_rows(x_t, max_count, key, op, "x_t")
    common.check_prob(p, q, op, "step")
    arrays = head_arrays(*head)
    check_head(op, arrays)
    with np.errstate(under="ignore"):
        x_s = x + BIRTHS[family](arrays, offset, max_count - x, p, q, key, max_count)
    return (
        x_s.astype(x_t.dtype).reshape(x_t.shape) if "x_s" in outputs else None,
        common.model_input(x_s, center, scale, input_dtype).reshape(x_t.shape) if "model_input" in outputs else None,
    )
