"""Binomial draws with a count and a probability for each element, and their log-probabilities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import COUNTS, Array, exact_counts, is_traced
from ..backends import select
from ..call.elements import dense_like, element_arguments, prepare, rows, store_rows
from ..call.keys import resolve_rng
from ..call.probabilities import check_sum
from ..call.route import readable, through_torch
from ..ground.values import as_float, check_real_tensor, common_shape, is_number, is_tensor, real_array
from ..philox import Philox
from ..probability import Prob
from ..reference.binomial import binomial as reference_binomial
from ..reference.transition import binomial_log_pmf
from .transition import log_prob_elements

if TYPE_CHECKING:
    import torch

ELEMENT_COUNTS = (*COUNTS, "float32", "float64")
PROBS = ("float64", "float32", "bfloat16", "float16")


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
    rng, generator: see fb.Philox. Dimension 0 of the result is the sample of the key; the element index runs in C
        order.
    Returns count's dtype, in C order. The law is within 4e-14 + 2e-15 sqrt(n p q) total variation of the binomial:
    2e-13 for counts up to 1e4, 5e-11 up to 2^31 (fastblackout/reference/binomial.py derives it). Equal keys give equal
    results on every backend.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: inversion for n min(p, q) < 10, else BTRS, W. Hormann, J. Stat. Comput. Simul. 46 (1993).
    """
    op = "binomial"
    tensors = [value for value in (count, *(prob if isinstance(prob, Prob) else (prob,))) if is_tensor(value)]
    count, prob, rng = readable(op, tensors[0] if tensors else None, count=count, prob=prob, rng=rng)
    if any(through_torch(value, backend) for value in tensors):
        from .. import torch_calls

        return torch_calls.binomial(count, prob, rng, generator, backend)
    given: dict[str, Any] = {"count": (count, ELEMENT_COUNTS)}
    pair = isinstance(prob, Prob)
    if pair:
        given |= {"prob.p": (prob.p, ("float64",)), "prob.q": (prob.q, ("float64",))}
    else:
        given["prob"] = (prob, PROBS)
    arrays = element_arguments(op, given)
    key = resolve_rng(rng, generator, op)
    n, p, q = arrays[0], arrays[1], arrays[2] if pair else None
    chosen, size = prepare(op, n, key, backend)
    out = dense_like(n, n.dtype)
    run(chosen, n, p, q, key, size, out)
    return out.give()


def run(chosen: str, n: Array, p: Array, q: Array | None, key: Philox, size: tuple[int, int], out: Array) -> None:
    """The "cpu" or "reference" kernel on arrays of one shape; writes `out`."""
    op = "binomial"
    if chosen == "cpu":
        select.cpu_module(op).binomial(
            size, (key.seed, key.first_sample, key.call), select.threads(), select.isa(),
            n.describe(), p.describe(), None if q is None else q.describe(), out.describe(),
        )  # fmt: skip
    else:
        counts = rows(n, size)  # as they are: 2^53 + 1 would round to an allowed float64
        limit = exact_counts(n.dtype)
        wrong = ~((counts >= 0) & (counts <= limit) & (counts == np.floor(counts)))
        if wrong.any():
            raise ValueError(f"{op}: count: must be whole numbers in 0..{limit}, got {counts[wrong][0]:.17g}")
        p_rows = _probabilities(p, size, op)
        q_rows = 1.0 - p_rows if q is None else _probabilities(q, size, op)
        check_sum(op, "prob", p_rows, q_rows)
        store_rows(reference_binomial(counts.astype(np.int64), p_rows, q_rows, key), out)


def _probabilities(array: Any, size: tuple[int, int], op: str) -> np.ndarray:
    from ..reference.portfloat import from_bfloat16

    values = array.numpy()
    values = (from_bfloat16(values) if array.dtype == "bfloat16" else values).reshape(size).astype(np.float64)
    wrong = ~((values >= 0) & (values <= 1))
    if wrong.any():
        raise ValueError(f"{op}: prob: must be in [0, 1], got {values[wrong][0]:.17g}")
    return values


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
    """
    op = "binomial_log_prob"
    given = {"x": x, "count": count}
    # Not |=, which torch 2.6 does not trace.
    given.update({"prob.p": prob.p, "prob.q": prob.q} if isinstance(prob, Prob) else {"prob": prob})
    tensors = [value for value in given.values() if is_tensor(value)]
    if tensors:
        given = dict(zip(given, readable(op, tensors[0], **given), strict=True))
        return _log_prob_torch(op, tensors[0].device, given)
    arrays = [real_array(op, name, value).astype(np.float64, copy=False) for name, value in given.items()]
    common_shape(op, {name: array.shape for name, array in zip(given, arrays, strict=True)})
    return _log_prob_numpy(*arrays, *([1.0 - arrays[2]] if len(arrays) == 3 else []))


def _log_prob_numpy(x: np.ndarray, n: np.ndarray, p: np.ndarray, q: np.ndarray) -> np.ndarray:
    _check_log_prob(n, p, q)
    if select.select_host("binomial_log_prob", "auto") == "cpu":
        return log_prob_elements(x, n, p, q)
    x, n, p, q = np.broadcast_arrays(x, n, p, q)
    return binomial_log_pmf(np.where(x == np.floor(x), x, -1.0), n, p, q)


def _check_log_prob(n: Any, p: Any, q: Any) -> None:
    """NumPy arrays or tensors."""
    op = "binomial_log_prob"
    wrong = ~((n >= 0) & (n < np.inf) & (n == (n.floor() if is_tensor(n) else np.floor(n))))
    if wrong.any():
        raise ValueError(f"{op}: count: must be whole numbers, at least 0, got {float(n[wrong][0])!r}")
    for values in (p, q):
        wrong = ~((values >= 0) & (values <= 1))
        if wrong.any():
            raise ValueError(f"{op}: prob: must be in [0, 1], got {float(values[wrong][0])!r}")
    check_sum(op, "prob", *(np.asarray(side) for side in (p, q)))


def _log_prob_torch(op: str, device: Any, given: dict[str, Any]) -> Any:
    import torch

    from ..torch_args import broadcast

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
    x, n, p, *pair = broadcast(op, list(given), tensors)
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
