"""Exact transition probabilities of thinning and of its bridge: whole rows, and log-probabilities of elements."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from ..arrays import COUNTS, Array, adopt, store
from ..backends import select
from ..call import checks
from ..call.probabilities import as_prob
from ..call.route import readable, through_torch
from ..ground.values import is_tensor, real_array
from ..probability import Prob
from ..reference import transition as reference
from ..schedule.indices import check_integer

THIN, BRIDGE, ELEMENT = 0, 1, 2  # LogProb in csrc/include/fastblackout/transition.h; ELEMENT: p and q an element


def transition_rows(prob: Any, max_count: int, *, backend: str = "auto") -> Any:
    """Transition matrix of thinning: P[n, k] = Pr(Binomial(n, p) = k), n and k in 0..max_count.

    prob: the survival probability, () or of B samples: as alive of fb.thin.
    max_count: at most 4095. Returns float64 (S, S) or (B, S, S), S = max_count + 1, in prob's library and on its device
    (NumPy for numbers). No entry is negative and rows sum to 1 within 1e-14; the largest error is 1e-13 (p from 1e-12
    to 1 - 1e-12, S up to 512; tests measure it). Entries below 1e-290 of a row's largest are 0. The bits are the same
    on every backend.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: Santos et al., ICML 2023, arXiv 2305.11089, section 4.1; a recurrence from each row's mode.
    """
    op = "transition_rows"
    states = check_integer(op, "max_count", max_count, 0, reference.MAX_STATES - 1) + 1
    parts = tuple(prob) if isinstance(prob, Prob) else (prob,)
    tensors = [part for part in parts if is_tensor(part)]
    (prob,) = readable(op, tensors[0] if tensors else None, prob=prob)
    if any(through_torch(tensor, backend) for tensor in tensors):
        from .. import torch_state_calls

        return torch_state_calls.transition_rows(prob, states, backend)
    shapes = [real_array(op, "prob", part).shape for part in (prob if isinstance(prob, Prob) else (prob,))]
    p, q = as_prob(prob, next((shape[0] for shape in shapes if shape), 1), op, "prob")
    chosen = select.select_host(op, backend)
    rows = rows_on_host(chosen, p, q, states)
    if not any(shapes):
        rows = rows[0]
    return sys.modules["torch"].from_numpy(rows) if tensors else rows


def host_rows(prob: Prob, max_count: int) -> np.ndarray:
    """transition_rows of NumPy probabilities, also where use_backend names a backend of devices for other calls."""
    on_device = select.asked("auto") in select.DEVICE_BACKENDS
    return transition_rows(prob, max_count, backend="cpu" if on_device else "auto")


def rows_on_host(chosen: str, p: np.ndarray, q: np.ndarray, states: int) -> np.ndarray:
    if chosen == "reference":
        return reference.transition_rows(p, q, states)
    rows = np.empty((len(p), states, states))
    select.cpu_module("transition_rows").transition_rows((len(p), states), select.threads(), select.isa(), (p, q), rows)
    return rows


def thin_log_prob(x_t: Any, x_0: Any, alive: Any, *, backend: str = "auto") -> Any:
    """log Pr(x_t | x_0) of thinning, element by element: log Binomial(x_0, p) at x_t, -inf where x_t > x_0.

    x_t, x_0: counts of one shape (B, ...), uint8, int16, int32 or int64, up to 2^53.
    alive: the survival probability p of each sample, as in fb.thin.
    Returns float64 in x_t's library and memory order. The error is within 4e-15 max(1, |log Pr|) + 2^-52 |x_t - x_0 p|
    (Loader's saddle point; tests measure it against the smaller of p and q, exact, and 1 minus it), and the bits are
    the same on every backend. No autograd.
    Raises TypeError or ValueError naming op, argument, rule and value; on CUDA devices wrong values are told by
    fb.check_values.
    Source: Santos et al., ICML 2023, arXiv 2305.11089, section 4.1; C. Loader, 2000.
    """
    return _log_prob("thin_log_prob", THIN, {"x_t": x_t, "x_0": x_0}, "alive", alive, backend)


def bridge_log_prob(x_s: Any, x_t: Any, x_0: Any, step: Any, *, backend: str = "auto") -> Any:
    """log Pr(x_s | x_t, x_0) of the binomial bridge: log Binomial(x_0 - x_t, p) at x_s - x_t, p = step.

    x_s, x_t, x_0: counts of one shape (B, ...), uint8, int16, int32 or int64, up to 2^53; the result is -inf unless
        x_t <= x_s <= x_0. step: Schedule.bridge(k_t, k_s), or as alive of fb.thin.
    Returns float64 in x_s's library and memory order, as exact as fb.thin_log_prob. No autograd.
    Raises TypeError or ValueError naming op, argument, rule and value; on CUDA devices wrong values are told by
    fb.check_values.
    Source: Santos et al., ICML 2023, arXiv 2305.11089, section 4.3; C. Loader, 2000.
    """
    return _log_prob("bridge_log_prob", BRIDGE, {"x_s": x_s, "x_t": x_t, "x_0": x_0}, "step", step, backend)


def counts_of(op: str, counts: dict[str, Any]) -> list[Array]:
    """Arrays of one shape, device and library."""
    arrays = [adopt(value, op, name, COUNTS) for name, value in counts.items()]
    first_name = next(iter(counts))
    for name, array in zip(counts, arrays, strict=True):
        checks.same_shape(op, name, array, first_name, arrays[0])
        if array.is_tensor != arrays[0].is_tensor:
            raise TypeError(f"{op}: {name}: must be of the library of {first_name}, got {type(array.value).__name__}")
    return arrays


def _log_prob(op: str, kind: int, counts: dict[str, Any], name: str, prob: Any, backend: str) -> Any:
    first = next(iter(counts.values()))
    prob, *given = readable(op, first, **{name: prob}, **counts)
    counts = dict(zip(counts, given, strict=True))
    if through_torch(first, backend):
        from .. import torch_state_calls

        return torch_state_calls.log_prob(op, kind, counts, name, prob, backend)
    arrays = counts_of(op, counts)
    chosen = select.select_host(op, backend)
    size = checks.size_of(op, next(iter(counts)), arrays[0])
    p, q = as_prob(prob, size[0], op, name)
    made = arrays[0].empty_like("float64")
    run(chosen, op, kind, arrays, p, q, size, made)
    return made.give()


def run(
    chosen: str,
    op: str,
    kind: int,
    arrays: list[Array],
    p: np.ndarray,
    q: np.ndarray,
    size: tuple[int, int],
    made: Array,
) -> None:
    """The "cpu" or "reference" kernel; writes `made`."""
    if chosen == "cpu":
        described = [array.describe() for array in arrays] + [None] * (3 - len(arrays))
        select.cpu_module(op).log_prob(
            op, kind, size, select.threads(), select.isa(), *described, (p, q), None, None, made.describe()
        )
    else:
        x, a, *b = (array.numpy() for array in arrays)
        store(reference.log_prob(kind, x, a, b[0] if b else None, p, q), made)


def log_prob_elements(*arrays: np.ndarray) -> np.ndarray:
    """fb.binomial_log_prob by the kernel: x, count, p and q, float64, of shapes that broadcast, checked."""
    op = "binomial_log_prob"
    arrays = np.broadcast_arrays(*arrays)
    out = np.empty(arrays[0].shape)
    x, n, p, q, made = (Array(array, op, "arguments").describe() for array in (*arrays, out))
    size = checks.size_of(op, "arguments", Array(out, op, "arguments"))
    select.cpu_module(op).log_prob(op, ELEMENT, size, select.threads(), select.isa(), x, n, None, None, p, q, made)
    return out
