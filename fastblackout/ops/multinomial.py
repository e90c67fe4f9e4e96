"""Multinomial draws and their log-probabilities: counts that fall into categories."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from ..backends.float_mode import default_floats
from ..call.arguments import check_sums, has_categories
from ..call.elements import ELEMENT_COUNTS, ELEMENT_FLOATS, Categories, Composed, as_type, library_of
from ..call.foreign import by_tensors, foreign_of
from ..probability import Prob
from ..reference.philox import Stream
from .binomial import binomial
from .log_probs import LARGEST, Law, Range, binomial_log_prob, log_prob

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..philox import Rng
    from ..typing import ArrayT, Backend, NumpyLike, RealLike, TensorT

_ARGUMENTS = Categories({"count": ELEMENT_COUNTS, "probs": ELEMENT_FLOATS})
_LEAST = 2.0**-900
_AT_LEAST_0 = "finite and at least 0"


def multinomial(
    count: ArrayT | NumpyLike,
    probs: ArrayT | NDArray[Any],
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw how many of `count` fall into each of K categories.

    ::

        Pr(k_1 .. k_K) = count! / (k_1! .. k_K!) p_1^k_1 .. p_K^k_K,  p_i = probs_i / (probs_1 + .. + probs_K)

    Parameters
    ----------
    count : array or number
        Whole numbers in 0..2^53: an array of uint8, int16, int32, int64 or float64, or a Python number. An array of
        float32 has whole numbers in 0..2^24, beyond which its whole numbers have gaps.
        Its shape broadcasts with the shape of `probs` without the last axis.
    probs : array (..., K)
        Weights of the categories, finite and at least 0, of float64, float32, bfloat16 or float16. They need not sum to
        1. Their sum must be finite and above 0.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array (..., K)
        In the dtype of `count`, in C order. It sums to `count` over the last axis.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. For tensors on a GPU see fb.check_values.
        There wrong values are told by the name of fb.binomial. Where all probs are 0, all fall into the first category.

    Notes
    -----
    The first dimension of the result is the sample of the key, if there is one before the categories. Equal keys give
    equal results on every backend and for any split of the batch. There is no gradient.

    The count is divided by binomial draws. Neighbouring categories are joined in pairs, then pairs in pairs, and so on.
    One without a partner waits for the next level. From the top down the count of each pair is divided between its two.
    One call of fb.binomial divides all pairs of one level, with p and 1 - p each the quotient of two sums in float64.
    Level m, 0 at the top, has a key of its own. fastblackout/call/elements.py says how it is made of `rng`.

    The law is within 4e-14 K + 7e-15 sqrt(K count) total variation of the exact one, for K up to 1e5. This is the sum
    of the errors of the draws and of rounded sums and quotients. The latter are (h + 1) 5.6e-17 sqrt(n) for n counts
    that are divided h levels above the lowest.

    References
    ----------
    L. Devroye, Non-Uniform Random Variate Generation (1986), chapter XI, 1.4: the conditional method.

    Examples
    --------
    >>> fb.multinomial(100, np.array([0.2, 0.3, 0.5]), rng=fb.Philox(1))
    array([27, 25, 48])
    """
    if (array := foreign_of((count, probs))) is not None:
        how = functools.partial(multinomial, rng=rng, generator=generator, backend=backend)
        return by_tensors("multinomial", how, array, count, probs)
    call = Composed("multinomial", "binomial", backend, _ARGUMENTS, (count, probs))
    counts, weights = call.arrays
    call.check_counts("count", counts)
    call.check_floats("probs", weights, f"must be {_AT_LEAST_0}", LARGEST)
    call.check_sums("probs", floats := as_type(weights.value, "float64"))
    keys = call.keys(Stream.MULTINOMIAL, rng, generator)

    def left_of(parts: Any, prob: Prob, level: int) -> Any:
        return binomial(parts, prob, rng=keys.of(level), backend=backend)

    shape = counts.shape or (1,)  # without a dimension, the count is the one sample
    library = library_of(floats)
    levels = _joined(library, floats.reshape(*shape, weights.shape[-1]))
    drawn = _divided(library, counts.value.reshape(*shape, 1), levels, left_of)
    return call.give(drawn.reshape(weights.shape))


def _joined(library: Any, weights: Any) -> list[Any]:
    """The weights, the sums of pairs of neighbours, and so on up to the whole, (..., 1)."""
    levels = [weights]
    while levels[-1].shape[-1] > 1:
        left, right, alone = _pairs(levels[-1])
        levels.append(library.concatenate((left + right, alone), -1))
    return levels


def _divided(library: Any, counts: Any, levels: list[Any], left_of: Callable[..., Any]) -> Any:
    """Counts (..., 1), of all categories, in the categories (..., K)."""
    for level, below in enumerate(levels[-2::-1]):
        pairs = below.shape[-1] // 2
        parts, alone = counts[..., :pairs], counts[..., pairs:]
        left = left_of(parts, _chance(library, below), level)
        divided = library.stack((left, parts - left), -1).reshape(*below.shape[:-1], 2 * pairs)
        counts = library.concatenate((divided, alone), -1)
    return counts


def _pairs(values: Any) -> tuple[Any, Any, Any]:
    """The first and the second of each pair along the last axis, and the one without a partner, or none."""
    paired = values.shape[-1] // 2 * 2
    return values[..., 0:paired:2], values[..., 1:paired:2], values[..., paired:]


@default_floats
def _chance(library: Any, weights: Any) -> Prob:
    """Of the first of each pair along the last axis, given the pair; 1 where both weights are 0."""
    left, right, _ = _pairs(weights)
    total = left + right
    some = total > 0
    safe = library.where(some, total, 1.0)
    return Prob(library.where(some, left / safe, 1.0), right / safe)


def multinomial_log_prob(x: TensorT | RealLike, probs: TensorT | RealLike) -> TensorT:
    """Log-probability of what fb.multinomial draws.

    ::

        log (x_1 + .. + x_K)! - log x_1! - .. - log x_K! + x_1 log p_1 + .. + x_K log p_K,  p_i = probs_i / sum of probs

    Parameters
    ----------
    x : array (..., K)
        Whole numbers of any integer or float dtype, which broadcast with `probs`.
    probs : array (..., K)
        Finite and at least 0, with a finite sum above 0.

    Returns
    -------
    array of float64
        The logarithm of Pr(X = x), (...). It is -inf where an x is no whole number in 0..2^53.
        Torch tensors give a tensor on their device, all else an array of NumPy.

    Raises
    ------
    ValueError
        If `probs` are out of range. Values are checked in NumPy arrays and CPU tensors.

    Notes
    -----
    For NumPy arrays and plain CPU tensors the law is made of K - 1 binomial draws. The error is the sum of the errors
    of fb.binomial_log_prob for these. Chances are quotients of rounded sums. So h levels above the lowest,
    the error has (h + 2) ``2^-51 |x - n p|`` in place of ``2^-51 |x - n p|``. Tensors that need a gradient, are traced
    or lie on a device go through lgamma, with an error of about 1e-16 n log n, n the sum of x. The gradient is by
    `probs`.

    References
    ----------
    As of fb.multinomial and fb.binomial_log_prob.

    Examples
    --------
    >>> fb.multinomial_log_prob(np.array([1, 2, 3]), np.array([0.2, 0.3, 0.5]))
    array(-2.0024805)
    """
    return log_prob("multinomial_log_prob", {"x": x, "probs": probs}, _LAW)


def _on_numpy(x: NDArray[np.float64], probs: NDArray[np.float64]) -> NDArray[np.float64]:
    inside = ((x >= 0) & (x <= 2.0**53) & (x == np.floor(x))).all(-1)
    counts, total = _joined(np, np.where(inside[..., None], x, 0.0)), np.zeros(inside.shape)
    for some, weights in zip(counts[:-1], _joined(np, probs)[:-1], strict=True):
        total = total + _log_of_pairs(_pairs(some)[:2], weights).sum(-1)
    return np.where(inside, total, -np.inf)


def _log_of_pairs(counts: Any, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The binomial log-probabilities of pairs of counts.

    A chance has its count as its power. One below _LEAST is taken for that, and the logarithm of its quotient by it
    added, since float64 may not hold it.
    """
    added, chances, (first, second, _) = np.zeros(()), [], _pairs(weights)
    for count, weight, chance in zip(counts, (first, second), _chance(np, weights), strict=True):
        small = (weight > 0.0) & (chance < _LEAST)
        logs = np.log(np.where(small, weight, _LEAST)) - np.log(np.where(small, first + second, 1.0))
        added = added + count * (logs - math.log(_LEAST))
        chances.append(np.where(small, _LEAST, chance))
    return binomial_log_prob(counts[0], counts[0] + counts[1], Prob(*chances)) + added


def _check(op: str, given: dict[str, Any]) -> None:
    has_categories(op, "probs", given["probs"].shape)
    check_sums(op, "probs", given["probs"])


_LAW = Law({"probs": Range(0, LARGEST, _AT_LEAST_0)}, _on_numpy, _check)
