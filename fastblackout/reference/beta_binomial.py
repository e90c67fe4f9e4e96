"""Beta-binomial draws, in NumPy: Binomial(n, f), f ~ Beta(a, b), with a count and shapes for each element.

f and 1 - f are the pair of reference/beta.py, each good relative to itself, and the draw is made by
reference/binomial.py, which takes such a pair; both have streams of their own. So Pr(K = 0) and Pr(K = n) keep all
their digits where a or b is tiny and f next to 0 or 1.

Error, derived. Pr(Binomial(n, f) <= k) falls as f grows, so where the distribution function of f is off by KS, K's
is off by no more; the binomial itself is within a total variation of 4e-14 + 2e-15 sqrt(n f (1 - f)), and 2^-53 sqrt(n)
more as f and 1 - f sum to 1 within 2^-52. The distribution function of K is thus within

    6e-14 + 8e-16 (sqrt(a) + sqrt(b)) + 1.2e-15 sqrt(n)

of the beta-binomial one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .beta import beta_pair
from .binomial import binomial
from .gamma import checked_shapes
from .philox import Stream
from .rows import checked_counts

if TYPE_CHECKING:
    from ..philox import Philox
    from .dtypes import F64, I64, Array

STREAMS = Stream.BETA_BINOMIAL_A, Stream.BETA_BINOMIAL_B, Stream.BETA_BINOMIAL_BOOST


def beta_binomial(n: I64, a: F64, b: F64, key: Philox) -> I64:
    """Binomial(n, f), f ~ Beta(a, b), all (B, N); the caller has checked the values."""
    p, q = beta_pair(a, b, key, STREAMS)
    return binomial(n, p, q, key, Stream.BETA_BINOMIAL)


def beta_binomial_elements(n: Array, a: Array, b: Array, key: Philox) -> Array:
    """Binomial(n, f), f ~ Beta(a, b), in n's dtype, all of one shape (B, ...). ValueError for values out of range."""
    op = "beta_binomial"
    drawn = beta_binomial(checked_counts(n, op, "n"), checked_shapes(a, op, "a"), checked_shapes(b, op, "b"), key)
    return drawn.reshape(n.shape).astype(n.dtype)
