"""Hypergeometric draws: good balls among those that are drawn from good and bad ones, none put back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..call.arguments import Key
from ..call.elements import ELEMENT_COUNTS, Elements
from ..call.operation import Operation
from ..call.outputs import Single
from ..probability import Prob
from ..reference.hypergeometric import hypergeometric_elements
from .log_probs import COUNTS_TO_53, Law, binomial_log_prob, log_prob

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from ..philox import Rng
    from ..typing import ArrayT, Backend, NumpyLike, RealLike, TensorT

_HYPERGEOMETRIC = Operation(
    "hypergeometric",
    Elements({"good": ELEMENT_COUNTS, "bad": ELEMENT_COUNTS, "draws": ELEMENT_COUNTS}),
    Key(),
    outputs=Single(like="dense"),
    twin=hypergeometric_elements,
)


def hypergeometric(
    good: ArrayT | NumpyLike,
    *,
    bad: ArrayT | NumpyLike,
    draws: ArrayT | NumpyLike,
    rng: Rng = None,
    generator: torch.Generator | None = None,
    backend: Backend = "auto",
) -> ArrayT:
    """Draw how many balls are good among balls that are taken without putting any back.

    ::

        Pr(k) = C(good, k) C(bad, draws - k) / C(good + bad, draws)

    Parameters
    ----------
    good : array or number
        Whole numbers in 0..2^53: an array of uint8, int16, int32, int64 or float64, or a Python number. An array of
        float32 has whole numbers in 0..2^24, beyond which its whole numbers have gaps.
    bad : array or number
        The same. The sum good + bad is at most 2^53.
    draws : array or number
        How many balls are taken, at most good + bad. All three broadcast, and their dtypes may differ.
    rng : Philox, Tensor or int, optional
        The key of the draw, or the seed of one. Without it a seed comes from torch's default generator.
    generator : torch.Generator, optional
        The generator that the seed comes from instead.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array
        In the dtype of `good`, in C order.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. For tensors on a GPU see fb.check_values.

    Notes
    -----
    All but `draws` of good + bad particles are taken away at random. The draw is how many of `good` are left.

    The first dimension of the result is the sample of the key. Elements are counted in C order. Equal keys give equal
    results on every backend and for any split of the batch.

    The law is within 2e-13 + 1e-14 sqrt(m) total variation of the exact one: 1.2e-12 for m up to 1e4, 5e-10 up to 2^31.
    m is the mean of the smallest of four numbers, the good and the bad balls that are drawn or left.
    fastblackout/reference/hypergeometric.py derives it. On a CUDA device too many balls or draws are cut off, and told
    by fb.check_values. There is no gradient.

    A binomial draw is accepted with the ratio of another binomial probability to its largest value.

    Examples
    --------
    >>> urns = {"bad": np.array([5, 9000]), "draws": np.array([4, 500])}
    >>> fb.hypergeometric(np.array([5, 1000]), **urns, rng=fb.Philox(1))
    array([ 3, 55])
    """
    return _HYPERGEOMETRIC(((good, bad, draws), (rng, generator)), backend=backend)


def hypergeometric_log_prob(
    x: TensorT | RealLike, good: TensorT | RealLike, bad: TensorT | RealLike, draws: TensorT | RealLike
) -> TensorT:
    """Log-probability of what fb.hypergeometric draws.

    ::

        log C(good, x) + log C(bad, draws - x) - log C(good + bad, draws)

    Parameters
    ----------
    x : array or number
        Whole numbers of any integer or float dtype. The four arguments broadcast.
    good : array or number
        Whole numbers, at least 0, of any integer or float dtype.
    bad : array or number
        The same. The sum good + bad is at most 2^53.
    draws : array or number
        The same, at most good + bad.

    Returns
    -------
    array of float64
        The logarithm of Pr(X = x). It is -inf where x is impossible or no whole number.
        Torch tensors give a tensor on their device, all else an array of NumPy.

    Raises
    ------
    ValueError
        If a number is outside its range. Values are checked in NumPy arrays and CPU tensors.

    Notes
    -----
    For NumPy arrays and plain CPU tensors it is made of three values of fb.thin_log_prob, the probability being
    draws / (good + bad). The error is three times as large. Tensors that are traced or lie on a device go through
    lgamma, with an error of about 1e-16 n log n, n = good + bad. The gradient by float tensors is the slope of lgamma.

    References
    ----------
    C. Loader, Fast and accurate computation of binomial probabilities, 2000.

    Examples
    --------
    >>> fb.hypergeometric_log_prob(2, 5, 5, 4)
    array(-0.74193734)
    """
    given = {"x": x, "good": good, "bad": bad, "draws": draws}
    return log_prob("hypergeometric_log_prob", given, _LAW)


def _on_numpy(
    x: NDArray[np.float64], good: NDArray[np.float64], bad: NDArray[np.float64], draws: NDArray[np.float64]
) -> NDArray[np.float64]:
    balls = good + bad
    some = np.where(balls > 0, balls, 1.0)
    prob = Prob(draws / some, np.where(balls > 0, (balls - draws) / some, 1.0))
    both = binomial_log_prob(x, good, prob) + binomial_log_prob(draws - x, bad, prob)
    return both - binomial_log_prob(draws, balls, prob)


def _check(op: str, given: dict[str, Any]) -> None:
    balls, draws = given["good"] + given["bad"], given["draws"]
    if (more := draws > balls).any():
        raise ValueError(f"{op}: draws: must be at most good + bad, got {float(draws[more][0]):.17g}")
    if (many := balls > 2.0**53).any():
        raise ValueError(f"{op}: bad: good + bad must be at most 2^53, got {float(balls[many][0]):.17g}")


_LAW = Law(dict.fromkeys(("good", "bad", "draws"), COUNTS_TO_53), _on_numpy, _check)
