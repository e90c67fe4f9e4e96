"""Skellam draws, differences of two Poisson numbers, and their log-probabilities."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from ..call.composed import Composed
from ..call.door import by_tensors, foreign_of
from ..call.elements import Elements
from ..philox import Philox
from ..reference import log_prob as reference
from ..reference.philox import Stream
from ..reference.poisson import MAX_RATE
from .log_probs import Law, Range, log_prob
from .poisson import RATES, poisson

if TYPE_CHECKING:
    import torch

_ARGUMENTS = Elements({"rate_1": RATES, "rate_2": RATES})
_RULE = f"must be finite and in 0..{MAX_RATE:.0f}"  # torch.compile does not trace such a text with dynamic shapes


def skellam(
    rate_1: Any,
    rate_2: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """Poisson(rate_1) - Poisson(rate_2), element by element, of any shapes that broadcast.

        Pr(k) = exp(-rate_1 - rate_2) (rate_1 / rate_2)^(k / 2) I_|k|(2 sqrt(rate_1 rate_2)),  I_k a Bessel function

    rate_1, rate_2: in 0..2^52, float64, float32, bfloat16 or float16, or a Python number; their types may differ.
    rng, generator: as in fb.thin. Dimension 0 of the result is the sample of the key; the element index runs in C
        order.
    Returns int64, in C order, of either sign: mean rate_1 - rate_2, variance rate_1 + rate_2. The two numbers are drawn
    by fb.poisson with keys of their own, 0 and 1, of which fastblackout/call/composed.py says how they are made of rng.
    The law is within 8e-14 + 2e-15 (sqrt(rate_1) + sqrt(rate_2)) total variation of the exact one, the sum of theirs.
    Equal keys give equal results on every backend, for any split of the batch. No gradient.
    Raises TypeError or ValueError naming op, argument, rule and value; on a CUDA device fb.check_values tells of wrong
    values, by the name of fb.poisson.
    Source: J. G. Skellam, J. R. Stat. Soc. 109 (1946), for the law.

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


def skellam_log_prob(x: Any, rate_1: Any, rate_2: Any) -> Any:
    """log Pr(X = x) for X ~ Poisson(rate_1) - Poisson(rate_2), element by element: that of fb.skellam.

        -(rate_1 + rate_2) + (x / 2) log(rate_1 / rate_2) + log I_|x|(2 sqrt(rate_1 rate_2))

    x: whole numbers of any integer or float dtype, of either sign, that broadcast with the rates, in 0..2^52. NumPy
    arrays or numbers give NumPy float64; torch tensors give float64 tensors on their device, differentiable in both
    rates. Where x is no whole number in -2^53..2^53, it is -inf.
    The error is within 5e-15 (1 + |log rate_1| + |log rate_2| + log(1 + |x|) + |result|) + 1e-15 |x - rate_1 + rate_2|:
    no large terms cancel (fastblackout/reference/log_prob.py says how).
    Raises ValueError for rates outside their range (NumPy and CPU tensors).
    Source: J. G. Skellam, 1946; Debye's expansion, NIST Digital Library of Mathematical Functions, 10.41.

        >>> fb.skellam_log_prob(-2, 3.0, 5.0)
        array(-1.94400094)
    """
    return log_prob("skellam_log_prob", {"x": x, "rate_1": rate_1, "rate_2": rate_2}, _LAW)


_RATE = Range(0, MAX_RATE, "in 0..2^52")
_LAW = Law({"rate_1": _RATE, "rate_2": _RATE}, reference.skellam_log_pmf)
