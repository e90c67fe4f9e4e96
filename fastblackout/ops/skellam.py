"""Skellam draws, differences of two Poisson numbers, and their log-probabilities."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from ..call.elements import ELEMENT_FLOATS, Composed, Elements
from ..call.foreign import by_tensors, foreign_of
from ..reference import log_prob as reference
from ..reference.philox import Stream
from ..reference.poisson import MAX_RATE
from .log_probs import Law, Range, log_prob
from .poisson import poisson

if TYPE_CHECKING:
    import torch

    from ..philox import Rng
    from ..typing import ArrayT, Backend, NumpyLike, RealLike, TensorT

_ARGUMENTS = Elements({"rate_1": ELEMENT_FLOATS, "rate_2": ELEMENT_FLOATS})
_RULE = f"must be finite and in 0..{MAX_RATE:.0f}"  # torch.compile does not trace such a text with dynamic shapes


def skellam(
    rate_1: ArrayT | NumpyLike,
    rate_2: ArrayT | NumpyLike,
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw the difference of two Poisson numbers, element by element.

    ::

        Poisson(rate_1) - Poisson(rate_2),  mean rate_1 - rate_2,  variance rate_1 + rate_2
        Pr(k) = exp(-rate_1 - rate_2) (rate_1 / rate_2)^(k / 2) I_|k|(2 sqrt(rate_1 rate_2)),  I_k a Bessel function

    Parameters
    ----------
    rate_1 : array or number
        Array of float64, float32, bfloat16 or float16, or a Python number, in 0..2^52.
    rate_2 : array or number
        The same. It broadcasts with `rate_1` and may have another dtype.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array of int64
        One draw of either sign for each element, in C order.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. For tensors on a GPU see fb.check_values.
        There wrong values are told by the name of fb.poisson.

    Notes
    -----
    The first dimension of the result is the sample of the key. Elements are counted in C order. Equal keys give equal
    results on every backend and for any split of the batch.

    The two numbers are drawn by fb.poisson with keys of their own, 0 and 1. fastblackout/call/elements.py says how they
    are made of `rng`. The law is within 8e-14 + 2e-15 (sqrt(rate_1) + sqrt(rate_2)) total variation of the exact one,
    the sum of both errors. There is no gradient.

    References
    ----------
    J. G. Skellam, The frequency distribution of the difference between two Poisson variates, J. R. Stat. Soc. 109
    (1946), for the law.

    Examples
    --------
    >>> fb.skellam(np.array([3.0, 1e6]), np.array([5.0, 1e6]), rng=fb.Philox(1))
    array([  -1, 1284])
    """
    if (array := foreign_of((rate_1, rate_2))) is not None:
        how = functools.partial(skellam, rng=rng, generator=generator, backend=backend)
        return by_tensors("skellam", how, array, rate_1, rate_2)
    call = Composed("skellam", "poisson", backend, _ARGUMENTS, (rate_1, rate_2))
    for name, rate in zip(_ARGUMENTS.names, call.arrays, strict=True):
        call.check_floats(name, rate, _RULE, MAX_RATE)
    keys = call.keys(Stream.SKELLAM, rng, generator)
    first, second = (poisson(rate.value, rng=keys.of(at), backend=backend) for at, rate in enumerate(call.arrays))
    return call.give(first - second)


def skellam_log_prob(x: TensorT | RealLike, rate_1: TensorT | RealLike, rate_2: TensorT | RealLike) -> TensorT:
    """Log-probability of what fb.skellam draws.

    ::

        -(rate_1 + rate_2) + (x / 2) log(rate_1 / rate_2) + log I_|x|(2 sqrt(rate_1 rate_2))

    Parameters
    ----------
    x : array or number
        Whole numbers of either sign, of any integer or float dtype. The three arguments broadcast.
    rate_1 : array or number
        In 0..2^52.
    rate_2 : array or number
        In 0..2^52.

    Returns
    -------
    array of float64
        The logarithm of Pr(X = x). It is -inf where x is no whole number in -2^53..2^53.
        Torch tensors give a tensor on their device, all else an array of NumPy.

    Raises
    ------
    ValueError
        If a rate is outside its range. Values are checked in NumPy arrays and CPU tensors.

    Notes
    -----
    The error is within ``5e-15 (1 + |log rate_1| + |log rate_2| + log(1 + |x|) + |result|) + 1e-15 |x - rate_1 +
    rate_2|``. No large terms cancel, as fastblackout/reference/log_prob.py says. The gradient is by both rates.

    References
    ----------
    J. G. Skellam, J. R. Stat. Soc. 109 (1946), for the law.

    NIST Digital Library of Mathematical Functions, 10.41, for Debye's expansion.

    Examples
    --------
    >>> fb.skellam_log_prob(-2, 3.0, 5.0)
    array(-1.94400094)
    """
    return log_prob("skellam_log_prob", {"x": x, "rate_1": rate_1, "rate_2": rate_2}, _LAW)


_RATE = Range(0, MAX_RATE, "in 0..2^52")
_LAW = Law({"rate_1": _RATE, "rate_2": _RATE}, reference.skellam_log_pmf)
