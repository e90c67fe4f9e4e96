"""Count splitting: counts divided at random into parts that are independent."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, overload

from ..call.elements import ELEMENT_COUNTS, ELEMENT_FLOATS, Composed, Elements, as_type
from ..call.foreign import Annotated, by_tensors, cells_of, foreign_of, of_layer
from ..ground.values import as_float, check_integer, is_integer, is_number, real_array, shown
from ..probability import Prob
from ..reference.philox import Stream
from .beta_binomial import beta_binomial
from .binomial import binomial

if TYPE_CHECKING:
    import torch

    from ..philox import Rng
    from ..typing import Array, Backend, CountsT, NumpyLike

LEAST_SHARE, MOST_FOLDS = 1e-9, 1 << 20
LEAST, MOST = 1e-290, 1e300  # of overdispersion: times a share it is what fb.beta_binomial takes

RULE = f"must be finite and in {LEAST:g}..{MOST:g}"
_POISSON = Elements({"counts": ELEMENT_COUNTS})
_NEGATIVE_BINOMIAL = Elements({"counts": ELEMENT_COUNTS, "overdispersion": ELEMENT_FLOATS})


@overload
def split(
    counts: CountsT | NumpyLike,
    folds: int | Sequence[float] | Array = 2,
    overdispersion: CountsT | NumpyLike | None = None,
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    layer: str | None = None,
    key_added: None = None,
    backend: Backend = "auto",
) -> tuple[CountsT, ...]: ...
@overload
def split(
    counts: CountsT,
    folds: int | Sequence[float] | Array = 2,
    overdispersion: CountsT | NumpyLike | None = None,
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    layer: str | None = None,
    key_added: str,
    backend: Backend = "auto",
) -> CountsT: ...
def split(
    counts: CountsT | NumpyLike,
    folds: int | Sequence[float] | Array = 2,
    overdispersion: CountsT | NumpyLike | None = None,
    *,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    layer: str | None = None,
    key_added: str | None = None,
    backend: Backend = "auto",
) -> tuple[CountsT, ...] | CountsT:
    """Divide counts at random into parts that add up to them.

    ::

        Poisson(mean):                   parts ~ Multinomial(counts, e), part i ~ Poisson(e_i mean)
        NegativeBinomial(mean, size b):  parts ~ DirichletMultinomial(counts, b e),
                                         part i ~ NegativeBinomial(e_i mean, e_i b)

    The parts are independent if the counts have one of these laws, and only then. So train on one part and test on
    another, of the same cells, pixels or documents. None of them has to be held out.

    Parameters
    ----------
    counts : array, number, sparse matrix or AnnData
        Whole numbers in 0..2^53: an array of uint8, int16, int32, int64 or float64, or a Python number. An array of
        float32 has whole numbers in 0..2^24, beyond which its whole numbers have gaps.
        scipy.sparse and AnnData are taken as in fb.binomial.
    folds : int or sequence of floats, optional
        How many parts of equal share, 2..2^20. Or the share e_i of each part: at least 1e-9 each, and 1 in sum within
        1e-9, by which they are divided.
    overdispersion : array or number, optional
        None for Poisson counts. For negative binomial counts b, in 1e-290..1e300: an array of float64, float32,
        bfloat16 or float16 that broadcasts with `counts`, or a number. The variance of the counts is mean + mean^2 / b,
        as with r of fb.negative_binomial(r, mean=mean). What other programs call dispersion is 1 / b.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    layer : str, optional
        Of an AnnData, the layer that holds the counts. By default X does.
    key_added : str, optional
        Of an AnnData, give one new AnnData back, with the parts in its layers key_added_0, key_added_1, ...
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    tuple of arrays, sparse matrices or AnnData, or one AnnData
        One for each part, of the shape to which `counts` and `overdispersion` broadcast. They are in the dtype of
        `counts` and in C order. With `key_added` one AnnData without X has all parts.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. For tensors on a GPU see fb.check_values.
        There wrong values are told by the name of the op that drew.

    Notes
    -----
    The first dimension of the result is the sample of the key. Elements are counted in C order. Equal keys give equal
    results on every backend and for any split of the batch.

    Parts are drawn by halves. The parts of the left half are drawn together by fb.binomial, with `overdispersion` by
    fb.beta_binomial, and so on within each half. Draw m, between parts m - 1 and m, has a key of its own.
    fastblackout/call/elements.py says how it is made of `rng`. The error of the law is the sum of the errors of those
    draws. For F parts it is within F (4e-14 + 2e-15 sqrt(counts)) total variation, with `overdispersion` F times the
    error of fb.beta_binomial. (torch.func._random.split splits keys.)

    What was computed from the counts before the split knows all parts. Who uses it with one part learns of the others.
    So of an AnnData the parts are new AnnData, with and without `key_added`, and `counts` is not changed. They carry no
    X, layers, raw, obsm, varm, obsp, varp or uns of it. Of obs and var columns of numbers stay behind, whatever they
    are (total_counts, n_genes_by_counts, means, ...), and the categories that scanpy computes: leiden, louvain, phase,
    predicted_doublet and highly_variable. All other columns are copied. Look that none of them was computed from the
    counts, as cell types named after clusters are. A number that was not, such as an age, is put back by
    `part.obs["age"] = counts.obs["age"]`.

    References
    ----------
    Neufeld, Gao, Popp, Battle, Witten, Inference after latent variable estimation for single-cell RNA sequencing data,
    Biostatistics 25 (2024).

    Neufeld, Popp, Gao, Battle, Witten, Negative binomial count splitting for single-cell RNA sequencing data, arXiv
    2307.12985. b is the overdispersion of their package countsplit.

    Neufeld, Dharamshi, Gao, Witten, Data thinning for convolution-closed distributions, JMLR 25 (2024).

    Examples
    --------
    >>> fb.split(np.array([10, 1000]), rng=fb.Philox(1))
    (array([  4, 505]), array([  6, 495]))
    """
    op, weights = "split", weights_of(folds)
    if (array := foreign_of(counts)) is not None:
        how = functools.partial(split, rng=rng, generator=generator, backend=backend)
        return by_tensors(op, how, array, counts, folds, overdispersion)  # type: ignore[no-any-return]
    if layer is not None:
        counts = of_layer(op, "counts", counts, layer)
    cells = cells_of(op, "counts", counts)
    if key_added is not None and not (isinstance(cells, Annotated) and isinstance(key_added, str)):
        rule = "must be text, and None but for AnnData"
        raise TypeError(f"{op}: key_added: {rule}, got {shown(key_added)} for {type(counts).__name__}")
    if cells is not None:
        fitted = cells.fitted("overdispersion", overdispersion)
        parts = split(cells.values, folds, fitted, rng=rng, generator=generator, backend=backend)
        if isinstance(cells, Annotated) and key_added is not None:
            return cells.give_layers(key_added, parts)  # type: ignore[no-any-return]
        return tuple(cells.give(part) for part in parts)
    given, values = _POISSON, [counts]
    if overdispersion is not None:
        given, values = _NEGATIVE_BINOMIAL, [counts, overdispersion]
    call = Composed(op, "binomial" if overdispersion is None else "beta_binomial", backend, given, values)
    call.check_counts("counts", call.arrays[0])
    size, total = None, sum_of(weights)
    if overdispersion is not None:
        call.check_floats("overdispersion", call.arrays[1], RULE, MOST, LEAST)
        size = as_type(call.arrays[1].value, "float64")
    keys = call.keys(Stream.SPLIT, rng, generator)

    def left_of(whole: Any, left: float, right: float, number: int) -> Any:
        """How many of `whole` fall to shares of `left`, where as much as `right` remains."""
        how = {"rng": keys.of(number), "backend": backend}
        if size is None:
            return binomial(whole, Prob(left / (left + right), right / (left + right)), **how)
        return beta_binomial(whole, size * (left / total), size * (right / total), **how)

    return tuple(call.give(part) for part in halved(call.arrays[0].value, weights, 0, left_of))


def halved(whole: Any, weights: list[float], first: int, left_of: Callable[..., Any]) -> list[Any]:
    """Counts in parts of these weights, of which `first` is the number of the first."""
    half = len(weights) // 2
    if half == 0:
        return [whole]
    left = left_of(whole, sum_of(weights[:half]), sum_of(weights[half:]), first + half)
    return [
        *halved(left, weights[:half], first, left_of),
        *halved(whole - left, weights[half:], first + half, left_of),
    ]


def weights_of(folds: Any) -> list[float]:
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
    if not (enough and abs(sum_of(shares) - 1.0) <= 1e-9):
        rule = f"shares must be at least 2, each at least {LEAST_SHARE:g}, and 1 in sum within 1e-9"
        raise ValueError(f"{op}: {name}: {rule}, got {shown(folds)}")
    return shares


def sum_of(weights: list[float]) -> float:
    """One after the other: sum() of Python 3.12 and later rounds otherwise."""
    total = 0.0
    for weight in weights:
        total += weight
    return total
