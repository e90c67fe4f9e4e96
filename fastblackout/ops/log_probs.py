"""Log-probabilities of the laws that are drawn element by element, and log-densities of the continuous ones.

A law is given by the ranges of its arguments and a function of NumPy arrays.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..arrays import is_traced
from ..backends import select
from ..backends.float_mode import default_floats
from ..call.arguments import Call
from ..call.elements import broadcast_tensors
from ..ground.values import as_float, check_real_tensor, common_shape, is_number, is_tensor, place_of, real_array
from ..probability import Prob, check_sum
from ..reference import log_prob as reference
from ..reference.transition import binomial_log_pmf
from .transition import log_prob_elements

if TYPE_CHECKING:
    from ..typing import RealLike, TensorT


LARGEST = float(np.finfo(np.float64).max)


class Range(NamedTuple):
    """Of an argument: its ends, and how an error says them. whole: only whole numbers."""

    least: float
    most: float
    rule: str
    whole: bool = False


COUNTS_TO_53 = Range(0, 2.0**53, "whole numbers in 0..2^53", True)


class Law(NamedTuple):
    """ranges: of arguments by name. on_numpy: the result for NumPy arrays of all that is given, of at least one axis.

    check: raises for arguments that are in their ranges but do not fit, arrays or tensors by name.
    """

    ranges: dict[str, Range]
    on_numpy: Callable[..., np.ndarray]
    check: Callable[[str, dict[str, Any]], None] | None = None


def log_prob(op: str, given: dict[str, Any], law: Law) -> Any:
    """The log-probability `op` of arguments by name, in the order of the law's functions."""
    torch = sys.modules.get("torch")
    tensors = [] if torch is None else [value for value in given.values() if isinstance(value, torch.Tensor)]
    if torch is None or not tensors:
        arrays = [real_array(op, name, value).astype(np.float64, copy=False) for name, value in given.items()]
        shape = common_shape(op, {name: array.shape for name, array in zip(given, arrays, strict=True)})
        broadcast = [np.broadcast_to(array, shape) for array in arrays]
        return _on_numpy(op, law, dict(zip(given, broadcast, strict=True)))
    call = Call(op, "auto", traced=is_traced(tensors[0]))
    device, settled = tensors[0].device, {name: call.settle(name, value) for name, value in given.items()}
    tensors = broadcast_tensors(op, list(given), _float64_tensors(op, device, settled))
    if device.type == "cpu" and not any(is_traced(tensor) for tensor in tensors):
        plain = {name: tensor.detach() for name, tensor in zip(given, tensors, strict=True)}
        if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
            return torch.from_numpy(_on_numpy(op, law, {name: tensor.numpy() for name, tensor in plain.items()}))
        _check(op, law, plain)
    from . import log_probs_torch

    return getattr(log_probs_torch, op.removesuffix("_log_prob"))(*tensors)


@default_floats
def _on_numpy(op: str, law: Law, given: dict[str, np.ndarray]) -> np.ndarray:
    _check(op, law, given)
    arrays = list(given.values())
    with np.errstate(all="ignore"):  # of an x that is no number, or far outside
        made = law.on_numpy(*map(np.atleast_1d, arrays))
    return made.reshape(arrays[0].shape[: made.ndim])  # less the axes of a law of vectors


def _check(op: str, law: Law, given: dict[str, Any]) -> None:
    """ValueError unless each is in its range, counts are whole and the two sides of a Prob sum to 1."""
    for name, values in given.items():
        argument, _, side = name.partition(".")
        if argument in law.ranges:
            least, most, rule, whole = law.ranges[argument]
            wrong = ~((values >= least) & (values <= most))
            if whole:
                wrong |= values != (values.floor() if is_tensor(values) else np.floor(values))
            if wrong.any():
                got = f"{float(values[wrong][0])!r}{place_of(wrong)}"
                raise ValueError(f"{op}: {argument}: must be {rule}, got {got}")
        if side == "q":
            check_sum(op, argument, np.asarray(given[f"{argument}.p"]), np.asarray(values))
    if law.check is not None:
        law.check(op, given)


def _float64_tensors(op: str, device: Any, given: dict[str, Any]) -> list[Any]:
    import torch

    tensors = []
    for name, value in given.items():
        if is_tensor(value):
            check_real_tensor(op, name, value)
            if value.is_meta and device.type != "meta":
                raise ValueError(f"{op}: {name}: must be on the device of the other argument, {device}, got meta")
        elif is_number(value) and not isinstance(value, np.generic):
            value = as_float(op, name, value)
        else:
            value = real_array(op, name, value).astype(np.float64)
        tensors.append(torch.as_tensor(value, dtype=torch.float64, device=device))
    return tensors


def binomial_log_prob(
    x: TensorT | RealLike, count: TensorT | RealLike, prob: TensorT | RealLike | Prob[TensorT | RealLike]
) -> TensorT:
    """Log-probability of the binomial law, which is the transition of thinning, element by element.

    ::

        log C(count, x) + x log p + (count - x) log q

    Parameters
    ----------
    x : array or number
        Whole numbers of any integer or float dtype. The three arguments broadcast.
    count : array or number
        Whole numbers, at least 0, of any integer or float dtype.
    prob : array, number or Prob
        In [0, 1]. A fb.Prob (p, q) keeps both tails.

    Returns
    -------
    array of float64
        The logarithm of Pr(X = x). It is -inf outside 0 <= x <= count, and where x is no whole number.
        Torch tensors give a tensor on their device, all else an array of NumPy.

    Raises
    ------
    ValueError
        If a probability is outside [0, 1], a pair does not sum to 1 within 1e-9, or a count is negative or no whole
        number. Values are checked in NumPy arrays and CPU tensors.

    Notes
    -----
    NumPy arrays and plain CPU tensors go through the kernel of fb.thin_log_prob, with its error. Tensors that need a
    gradient, are traced or lie on a device go through lgamma, with an error of about 1e-16 count log(count), 1e-13 at
    255. The gradient is by `prob`.

    References
    ----------
    Santos et al., Blackout Diffusion, arXiv 2305.11089, section 4.1.

    C. Loader, Fast and accurate computation of binomial probabilities, 2000.

    Examples
    --------
    >>> fb.binomial_log_prob(3, 10, 0.5)
    array(-2.14398006)
    """
    pair = {"prob.p": prob.p, "prob.q": prob.q} if isinstance(prob, Prob) else {"prob": prob}
    return log_prob("binomial_log_prob", {"x": x, "count": count, **pair}, _BINOMIAL)


def beta_binomial_log_prob(
    x: TensorT | RealLike, count: TensorT | RealLike, a: TensorT | RealLike, b: TensorT | RealLike
) -> TensorT:
    """Log-probability of what fb.beta_binomial draws.

    ::

        log C(count, x) + log a^(x) + log b^(count - x) - log (a + b)^(count),  z^(k) = z (z + 1) .. (z + k - 1)

    Parameters
    ----------
    x : array or number
        Whole numbers of any integer or float dtype. The four arguments broadcast.
    count : array or number
        Whole numbers in 0..2^53, of any integer or float dtype.
    a, b : array or number
        In [2^-1022, 2^53].

    Returns
    -------
    array of float64
        The logarithm of Pr(X = x). It is -inf outside 0 <= x <= count, and where x is no whole number.
        Torch tensors give a tensor on their device, all else an array of NumPy.

    Raises
    ------
    ValueError
        If a or b is outside its range, or a count is negative or no whole number. Values are checked in NumPy arrays
        and CPU tensors.

    Notes
    -----
    The error is within ``5e-15 (1 + |log a| + |log b| + log(1 + count) + |result|) + 2e-15 |x - m|``, m the mean, for
    NumPy arrays and plain CPU tensors, and for tiny, large and unequal a and b too
    (fastblackout/reference/log_prob.py). Tensors that need a gradient, are traced or lie on a device take the equation
    as it stands, to ``1e-15 (1 + |log a| + |log b| + count (1 + log(a + b + count)))``. The gradient is by a and b.

    References
    ----------
    Skellam, J. R. Stat. Soc. B 10 (1948), for the law.

    C. Loader, Fast and accurate computation of binomial probabilities, 2000.

    Examples
    --------
    >>> fb.beta_binomial_log_prob(3, 10, 0.5, 2.0)
    array(-2.42896134)
    """
    return log_prob("beta_binomial_log_prob", {"x": x, "count": count, "a": a, "b": b}, _BETA_BINOMIAL)


def gamma_log_prob(x: TensorT | RealLike, shape: TensorT | RealLike, scale: TensorT | RealLike) -> TensorT:
    """Log-density of what fb.gamma draws.

    ::

        (shape - 1) log(x / scale) - x / scale - log Gamma(shape) - log scale

    Parameters
    ----------
    x : array or number
        Any numbers. The three arguments broadcast.
    shape : array or number
        In [2^-1022, 2^53].
    scale : array or number
        Finite and above 0.

    Returns
    -------
    array of float64
        The logarithm of the density at x. Below 0 it is -inf, at 0 the limit from above, which is inf for shapes below
        1. At an x that is NaN it is NaN.
        Torch tensors give a tensor on their device, all else an array of NumPy.

    Raises
    ------
    ValueError
        If a shape or a scale is outside its range. Values are checked in NumPy arrays and CPU tensors.

    Notes
    -----
    The error is within ``5e-15 (1 + |log x| + |log shape| + |log scale| + |result|) + 2e-16 |shape - x / scale|`` for
    NumPy arrays and plain CPU tensors (fastblackout/reference/log_prob.py). Tensors that need a gradient, are traced or
    lie on a device take the equation as it stands, which loses what its terms have in common. The gradient is by all
    three.

    References
    ----------
    C. Loader, Fast and accurate computation of binomial probabilities, 2000.

    Examples
    --------
    >>> fb.gamma_log_prob(2.0, 3.0, 0.5)
    array(-1.22741128)
    """
    return log_prob("gamma_log_prob", {"x": x, "shape": shape, "scale": scale}, _GAMMA)


def beta_log_prob(
    x: TensorT | RealLike | Prob[TensorT | RealLike], a: TensorT | RealLike, b: TensorT | RealLike
) -> TensorT:
    """Log-density of what fb.beta draws.

    ::

        (a - 1) log x + (b - 1) log(1 - x) - log B(a, b),  B(a, b) = Gamma(a) Gamma(b) / Gamma(a + b)

    Parameters
    ----------
    x : array, number or Prob
        Any numbers. The three arguments broadcast. A fb.Prob (x, 1 - x) keeps both tails.
    a, b : array or number
        In [2^-1022, 2^52].

    Returns
    -------
    array of float64
        The logarithm of the density at x. Outside [0, 1] it is -inf, at 0 and 1 the limit from inside, which is
        inf for a or b below 1. At an x that is NaN it is NaN.
        Torch tensors give a tensor on their device, all else an array of NumPy.

    Raises
    ------
    ValueError
        If a or b is outside its range, or a pair does not sum to 1 within 1e-9. Values are checked in NumPy arrays and
        CPU tensors.

    Notes
    -----
    The error is within ``5e-15 (1 + |log x| + |log(1 - x)| + |log a| + |log b| + |result|) + 1e-15 |a (1 - x) - b x|``
    for NumPy arrays and plain CPU tensors (fastblackout/reference/log_prob.py). Others are as in fb.gamma_log_prob. The
    gradient is by all three.

    References
    ----------
    C. Loader, Fast and accurate computation of binomial probabilities, 2000.

    Examples
    --------
    >>> fb.beta_log_prob(0.25, 2.0, 3.0)
    array(0.52324814)
    """
    pair = {"x.p": x.p, "x.q": x.q} if isinstance(x, Prob) else {"x": x}
    return log_prob("beta_log_prob", {"a": a, "b": b, **pair}, _BETA)


def negative_binomial_log_prob(x: TensorT | RealLike, r: TensorT | RealLike, mean: TensorT | RealLike) -> TensorT:
    """Log-probability of what fb.negative_binomial draws.

    ::

        log Gamma(x + r) - log x! - log Gamma(r) - r log(1 + mean / r) + x log(mean / (r + mean))

    Parameters
    ----------
    x : array or number
        Whole numbers of any integer or float dtype. The three arguments broadcast.
    r : array or number
        In [2^-1022, 2^52].
    mean : array or number
        In 0..2^52.

    Returns
    -------
    array of float64
        The logarithm of Pr(X = x). It is -inf below 0, and where x is no whole number.
        Torch tensors give a tensor on their device, all else an array of NumPy.

    Raises
    ------
    ValueError
        If r or mean is outside its range. Values are checked in NumPy arrays and CPU tensors.

    Notes
    -----
    The error is within ``5e-15 (1 + |log x| + |log r| + |log mean| + |result|) + 1e-15 |x - mean| r / (r + mean)`` for
    NumPy arrays and plain CPU tensors (fastblackout/reference/log_prob.py). Others are as in fb.gamma_log_prob. The
    gradient is by r and mean.

    References
    ----------
    C. Loader, Fast and accurate computation of binomial probabilities, 2000.

    Examples
    --------
    >>> fb.negative_binomial_log_prob(3, 2.0, 4.0)
    array(-2.02732554)
    """
    return log_prob("negative_binomial_log_prob", {"x": x, "r": r, "mean": mean}, _NEGATIVE_BINOMIAL)


_TO_52 = Range(2.0**-1022, 2.0**52, "in 2^-1022..2^52")
_TO_53 = Range(2.0**-1022, 2.0**53, "in 2^-1022..2^53")


def _binomial_numpy(x: np.ndarray, n: np.ndarray, p: np.ndarray, q: np.ndarray | None = None) -> np.ndarray:
    q = 1.0 - p if q is None else q
    if select.select_host("binomial_log_prob", "auto") == "cpu":
        return log_prob_elements(x, n, p, q)
    return binomial_log_pmf(np.where(x == np.floor(x), x, -1.0), n, p, q)


def _beta_numpy(a: np.ndarray, b: np.ndarray, x: np.ndarray, q: np.ndarray | None = None) -> np.ndarray:
    return reference.beta_log_pdf(x, 1.0 - x if q is None else q, a, b)


_BINOMIAL = Law(
    {"count": Range(0, LARGEST, "whole numbers, at least 0", True), "prob": Range(0, 1, "in [0, 1]")}, _binomial_numpy
)
_BETA_BINOMIAL = Law({"count": COUNTS_TO_53, "a": _TO_53, "b": _TO_53}, reference.beta_binomial_log_pmf)
_GAMMA = Law({"shape": _TO_53, "scale": Range(5e-324, LARGEST, "finite and above 0")}, reference.gamma_log_pdf)
_BETA = Law({"a": _TO_52, "b": _TO_52}, _beta_numpy)
_NEGATIVE_BINOMIAL = Law({"r": _TO_52, "mean": Range(0, 2.0**52, "in 0..2^52")}, reference.negative_binomial_log_pmf)
