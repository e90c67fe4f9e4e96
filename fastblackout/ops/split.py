"""Count splitting: counts divided at random into parts that are independent."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..call.composed import Composed, as_type
from ..call.door import by_tensors, cells_of, foreign_of
from ..call.elements import Elements
from ..ground.values import as_float, check_integer, is_integer, is_number, real_array, shown
from ..philox import Philox
from ..probability import Prob
from ..reference.philox import Stream
from .beta_binomial import ELEMENT_COUNTS, FLOATS, beta_binomial
from .binomial import binomial

if TYPE_CHECKING:
    import torch

LEAST_SHARE, MOST_FOLDS = 1e-9, 1 << 20
LEAST, MOST = 1e-290, 1e300  # of overdispersion: times a share it is what fb.beta_binomial takes

_RULE = f"must be finite and in {LEAST:g}..{MOST:g}"
_POISSON = Elements({"counts": ELEMENT_COUNTS})
_NEGATIVE_BINOMIAL = Elements({"counts": ELEMENT_COUNTS, "overdispersion": FLOATS})


def split(
    counts: Any,
    folds: Any = 2,
    overdispersion: Any = None,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> tuple[Any, ...]:
    """Counts split into parts that add up to them and, for Poisson or negative binomial counts, are independent.

        Poisson(mean):                   parts ~ Multinomial(counts, e), part i ~ Poisson(e_i mean)
        NegativeBinomial(mean, size b):  parts ~ DirichletMultinomial(counts, b e),
                                         part i ~ NegativeBinomial(e_i mean, e_i b)

    Train on one part and test on another, of the same cells, pixels or documents, so that none of them has to be held
    out. The parts are independent only if the counts have that law. (torch.func._random.split splits keys.)
    counts: whole numbers in 0..2^53, uint8, int16, int32, int64, float64 or a Python number, or in 0..2^24, float32, of
        any shape; or of scipy.sparse or AnnData, as in fb.binomial, and so are the parts then.
    folds: how many parts of equal share, 2..2^20, or the share e_i of each, at least 1e-9 and 1 in sum within 1e-9, by
        which they are divided: (0.8, 0.2).
    overdispersion: None for Poisson counts; for negative binomial ones b, in 1e-290..1e300, of any shape that
        broadcasts with counts: float64, float32, bfloat16 or float16, or a number. It is r of
        fb.negative_binomial(r, mean): the variance of the counts is mean + mean^2 / b, so what other programs call
        dispersion is 1 / b.
    rng, generator: as in fb.thin. Dimension 0 of the result is the sample of the key; the element index runs in C
        order.
    Returns a tuple of as many arrays as parts, each of the shape that counts and overdispersion broadcast to, in
    counts' dtype and C order. Parts are
    drawn by halves: those of the left half together by fb.binomial, with overdispersion by fb.beta_binomial, and so on
    within each half. Draw m, between parts m - 1 and m, has a key of its own, of which fastblackout/call/composed.py
    says how it is made of rng. The law is as near to the exact one as the sum of the errors of those draws: of F parts,
    within F (4e-14 + 2e-15 sqrt(counts)) total variation, with overdispersion as F times fb.beta_binomial. Equal keys
    give equal results on every backend, for any split of the batch.
    Raises TypeError or ValueError naming op, argument, rule and value; on a CUDA device fb.check_values tells of wrong
    values, by the name of the op that drew.
    Source: Neufeld, Gao, Popp, Battle, Witten, Inference after latent variable estimation for single-cell RNA
    sequencing data, Biostatistics 25 (2024); Neufeld, Popp, Gao, Battle, Witten, Negative binomial count splitting for
    single-cell RNA sequencing data, arXiv 2307.12985 (b is the overdispersion of their package countsplit); Neufeld,
    Dharamshi, Gao, Witten, Data thinning for convolution-closed distributions, JMLR 25 (2024).

        >>> fb.split(np.array([10, 1000]), rng=fb.Philox(1))
        (array([  4, 505]), array([  6, 495]))
    """
    op, weights = "split", _weights(folds)
    if (array := foreign_of(counts)) is not None:
        how = functools.partial(split, rng=rng, generator=generator, backend=backend)
        return by_tensors(op, how, array, counts, folds, overdispersion)  # type: ignore[no-any-return]
    if (cells := cells_of(op, "counts", counts)) is not None:
        fitted = cells.fitted("overdispersion", overdispersion)
        parts = split(cells.values, folds, fitted, rng=rng, generator=generator, backend=backend)
        return tuple(cells.give(part) for part in parts)
    given, values = _POISSON, [counts]
    if overdispersion is not None:
        given, values = _NEGATIVE_BINOMIAL, [counts, overdispersion]
    call = Composed(op, "binomial" if overdispersion is None else "beta_binomial", backend, given, values)
    call.check_counts("counts", call.arrays[0])
    size, total = None, _sum(weights)
    if overdispersion is not None:
        call.check_floats("overdispersion", call.arrays[1], _RULE, MOST, LEAST)
        size = as_type(call.arrays[1].value, "float64")
    keys = call.keys(Stream.SPLIT, rng, generator)

    def left_of(whole: Any, left: float, right: float, number: int) -> Any:
        """How many of `whole` fall to shares of `left`, where as much as `right` remains."""
        how = {"rng": keys.of(number), "backend": backend}
        if size is None:
            return binomial(whole, Prob(left / (left + right), right / (left + right)), **how)
        return beta_binomial(whole, size * (left / total), size * (right / total), **how)

    return tuple(call.give(part) for part in _halved(call.arrays[0].value, weights, 0, left_of))


def _halved(whole: Any, weights: list[float], first: int, left_of: Callable[..., Any]) -> list[Any]:
    """Counts in parts of these weights, of which `first` is the number of the first."""
    half = len(weights) // 2
    if half == 0:
        return [whole]
    left = left_of(whole, _sum(weights[:half]), _sum(weights[half:]), first + half)
    return [
        *_halved(left, weights[:half], first, left_of),
        *_halved(whole - left, weights[half:], first + half, left_of),
    ]


def _weights(folds: Any) -> list[float]:
    """The shares of the parts, each 1.0 for equal ones."""
    op, name = "split", "folds"
    if is_integer(folds):
        return [1.0] * check_integer(op, name, folds, 2, MOST_FOLDS)
    if isinstance(folds, (list, tuple)) and all(is_number(share) for share in folds):
        shares = [as_float(op, name, share) for share in folds]
    else:
        array = real_array(op, name, folds, "an integer, or the share of each part")
        if array.ndim != 1:
            raise ValueError(f"{op}: {name}: must be an integer, or one share a part, got shape {array.shape}")
        shares = [float(share) for share in array]
    enough = 2 <= len(shares) <= MOST_FOLDS and all(share >= LEAST_SHARE for share in shares)
    if not (enough and abs(_sum(shares) - 1.0) <= 1e-9):
        rule = f"shares must be at least 2, each at least {LEAST_SHARE:g}, and 1 in sum within 1e-9"
        raise ValueError(f"{op}: {name}: {rule}, got {shown(folds)}")
    return shares


def _sum(weights: list[float]) -> float:
    """One after the other: sum() of Python 3.12 and later rounds otherwise."""
    total = 0.0
    for weight in weights:
        total += weight
    return total
