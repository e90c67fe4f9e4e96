"""Binomial draws with a count and a probability for each element, and their log-probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import COUNTS, is_traced
from ..backends import select
from ..call.arguments import Elements
from ..call.call import Call
from ..call.elements import broadcast_tensors
from ..call.number_arguments import Key
from ..call.operation import Operation
from ..call.outputs import Single
from ..ground.values import as_float, check_real_tensor, common_shape, is_number, is_tensor, real_array
from ..philox import Philox
from ..probability import Prob, check_sum
from ..reference.elements import binomial_elements
from ..reference.portfloat import STIRLING
from ..reference.posterior_loss import beta_binomial_log_pmf
from ..reference.transition import binomial_log_pmf
from .transition import log_prob_elements

if TYPE_CHECKING:
    import torch

ELEMENT_COUNTS = (*COUNTS, "float32", "float64")
PROBS = ("float64", "float32", "bfloat16", "float16")

_BINOMIAL = Operation(
    "binomial",
    Elements({"count": ELEMENT_COUNTS, "prob": PROBS}, prob="prob"),
    Key(),
    outputs=Single(like="dense"),
    twin=binomial_elements,
)


def binomial(
    count: Any,
    prob: Any,
    *,
    rng: Philox | torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    backend: str = "auto",
) -> Any:
    """Binomial(count, prob), element by element, of any shapes that broadcast.

    count: whole numbers in 0..2^53, uint8, int16, int32, int64, float64 or a Python number, or in 0..2^24, float32,
        which holds no more whole numbers without gaps.
    prob: in [0, 1], float64, float32, bfloat16 or float16 (taken exactly as it is), a Python float, or a fb.Prob of
        float64 (p, q), p + q = 1 within 1e-9: 1 - p rounds, so give the pair where p is next to 1.
    rng, generator: as in fb.thin. Dimension 0 of the result is the sample of the key; the element index runs in C
        order.
    Returns count's dtype, in C order. The law is within 4e-14 + 2e-15 sqrt(n p q) total variation of the binomial:
    2e-13 for counts up to 1e4, 5e-11 up to 2^31 (fastblackout/reference/binomial.py derives it). Equal keys give equal
    results on every backend.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: inversion for n min(p, q) < 10, else BTRS, W. Hormann, J. Stat. Comput. Simul. 46 (1993).

        >>> fb.binomial(np.array([10, 1000]), np.array([0.5, 0.1]), rng=fb.Philox(1))
        array([ 6, 98])
    """
    return _BINOMIAL(((count, prob), (rng, generator)), backend=backend)


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
    op = "binomial_log_prob"
    given = {"x": x, "count": count}
    # Not |=, which torch 2.6 does not trace.
    given.update({"prob.p": prob.p, "prob.q": prob.q} if isinstance(prob, Prob) else {"prob": prob})
    tensors = [value for value in given.values() if is_tensor(value)]
    if tensors:
        call = Call(op, "auto", traced=is_traced(tensors[0]))
        given = {name: call.settle(name, value) for name, value in given.items()}
        return _log_prob_torch(op, tensors[0].device, given)
    arrays = [real_array(op, name, value).astype(np.float64, copy=False) for name, value in given.items()]
    common_shape(op, {name: array.shape for name, array in zip(given, arrays, strict=True)})
    return _log_prob_numpy(*arrays, *([1.0 - arrays[2]] if len(arrays) == 3 else []))


def beta_binomial_log_prob(x: Any, count: Any, a: Any, b: Any) -> Any:
    """log Pr(X = x) for X ~ Binomial(count, f), f ~ Beta(a, b), element by element.

        log C(count, x) + log a^(x) + log b^(count - x) - log (a + b)^(count),  z^(k) = z (z + 1) .. (z + k - 1)

    x, count: whole numbers of any integer or float dtype that broadcast with a and b, which are in [2^-1022, 2^53];
    count is at most 2^53. NumPy arrays or numbers give NumPy float64; torch tensors give float64 tensors on their
    device, differentiable in a and b. Outside 0 <= x <= count, and for an x that is no whole number, it is -inf.
    The error is within 1e-15 (1 + |log a| + |log b| + count (1 + log(a + b + count))), for tiny, large and unequal a
    and b too: no differences of log-gammas are taken.
    Raises ValueError for a and b outside their range and counts that are negative or no whole numbers (NumPy and CPU
    tensors).
    Source: Skellam, J. R. Stat. Soc. B 10 (1948), for the law.

        >>> fb.beta_binomial_log_prob(3, 10, 0.5, 2.0)
        array(-2.42896134)
    """
    op, given = "beta_binomial_log_prob", {"x": x, "count": count, "a": a, "b": b}
    tensors = [value for value in given.values() if is_tensor(value)]
    if tensors:
        call = Call(op, "auto", traced=is_traced(tensors[0]))
        given = {name: call.settle(name, value) for name, value in given.items()}
        return _beta_binomial_torch(op, tensors[0].device, given)
    arrays = [real_array(op, name, value).astype(np.float64, copy=False) for name, value in given.items()]
    common_shape(op, {name: array.shape for name, array in zip(given, arrays, strict=True)})
    return _beta_binomial_numpy(*arrays)


def _beta_binomial_numpy(x: np.ndarray, n: np.ndarray, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    _check_beta_binomial(n, a, b)
    arrays = np.broadcast_arrays(x, n, a, b)
    with np.errstate(invalid="ignore"):  # of an x that is no number
        return beta_binomial_log_pmf(*(np.atleast_1d(each) for each in arrays)).reshape(arrays[0].shape)


def _check_beta_binomial(n: Any, a: Any, b: Any) -> None:
    """NumPy arrays or tensors."""
    op = "beta_binomial_log_prob"
    _check_counts(op, n, 2.0**53)
    for name, values in (("a", a), ("b", b)):
        wrong = ~((values >= 2.0**-1022) & (values <= 2.0**53))
        if wrong.any():
            raise ValueError(f"{op}: {name}: must be in 2^-1022..2^53, got {float(values[wrong][0])!r}")


def _beta_binomial_torch(op: str, device: Any, given: dict[str, Any]) -> Any:
    import torch

    tensors = _float64_tensors(op, device, given)
    x, n, a, b = broadcast_tensors(op, list(given), tensors)
    if device.type == "cpu" and not any(is_traced(tensor) for tensor in tensors):
        if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
            return torch.from_numpy(_beta_binomial_numpy(*(tensor.detach().numpy() for tensor in (x, n, a, b))))
        _check_beta_binomial(n.detach(), a.detach(), b.detach())
    inside = (x >= 0) & (x <= n) & (x == x.floor())
    k = torch.where(inside, x, 0.0)
    body = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    body = body + _log_rising(a, k) + _log_rising(b, n - k) - _log_rising(a + b, n)
    return torch.where(inside, body, -torch.inf)


def _log_rising(x: Any, n: Any) -> Any:
    """log x (x + 1) .. (x + n - 1) of tensors, as portfloat.rising has it."""
    import torch

    def factors(y: Any) -> Any:
        t = y * (y + 7)
        return (t * (t + 6)) * ((t + 10) * (t + 12))

    def stirling(y: Any) -> Any:
        z, total = y * y, 0.0
        for coefficient in STIRLING:
            total = total * z + coefficient
        return y * total

    some = n.clamp(min=1)
    d, w = some - 1, x + 9
    series = stirling(1 / (w + d)) - stirling(1 / w)
    later = d * torch.log(w) + ((w + d - 0.5) * torch.log1p(d / w) - d) + series
    return torch.where(n > 0, torch.log(x) + later - torch.log(factors(x + some) / factors(x + 1)), 0.0)


def _log_prob_numpy(x: np.ndarray, n: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    _check_log_prob(n, p, q)
    if select.select_host("binomial_log_prob", "auto") == "cpu":
        return log_prob_elements(x, n, p, q)
    x, n, p, q = np.broadcast_arrays(x, n, p, q)
    return binomial_log_pmf(np.where(x == np.floor(x), x, -1.0), n, p, q)


def _check_log_prob(n: Any, p: Any, q: Any) -> None:
    """NumPy arrays or tensors."""
    op = "binomial_log_prob"
    _check_counts(op, n)
    for values in (p, q):
        wrong = ~((values >= 0) & (values <= 1))
        if wrong.any():
            raise ValueError(f"{op}: prob: must be in [0, 1], got {float(values[wrong][0])!r}")
    check_sum(op, "prob", *(np.asarray(side) for side in (p, q)))


def _check_counts(op: str, n: Any, most: float = np.inf) -> None:
    whole = n == (n.floor() if is_tensor(n) else np.floor(n))
    wrong = ~((n >= 0) & (n <= most) & (n < np.inf) & whole)
    if wrong.any():
        rule = "whole numbers, at least 0" if most == np.inf else "whole numbers in 0..2^53"
        raise ValueError(f"{op}: count: must be {rule}, got {float(n[wrong][0])!r}")


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


def _log_prob_torch(op: str, device: Any, given: dict[str, Any]) -> Any:
    import torch

    tensors = _float64_tensors(op, device, given)
    x, n, p, *pair = broadcast_tensors(op, list(given), tensors)
    q = pair[0] if pair else 1.0 - p
    traced = any(is_traced(tensor) for tensor in tensors)
    if device.type == "cpu" and not traced:
        if not (torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)):
            return torch.from_numpy(_log_prob_numpy(*(tensor.detach().numpy() for tensor in (x, n, p, q))))
        _check_log_prob(n.detach(), p.detach(), q.detach())
    inside = (x >= 0) & (x <= n) & (x == x.floor())
    k = torch.where(inside, x, 0.0)
    body = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return torch.where(inside, body + torch.xlogy(k, p) + torch.xlogy(n - k, q), -torch.inf)
