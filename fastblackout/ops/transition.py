"""Exact transition probabilities of thinning and of its bridge: whole rows, and log-probabilities of elements."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..arrays import COUNTS, Array, adopt_settled
from ..backends import host, select
from ..call import checks, outputs
from ..call.arguments import Counts
from ..call.numbers import Probability
from ..call.operation import Operation
from ..call.outputs import Single
from ..call.states import Rows
from ..ground.values import check_integer
from ..probability import Prob
from ..reference import transition as reference

_TRANSITION_ROWS = Operation("transition_rows", Rows(), outputs=outputs.Rows(), twin=reference.transition_rows)
_THIN_LOG_PROB = Operation(
    "thin_log_prob",
    Counts("x_t"),
    Counts("x_0"),
    Probability("alive"),
    outputs=Single(dtype="float64"),
    twin=reference.thin_log_prob,
)
_BRIDGE_LOG_PROB = Operation(
    "bridge_log_prob",
    Counts("x_s"),
    Counts("x_t"),
    Counts("x_0"),
    Probability("step"),
    outputs=Single(dtype="float64"),
    twin=reference.bridge_log_prob,
)


def transition_rows(prob: Any, max_count: int, *, backend: str = "auto") -> Any:
    """Transition matrix of thinning: P[n, k] = Pr(Binomial(n, p) = k), n and k in 0..max_count.

    prob: the survival probability, () or of B samples: as alive of fb.thin.
    max_count: at most 4095. Returns float64 (S, S) or (B, S, S), S = max_count + 1, in prob's library and on its device
    (NumPy for numbers). No entry is negative and rows sum to 1 within 1e-14; the largest error is 1e-13 (p from 1e-12
    to 1 - 1e-12, S up to 512; tests measure it). Entries below 1e-290 of a row's largest are 0. The bits are the same
    on every backend.
    Raises TypeError or ValueError naming op, argument, rule and value.
    Source: Santos et al., ICML 2023, arXiv 2305.11089, section 4.1; a recurrence from each row's mode.

        >>> fb.transition_rows(0.5, max_count=2)
        array([[1.  , 0.  , 0.  ],
               [0.5 , 0.5 , 0.  ],
               [0.25, 0.5 , 0.25]])
    """
    states = check_integer("transition_rows", "max_count", max_count, 0, reference.MAX_STATES - 1) + 1
    return _TRANSITION_ROWS(((prob, states),), backend=backend)


def host_rows(prob: Prob, max_count: int) -> np.ndarray:
    """transition_rows of NumPy probabilities, also where use_backend names a backend of devices for other calls."""
    on_device = select.asked("auto") in select.DEVICE_BACKENDS
    return transition_rows(prob, max_count, backend="cpu" if on_device else "auto")


def thin_log_prob(x_t: Any, x_0: Any, alive: Any, *, backend: str = "auto") -> Any:
    """log Pr(x_t | x_0) of thinning, element by element: log Binomial(x_0, p) at x_t, -inf where x_t > x_0.

    x_t, x_0: counts of one shape (B, ...), uint8, int16, int32 or int64, up to 2^53.
    alive: the survival probability p of each sample, as in fb.thin.
    Returns float64 in x_t's library and memory order. The error is within 4e-15 max(1, |log Pr|) + 2^-51 |x_t - x_0 p|
    (Loader's saddle point; tests measure it against the smaller of p and q, exact, and 1 minus it), and the bits are
    the same on every backend. No autograd.
    Raises TypeError or ValueError naming op, argument, rule and value; on CUDA devices wrong values are told by
    fb.check_values.
    Source: Santos et al., ICML 2023, arXiv 2305.11089, section 4.1; C. Loader, 2000.

        >>> fb.thin_log_prob(np.array([3]), np.array([10]), 0.5)
        array([-2.14398006])
    """
    return _THIN_LOG_PROB((x_t, x_0, alive), backend=backend)


def bridge_log_prob(x_s: Any, x_t: Any, x_0: Any, step: Any, *, backend: str = "auto") -> Any:
    """log Pr(x_s | x_t, x_0) of the binomial bridge: log Binomial(x_0 - x_t, p) at x_s - x_t, p = step.

    x_s, x_t, x_0: counts of one shape (B, ...), uint8, int16, int32 or int64, up to 2^53; the result is -inf unless
        x_t <= x_s <= x_0. step: Schedule.bridge(k_t, k_s), or as alive of fb.thin.
    Returns float64 in x_s's library and memory order, as exact as fb.thin_log_prob. No autograd.
    Raises TypeError or ValueError naming op, argument, rule and value; on CUDA devices wrong values are told by
    fb.check_values.
    Source: Santos et al., ICML 2023, arXiv 2305.11089, section 4.3; C. Loader, 2000.

        >>> fb.bridge_log_prob(np.array([5]), np.array([3]), np.array([10]), 0.25)
        array([-1.16647665])
    """
    return _BRIDGE_LOG_PROB((x_s, x_t, x_0, step), backend=backend)


def counts_of(op: str, counts: dict[str, Any]) -> list[Array]:
    """Arrays of one shape, device and library."""
    arrays = [adopt_settled(value, op, name, COUNTS) for name, value in counts.items()]
    first_name = next(iter(counts))
    for name, array in zip(counts, arrays, strict=True):
        checks.same_shape(op, name, array, first_name, arrays[0])
        checks.same_library(op, name, array, first_name, arrays[0])
    return arrays


def log_prob_elements(*arrays: np.ndarray) -> np.ndarray:
    """fb.binomial_log_prob by the kernel: x, count, p and q, float64, of shapes that broadcast, checked."""
    op = "binomial_log_prob"
    fields = {
        name: Array(array, op, name)
        for name, array in zip(("x", "count", "p", "q"), np.broadcast_arrays(*arrays), strict=True)
    }
    out = Array(np.empty(fields["x"].shape), op, "out")
    host.run(op, None, "cpu", fields, {"out": out}, out.size(op, "arguments"))
    return out.value
