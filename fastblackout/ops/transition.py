"""Exact transition probabilities of thinning and of its bridge: whole rows, and log-probabilities of elements."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..arrays import COUNTS, Array, adopt_settled
from ..backends import host, select
from ..call import outputs
from ..call.arguments import Counts, same_library, same_shape
from ..call.numbers import Probability
from ..call.operation import Operation
from ..call.outputs import Single
from ..call.states import Rows
from ..ground.values import check_integer
from ..probability import Prob
from ..reference import transition as reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..probability import ProbLike
    from ..typing import Array as AnyArray
    from ..typing import ArrayT, Backend, RealLike, TensorT

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


def transition_rows(
    prob: TensorT | RealLike | Prob[TensorT | RealLike], max_count: int, *, backend: Backend = "auto"
) -> TensorT:
    """Compute the transition matrix of thinning.

    ::

        P[n, k] = Pr(Binomial(n, p) = k),  n and k in 0..max_count

    Parameters
    ----------
    prob : number, array or Prob
        The survival probability, () or of B samples, given like `alive` of fb.thin.
    max_count : int
        At most 4095.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array of float64 (S, S) or (B, S, S)
        The matrices, S = max_count + 1, in the library of `prob` and on its device (NumPy for numbers).

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value.

    Notes
    -----
    No entry is negative, and rows sum to 1 within 1e-14. The largest error is 1e-13, for p from 1e-12 to 1 - 1e-12 and
    S up to 512, as tests measure. Entries below 1e-290 of a row's largest are 0. The bits are the same on every
    backend. Each row is a recurrence from its mode.

    References
    ----------
    Santos et al., Blackout Diffusion, ICML 2023, arXiv 2305.11089, section 4.1.

    Examples
    --------
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


def thin_log_prob(x_t: ArrayT | NDArray[Any], x_0: AnyArray, alive: ProbLike, *, backend: Backend = "auto") -> ArrayT:
    """Log-probability of what fb.thin draws, element by element.

    ::

        log Pr(x_t | x_0) = log Binomial(x_0, p) at x_t

    Parameters
    ----------
    x_t : array of counts (B, ...)
        Counts up to 2^53, of uint8, int16, int32 or int64.
    x_0 : array of counts (B, ...)
        The same, in the shape of `x_t`.
    alive : number, array or Prob
        The survival probability p of each sample, as in fb.thin.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array of float64
        In the library and the memory order of `x_t`. It is -inf where x_t > x_0.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. On CUDA devices fb.check_values tells of
        wrong values.

    Notes
    -----
    The error is within ``4e-15 max(1, |log Pr|) + 2^-51 |x_t - x_0 p|``, by Loader's saddle point. Tests measure it
    against the smaller of p and q, exact, and 1 minus it. The bits are the same on every backend. There is no gradient.

    References
    ----------
    Santos et al., Blackout Diffusion, ICML 2023, arXiv 2305.11089, section 4.1.

    C. Loader, Fast and accurate computation of binomial probabilities, 2000.

    Examples
    --------
    >>> fb.thin_log_prob(np.array([3]), np.array([10]), 0.5)
    array([-2.14398006])
    """
    return _THIN_LOG_PROB((x_t, x_0, alive), backend=backend)


def bridge_log_prob(
    x_s: ArrayT | NDArray[Any], x_t: AnyArray, x_0: AnyArray, step: ProbLike, *, backend: Backend = "auto"
) -> ArrayT:
    """Log-probability of the binomial bridge, element by element.

    ::

        log Pr(x_s | x_t, x_0) = log Binomial(x_0 - x_t, p) at x_s - x_t,  p = step

    Parameters
    ----------
    x_s : array of counts (B, ...)
        Counts up to 2^53, of uint8, int16, int32 or int64.
    x_t, x_0 : array of counts (B, ...)
        The same, in the shape of `x_s`.
    step : number, array or Prob
        Schedule.bridge(k_t, k_s), given like `alive` of fb.thin.
    backend : {"auto", "reference", "cpu", "cuda", "triton"}, optional
        Which kernels run. All give the same bits.

    Returns
    -------
    array of float64
        In the library and the memory order of `x_s`. It is -inf unless x_t <= x_s <= x_0.

    Raises
    ------
    TypeError, ValueError
        If an argument is wrong. The message has op, argument, rule and value. On CUDA devices fb.check_values tells of
        wrong values.

    Notes
    -----
    It is as exact as fb.thin_log_prob. The bits are the same on every backend. There is no gradient.

    References
    ----------
    Santos et al., Blackout Diffusion, ICML 2023, arXiv 2305.11089, section 4.3.

    C. Loader, 2000.

    Examples
    --------
    >>> fb.bridge_log_prob(np.array([5]), np.array([3]), np.array([10]), 0.25)
    array([-1.16647665])
    """
    return _BRIDGE_LOG_PROB((x_s, x_t, x_0, step), backend=backend)


def counts_of(op: str, counts: dict[str, Any]) -> list[Array]:
    """Arrays of one shape, device and library."""
    arrays = [adopt_settled(value, op, name, COUNTS) for name, value in counts.items()]
    first_name = next(iter(counts))
    for name, array in zip(counts, arrays, strict=True):
        same_shape(op, name, array, first_name, arrays[0])
        same_library(op, name, array, first_name, arrays[0])
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
