"""Log-probabilities of the laws that are drawn element by element, and log-densities of the continuous ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

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


class Range(NamedTuple):
    """Of an argument: its ends, and how an error says them. whole: only whole numbers."""

    least: float
    most: float
    rule: str
    whole: bool = False


class Law(NamedTuple):
    """ranges: of arguments by name. on_numpy: the result for NumPy arrays of all that is given, of at least one axis.

    check: raises for arguments that are in their ranges but do not fit, arrays or tensors by name.
    """

    ranges: dict[str, Range]
    on_numpy: Callable[..., np.ndarray]
    check: Callable[[str, dict[str, Any]], None] | None = None


def binomial_log_prob(x: Any, count: Any, prob: Any) -> Any:
    """log Pr(X = x) for X ~ Binomial(count, prob), element by element: the exact transition probability of thinning.

        log C(count, x) + x log p + (count - x) log q

    x, count: whole numbers of any integer or float dtype that broadcast; prob: in [0, 1], or a fb.Prob (p, q), which
    keeps both tails. NumPy arrays or numbers give NumPy float64; torch tensors give float64 tensors on their device,
    differentiable in prob. Outside 0 <= x <= count, and for an x that is no whole number, the result is -inf.
    Error as of fb.thin_log_prob, whose kernel it is, for NumPy arrays and plain CPU tensors; tensors that need a
    gradient, are traced or lie on a device go through lgamma: about 1e-16 count log(count), 1e-13 at 255.
    Raises ValueError for probabilities outside [0, 1], pairs that do not sum to 1 within 1e-9, and counts that are
    negative or no whole numbers (NumPy and CPU tensors).
    Source: Santos et al., arXiv 2305.11089, section 4.1; C. Loader, 2000.

        >>> fb.binomial_log_prob(3, 10, 0.5)
        array(-2.14398006)
    """
    pair = {"prob.p": prob.p, "prob.q": prob.q} if isinstance(prob, Prob) else {"prob": prob}
    return log_prob("binomial_log_prob", {"x": x, "count": count, **pair}, _BINOMIAL)


def beta_binomial_log_prob(x: Any, count: Any, a: Any, b: Any) -> Any:
    """log Pr(X = x) for X ~ Binomial(count, f), f ~ Beta(a, b), element by element.

        log C(count, x) + log a^(x) + log b^(count - x) - log (a + b)^(count),  z^(k) = z (z + 1) .. (z + k - 1)

    x, count: whole numbers of any integer or float dtype that broadcast with a and b, which are in [2^-1022, 2^53];
    count is at most 2^53. NumPy arrays or numbers give NumPy float64; torch tensors give float64 tensors on their
    device, differentiable in a and b. Outside 0 <= x <= count, and for an x that is no whole number, it is -inf.
    The error is within 5e-15 (1 + |log a| + |log b| + log(1 + count) + |result|) + 2e-15 |x - m|, m the mean, for NumPy
    arrays and plain CPU tensors, and for tiny, large and unequal a and b too (fastblackout/reference/log_prob.py);
    tensors that need a gradient, are traced or lie on a device take the equation as it stands, to 1e-15 (1 + |log a| +
    |log b| + count (1 + log(a + b + count))).
    Raises ValueError for a and b outside their range and counts that are negative or no whole numbers (NumPy and CPU
    tensors).
    Source: Skellam, J. R. Stat. Soc. B 10 (1948), for the law; C. Loader, 2000.

        >>> fb.beta_binomial_log_prob(3, 10, 0.5, 2.0)
        array(-2.42896134)
    """
    return log_prob("beta_binomial_log_prob", {"x": x, "count": count, "a": a, "b": b}, _BETA_BINOMIAL)


def gamma_log_prob(x: Any, shape: Any, scale: Any) -> Any:
    """log of the density at x of scale g, g ~ Gamma(shape), element by element: that of fb.gamma's draws.

        (shape - 1) log(x / scale) - x / scale - log Gamma(shape) - log scale

    x: any numbers that broadcast with shape, in [2^-1022, 2^53], and scale, finite and above 0. NumPy arrays or numbers
    give NumPy float64; torch tensors give float64 tensors on their device, differentiable in all three. Below 0 it is
    -inf, at 0 the limit from above, which is inf for shapes below 1; at an x that is NaN it is NaN.
    The error is within 5e-15 (1 + |log x| + |log shape| + |log scale| + |result|) + 2e-16 |shape - x / scale| for NumPy
    arrays and plain CPU tensors (fastblackout/reference/log_prob.py); tensors that need a gradient, are
    traced or lie on a device take the equation as it stands, which loses what its terms have in common.
    Raises ValueError for shapes and scales outside their range (NumPy and CPU tensors).
    Source: C. Loader, 2000.

        >>> fb.gamma_log_prob(2.0, 3.0, 0.5)
        array(-1.22741128)
    """
    return log_prob("gamma_log_prob", {"x": x, "shape": shape, "scale": scale}, _GAMMA)


def beta_log_prob(x: Any, a: Any, b: Any) -> Any:
    """log of the density of Beta(a, b) at x, element by element: that of fb.beta's draws.

        (a - 1) log x + (b - 1) log(1 - x) - log B(a, b),  B(a, b) = Gamma(a) Gamma(b) / Gamma(a + b)

    x: any numbers that broadcast with a and b, which are in [2^-1022, 2^52]; or a fb.Prob (x, 1 - x), which keeps both
    tails. NumPy arrays or numbers give NumPy float64; torch tensors give float64 tensors on their device,
    differentiable in all three. Outside [0, 1] it is -inf, at 0 and 1 the limit from inside, which is inf for a or b
    below 1; at an x that is NaN it is NaN.
    The error is within 5e-15 (1 + |log x| + |log(1 - x)| + |log a| + |log b| + |result|) + 1e-15 |a (1 - x) - b x| for
    NumPy arrays and plain CPU tensors (fastblackout/reference/log_prob.py); others as in fb.gamma_log_prob.
    Raises ValueError for a and b outside their range and pairs that do not sum to 1 within 1e-9 (NumPy and CPU
    tensors).
    Source: C. Loader, 2000.

        >>> fb.beta_log_prob(0.25, 2.0, 3.0)
        array(0.52324814)
    """
    pair = {"x.p": x.p, "x.q": x.q} if isinstance(x, Prob) else {"x": x}
    return log_prob("beta_log_prob", {"a": a, "b": b, **pair}, _BETA)


def negative_binomial_log_prob(x: Any, r: Any, mean: Any) -> Any:
    """log Pr(X = x) for X ~ Poisson(mean g / r), g ~ Gamma(r), element by element: that of fb.negative_binomial.

        log Gamma(x + r) - log x! - log Gamma(r) - r log(1 + mean / r) + x log(mean / (r + mean))

    x: whole numbers of any integer or float dtype that broadcast with r, in [2^-1022, 2^52], and mean, in 0..2^52.
    NumPy arrays or numbers give NumPy float64; torch tensors give float64 tensors on their device, differentiable in r
    and mean. Below 0, and for an x that is no whole number, it is -inf.
    The error is within 5e-15 (1 + |log x| + |log r| + |log mean| + |result|) + 1e-15 |x - mean| r / (r + mean) for
    NumPy arrays and plain CPU tensors (fastblackout/reference/log_prob.py); others as in fb.gamma_log_prob.
    Raises ValueError for r and mean outside their range (NumPy and CPU tensors).
    Source: C. Loader, 2000.

        >>> fb.negative_binomial_log_prob(3, 2.0, 4.0)
        array(-2.02732554)
    """
    return log_prob("negative_binomial_log_prob", {"x": x, "r": r, "mean": mean}, _NEGATIVE_BINOMIAL)


def log_prob(op: str, given: dict[str, Any], law: Law) -> Any:
    """The log-probability `op` of arguments by name, in the order of the law's functions."""
    tensors = [value for value in given.values() if is_tensor(value)]
    if not tensors:
        arrays = [real_array(op, name, value).astype(np.float64, copy=False) for name, value in given.items()]
        shape = common_shape(op, {name: array.shape for name, array in zip(given, arrays, strict=True)})
        broadcast = [np.broadcast_to(array, shape) for array in arrays]
        return _on_numpy(op, law, dict(zip(given, broadcast, strict=True)))
    call = Call(op, "auto", traced=is_traced(tensors[0]))
    device, settled = tensors[0].device, {name: call.settle(name, value) for name, value in given.items()}
    tensors = broadcast_tensors(op, list(given), _float64_tensors(op, device, settled))
    if device.type == "cpu" and not any(is_traced(tensor) for tensor in tensors):
        import torch

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


LARGEST = float(np.finfo(np.float64).max)
COUNTS_TO_53 = Range(0, 2.0**53, "whole numbers in 0..2^53", True)
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
